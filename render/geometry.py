"""The geometric half of the renderer: a frame from flow alone, before any network.

The person is looked up in the source picture through one dense flow, composited over the clean plate; the inside of the
mouth is drawn where the driven mesh shows it. Everything the networks later correct is returned beside the frame.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from render.limbs import draw_limbs, prepare_limbs
from render.mouth import mouth_colours
from render.rasterize import Fragments
from render.types import Part, RenderDrive, RenderSource, Surface
from render.warp import draw_surface, enlarge, field_matrix, sample, smooth_field

HAND_MARGIN = 12  # px around a hand's window
EDGE_FEATHER = 3  # fine px over which the mouth's inside meets the lips
MOUTH_DEPTH = 0.2  # of the face window: where the mouth is darkest
SUPERSAMPLE = 2  # the face window is drawn this much finer: lips, lids and teeth get soft edges


@dataclass
class Proposal:
    """What geometry proposes for a batch of frames.

    frame ``[B, 3, H, W]``; alpha ``[B, 1, H, W]`` of the person; flow ``[B, 2, H, W]`` px;
    face ``[B, 8, S, S]`` control image of the face window: RGB of the inner mouth, its mask, part one-hot of eye, teeth and
    tongue, how far the mesh's flow replaced the smooth field; hands ``[B, 4, H, W]`` textured hand rendering and its mask
    (the paper's hand control image); limbs: ``[B, 1, H, W]`` for each of the source's limbs, how much of it is seen
    """

    frame: Tensor
    alpha: Tensor
    flow: Tensor
    face: Tensor
    hands: Tensor
    limbs: list[Tensor]


def prepare(source: RenderSource) -> None:
    """Compute once what depends on the picture alone."""
    source.cache["field"] = field_matrix(source.control.cpu(), source.size).to(source.control.device)
    source.cache["face_vertices"] = (source.head.trust > 0).nonzero().squeeze(1)
    source.cache["layer"] = torch.cat([source.foreground * source.matte, source.matte])[None]
    source.cache["body"] = source.cache["layer"] if source.body is None else source.body[None]
    prepare_limbs(source)


def propose(source: RenderSource, drive: RenderDrive) -> Proposal:
    """Flow, picture and control images of a batch of frames."""
    return draw(source, drive, coarse_flow(source, drive))


def coarse_flow(source: RenderSource, drive: RenderDrive) -> Tensor:
    """The smooth field of a batch of frames: ``[B, 2, H/8, W/8]`` px."""
    if "field" not in source.cache:
        prepare(source)
    return smooth_field(source.cache["field"], drive.control - source.control, source.size)


def draw(source: RenderSource, drive: RenderDrive, coarse: Tensor) -> Proposal:
    """Picture and control images from the smooth field of `coarse_flow`, which a network may have corrected."""
    flow = enlarge(coarse)
    hands = torch.zeros(len(drive), 1, *source.size, device=flow.device)
    carried = {limb.hand for limb in source.limbs}
    for index, (surface, vertices) in enumerate(zip(source.hands, drive.hands)):
        if index not in carried:
            _override_hand(flow, hands, surface, vertices)
    layer = sample(source.cache["body"], flow)
    alpha = layer[:, 3:]
    frame = layer[:, :3] + (1 - alpha) * source.plate
    face = _draw_face(frame, alpha, flow, source, drive)
    limbs = draw_limbs(frame, alpha, flow, hands, source, drive)
    hand_image = torch.cat([frame * hands, hands], dim=1)
    return Proposal(frame, alpha, flow, face, hand_image, limbs)


def _draw_face(frame: Tensor, alpha: Tensor, flow: Tensor, source: RenderSource, drive: RenderDrive) -> Tensor:
    """Redraw the face with mesh flow and the inner mouth, supersampled (all in place); returns the control image of the
    face window."""
    x0, y0, side = source.face_box
    control = frame.new_zeros(len(drive), 8, side, side)
    box = _face_extent(source, drive)
    if box is None:
        return control
    left, top, width, height = box
    rows, columns = slice(top, top + height), slice(left, left + width)
    fragments, attributes = _draw_fine(source, drive, box)
    part = torch.where(fragments.mask, source.head.part[fragments.triangle], -1)
    mesh, weight = attributes[:, :2], attributes[:, 2:3]
    mouth = _mouth_window(box, drive)
    inside = _is_mouth(part[:, mouth[0], mouth[1]])
    _fill_inwards(mesh[:, :, mouth[0], mouth[1]], weight[:, :, mouth[0], mouth[1]], inside)
    around = flow[:, :, top - 1:top + height + 1, left - 1:left + width + 1]  # so that the window's edge is interpolated too
    window = F.interpolate(around, scale_factor=SUPERSAMPLE, mode="bilinear", align_corners=False)
    window = torch.lerp(window[:, :, SUPERSAMPLE:-SUPERSAMPLE, SUPERSAMPLE:-SUPERSAMPLE], mesh, weight)
    layer = sample(source.cache["body"], window)
    plate = source.plate[None, :, rows, columns]
    layer[:, :3] += (1 - layer[:, 3:]) * F.interpolate(plate, scale_factor=SUPERSAMPLE, mode="nearest")
    inner = control[:, :, top - y0:top - y0 + height, left - x0:left - x0 + width]
    _draw_mouth(layer[:, :3, mouth[0], mouth[1]], inner, mouth, source, drive, part, fragments.depth, attributes, inside)
    inner[:, 4] = part[:, ::SUPERSAMPLE, ::SUPERSAMPLE] == Part.EYE
    inner[:, 7] = weight[:, 0, ::SUPERSAMPLE, ::SUPERSAMPLE]
    layer = _halve(layer)
    frame[:, :, rows, columns] = layer[:, :3]
    alpha[:, :, rows, columns] = layer[:, 3:]
    flow[:, :, rows, columns] = _halve(window)
    return control


def _face_extent(source: RenderSource, drive: RenderDrive) -> tuple[int, int, int, int] | None:
    """x0, y0, width, height px around the driven face in all frames of the batch, within the face window."""
    x0, y0, side = source.face_box
    points = drive.head[:, source.cache["face_vertices"], :2]
    low, high = points.amin((0, 1)).floor().int().tolist(), points.amax((0, 1)).ceil().int().tolist()
    H, W = source.size
    left, top = max(low[0], x0, 1), max(low[1], y0, 1)
    width, height = min(high[0], x0 + side, W - 1) - left, min(high[1], y0 + side, H - 1) - top
    return (left, top, width, height) if width > 0 and height > 0 else None


def _draw_fine(source: RenderSource, drive: RenderDrive, box: tuple[int, int, int, int]) -> tuple[Fragments, Tensor]:
    """The head mesh in a part of the frame, `SUPERSAMPLE` times finer."""
    left, top, width, height = box
    vertices = (drive.head - drive.head.new_tensor([left, top, 0])) * drive.head.new_tensor([SUPERSAMPLE, SUPERSAMPLE, 1])
    return draw_surface(source.head, vertices, (0, 0, width * SUPERSAMPLE, height * SUPERSAMPLE))


def _halve(image: Tensor) -> Tensor:
    """2 × 2 mean; on CPU four strided views are several times faster than pooling."""
    return (image[..., ::2, ::2] + image[..., 1::2, ::2] + image[..., ::2, 1::2] + image[..., 1::2, 1::2]) * 0.25


def _mouth_window(box: tuple[int, int, int, int], drive: RenderDrive) -> tuple[slice, slice]:
    """Rows and columns, in fine pixels of the box, around the mouth in all frames of the batch; even numbers."""
    left, top, width, height = box
    points = drive.face_keypoints[:, 13:19, :2]  # mouth corners and lips
    margin = width // 8
    low = (points.amin((0, 1)).floor().int() - margin).tolist()
    high = (points.amax((0, 1)).ceil().int() + margin).tolist()
    return _clipped(low[1] - top, high[1] - top, height), _clipped(low[0] - left, high[0] - left, width)


def _clipped(low: int, high: int, size: int) -> slice:
    """Within the box and never empty, wherever wild motion threw the mouth; fine pixels."""
    start = min(max(low, 0), size - 1)
    return slice(start * SUPERSAMPLE, max(min(high, size), start + 1) * SUPERSAMPLE)


def _is_mouth(part: Tensor) -> Tensor:
    """``[B, h, w]`` parts to ``[B, 1, h, w]``: 1 inside the mouth."""
    return (part >= Part.TEETH)[:, None].float()


def _fill_inwards(mesh: Tensor, weight: Tensor, inside: Tensor) -> None:
    """Continue the lips' flow a few pixels into the mouth (in place), so that the soft edge blends lip with mouth."""
    skin = (1 - inside) * (weight > 0)
    stacked = torch.cat([mesh * skin, weight * skin, skin], 1)
    blur = torch.full((4, 1, 5, 5), 1 / 25, device=mesh.device)
    spread = F.conv2d(stacked, blur, padding=2, groups=4)
    near = spread[:, 3:4].clamp(min=1e-4)
    hole = inside > 0
    mesh.copy_(torch.where(hole, spread[:, :2] / near, mesh))
    weight.copy_(torch.where(hole, spread[:, 2:3] / near * (spread[:, 3:4] > 0), weight))


def _draw_mouth(picture: Tensor, control: Tensor, mouth: tuple[slice, slice], source: RenderSource, drive: RenderDrive,
                part: Tensor, depth: Tensor, attributes: Tensor, inside: Tensor) -> None:
    """Draw the inside of the mouth into the fine picture and into channels 0-3, 5, 6 of the control image (in place)."""
    part, depth = part[:, mouth[0], mouth[1]], depth[:, mouth[0], mouth[1]].clamp(min=-1e4)
    lips = drive.face_keypoints[:, 15:19, 2].amin(1)
    inward = ((lips[:, None, None] - depth) / (source.face_box[2] * MOUTH_DEPTH)).clamp(0, 1)
    colour = mouth_colours(part, attributes[:, 3:5, mouth[0], mouth[1]], inward, source.mouth_light)
    colour = _smooth_inside(colour, inside)
    soft = F.avg_pool2d(inside, EDGE_FEATHER, 1, EDGE_FEATHER // 2)
    picture += soft * (colour - picture)
    teeth, tongue = ((part == p)[:, None].to(picture.dtype) for p in (Part.TEETH, Part.TONGUE))
    drawn = _halve(torch.cat([colour * inside, inside, teeth, tongue], dim=1))
    rows, columns = (slice(w.start // SUPERSAMPLE, w.stop // SUPERSAMPLE) for w in mouth)
    control[:, :4, rows, columns] = drawn[:, :4]
    control[:, 5:7, rows, columns] = drawn[:, 4:]


def _smooth_inside(colour: Tensor, inside: Tensor) -> Tensor:
    """Average over 3 × 3 within the mask: no jagged teeth, and colours that reach one pixel past the mask's edge."""
    total = F.avg_pool2d(torch.cat([colour * inside, inside], 1), 3, 1, 1)
    return total[:, :3] / total[:, 3:].clamp(min=1e-4)


def _override_hand(flow: Tensor, mask: Tensor, surface: Surface, vertices: Tensor) -> None:
    H, W = flow.shape[-2:]
    low = vertices[..., :2].amin((0, 1)).floor().int().tolist()
    high = vertices[..., :2].amax((0, 1)).ceil().int().tolist()
    x0, y0 = max(low[0] - HAND_MARGIN, 0), max(low[1] - HAND_MARGIN, 0)
    x1, y1 = min(high[0] + HAND_MARGIN, W), min(high[1] + HAND_MARGIN, H)
    if x1 <= x0 or y1 <= y0:
        return
    fragments, attributes = draw_surface(surface, vertices, (x0, y0, x1 - x0, y1 - y0))
    covered = fragments.mask[:, None].to(flow.dtype)
    soft = F.avg_pool2d(attributes[:, 2:3] * covered, 5, 1, 2)
    weight = soft * covered
    window = flow[:, :, y0:y1, x0:x1]
    window += weight * (attributes[:, :2] - window)
    mask[:, :, y0:y1, x0:x1] = torch.maximum(mask[:, :, y0:y1, x0:x1], covered)
