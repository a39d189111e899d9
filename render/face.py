"""The face window of the geometric frame: mesh flow, and the inner mouth where the driven mesh shows it.

The whole face is drawn once a pixel, straight from the picture, so that nothing gets softer than it was. Around eyes and
mouth the mesh is drawn a second time, `SUPERSAMPLE` times finer, and only pixels in which different things meet (lid and
eye, lip and tooth) take that average.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from render.fast import max_filter, mean_filter
from render.lids import lid_skin, prepare_lids
from render.mouth import CORNER, depth_light, enamel_gain, mouth_colours, pictured
from render.types import Box, Part, RenderDrive, RenderSource, Surface
from render.warp import draw_surface, identity_flow, sample

EDGE_FEATHER = 3  # fine px over which the mouth's inside meets the lips
MOUTH_DEPTH = 0.2  # of the face window: where the mouth is darkest
SEAM, SEAM_SHUT, SEAM_OPEN = 3, 0.12, 0.36  # px; shares of such a square from which the inside shows, and shows wholly
IN_SLIT = 0.7  # of the lips' colour: what is seen in a slit between them
LIP_SHADE = 0.02  # of the face window: how far the lips' shade reaches into the mouth
ZONE = (1.2, 0.25)  # half widths of the mouth: how far its inside can be seen across; and up and down, at least
SUPERSAMPLE = 2
LID_MOVES = 0.02  # of the eye's width
LID_CLOSES = 0.85  # of the opening in the picture
APART = 2.5  # px of the picture between neighbouring samples of one pixel from which they show different things
TORN = 2.0  # px of the picture between neighbouring pixels: two of its pixels and more in one give a staircase
EYES, MOUTH = slice(0, 8), slice(13, 19)  # of the face keypoints
EYE_MARGIN, LID_MARGIN, MOUTH_MARGIN = 0.12, 0.2, 0.4  # of the larger side of a spot's keypoints: how far it reaches beyond
SEEN_MARGIN = 3  # px about what is seen of a spot: as far as its parts are blurred into one another
INNER = Part.TEETH  # this part and higher ones are inside the mouth


@dataclass
class _Fine:
    """A spot drawn finer. part ``[B, h, w]``, -1 where empty; mesh ``[B, 2, h, w]`` px, weight ``[B, 1, h, w]``: flow and
    how far it counts; arch ``[B, 2, h, w]``; depth ``[B, h, w]``."""

    part: Tensor
    mesh: Tensor
    weight: Tensor
    arch: Tensor
    depth: Tensor


def prepare_face(source: RenderSource) -> None:
    """Which vertices count, and the triangles of the two spots that are drawn finer."""
    source.cache["face_vertices"] = (source.head.trust > 0).nonzero().squeeze(1)
    part = source.head.part
    prepare_lids(source)
    source.cache["lip_shade"] = _lip_shade(source)
    if source.teeth is not None:
        source.cache["enamel_gain"] = enamel_gain(source.teeth, source.mouth_light, source.colourless)
    source.cache["eye_spot"] = _spot(source, EYES, EYE_MARGIN) | (part == Part.EYE)
    source.cache["lid_spot"] = _spot(source, EYES, LID_MARGIN) | (part == Part.EYE)  # closing lids come from farther up
    source.cache["mouth_spot"] = (_spot(source, MOUTH, MOUTH_MARGIN) | (part >= INNER)) & (part != Part.EYE)


@dataclass
class FaceDrawing:
    """A face whose flow is drawn. control: the control image so far; box: around the face, None where it left the window;
    part ``[B, h, w]`` of the box, -1 where empty."""

    control: Tensor
    box: Box | None
    part: Tensor


def face_flow(flow: Tensor, source: RenderSource, drive: RenderDrive) -> FaceDrawing:
    """Replace the smooth field by the mesh's flow on the face, once a pixel (in place); the picture is sampled afterwards."""
    control = flow.new_zeros(len(drive), 8, source.face_box[2], source.face_box[2])
    box = _face_extent(source, drive)
    if box is None:
        return FaceDrawing(control, None, flow.new_zeros(0))
    left, top, width, height = box
    window = flow[:, :, top:top + height, left:left + width]
    triangle, attributes = draw_surface(source.head, drive.head, box)
    part = _parts(source.head, triangle)
    _forget_astray(part, attributes, drive.face_keypoints[:, MOUTH, :2], box)
    window += attributes[:, 2:3] * (attributes[:, :2] - window)
    inner = _of_control(control, source, box)
    inner[:, 4], inner[:, 7] = part == Part.EYE, attributes[:, 2]
    return FaceDrawing(control, box, part)


def _lip_shade(source: RenderSource) -> Tensor:
    """``[1, 3, 1, 1]``: colour of the lips' middles, in the shade between them."""
    points = source.face_keypoints[MOUTH][:, :2]
    middles = torch.stack([points[2] + points[3], points[4] + points[5]]) / 2
    lips = sample(source.foreground[None], middles.T[None, :, :, None]).mean(2, keepdim=True)
    return IN_SLIT * lips


def _forget_astray(part: Tensor, attributes: Tensor, points: Tensor, box: Box) -> None:
    """Where the mouth's inside is drawn outside an ellipse about the lips, the mesh is open (behind a turned cheek) and one
    would look through the head: there it does not count (in place). points ``[B, 6, 2]``: the mouth's keypoints."""
    frame, row, column = (part >= INNER).nonzero().unbind(1)
    if not len(frame):
        return
    right_corner, left_corner, upper, lower = points[:, 0], points[:, 1], points[:, 2], points[:, 5]
    middle, half = (right_corner + left_corner) / 2, (left_corner - right_corner) / 2
    reach = half.norm(dim=-1, keepdim=True).clamp(min=1.0)
    across = half / reach
    down = torch.stack([-across[:, 1], across[:, 0]], -1)
    above, below = (((point - middle) * down * sign).sum(-1, keepdim=True).maximum(ZONE[1] * reach)
                    for point, sign in ((upper, -1.0), (lower, 1.0)))
    place = torch.stack([column + box[0], row + box[1]], -1) + 0.5 - middle[frame]
    along, away = (place * across[frame]).sum(-1, keepdim=True), (place * down[frame]).sum(-1, keepdim=True)
    limit = torch.where(away > 0, below[frame], above[frame])
    astray = ((along / (ZONE[0] * reach[frame])).square() + (away / limit).square() > 1).squeeze(1)
    frame, row, column = frame[astray], row[astray], column[astray]
    part[frame, row, column], attributes[frame, 2, row, column] = -1, 0.0


def finish_face(drawing: FaceDrawing, frame: Tensor, alpha: Tensor, flow: Tensor, source: RenderSource,
                drive: RenderDrive) -> Tensor:
    """Eyes and the inner mouth, finer (in place); returns the control image of the face window, ``[B, 8, S, S]`` as in
    `render.geometry.Proposal`. A closed mouth and eyes as open as in the picture cost nothing."""
    if drawing.box is None:
        return drawing.control
    _soften_tears(frame, flow, drawing.box)
    inner = (drawing.part >= INNER)[:, None].float()
    closing = _closing(source, drive)
    eyes = "lid_spot" if bool(closing.any()) else "eye_spot"
    spots = [eyes] * _lids_move(source, drive) + ["mouth_spot"] * bool(inner.any())
    for spot in spots:
        _draw_spot(frame, alpha, flow, drawing, inner, source, drive, source.cache[spot],
                   None if spot == "mouth_spot" else closing)
    return drawing.control


def _soften_tears(frame: Tensor, flow: Tensor, box: Box) -> None:
    """Where neighbouring pixels show places far apart (the cheek's edge of a turned head), the frame is averaged with weights
    1, 2, 1 both ways: no staircase (in place). A face that moves as a whole has no such places."""
    left, top, width, height = box
    window = flow[:, :, top:top + height, left:left + width]
    tear = torch.zeros(len(flow), height, width, dtype=torch.bool, device=flow.device)
    for step, first, second in ((window.diff(dim=3), tear[:, :, :-1], tear[:, :, 1:]),
                                (window.diff(dim=2), tear[:, :-1], tear[:, 1:])):
        far = step.square().sum(1) > TORN ** 2
        first |= far
        second |= far
    index, row, column = tear.nonzero().unbind(1)
    if not len(index):
        return
    row, column = row + top, column + left  # the box keeps a pixel from the frame's edge
    rows = {step: sum(weight * frame[index, :, row + step, column + side] for side, weight in ((-1, 1), (0, 2), (1, 1)))
            for step in (-1, 0, 1)}
    frame[index, :, row, column] = (rows[-1] + 2 * rows[0] + rows[1]) / 16


def _lids_move(source: RenderSource, drive: RenderDrive) -> bool:
    """Whether an eye in any frame is opened differently from the picture, for its width."""
    now, rest = (_openings(points[..., :2]) for points in (drive.face_keypoints, source.face_keypoints[None]))
    return bool(((now - rest).abs() > LID_MOVES).any())


def _closing(source: RenderSource, drive: RenderDrive) -> Tensor:
    """``[B]`` bool: an eye is opened less than in the picture, so that its lid is stretched."""
    now, rest = (_openings(points[..., :2]) for points in (drive.face_keypoints, source.face_keypoints[None]))
    return (now < LID_CLOSES * rest).any(1)


def _openings(points: Tensor) -> Tensor:
    """``[B, 2]`` lid distance over eye width of the right and the left eye, from the face keypoints ``[B, 21, 2]``."""
    heights, widths = ((points[:, a] - points[:, b]).norm(dim=-1) for a, b in (([4, 6], [5, 7]), ([0, 2], [1, 3])))
    return heights / widths.clamp(min=1.0)


def _spot(source: RenderSource, points: slice, share: float) -> Tensor:
    """``[F]`` bool: triangles of the head around some of the face keypoints."""
    places = source.face_keypoints[points, :2]
    low, high = places.amin(0), places.amax(0)
    margin = share * (high - low).max()
    inside = ((source.head.source > low - margin) & (source.head.source < high + margin)).all(1)
    return inside[source.head.triangles].all(1)


def _face_extent(source: RenderSource, drive: RenderDrive) -> Box | None:
    """Around the driven face in all frames of the batch, within the face window."""
    x0, y0, side = source.face_box
    H, W = source.size
    limits = max(x0, 1), max(y0, 1), min(x0 + side, W - 1), min(y0 + side, H - 1)
    return _around(drive.head[:, source.cache["face_vertices"], :2], limits)


def _around(points: Tensor, limits: Box, margin: int = 0) -> Box | None:
    """The box of points ``[B, N, 2]`` within limits x0, y0, x1, y1; None where it is empty."""
    low = (points.amin((0, 1)).floor().int() - margin).tolist()
    high = (points.amax((0, 1)).ceil().int() + margin).tolist()
    left, top = max(low[0], limits[0]), max(low[1], limits[1])
    width, height = min(high[0], limits[2]) - left, min(high[1], limits[3]) - top
    return (left, top, width, height) if width > 0 and height > 0 else None


def _of_control(control: Tensor, source: RenderSource, box: Box) -> Tensor:
    """The part of the control image that shows a box of the frame."""
    x0, y0, _ = source.face_box
    left, top, width, height = box
    return control[:, :, top - y0:top - y0 + height, left - x0:left - x0 + width]


def _draw_spot(frame: Tensor, alpha: Tensor, flow: Tensor, drawing: FaceDrawing, inner: Tensor, source: RenderSource,
               drive: RenderDrive, triangles: Tensor, closing: Tensor | None) -> None:
    """Eyes or mouth once more, finer, where different things meet in a pixel (all in place). closing ``[B]`` bool: in which
    frames lids close; None for the mouth."""
    mouth = closing is None
    surface = Surface(source.head.triangles[triangles], source.head.source, source.head.trust, source.head.part[triangles],
                      source.head.arch)
    if drawing.box is None or not len(surface.triangles):
        return
    left, top, width, height = drawing.box
    points = drive.face_keypoints[:, MOUTH if mouth else EYES, :2]
    box = _around(points, (left, top, left + width, top + height), width // 8)
    if box is None:
        return
    x, y, w, h = box
    rows, columns = slice(y - top, y - top + h), slice(x - left, x - left + w)
    fine = _draw_fine(surface, drive.head, box)
    near = max_filter(inner, 5, 5)[:, :, rows, columns] > 0
    inside = (fine.part >= INNER)[:, None].float() * _enlarged(near.float())
    shown = fine.mesh.clone() if mouth and source.teeth is not None else fine.mesh
    if mouth and inside.any():
        _fill_inwards(fine.mesh, fine.weight, inside)
    window = torch.lerp(_enlarged(flow[:, :, y:y + h, x:x + w]), fine.mesh, fine.weight)
    mixed = _mixed(fine, window)
    if mouth:  # where the mesh alone shows the inside, the picture has nothing to look up
        mixed = mixed | (inner[:, :, rows, columns] > 0)
    drawn = _covered(fine.part) | near
    mixed, lids = mixed & drawn, [] if closing is None else closing.nonzero().flatten().tolist()
    if lids:
        mixed = mixed & ~_behind_lids(fine.part, drawing.part[:, rows, columns])
    else:  # of the box only what can be seen
        part = _extent(mixed | (_halve(inside) > 0))
        if part is None:
            return
        fine = _Fine(*(_cut(value, part, SUPERSAMPLE) for value in (fine.part, fine.mesh, fine.weight, fine.arch, fine.depth)))
        window, inside, shown = (_cut(value, part, SUPERSAMPLE) for value in (window, inside, shown))
        mixed, drawn = _cut(mixed, part), _cut(drawn, part)
        x, y, w, h = box = x + part[0], y + part[1], *part[2:]
    layer = sample(source.cache["body"], window)
    layer[:, :3] += (1 - layer[:, 3:]) * _enlarged(source.plate[None, :, y:y + h, x:x + w])
    if mouth and inside.any():
        edge = _draw_mouth(layer[:, :3], _of_control(drawing.control, source, box), source, drive, fine, inside, (x, y), shown)
        mixed = mixed | ((_halve(edge) > 0) & drawn)
    for index in lids:
        one = slice(index, index + 1)
        lid = lid_skin(layer[one, :3], window[one], fine.part[one] == Part.SKIN, source, drive.face_keypoints[one], (x, y),
                       SUPERSAMPLE)
        mixed[one] |= _halve(lid) > 0
    layer = _halve(layer)
    for target, value in ((frame, layer[:, :3]), (alpha, layer[:, 3:])):
        window = target[:, :, y:y + h, x:x + w]
        window.copy_(torch.where(mixed, value, window))


def _extent(mask: Tensor) -> Box | None:
    """The box of what is true in ``[B, 1, h, w]``, `SEEN_MARGIN` larger within the image; None where nothing is."""
    shown = mask.any(1).any(0).cpu().numpy()
    if not shown.any():
        return None
    ends = []
    for line in (shown.any(0), shown.any(1)):
        found = np.flatnonzero(line)
        ends.append((max(int(found[0]) - SEEN_MARGIN, 0), min(int(found[-1]) + 1 + SEEN_MARGIN, len(line))))
    (x0, x1), (y0, y1) = ends
    return x0, y0, x1 - x0, y1 - y0


def _cut(image: Tensor, box: Box, scale: int = 1) -> Tensor:
    """The part of ``[..., h, w]`` in a box of pixels `scale` times as large."""
    x, y, width, height = (scale * value for value in box)
    return image[..., y:y + height, x:x + width]


def _draw_fine(surface: Surface, vertices: Tensor, box: Box) -> _Fine:
    """A part of the head mesh in a part of the frame, `SUPERSAMPLE` times finer."""
    x, y, width, height = box
    scaled = (vertices - vertices.new_tensor([x, y, 0])) * vertices.new_tensor([SUPERSAMPLE, SUPERSAMPLE, 1])
    triangle, attributes = draw_surface(surface, scaled, (0, 0, width * SUPERSAMPLE, height * SUPERSAMPLE), arch=True)
    return _Fine(_parts(surface, triangle), attributes[:, :2], attributes[:, 2:3], attributes[:, 3:5], attributes[:, 5])


def _parts(surface: Surface, triangle: Tensor) -> Tensor:
    """The part that each pixel shows, -1 where empty. (The last of one more entry is what -1 finds.)"""
    parts = torch.cat([surface.part, surface.part.new_full((1,), -1)]).to(torch.int8)
    return parts[triangle]


def _enlarged(image: Tensor) -> Tensor:
    return F.interpolate(image, scale_factor=SUPERSAMPLE, mode="nearest")


def _halve(image: Tensor) -> Tensor:
    """2 × 2 mean; on CPU four strided views are several times faster than pooling."""
    return (image[..., ::2, ::2] + image[..., 1::2, ::2] + image[..., ::2, 1::2] + image[..., 1::2, 1::2]) * 0.25


def _samples(image: Tensor) -> Tensor:
    """``[4, ...]``: the four samples of each pixel."""
    return torch.stack([image[..., ::2, ::2], image[..., 1::2, ::2], image[..., ::2, 1::2], image[..., 1::2, 1::2]])


def _mixed(fine: _Fine, window: Tensor) -> Tensor:
    """``[B, 1, h, w]`` bool: pixels whose samples show different parts, or places of the picture far apart."""
    part, place = _samples(fine.part), _samples(window)
    apart = (place.amax(0) - place.amin(0)).amax(1) > APART
    return (apart | (part.amax(0) != part.amin(0)))[:, None]


def _covered(part: Tensor) -> Tensor:
    """``[B, 1, h, w]`` bool: all samples of the pixel are on the spot's own skin or eye."""
    samples = _samples(part)
    return ((samples.amin(0) >= 0) & (samples.amax(0) < INNER))[:, None]


def _behind_lids(fine: Tensor, part: Tensor) -> Tensor:
    """``[B, 1, h, w]`` bool: an eye is drawn finer where the whole face has none near: beyond the spot's skin it peeps out."""
    eye = max_filter((part == Part.EYE).float()[:, None], 3, 3) > 0
    return (_samples(fine) == Part.EYE).any(0)[:, None] & ~eye


def _fill_inwards(mesh: Tensor, weight: Tensor, inside: Tensor) -> None:
    """Continue the lips' flow a few pixels into the mouth (in place), so that the soft edge blends lip with mouth."""
    skin = (1 - inside) * (weight > 0)
    stacked = torch.cat([mesh * skin, weight * skin, skin], 1)
    spread = mean_filter(stacked, 5, 5)
    near = spread[:, 3:4].clamp(min=1e-4)
    hole = inside > 0
    mesh.copy_(torch.where(hole, spread[:, :2] / near, mesh))
    weight.copy_(torch.where(hole, spread[:, 2:3] / near * (spread[:, 3:4] > 0), weight))


def _draw_mouth(picture: Tensor, control: Tensor, source: RenderSource, drive: RenderDrive, fine: _Fine,
                inside: Tensor, corner: tuple[int, int], shown: Tensor) -> Tensor:
    """Draw the inside of the mouth into the fine picture, whose corner lies at x, y px, and into channels 0-3, 5, 6 of the
    control image (in place); returns the inside with soft edges, ``[B, 1, h, w]``. shown ``[B, 2, h, w]`` px: which place of
    the picture the mesh shows, where the picture's own teeth are to be used."""
    lips = drive.face_keypoints[:, 15:19, 2].amin(1)
    side = source.face_box[2]
    inward = ((lips[:, None, None] - fine.depth) / (side * MOUTH_DEPTH)).clamp(0, 1)
    reach = round(side * LIP_SHADE) // 2 * 2 + 1
    share = _halve(inside)
    colour = mouth_colours(fine.part, fine.arch, inward, source.mouth_light, _enlarged(_blurred(share, reach))[:, 0],
                           source.colourless)
    behind = inside * ((fine.part != Part.TEETH) | (fine.arch[:, 0].abs() > CORNER))[:, None]
    around = _blurred(_halve(torch.cat([colour * behind, behind], 1)), 2 * reach + 1)  # a tongue has no edge in the dark
    colour = torch.where(behind > 0, _enlarged(around[:, :3] / around[:, 3:].clamp(min=1e-4)), colour)
    wide = _enlarged(_blurred(share, 2 * reach + 1))[:, 0]
    light, clear = depth_light(fine.part, fine.arch, _in_mouth(inside, drive.face_keypoints[:, MOUTH, :2], corner), wide)
    colour = torch.lerp(source.cache["lip_shade"], colour * light, clear)
    if source.teeth is not None:
        colour = pictured(colour, fine.part, fine.arch, shown, source.teeth, source.cache["enamel_gain"], wide)
    colour = _smooth_inside(colour, inside)
    seen = (_blurred(share, SEAM) - SEAM_SHUT) / (SEAM_OPEN - SEAM_SHUT)
    edge = mean_filter(inside, EDGE_FEATHER, EDGE_FEATHER)
    soft = edge * _enlarged(seen.clamp(0, 1))
    picture += soft * (colour - picture)
    teeth, tongue = ((fine.part == p)[:, None] * inside for p in (Part.TEETH, Part.TONGUE))
    drawn = _halve(torch.cat([colour * inside, inside, teeth, tongue], dim=1))
    control[:, :4], control[:, 5:7] = drawn[:, :4], drawn[:, 4:]
    return edge


def _in_mouth(inside: Tensor, points: Tensor, corner: tuple[int, int]) -> Tensor:
    """``[B, 2, h, w]``: where fine pixels lie between the corners of the mouth (-1 … 1) and its inner lips (0 … 1). points
    ``[B, 6, 2]``: the mouth's keypoints."""
    h, w = inside.shape[-2:]
    place = identity_flow((h, w), 1, inside.device) / SUPERSAMPLE + inside.new_tensor(corner)[:, None, None]
    half = ((points[:, 1, 0] - points[:, 0, 0]) / 2).abs().clamp(min=1.0)[:, None, None]
    across = (place[:, 0] - (points[:, 0, 0] + points[:, 1, 0])[:, None, None] / 2) / half
    height = (points[:, 4, 1] - points[:, 3, 1]).clamp(min=1.0)[:, None, None]
    return torch.stack([across, (place[:, 1] - points[:, 3, 1, None, None]) / height], 1)


def _smooth_inside(colour: Tensor, inside: Tensor) -> Tensor:
    """Average over 3 × 3 within the mask: no jagged teeth, and colours that reach one pixel past the mask's edge."""
    total = mean_filter(torch.cat([colour * inside, inside], 1), 3, 3)
    return total[:, :3] / total[:, 3:].clamp(min=1e-4)


def _blurred(image: Tensor, size: int) -> Tensor:
    """Mean of squares, an odd number of pixels wide; beyond the edge all is 0."""
    return mean_filter(image, size, size)
