"""Make a fitted hand's outline meet the picture's: people's fingers are thicker or thinner than the mean's.

Our own step (no paper has it). Each vertex on the rim looks along its normal for the border of the hand's mask; what
the rim finds is smoothed over the mesh, so that a finger gets thicker as a whole, and becomes part of the shape.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from motion.template.hand_fit import HandFit, displace, drive_hand
from motion.types import HAND_DIM

REACH = 0.007  # metres searched to either side of the outline
STEPS = 29  # samples across twice the reach
INSET = 0.001  # metres: colours come from at least this far inside the outline
ROUNDS = 3
SMOOTHING, SMOOTHING_PASSES = 2.0, 40
RIM = 0.6  # a vertex is on the rim while its normal is this much in the picture's plane


def refine_outline(fit: HandFit, mask: Tensor) -> HandFit:
    """Fit the outline to ``mask [H, W]`` (1 on the hand's skin, in the picture of the fit)."""
    if mask.ndim != 2:
        raise ValueError(f"mask must be [H, W], got {list(mask.shape)}.")
    for _ in range(ROUNDS):
        vertices = drive_hand(fit, torch.zeros(1, HAND_DIM), 1.0)[0]
        normal = vertex_normals(vertices, fit.template.triangles)
        distance, known = _distance_to_border(fit, mask.float(), vertices, normal)
        thickness = _smooth(distance, known, fit.template.triangles)
        fit = displace(fit, thickness.unsqueeze(1) * normal[:, :2])
    hand = fit.template.weights[:, -1] < 0.5
    source = torch.where(hand.unsqueeze(1), _pull_inside(fit.source, mask, INSET * fit.scale), fit.source)
    return replace(fit, source=source)


def _pull_inside(points: Tensor, mask: Tensor, inset: float) -> Tensor:
    """Points ``[V, 2]`` px that lie outside the mask shrunk by `inset` px move to its nearest pixel centre.

    So no colour of the background, nor the mixed pixels of the outline, gets on the hand.
    """
    H, W = mask.shape
    size = 2 * max(1, round(inset)) + 1
    outside = torch.nn.functional.max_pool2d(1 - (mask > 0.5).float()[None, None], size, 1, size // 2)[0, 0] > 0
    column, row = points[:, 0].floor().long(), points[:, 1].floor().long()
    astray = outside[row.clamp(0, H - 1), column.clamp(0, W - 1)]
    pixels = (~outside).nonzero().flip(1) + 0.5
    if len(pixels) == 0 or not astray.any():
        return points
    result = points.clone()
    result[astray] = pixels[torch.cdist(points[astray], pixels).argmin(dim=1)]
    return result


def vertex_normals(vertices: Tensor, triangles: Tensor) -> Tensor:
    """Unit normals ``[V, 3]`` of a projected mesh (y down), outwards, +Z towards the viewer."""
    a, b, c = vertices[triangles].unbind(1)
    normal = torch.linalg.cross(c - a, b - a)  # y points down, so the winding is reversed
    total = torch.zeros_like(vertices).index_add_(0, triangles.flatten(), normal.repeat_interleave(3, dim=0))
    return torch.nn.functional.normalize(total, dim=1)


def _distance_to_border(fit: HandFit, mask: Tensor, vertices: Tensor, normal: Tensor) -> tuple[Tensor, Tensor]:
    """How many px outwards the mask ends ``[V]``, and whether that could be seen at all."""
    H, W = mask.shape
    outward = torch.nn.functional.normalize(normal[:, :2], dim=1)
    reach = REACH * fit.scale
    t = torch.linspace(-reach, reach, STEPS)
    point = vertices[:, None, :2] + outward[:, None] * t[:, None]
    grid = torch.stack([point[..., 0] * 2 / W - 1, point[..., 1] * 2 / H - 1], dim=-1)
    inside = torch.nn.functional.grid_sample(mask[None, None], grid[None], align_corners=False)[0, 0] > 0.5
    first_out = (~inside).float().argmax(dim=1)
    seen = inside[:, 0] & ~inside.all(dim=1)
    rim = fit.visible & (normal[:, :2].norm(dim=1) > RIM) & (fit.template.weights[:, -1] < 0.1)
    step = 2 * reach / (STEPS - 1)
    return t[first_out] - step / 2, rim & seen


def _smooth(value: Tensor, known: Tensor, triangles: Tensor) -> Tensor:
    """Spread the known values over the mesh (Jacobi steps of a screened Laplace equation)."""
    edges = torch.cat([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]])
    edges = torch.cat([edges, edges.flip(1)])
    degree = torch.zeros_like(value).index_add_(0, edges[:, 0], torch.ones(len(edges)))
    weight = known.float()
    result = torch.zeros_like(value)
    for _ in range(SMOOTHING_PASSES):
        neighbours = torch.zeros_like(value).index_add_(0, edges[:, 0], result[edges[:, 1]]) / degree.clamp_min(1)
        result = (weight * value + SMOOTHING * neighbours) / (weight + SMOOTHING)
    return result
