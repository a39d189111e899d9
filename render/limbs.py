"""Forearms and hands as layers of their own: each moves by its own field before the body, which is continued behind it.

One smooth field over the whole person would drag the torso along with a hand that passes before it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from render.fast import max_filter, mean_filter, prepare_layer, sample_layer
from render.types import Box, RenderDrive, RenderSource, Surface
from render.warp import STRIDE, draw_surface, enlarge, field_matrix, smooth_field

MARGIN = 24  # px around a limb's window
MESH_MARGIN = 4  # px around a hand's mesh that are looked at with it
SEEN = 0.02  # alpha from which a pixel of the layer counts
FINGER_ENDS = 0.12  # of the hand's extent: how far fingers may reach beyond its mesh
WRIST, BEFORE_WRIST = 6, 0.3  # index of the wrist among a limb's control points; of the way to the hand's middle
ARTICULATION = 5.0  # px between mesh and field from which fingers beside the mesh are old ones


def prepare_limbs(source: RenderSource) -> None:
    """Each limb's field over the whole frame, and the extent of its layer."""
    for index, limb in enumerate(source.limbs):
        source.cache[f"limb_field_{index}"] = field_matrix(limb.control.cpu(), source.size).to(limb.control.device)
        source.cache[f"limb_fine_{index}"] = prepare_layer(limb.layer)
        rows, columns = (limb.layer[3] > SEEN).nonzero().unbind(1)
        places = torch.stack([columns, rows], 1) if len(rows) else rows.new_zeros(1, 2)
        source.cache[f"limb_extent_{index}"] = torch.stack([places.amin(0), places.amax(0) + 1])


def draw_limbs(frame: Tensor, alpha: Tensor, flow: Tensor, hands: Tensor, source: RenderSource,
               drive: RenderDrive) -> tuple[list[Tensor], list[Box | None]]:
    """Lay the limbs over the frame, the farthest first (all in place).

    Args: frame ``[B, 3, H, W]``, alpha ``[B, 1, H, W]``, flow ``[B, 2, H, W]`` px, hands ``[B, 1, H, W]`` where a hand's
    mesh is drawn. Returns ``[B, 1, H, W]`` for each limb: how much of it is seen; and the windows in which limbs were drawn.
    """
    seen = [torch.zeros_like(alpha) for _ in source.limbs]
    order = sorted(range(len(source.limbs)), key=lambda i: source.limbs[i].depth)
    return seen, [_draw_limb(index, frame, alpha, flow, hands, seen, source, drive) for index in order]


def _draw_limb(index: int, frame: Tensor, alpha: Tensor, flow: Tensor, hands: Tensor, seen: list[Tensor],
               source: RenderSource, drive: RenderDrive) -> Box | None:
    limb, control = source.limbs[index], drive.limbs[index]
    coarse = smooth_field(source.cache[f"limb_field_{index}"], control - limb.control, source.size)
    box = _window(source.cache[f"limb_extent_{index}"], control - limb.control, source.size)
    if box is None:
        return None
    x0, y0, width, height = box
    rows, columns = slice(y0, y0 + height), slice(x0, x0 + width)
    cells = slice(y0 // STRIDE, (y0 + height) // STRIDE), slice(x0 // STRIDE, (x0 + width) // STRIDE)
    corner = coarse.new_tensor([x0, y0])[:, None, None]
    window = enlarge(coarse[:, :, cells[0], cells[1]] - corner) + corner
    keep, covered = torch.ones_like(window[:, :1]), None
    if limb.hand is not None:
        covered = _follow_mesh(window, keep, hands[:, :, rows, columns], source.hands[limb.hand], drive.hands[limb.hand], box,
                               limb.control[WRIST:])
    layer = sample_layer(source.cache[f"limb_fine_{index}"], window) * keep
    if covered is not None:
        _soften_rim(layer, covered)
    if drive.fade is not None:
        layer = layer * drive.fade[:, index].view(-1, 1, 1, 1)
    behind = 1 - layer[:, 3:]
    frame[:, :, rows, columns] = layer[:, :3] + behind * frame[:, :, rows, columns]
    alpha[:, :, rows, columns] = layer[:, 3:] + behind * alpha[:, :, rows, columns]
    for other in seen:
        other[:, :, rows, columns] *= behind
    seen[index][:, :, rows, columns] = layer[:, 3:]
    flow[:, :, rows, columns] = torch.where(layer[:, 3:] > 0.5, window, flow[:, :, rows, columns])
    return box


def _window(extent: Tensor, moved: Tensor, size: tuple[int, int]) -> Box | None:
    """Where the layer can come to lie in any frame of the batch, on the field's grid and inside the frame."""
    H, W = size
    low = (extent[0] + moved.amin((0, 1)).clamp(max=0) - MARGIN).floor().long()
    high = (extent[1] + moved.amax((0, 1)).clamp(min=0) + MARGIN).ceil().long()
    x0, y0 = (max(int(value) // STRIDE * STRIDE, 0) for value in low)
    x1, y1 = min(-(-int(high[0]) // STRIDE) * STRIDE, W), min(-(-int(high[1]) // STRIDE) * STRIDE, H)
    return (x0, y0, x1 - x0, y1 - y0) if x1 > x0 and y1 > y0 else None


def _follow_mesh(window: Tensor, keep: Tensor, hands: Tensor, surface: Surface, vertices: Tensor, box: Box,
                 points: Tensor) -> Tensor:
    """Where the hand's mesh is seen it decides; beside it, old fingers disappear once the hand has bent (in place).
    points ``[N, 2]`` px in the picture: the wrist, then points of the hand. Returns where the mesh is, ``[B, h, w]`` bool."""
    shown = torch.zeros(len(window), *window.shape[-2:], dtype=torch.bool, device=window.device)
    inner = _mesh_box(vertices, box)
    if inner is None:
        return shown
    left, top = inner[0] - box[0], inner[1] - box[1]
    part = slice(top, top + inner[3]), slice(left, left + inner[2])
    whole, window, hands = window, window[:, :, part[0], part[1]], hands[:, :, part[0], part[1]]
    triangle, attributes = draw_surface(surface, vertices, inner)
    shown[:, part[0], part[1]] = triangle >= 0
    covered = (triangle >= 0)[:, None].to(window.dtype)
    trust = attributes[:, 2:3] * covered
    weight = mean_filter(trust, 5, 5) * covered
    change = (attributes[:, :2] - window) * weight
    apart = (change.square().sum(1, keepdim=True).sqrt().sum((-2, -1)) / weight.sum((-2, -1)).clamp(min=1))[..., None, None]
    window += change
    hands.copy_(torch.maximum(hands, covered))
    bent = (apart / ARTICULATION - 0.5).clamp(0, 1)
    if bent.any():
        old = _shown(surface, whole, points)
        old[:, :, part[0], part[1]] *= 1 - max_filter(covered, 5, 5)
        keep -= bent * old
    return shown


def _mesh_box(vertices: Tensor, box: Box) -> Box | None:
    """The part of a window in which a mesh can be seen, and what is blurred about it."""
    low = (vertices[..., :2].amin((0, 1)).floor().int() - MESH_MARGIN).tolist()
    high = (vertices[..., :2].amax((0, 1)).ceil().int() + MESH_MARGIN).tolist()
    x0, y0 = max(low[0], box[0]), max(low[1], box[1])
    x1, y1 = min(high[0], box[0] + box[2]), min(high[1], box[1] + box[3])
    return (x0, y0, x1 - x0, y1 - y0) if x1 > x0 and y1 > y0 else None


def _soften_rim(layer: Tensor, covered: Tensor) -> None:
    """Pixels on either side of the mesh's rim are averaged with weights 1, 2, 1 both ways: a mesh covers a pixel or does not,
    and its colours come from within the hand, so its rim would be a staircase (in place). layer ``[B, 4, h, w]``, covered
    ``[B, h, w]`` bool."""
    rim = torch.zeros_like(covered)
    for first, second, step in ((rim[:, :, :-1], rim[:, :, 1:], covered[:, :, 1:] ^ covered[:, :, :-1]),
                                (rim[:, :-1], rim[:, 1:], covered[:, 1:] ^ covered[:, :-1])):
        first |= step
        second |= step
    rim[:, [0, -1]] = rim[:, :, [0, -1]] = False
    index, row, column = rim.nonzero().unbind(1)
    rows = [sum(weight * layer[index, :, row + step, column + side] for side, weight in ((-1, 1), (0, 2), (1, 1)))
            for step in (-1, 0, 1)]
    layer[index, :, row, column] = (rows[0] + 2 * rows[1] + rows[2]) / 16


def _shown(surface: Surface, flow: Tensor, points: Tensor) -> Tensor:
    """``[B, 1, h, w]``: 1 where the flow shows a place of the picture that lies in the box of the hand's fingers, and before
    the wrist: the arm stays."""
    hand = surface.source[surface.trust > 0.5]
    margin = FINGER_ENDS * (hand.amax(0) - hand.amin(0)).amax()
    low, high = (hand.amin(0) - margin)[:, None, None], (hand.amax(0) + margin)[:, None, None]
    forward = points[1:].mean(0) - points[0]
    along = flow[:, :1] * forward[0] + flow[:, 1:] * forward[1]
    past = along > points[0] @ forward + BEFORE_WRIST * forward.square().sum()
    inside = ((flow >= low) & (flow <= high)).all(1, keepdim=True) & past
    return inside.to(flow.dtype)
