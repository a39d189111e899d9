"""Lids that close: skin continued across the eye, where the picture has only a narrow strip of it.

An open eye shows some four pixels of upper lid, with lashes, crease and the shadow of the brow in them. Stretched to a
closed lid they would be streaks and a dark patch. So a second picture is made once, in which skin goes on smoothly across
each eye; the more a lid is stretched, the more it shows of that one, but for the lash line along its edge.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from render.fast import mean_filter
from render.types import RenderSource
from render.warp import identity_flow, sample

CORNERS, UPPER, LOWER, BROWS = ((0, 1), (2, 3)), (4, 6), (5, 7), (slice(8, 10), slice(10, 12))  # of the face keypoints
UNDER_BROW = 0.6  # of the way from the eye to the brow: brows stay as they are
WIDER, ABOVE, BELOW = 1.25, 0.4, 0.3  # half widths of the eye: what is made anew beyond the lids, along and across
STRETCHED, TORN_OPEN = 1.2, 1.9  # a lid is all picture up to here, all made anew from here on
CHEEK = 0.5  # half widths: how far down below an eye skin is as bright as a lid should be
SHADOW, SOCKET = 0.85, 1.6  # darker than this share of it, near the eye, is lash, line or shadow that stays where it is
LIT = 0.5  # of the way from skin continued in that shadow to skin continued without: a closed lid bulges into the light
LUMINANCE = (0.3, 0.59, 0.11)
SOFT = 0.05  # of the eye's width: how far made skin fades into the crease, to each side
LASHES = 0.07  # of the eye's width: what keeps the picture along the lid's edge
SMALLEST = 6.0  # px: narrower eyes show no lid
STEPS = 600  # of relaxation


def prepare_lids(source: RenderSource) -> None:
    """Skin across the eyes, kept in the source's cache: `lids` ``[1, 3, h, w]`` and `lids_corner` ``[2]`` px."""
    points = source.face_keypoints[:8, :2]
    H, W = source.size
    reach = max(float((points[a] - points[b]).norm()) for a, b in CORNERS)
    low = (points.amin(0) - reach).floor().long().clamp(min=0)
    high = torch.minimum((points.amax(0) + reach).ceil().long(), torch.tensor([W, H], device=points.device))
    if reach < SMALLEST or bool((high - low < 8).any()):
        return
    (x0, y0), (x1, y1) = low.tolist(), high.tolist()
    picture = source.foreground[None, :, y0:y1, x0:x1]
    y, x = torch.meshgrid(torch.arange(y0, y1) + 0.5, torch.arange(x0, x1) + 0.5, indexing="ij")
    place = torch.stack([x, y], -1).to(points)
    luminance = (picture[0] * picture.new_tensor(LUMINANCE)[:, None, None]).sum(0)
    unknown = torch.zeros(2, *place.shape[:2], dtype=torch.bool, device=place.device)  # the eyes; what is dark about them too
    for eye in (0, 1):
        along, across, half, middle = _axes(points, eye)
        u, v = ((place - middle) @ along) / (WIDER * half), (place - middle) @ across
        top, bottom = ((points[lid] - middle) @ across for lid in (UPPER[eye], LOWER[eye]))
        brow = UNDER_BROW * ((middle - source.face_keypoints[BROWS[eye], :2]) @ across).amin().clamp(min=1)
        above = torch.minimum((-top).clamp(min=0) + ABOVE * half, brow)
        limit = torch.where(v < 0, above, bottom.clamp(min=0) + BELOW * half)
        unknown |= u.square() + (v / limit).square() < 1
        below = v - bottom.clamp(min=0) - BELOW * half
        cheek = (u.abs() < 0.6) & (below > 0) & (below < CHEEK * half)
        if bool(cheek.any()):
            unknown[1] |= (luminance < SHADOW * luminance[cheek].median()) & (u.square() + (v / (2 * above)).square() < SOCKET)
    shaded, lit = _relaxed(picture.expand(2, -1, -1, -1), unknown[:, None])
    source.cache["lids"] = torch.lerp(shaded, lit, LIT)[None]
    source.cache["lids_corner"] = low.to(points)


def lid_skin(picture: Tensor, flow: Tensor, skin: Tensor, source: RenderSource, driven: Tensor, corner: tuple[int, int],
             scale: int) -> Tensor:
    """Show skin made anew where an upper lid is stretched (in place).

    Args: picture ``[B, 3, h, w]`` a part of the frame drawn `scale` times finer, whose corner lies at x, y px; flow
    ``[B, 2, h, w]`` px of the picture; skin ``[B, h, w]`` bool; driven ``[B, 21, 3]`` px the face keypoints of the frames.
    Returns how far it was replaced, ``[B, 1, h, w]``.
    """
    weight = torch.zeros_like(flow[:, :1])
    if "lids" not in source.cache:
        return weight
    h, w = flow.shape[-2:]
    points = source.face_keypoints[:8, :2]
    frame = identity_flow((h, w), 1, flow.device) / scale + flow.new_tensor(corner)[:, None, None]
    place = flow.clone()
    for eye in (0, 1):
        along, across, half, middle = _axes(points, eye)
        away = flow - middle[:, None, None]
        u, v = (torch.einsum("bchw,c->bhw", away, axis) for axis in (along, across))
        upper = (u.abs() < WIDER * half) & (v < 0) & skin
        weight[:, 0] += upper
        place = torch.where(upper[:, None], _at_rest(frame, points, driven, eye), place)
    lashes = max(round(LASHES * 2 * float(half) * scale), 1)
    lids = weight.clone()
    edge = F.pad(1 - weight, (0, 0, 0, lashes), value=1.0)
    edge = F.max_pool2d(edge, (lashes + 1, 1), 1)  # whether something else begins within so many rows below
    step = F.pad((flow[:, 1:, 2:] - flow[:, 1:, :-2]).abs() * (scale / 2), (0, 0, 1, 1), value=1.0)
    weight *= ((1 / step.clamp(min=0.05) - STRETCHED) / (TORN_OPEN - STRETCHED)).clamp(0, 1)
    soft = max(round(SOFT * 2 * float(half) * scale), 1) * 2 + 1
    spread = _blurred(torch.cat([weight, lids], 1), soft)
    weight = spread[:, :1] / spread[:, 1:].clamp(min=1e-4) * lids * (1 - mean_filter(edge, 3, 3))
    weight = mean_filter(weight, 5, 5)
    picture += weight * (sample(source.cache["lids"], place - source.cache["lids_corner"][:, None, None]) - picture)
    return weight


def _blurred(image: Tensor, size: int) -> Tensor:
    return mean_filter(mean_filter(image, size, size), size, size)


def _at_rest(frame: Tensor, points: Tensor, driven: Tensor, eye: int) -> Tensor:
    """Where places ``[1, 2, h, w]`` px of the frames lie in the picture if the eye only moves, turns and grows as a whole:
    ``[B, 2, h, w]`` px."""
    rest, now = (torch.view_as_complex(p[..., CORNERS[eye], :2].contiguous()) for p in (points[None], driven))
    turn = (rest[:, 1] - rest[:, 0]) / (now[:, 1] - now[:, 0])
    shift = rest.mean(1) - turn * now.mean(1)
    x, y = frame[:, 0], frame[:, 1]
    a, b, dx, dy = (value[:, None, None] for value in (turn.real, turn.imag, shift.real, shift.imag))
    return torch.stack([a * x - b * y + dx, b * x + a * y + dy], 1)


def _axes(points: Tensor, eye: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Unit vectors along the eye (towards the image's right) and across it (downwards), its half width px, its middle."""
    first, second = (points[index] for index in CORNERS[eye])
    along = second - first
    along = along * (1.0 if float(along[0]) >= 0 else -1.0)
    half = along.norm().clamp(min=1.0) / 2
    along = along / (2 * half)
    return along, torch.stack([-along[1], along[0]]), half, (first + second) / 2


def _relaxed(picture: Tensor, unknown: Tensor) -> Tensor:
    """Laplace's equation in the unknown part ``[B, 1, h, w]`` of ``[B, 3, h, w]``."""
    known = (~unknown).to(picture)
    around = F.avg_pool2d(torch.cat([picture * known, known], 1), 31, 1, 15)
    out = torch.where(unknown, around[:, :3] / around[:, 3:].clamp(min=1e-4), picture)
    for _ in range(STEPS):
        out = torch.where(unknown, F.avg_pool2d(out, 3, 1, 1), picture)
    return out
