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

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

SUBPIXEL = 128  # snap grid per pixel
SMALL_EXTENT = 15.9  # px; up to here |edge function| <= 2 * (16 * 128)^2 = 2^23, exact in float32
CHUNK_CANDIDATES = 1 << 22  # bounds memory when triangles are large
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
    C = attributes.shape[-1]
    pixel = fragments.mask.flatten().nonzero().squeeze(1)
    corner = triangles[fragments.triangle.flatten()[pixel]]  # [P, 3]
    if attributes.shape[0] > 1:
        corner = corner + (pixel // (H * W) * attributes.shape[1]).unsqueeze(1)
    value = attributes.reshape(-1, C).index_select(0, corner.flatten()).view(-1, 3, C)
    weight = fragments.barycentric.reshape(-1, 3).index_select(0, pixel).to(value.dtype)
    value = (value * weight.unsqueeze(-1)).sum(dim=1)
    image = value.new_zeros(B * H * W, C).index_copy(0, pixel, value)
    return image.view(B, H, W, C).permute(0, 3, 1, 2)


def _check(vertices: Tensor, triangles: Tensor, size: tuple[int, int]) -> None:
    if vertices.ndim != 3 or vertices.shape[-1] not in (3, 4):
        raise ValueError(f"vertices must be [B, V, 3] or [B, V, 4] (x, y, depth[, w]), got {list(vertices.shape)}.")
    if triangles.ndim != 2 or triangles.shape[-1] != 3 or triangles.is_floating_point():
        raise ValueError(f"triangles must be integers [F, 3], got {list(triangles.shape)} {triangles.dtype}.")
    if min(size) < 1:
        raise ValueError(f"size must be (H, W) of at least one pixel, got {size}.")


def _visible(vertices: Tensor, triangles: Tensor, size: tuple[int, int], cull: bool) -> Tensor:
    """Winning triangle of every pixel, ``[B, H, W]`` int64 with -1 for none."""
    B, F = vertices.shape[0], triangles.shape[0]
    H, W = size
    corner = vertices[:, triangles.flatten()].view(B * F, 3, -1)
    box, area = _boxes(corner, size)
    facing = area < 0 if cull else area != 0  # y points down: counter-clockwise from outside is negative here
    keep = (facing & (box.amin(dim=1) > 0) & corner.isfinite().flatten(1).all(dim=1)).nonzero().squeeze(1)
    keys = torch.full((B * H * W,), _EMPTY, dtype=torch.int64, device=vertices.device)
    if keep.numel() > 0:
        _draw_all(keys, corner[keep], area[keep] < 0, keep, F, size)
    return torch.where(keys == _EMPTY, -1, F - 1 - (keys & 0xFFFFFFFF)).view(B, H, W)


def _boxes(corner: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Width and height in pixel centres ``[N, 2]`` of each clipped bounding box, and twice the signed area ``[N]``."""
    H, W = size
    xy = _snap(corner[:, :, :2])
    low, high = _pixel_range(xy, H, W)
    u, v = xy[:, 1] - xy[:, 0], xy[:, 2] - xy[:, 0]
    area = u[:, 0] * v[:, 1] - u[:, 1] * v[:, 0]
    if corner.shape[-1] == 4:
        area = torch.where((corner[:, :, 3] > 0).all(dim=1), area, 0.0)
    return high - low + 1, area


def _snap(xy: Tensor) -> Tensor:
    """Pixel coordinates on the sub-pixel grid, whole numbers in float64."""
    return (xy * SUBPIXEL).round().double()


def _pixel_range(xy: Tensor, H: int, W: int) -> tuple[Tensor, Tensor]:
    """First and last pixel ``[N, 2]`` whose centre lies in the bounding box of snapped corners, inside the picture."""
    half = SUBPIXEL / 2
    low = ((xy.amin(dim=1) - half) / SUBPIXEL).ceil().clamp_min(0)
    last = xy.new_tensor([W - 1, H - 1])
    high = ((xy.amax(dim=1) - half) / SUBPIXEL).floor().minimum(last)
    return low, high


def _draw_all(keys: Tensor, corner: Tensor, flip: Tensor, index: Tensor, F: int, size: tuple[int, int]) -> None:
    """Draw the kept triangles group by group; `flip` marks those whose corners must swap to wind positively."""
    H, W = size
    corner = torch.where(flip.view(-1, 1, 1), corner[:, [0, 2, 1]], corner)
    xy = _snap(corner[:, :, :2])
    low, high = _pixel_range(xy, H, W)
    edges = _edge_functions(xy, low)
    planes = _depth_planes(corner, low)
    base = (index // F) * (H * W) + low[:, 1].long() * W + low[:, 0].long()
    rank = F - 1 - index % F
    span = (high - low + 1).amax(dim=1)
    large = (xy.amax(dim=1) - xy.amin(dim=1)).amax(dim=1) > SMALL_EXTENT * SUBPIXEL
    group = span.log2().ceil().long() + 32 * large.long()
    room = torch.stack([W - low[:, 0], H - low[:, 1]], dim=1)
    for name in torch.unique(group).tolist():
        K, dtype = 2 ** (name % 32), torch.float64 if name >= 32 else torch.float32
        for part in (group == name).nonzero().squeeze(1).split(max(1, CHUNK_CANDIDATES // (K * K))):
            _draw(keys, edges[part].to(dtype), planes[part], room[part], base[part], rank[part], K, W)


def _edge_functions(xy: Tensor, low: Tensor) -> Tensor:
    """Per triangle and edge ``(constant, per pixel right, per pixel down)``: ``[N, 3, 3]``, inside is >= 0.

    The top-left rule enters as a bias of one grid unit: the values are whole numbers, so >= 1 is > 0.
    """
    start, end = xy[:, [1, 2, 0]], xy[:, [2, 0, 1]]
    dx, dy = (end - start).unbind(dim=-1)
    first = (low.unsqueeze(1) + 0.5) * SUBPIXEL - start
    top_left = (dy < 0) | ((dy == 0) & (dx > 0))
    constant = dx * first[..., 1] - dy * first[..., 0] - (~top_left).double()
    return torch.stack([constant, -dy * SUBPIXEL, dx * SUBPIXEL], dim=-1)


def _depth_planes(corner: Tensor, low: Tensor) -> Tensor:
    """Depth (and with ``w``, the pair depth/w and 1/w) as planes over the pixels of the box: ``[N, 1 or 2, 3]``."""
    corner = corner.double()
    value = corner[:, :, 2:3]
    if corner.shape[-1] == 4:
        value = torch.cat([value, torch.ones_like(value)], dim=-1) / corner[:, :, 3:4]
    u, v = (corner[:, 1:, :2] - corner[:, :1, :2]).unbind(dim=1)
    p, q = value[:, 1] - value[:, 0], value[:, 2] - value[:, 0]
    area = (u[:, 0] * v[:, 1] - u[:, 1] * v[:, 0]).unsqueeze(1)
    area = torch.where(area == 0, 1.0, area)  # snapping may give area to a sliver that has none
    right = (p * v[:, 1:] - q * u[:, 1:]) / area
    down = (q * u[:, :1] - p * v[:, :1]) / area
    first = low + 0.5 - corner[:, 0, :2]
    return torch.stack([value[:, 0] + right * first[:, :1] + down * first[:, 1:], right, down], dim=-1).float()


def _draw(
    keys: Tensor, edges: Tensor, planes: Tensor, room: Tensor, base: Tensor, rank: Tensor, K: int, W: int
) -> None:
    """Test the K x K pixels of every triangle of one group and keep the nearest surface in `keys`."""
    step = torch.arange(K, device=edges.device)
    x, y = step.repeat(K), step.repeat_interleave(K)
    grid = torch.stack([torch.ones_like(x), x, y]).to(edges.dtype)
    value = (edges[:, :, 1:2] * grid[1]).add_(edges[:, :, :1]).add_(edges[:, :, 2:] * grid[2])  # exact: whole numbers
    inside = value.amin(dim=1) >= 0
    inside &= (x < room[:, :1]) & (y < room[:, 1:])  # the K x K square may leave the picture
    triangle, cell = inside.nonzero(as_tuple=True)
    plane = planes[triangle]
    depth = plane[..., 0] + plane[..., 1] * x[cell].unsqueeze(1) + plane[..., 2] * y[cell].unsqueeze(1)
    depth = depth[:, 0] / depth[:, 1] if depth.shape[1] == 2 else depth[:, 0]
    bits = depth.contiguous().view(torch.int32)
    ordered = (bits ^ ((bits >> 31) & 0x7FFFFFFF)).long()  # integers in the order of the floats
    pixel = base[triangle] + y[cell] * W + x[cell]
    keys.scatter_reduce_(0, pixel, (ordered << 32) | rank[triangle], reduce="amax")


def _fragments(vertices: Tensor, triangles: Tensor, winner: Tensor) -> Fragments:
    """Barycentrics and depth of the winning triangles, differentiable in the vertices."""
    B, H, W = winner.shape
    pixel = (winner.flatten() >= 0).nonzero().squeeze(1)
    corner_index = triangles[winner.flatten()[pixel]] + (pixel // (H * W) * vertices.shape[1]).unsqueeze(1)
    D = vertices.shape[-1]
    corner = vertices.reshape(-1, D).index_select(0, corner_index.flatten()).view(-1, 3, D)
    weight = _barycentric(corner, pixel % W, pixel // W % H)
    depth = (weight * corner[:, :, 2]).sum(dim=1)
    N = B * H * W
    return Fragments(
        winner,
        weight.new_zeros(N, 3).index_copy(0, pixel, weight).view(B, H, W, 3),
        depth.new_full((N,), -torch.inf).index_copy(0, pixel, depth).view(B, H, W),
    )


def _barycentric(corner: Tensor, column: Tensor, row: Tensor) -> Tensor:
    """Weights ``[P, 3]`` of corners ``[P, 3, D]`` at pixel centres; perspective correct when D = 4."""
    px, py = column + 0.5, row + 0.5
    x, y = corner[:, :, 0] - px.unsqueeze(1), corner[:, :, 1] - py.unsqueeze(1)
    weight = x.roll(-1, 1) * y.roll(-2, 1) - x.roll(-2, 1) * y.roll(-1, 1)
    if corner.shape[-1] == 4:
        weight = weight / corner[:, :, 3]
    total = weight.sum(dim=1, keepdim=True)
    return weight / torch.where(total == 0, torch.ones_like(total), total)
