"""Triangle rasteriser in plain torch: batched, z-buffered, CPU and CUDA, no display and no compiled extension.

Made for many small triangles (a head mesh in a 256 x 256 crop): all triangles are cut into rows of pixels, and one integer
`scatter_reduce` settles visibility. There is no Python loop over triangles.

Convention: pixel coordinates ``(x, y)``, x right, y down, the centre of the top-left pixel is (0.5, 0.5); depth is
larger when nearer. Triangles that wind counter-clockwise in template space (+Y up, seen from outside) face the viewer.

Watertight by construction: corners are snapped to 1/128 pixel (for visibility only), neighbours compute the edge they share
alike, and the top-left rule gives a pixel on it to exactly one of the two triangles. Barycentrics and depth come from the
unsnapped corners and carry gradients; visibility carries none.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from render import rasterize_cpu
from render.fast import plain

SUBPIXEL = 128  # snap grid per pixel
TIE = 2.0**-27  # px: a centre exactly on an edge is not lost to rounding; centres beside an edge are farther from it
CHUNK_PIXELS = 1 << 20  # bounds memory when triangles are large
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


def visible_attributes(
    vertices: Tensor, triangles: Tensor, attributes: Tensor, size: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """`rasterize` and `interpolate` in one, for those who need no barycentrics: half the time.

    Args: as of these; attributes ``[V, C]``. Returns: the visible triangle ``[B, H, W]``, -1 where empty;
    ``[B, C + 1, H, W]``, attributes and depth, 0 where empty.
    """
    _check(vertices, triangles, size)
    if vertices.shape[-1] == 3 and plain(vertices) and plain(attributes):
        found = rasterize_cpu.visible_attributes(vertices.numpy(), triangles.numpy(), attributes.numpy(), size, SUBPIXEL, TIE)
        return torch.from_numpy(found[0]), torch.from_numpy(found[1]).transpose(0, 1)
    with torch.no_grad():
        winner = _visible(vertices.detach().float(), triangles, size, cull=True)
    B, H, W = winner.shape
    C = attributes.shape[1]
    pixel, index, weight, corner = _covered(vertices, triangles, winner)
    own = _gather(attributes.t(), index).view(C, 3, len(pixel))
    value = (torch.cat([own, corner[2:3]]) * weight).sum(1)
    return winner, value.new_zeros(C + 1, B * H * W).index_copy(1, pixel, value).view(C + 1, B, H, W).transpose(0, 1)


def _check(vertices: Tensor, triangles: Tensor, size: tuple[int, int]) -> None:
    if vertices.ndim != 3 or vertices.shape[-1] not in (3, 4):
        raise ValueError(f"vertices must be [B, V, 3] or [B, V, 4] (x, y, depth[, w]), got {list(vertices.shape)}.")
    if triangles.ndim != 2 or triangles.shape[-1] != 3 or triangles.is_floating_point():
        raise ValueError(f"triangles must be integers [F, 3], got {list(triangles.shape)} {triangles.dtype}.")
    if min(size) < 1:
        raise ValueError(f"size must be (H, W) of at least one pixel, got {size}.")


def _visible(vertices: Tensor, triangles: Tensor, size: tuple[int, int], cull: bool) -> Tensor:
    """Winning triangle of every pixel, ``[B, H, W]`` int64 with -1 for none."""
    B, V, _ = vertices.shape
    F = triangles.shape[0]
    H, W = size
    index = triangles.t() + (torch.arange(B, device=triangles.device) * V).view(B, 1, 1)
    index = index.transpose(0, 1).flatten()  # corner, row, triangle
    place = _snap(vertices.reshape(B * V, -1))
    corner = _gather(place.t(), index).view(-1, 3, B * F)
    kept = _keep(corner, size, cull)
    keys = torch.full((B * H * W,), _EMPTY, dtype=torch.int64, device=vertices.device)
    if kept.numel() > 0:
        _draw_all(keys, _gather(corner.flatten(0, 1), kept).view(-1, 3, len(kept)).double(), kept, F, size)
    return torch.where(keys == _EMPTY, -1, F - 1 - (keys & 0xFFFFFFFF)).view(B, H, W)


def _snap(vertices: Tensor) -> Tensor:
    """Vertices ``[N, D]`` with x and y on the sub-pixel grid; one that is not finite is nan, so that its triangles have no
    area."""
    place = vertices.clone()
    place[:, :2] = (vertices[:, :2] * SUBPIXEL).round_().div_(SUBPIXEL)
    return place + (place * 0).sum(1, keepdim=True)


def _keep(corner: Tensor, size: tuple[int, int], cull: bool) -> Tensor:
    """Indices of the triangles of ``[D, 3, N]`` that can cover a pixel centre."""
    x, y = corner[:2]
    ux, vx, uy, vy = ((place[k] - place[0]).double() for place in (x, y) for k in (1, 2))
    area = ux * vy - uy * vx
    keep = (area < 0) if cull else (area != 0)  # y points down: counter-clockwise from outside is negative here
    for place, end in ((x, size[1]), (y, size[0])):
        first, after = (_first_centre(fold(fold(place[0], place[1]), place[2])) for fold in (torch.minimum, torch.maximum))
        keep &= after.clamp_max_(end) > first.clamp_min_(0)  # false for nan
    if corner.shape[0] == 4:
        keep &= (corner[3] > 0).all(dim=0)
    return keep.nonzero().squeeze(1)


def _first_centre(place: Tensor) -> Tensor:
    """The first pixel whose centre is not before a place."""
    return (place - 0.5).ceil_()


def _gather(table: Tensor, index: Tensor) -> Tensor:
    """``table[:, index]`` for ``[R, N]`` row by row: on the CPU several times faster than one `index_select`."""
    if table.requires_grad and torch.is_grad_enabled():
        return torch.stack([row.index_select(0, index) for row in table.contiguous()])
    out = table.new_empty(len(table), len(index))
    for row, found in zip(table.contiguous(), out):
        torch.index_select(row, 0, index, out=found)
    return out


def _draw_all(keys: Tensor, corner: Tensor, kept: Tensor, F: int, size: tuple[int, int]) -> None:
    """Draw the kept triangles ``[D, 3, N]``, row by row."""
    H, W = size
    lines, first, after = _sides(corner, H)
    item, row = _expanded(after - first, first)
    planes = _depth_planes(corner)
    left, left_step, right, right_step = _gather(lines, item)
    down = row.double()
    start = left.addcmul_(left_step, down).ceil_().clamp_(0, W)  # the centre on a left edge is inside, on a right edge not
    count = right.addcmul_(right_step, down).ceil_().clamp_max_(W).sub_(start).clamp_min_(0).long()
    item = torch.where(item < len(kept), item, item - len(kept))  # upper and lower halves have the same plane
    across = _gather(planes[1], item)
    depth = _gather(planes[0], item).addcmul_(_gather(planes[2], item), down).addcmul_(across, start)
    base = (kept // F * (H * W)).index_select(0, item).add_(row, alpha=W).add_(start.long())
    rank = (F - 1 - kept % F).index_select(0, item)
    depth, across = depth.float(), across.float()
    for part in _chunks(count):
        _draw(keys, count[part], base[part], rank[part], depth[:, part], across[:, part])


def _sides(corner: Tensor, H: int) -> tuple[Tensor, Tensor, Tensor]:
    """Triangles ``[D, 3, N]`` cut at the height of their middle corner: the upper halves, then the lower ones.

    Returns: ``[4, 2N]``: ``ceil(a + b · row)`` is the first column not before the left side (a, b) and the right one (a, b);
    first row of each half, and the one after its last, ``[2N]``. Neighbours compute the edge they share alike, from its upper
    end to its lower one, so no pixel is lost or drawn twice.
    """
    (x0, x1, x2), (y0, y1, y2) = corner[:2]
    x0, y0, x1, y1 = _in_order(x0, y0, x1, y1)
    x1, y1, x2, y2 = _in_order(x1, y1, x2, y2)
    x0, y0, x1, y1 = _in_order(x0, y0, x1, y1)
    long, upper, lower = _line(x0, y0, x2, y2), _line(x0, y0, x1, y1), _line(x1, y1, x2, y2)
    bulges_right = (x1 - x0) * (y2 - y0) > (x2 - x0) * (y1 - y0)
    halves = [torch.cat([torch.where(bulges_right, long, short), torch.where(bulges_right, short, long)])
              for short in (upper, lower)]
    top, middle, bottom = (_first_centre(y).clamp_(0, H).long() for y in (y0, y1, y2))
    return torch.cat(halves, 1), torch.cat([top, middle]), torch.cat([middle, bottom])


def _in_order(xa: Tensor, ya: Tensor, xb: Tensor, yb: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The upper one of two points first."""
    swap = ya > yb
    return torch.where(swap, xb, xa), torch.minimum(ya, yb), torch.where(swap, xa, xb), torch.maximum(ya, yb)


def _line(xa: Tensor, ya: Tensor, xb: Tensor, yb: Tensor) -> Tensor:
    """``[2, N]``: a and b of `_sides` for edges from their upper to their lower end; level ones are in no row."""
    step = (xb - xa) / torch.where(yb > ya, yb - ya, 1.0)
    return torch.stack([xa + step * (0.5 - ya) - (0.5 + TIE), step])


def _expanded(count: Tensor, start: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """For each of N items `count` entries: which item it belongs to, and its number within, counted from `start` or 0."""
    item = torch.repeat_interleave(count)
    offset = count - count.cumsum(0) if start is None else start + count - count.cumsum(0)
    return item, offset.index_select(0, item).add_(torch.arange(len(item), device=count.device))


def _chunks(count: Tensor) -> list[slice]:
    """Parts of the rows with some `CHUNK_PIXELS` pixels each."""
    ends = count.cumsum(0)
    total = int(ends[-1]) if len(ends) else 0
    if total <= CHUNK_PIXELS:
        return [slice(None)]
    marks = torch.arange(CHUNK_PIXELS, total, CHUNK_PIXELS, device=count.device)
    cuts = [0, *(torch.searchsorted(ends, marks) + 1).tolist(), len(count)]
    return [slice(first, last) for first, last in zip(cuts, cuts[1:]) if last > first]


def _depth_planes(corner: Tensor) -> Tensor:
    """Depth (with ``w``: depth/w and 1/w) at the centre of pixel (0, 0), per pixel right and down: ``[3, 1 or 2, N]``."""
    value = corner[2:3]
    if corner.shape[0] == 4:
        value = torch.cat([value, torch.ones_like(value)]) / corner[3:4]
    (ux, vx), (uy, vy) = corner[:2, 1:] - corner[:2, :1]
    p, q = (value[:, 1:] - value[:, :1]).unbind(dim=1)
    area = ux * vy - uy * vx
    right, down = (p * vy - q * uy) / area, (q * ux - p * vx) / area
    return torch.stack([value[:, 0] + right * (0.5 - corner[0, 0]) + down * (0.5 - corner[1, 0]), right, down])


def _draw(keys: Tensor, count: Tensor, base: Tensor, rank: Tensor, depth: Tensor, across: Tensor) -> None:
    """Walk along rows of triangles and keep the nearest surface in `keys`."""
    span, column = _expanded(count)
    depth = _gather(depth, span).addcmul_(_gather(across, span), column.float())
    depth = depth[0] / depth[1] if depth.shape[0] == 2 else depth[0]
    bits = depth.view(torch.int32)
    ordered = (bits ^ ((bits >> 31) & 0x7FFFFFFF)).long()  # integers in the order of the floats
    pixel = base.index_select(0, span).add_(column)
    keys.scatter_reduce_(0, pixel, (ordered << 32) | rank.index_select(0, span), reduce="amax")


def _fragments(vertices: Tensor, triangles: Tensor, winner: Tensor) -> Fragments:
    """Barycentrics and depth of the winning triangles, differentiable in the vertices."""
    B, H, W = winner.shape
    pixel, _, weight, corner = _covered(vertices, triangles, winner)
    depth = (weight * corner[2]).sum(dim=0)
    image = weight.new_zeros(3, B * H * W).index_copy(1, pixel, weight)
    depth = depth.new_full((B * H * W,), -torch.inf).index_copy(0, pixel, depth)
    return Fragments(winner, image.view(3, B, H, W).permute(1, 2, 3, 0), depth.view(B, H, W))


def _covered(vertices: Tensor, triangles: Tensor, winner: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Flat indices of the covered pixels ``[P]``; their triangles' corners among V vertices ``[3·P]``; weights ``[3, P]`` and
    places ``[D, 3, P]`` of these."""
    B, H, W = winner.shape
    _, V, D = vertices.shape
    frame, row, column = (winner >= 0).nonzero().t().contiguous()
    pixel = (frame * H + row) * W + column
    index = _gather(triangles.t(), winner.flatten().index_select(0, pixel))
    corner = _gather(vertices.reshape(B * V, D).t(), (index + frame * V).flatten()).view(D, 3, len(pixel))
    return pixel, index.flatten(), _barycentric(corner, column, row), corner


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
