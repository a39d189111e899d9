"""Triangle rasteriser in plain torch: batched, z-buffered, CPU and CUDA, no display and no compiled extension.

Made for many small triangles (a head mesh in a 256 x 256 crop): triangles are grouped by the size of their bounding
box, each group tests all its boxes' pixels in one broadcast, and one integer `scatter_reduce` settles visibility. There
is no Python loop over triangles.

Convention: pixel coordinates ``(x, y)``, x right, y down, the centre of the top-left pixel is (0.5, 0.5); depth is
larger when nearer. Triangles that wind counter-clockwise in template space (+Y up, seen from outside) face the viewer.

Watertight by construction: corners are snapped to 1/128 pixel (for coverage only), so edge functions are integers that
float32 (small triangles) and float64 (others) represent exactly, and the top-left rule gives a pixel on a shared edge
to exactly one of the two triangles. Barycentrics and depth come from the unsnapped corners and carry gradients;
visibility carries none.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

SUBPIXEL = 128  # snap grid per pixel
SMALL_EXTENT = 15.9  # px; up to here |edge function| <= 2 * (16 * 128)^2 = 2^23, exact in float32
CHUNK_CANDIDATES = 1 << 22  # bounds memory when triangles are large
# Sides of the squares of pixels tested, finely spaced where most triangles of a face lie.
GROUP_SIDES = (1, 2, 3, 4, 5, 6, 8, 10, 12, 16, *(2**power for power in range(5, 16)))
_EMPTY = torch.iinfo(torch.int64).min


@dataclass
class Fragments:
    """What is visible in each pixel.

    triangle: ``[B, H, W]`` int64, -1 where empty
    barycentric: ``[B, H, W, 3]`` weights of the triangle's corners, 0 where empty
    depth: ``[B, H, W]`` larger is nearer, -inf where empty
    """

    triangle: Tensor
    barycentric: Tensor
    depth: Tensor

    @property
    def mask(self) -> Tensor:
        """``[B, H, W]`` bool: covered by some triangle."""
        return self.triangle >= 0


def rasterize(
    vertices: Tensor,
    triangles: Tensor,
    size: tuple[int, int],
    *,
    cull: bool = True,
    backend: Literal["torch", "pytorch3d"] = "torch",
) -> Fragments:
    """Find the nearest triangle of every pixel.

    Args:
        vertices: ``[B, V, 3]`` (x px, y px, depth), interpolated affinely (weak perspective); or ``[B, V, 4]`` with
            ``w``, the distance in front of the camera, as fourth value: barycentrics and depth are then perspective
            correct. Triangles with a corner at ``w <= 0`` are dropped (no near-plane clipping).
        triangles: ``[F, 3]`` int64 corner indices, shared by the batch.
        size: ``(H, W)`` of the picture.
        cull: drop triangles that face away from the viewer.
        backend: ``"pytorch3d"`` uses PyTorch3D's rasteriser when that package is installed.

    Exactly equal depth goes to the triangle with the smaller index, so results are deterministic on every device.
    """
    _check(vertices, triangles, size)
    if backend == "pytorch3d":
        from render.rasterize_pytorch3d import rasterize_pytorch3d

        return rasterize_pytorch3d(vertices, triangles, size, cull=cull)
    with torch.no_grad():
        winner = _visible(vertices.detach().float(), triangles, size, cull)
    return _fragments(vertices, triangles, winner)


def interpolate(fragments: Fragments, triangles: Tensor, attributes: Tensor) -> Tensor:
    """Attributes of the visible surface: ``[B or 1, V, C]`` per vertex -> ``[B, C, H, W]``, 0 where empty.

    Gradients flow to the attributes and, through the barycentrics, to the vertices.
    """
    B, H, W = fragments.triangle.shape
    rows, V, C = attributes.shape
    pixel, index = _corners(fragments.triangle, triangles, V if rows > 1 else 0)
    weight = _gather(fragments.barycentric.permute(3, 0, 1, 2).reshape(3, -1), pixel).to(attributes.dtype)
    value = _gather(attributes.reshape(rows * V, C).t(), index).view(C, 3, index.shape[0] // 3)
    image = value.new_zeros(C, B * H * W).index_copy(1, pixel, (value * weight).sum(dim=1))
    return image.view(C, B, H, W).transpose(0, 1)


def _check(vertices: Tensor, triangles: Tensor, size: tuple[int, int]) -> None:
    if vertices.ndim != 3 or vertices.shape[-1] not in (3, 4):
        raise ValueError(f"vertices must be [B, V, 3] or [B, V, 4] (x, y, depth[, w]), got {list(vertices.shape)}.")
    if triangles.ndim != 2 or triangles.shape[-1] != 3 or triangles.is_floating_point():
        raise ValueError(f"triangles must be integers [F, 3], got {list(triangles.shape)} {triangles.dtype}.")
    if min(size) < 1:
        raise ValueError(f"size must be (H, W) of at least one pixel, got {size}.")


def _visible(vertices: Tensor, triangles: Tensor, size: tuple[int, int], cull: bool) -> Tensor:
    """Winning triangle of every pixel, ``[B, H, W]`` int64 with -1 for none."""
    B, V, D = vertices.shape
    F = triangles.shape[0]
    H, W = size
    index = triangles.t() + (torch.arange(B, device=triangles.device) * V).view(B, 1, 1)
    index = index.transpose(0, 1).flatten()  # corner, row, triangle
    corner = _gather(vertices.reshape(B * V, D).t(), index).view(D, 3, B * F)
    kept, flip = _keep(corner, size, cull)
    keys = torch.full((B * H * W,), _EMPTY, dtype=torch.int64, device=vertices.device)
    if kept.numel() > 0:
        corner = _gather(corner.flatten(0, 1), kept).view(D, 3, -1)
        _draw_all(keys, corner, flip, kept, F, size)
    return torch.where(keys == _EMPTY, -1, F - 1 - (keys & 0xFFFFFFFF)).view(B, H, W)


def _keep(corner: Tensor, size: tuple[int, int], cull: bool) -> tuple[Tensor, Tensor]:
    """Indices of the triangles of ``[D, 3, N]`` that can cover a pixel centre, and which of them wind negatively."""
    xy = _snap(corner[:2])
    low, high = _pixel_range(xy, size)
    (ux, uy), (vx, vy) = xy[:, 1] - xy[:, 0], xy[:, 2] - xy[:, 0]
    area = ux * vy - uy * vx
    keep = (area < 0) if cull else (area != 0)  # y points down: counter-clockwise from outside is negative here
    keep &= (high >= low).all(dim=0) & corner.sum(dim=(0, 1)).isfinite()
    if corner.shape[0] == 4:
        keep &= (corner[3] > 0).all(dim=0)
    kept = keep.nonzero().squeeze(1)
    return kept, area.index_select(0, kept) < 0


def _gather(table: Tensor, index: Tensor) -> Tensor:
    """``table[:, index]`` for ``[R, N]`` row by row: on the CPU several times faster than one `index_select`."""
    return torch.stack([row.index_select(0, index) for row in table.contiguous()])


def _snap(xy: Tensor) -> Tensor:
    """Pixel coordinates on the sub-pixel grid, whole numbers in float64."""
    return (xy * SUBPIXEL).round().double()


def _pixel_range(xy: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """First and last pixel ``[2, N]`` whose centre lies in the bounding box of snapped corners, inside the picture."""
    last = xy.new_tensor([[size[1] - 1], [size[0] - 1]])
    low = _fold(torch.minimum, xy).div_(SUBPIXEL).sub_(0.5).ceil_().clamp_min_(0)
    high = _fold(torch.maximum, xy).div_(SUBPIXEL).sub_(0.5).floor_().minimum(last)
    return low, high


def _fold(function: Callable[[Tensor, Tensor], Tensor], xyz: Tensor) -> Tensor:
    """Reduce the dimension of three corners: two calls are faster than a reduction over so short a dimension."""
    return function(function(xyz[:, 0], xyz[:, 1]), xyz[:, 2])


def _draw_all(keys: Tensor, corner: Tensor, flip: Tensor, kept: Tensor, F: int, size: tuple[int, int]) -> None:
    """Draw the kept triangles ``[D, 3, N]`` group by group; `flip` marks those whose corners must swap."""
    H, W = size
    corner = torch.where(flip, corner[:, [0, 2, 1]], corner)
    code, order = _groups(_snap(corner[:2]), size).sort(stable=True)
    corner, kept = _gather(corner.flatten(0, 1), order).view(corner.shape), kept.index_select(0, order)
    xy = _snap(corner[:2])
    side = torch.tensor(GROUP_SIDES, device=keys.device)[code % len(GROUP_SIDES)]
    limit = torch.stack([W - side, H - side]).clamp_min(0)
    low = _pixel_range(xy, size)[0].minimum(limit)  # move the square inside the picture
    edges, planes = _edge_functions(xy, low), _depth_planes(corner, low)
    base = kept // F * (H * W) + low[1].long() * W + low[0].long()
    rank = F - 1 - kept % F
    start = 0
    for group, count in zip(*(t.tolist() for t in torch.unique_consecutive(code, return_counts=True))):
        K, dtype = GROUP_SIDES[group % len(GROUP_SIDES)], torch.float64 if group >= len(GROUP_SIDES) else torch.float32
        cells, limit_count = (min(K, H), min(K, W)), max(1, CHUNK_CANDIDATES // (K * K))
        for first in range(start, start + count, limit_count):
            part = slice(first, min(first + limit_count, start + count))
            _draw(keys, edges[..., part].to(dtype), planes[..., part], base[part], rank[part], cells, W)
        start += count


def _groups(xy: Tensor, size: tuple[int, int]) -> Tensor:
    """Group ``[N]`` of each triangle: which of `GROUP_SIDES` holds its box, plus their number where it is large."""
    low, high = _pixel_range(xy, size)
    sides = torch.tensor(GROUP_SIDES, dtype=xy.dtype, device=xy.device)
    large = (_fold(torch.maximum, xy) - _fold(torch.minimum, xy)).amax(dim=0) > SMALL_EXTENT * SUBPIXEL
    return torch.searchsorted(sides, (high - low).amax(dim=0) + 1) + len(GROUP_SIDES) * large


def _edge_functions(xy: Tensor, low: Tensor) -> Tensor:
    """``(constant, per pixel right, per pixel down)`` of the three edges: ``[3, 3, N]``, inside is >= 0.

    The top-left rule enters as a bias of one grid unit: the values are whole numbers, so > 0 is >= 1.
    """
    start = xy.roll(-1, 1)
    dx, dy = xy.roll(-2, 1) - start
    first_x, first_y = (low.unsqueeze(1) + 0.5) * SUBPIXEL - start
    top_left = (dy < 0) | ((dy == 0) & (dx > 0))
    constant = dx * first_y - dy * first_x - (~top_left).double()
    return torch.stack([constant, dy * -SUBPIXEL, dx * SUBPIXEL])


def _depth_planes(corner: Tensor, low: Tensor) -> Tensor:
    """Depth (with ``w``: depth/w and 1/w) over the pixels of the square: ``[3, 1 or 2, N]`` as the edge functions."""
    value = corner[2:3]
    if corner.shape[0] == 4:
        value = torch.cat([value, torch.ones_like(value)]) / corner[3:4]
    (ux, vx), (uy, vy) = corner[:2, 1:] - corner[:2, :1]
    p, q = (value[:, 1:] - value[:, :1]).unbind(dim=1)
    area = ux * vy - uy * vx
    area = torch.where(area == 0, 1.0, area)  # snapping may give area to a sliver that has none
    right, down = (p * vy - q * uy) / area, (q * ux - p * vx) / area
    first_x, first_y = low.float() + 0.5 - corner[:2, 0]
    return torch.stack([value[:, 0] + right * first_x + down * first_y, right, down])


def _draw(
    keys: Tensor, edges: Tensor, planes: Tensor, base: Tensor, rank: Tensor, cells: tuple[int, int], W: int
) -> None:
    """Test a square of pixels for every triangle of one group and keep the nearest surface in `keys`."""
    x, y = torch.arange(cells[1], device=keys.device), torch.arange(cells[0], device=keys.device)
    constant, right, down = edges.unsqueeze(-1)
    row = constant + right * x  # [3, N, columns]
    value = row.unsqueeze(2) + (down * y).unsqueeze(3)  # exact: whole numbers
    inside = torch.minimum(torch.minimum(value[0], value[1]), value[2]) >= 0
    triangle, row_index, column = inside.nonzero().unbind(dim=1)
    at_first, per_column, per_row = _gather(planes.flatten(0, 1), triangle).view(*planes.shape[:2], triangle.shape[0])
    depth = at_first + per_column * column + per_row * row_index
    depth = depth[0] / depth[1] if depth.shape[0] == 2 else depth[0]
    bits = depth.view(torch.int32)
    ordered = (bits ^ ((bits >> 31) & 0x7FFFFFFF)).long()  # integers in the order of the floats
    pixel = base.index_select(0, triangle) + row_index * W + column
    keys.scatter_reduce_(0, pixel, (ordered << 32) | rank.index_select(0, triangle), reduce="amax")


def _fragments(vertices: Tensor, triangles: Tensor, winner: Tensor) -> Fragments:
    """Barycentrics and depth of the winning triangles, differentiable in the vertices."""
    B, H, W = winner.shape
    _, V, D = vertices.shape
    pixel, index = _corners(winner, triangles, V)
    corner = _gather(vertices.reshape(B * V, D).t(), index).view(D, 3, index.shape[0] // 3)
    row = pixel.div(W, rounding_mode="floor")
    weight = _barycentric(corner, pixel - row * W, row if B == 1 else row % H)
    depth = (weight * corner[2]).sum(dim=0)
    image = weight.new_zeros(3, B * H * W).index_copy(1, pixel, weight)
    depth = depth.new_full((B * H * W,), -torch.inf).index_copy(0, pixel, depth)
    return Fragments(winner, image.view(3, B, H, W).permute(1, 2, 3, 0), depth.view(B, H, W))


def _corners(winner: Tensor, triangles: Tensor, V: int) -> tuple[Tensor, Tensor]:
    """Flat indices ``[P]`` of the covered pixels, and of their triangles' corners among B·V vertices, ``[3·P]``."""
    B, H, W = winner.shape
    flat = winner.flatten()
    pixel = (flat >= 0).nonzero().squeeze(1)
    corner = _gather(triangles.t(), flat.index_select(0, pixel))
    if B > 1 and V > 0:
        corner = corner + pixel // (H * W) * V
    return pixel, corner.flatten()


def _barycentric(corner: Tensor, column: Tensor, row: Tensor) -> Tensor:
    """Weights ``[3, P]`` of corners ``[D, 3, P]`` at pixel centres; perspective correct when D = 4."""
    x, y = corner[0] - (column + 0.5), corner[1] - (row + 0.5)
    weight = torch.stack([x[i - 2] * y[i - 1] - x[i - 1] * y[i - 2] for i in range(3)])
    if corner.shape[0] == 4:
        weight = weight / corner[3]
    total = weight.sum(dim=0)
    return weight / torch.where(total == 0, 1.0, total)
