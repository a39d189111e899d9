"""PyTorch3D's rasteriser behind the interface of `render.rasterize`."""

from __future__ import annotations

import torch
from torch import Tensor

from render.rasterize import Fragments


def rasterize_pytorch3d(vertices: Tensor, triangles: Tensor, size: tuple[int, int], *, cull: bool = True) -> Fragments:
    """As `render.rasterize.rasterize`; needs the optional package ``pytorch3d``.

    With ``w`` (fourth value) PyTorch3D orders by ``w`` itself; the third value is then only interpolated.
    """
    try:
        from pytorch3d.renderer.mesh.rasterize_meshes import rasterize_meshes
        from pytorch3d.structures import Meshes
    except ImportError as error:
        raise ValueError(
            "backend 'pytorch3d' needs the package pytorch3d, which is not installed; "
            "install it or use backend='torch'."
        ) from error
    B, F = vertices.shape[0], triangles.shape[0]
    screen = _to_ndc(vertices, size)
    meshes = Meshes(verts=screen, faces=triangles.unsqueeze(0).expand(B, -1, -1))
    packed, _, weight, _ = rasterize_meshes(
        meshes, image_size=size, blur_radius=0.0, faces_per_pixel=1, cull_backfaces=cull,
        perspective_correct=vertices.shape[-1] == 4,
    )
    packed, weight = packed[..., 0], weight[..., 0, :]
    hit = packed >= 0
    triangle = torch.where(hit, packed % F, -1)
    weight = weight * hit.unsqueeze(-1)
    return Fragments(triangle, weight, _depth(vertices, triangles, triangle, weight))


def _to_ndc(vertices: Tensor, size: tuple[int, int]) -> Tensor:
    """PyTorch3D: +X left, +Y up, the shorter side spans [-1, 1], depth positive and larger when farther."""
    H, W = size
    short = min(H, W)
    x, y = (W - 2 * vertices[..., 0]) / short, (H - 2 * vertices[..., 1]) / short
    far = vertices[..., 3] if vertices.shape[-1] == 4 else vertices[..., 2].amax() + 1 - vertices[..., 2]
    return torch.stack([x, y, far], dim=-1)


def _depth(vertices: Tensor, triangles: Tensor, triangle: Tensor, weight: Tensor) -> Tensor:
    B = triangle.shape[0]
    corner_depth = vertices[:, triangles, 2]  # [B, F, 3]
    batch = torch.arange(B, device=triangle.device).view(B, 1, 1)
    depth = (corner_depth[batch, triangle.clamp_min(0)] * weight).sum(dim=-1)
    return torch.where(triangle >= 0, depth, -torch.inf)
