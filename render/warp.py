"""Dense flow: where in the source picture each pixel of the frame comes from.

Two parts, both geometry: a *smooth field* that carries hair, neck, clothes and arms by control points (radial basis
functions, inverted by fixed point), and *mesh flow* that replaces it on the face and the hands, where a mesh says exactly
which source pixel is seen.

Convention: a flow is a map ``[B, 2, H, W]`` of absolute source coordinates (x, y) in pixels, indexed by target pixel:
frame → source. The identity flow holds each pixel's own centre, (0.5, 0.5) in the top-left corner; sampling with it returns
the picture exactly.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from render.fast import enlarged
from render.rasterize import visible_attributes
from render.types import Box, Surface

STRIDE = 8  # px between the nodes of the smooth field
INVERSION_STEPS = 4


def identity_flow(size: tuple[int, int], stride: int = 1, device: torch.device | str = "cpu") -> Tensor:
    """``[1, 2, H/stride, W/stride]``: each (strided) pixel's own centre, in full-size pixels."""
    H, W = size
    y = (torch.arange(H // stride, device=device) + 0.5) * stride
    x = (torch.arange(W // stride, device=device) + 0.5) * stride
    return torch.stack(torch.meshgrid(y, x, indexing="ij")[::-1])[None]


def sample(image: Tensor, flow: Tensor) -> Tensor:
    """Look up ``image [B, C, H, W]`` at ``flow [B, 2, h, w]`` (px of the image), bilinear, edges held."""
    H, W = image.shape[-2:]
    scale = torch.tensor([2 / W, 2 / H], device=flow.device, dtype=flow.dtype)
    grid = flow.permute(0, 2, 3, 1) * scale - 1
    return F.grid_sample(image.expand(flow.shape[0], -1, -1, -1), grid, mode="bilinear", padding_mode="border",
                         align_corners=False)


def field_matrix(control: Tensor, size: tuple[int, int], ridge: float = 1.0) -> Tensor:
    """The linear map from displacements of control points to displacements of the field's nodes.

    Radial basis functions φ(r) = r with an affine part; ``ridge`` (px) lets it smooth over contradicting neighbours.
    Args: control ``[N, 2]`` px. Returns ``[H/8 · W/8, N]``.
    """
    centre = control.double()
    N = len(centre)
    nodes = identity_flow(size, STRIDE)[0].flatten(1).T.double()
    one = torch.ones(N, 1, dtype=torch.float64)
    P = torch.cat([one, centre / 100], 1)
    # φ(r) = -r is conditionally positive definite: a positive diagonal smooths.
    K = -torch.cdist(centre, centre) + ridge * torch.eye(N, dtype=torch.float64)
    system = torch.cat([torch.cat([K, P], 1), torch.cat([P.T, torch.zeros(3, 3, dtype=torch.float64)], 1)], 0)
    inverse = torch.linalg.inv(system)[:, :N]
    basis = torch.cat([-torch.cdist(nodes, centre), torch.ones(len(nodes), 1).double(), nodes / 100], 1)
    return (basis @ inverse).float()


def smooth_field(matrix: Tensor, displacement: Tensor, size: tuple[int, int]) -> Tensor:
    """Backward flow at stride 8 from forward displacements of the control points.

    The field says where a *source* point goes, ``p → p + d(p)``; the frame needs the inverse, found as the fixed point of
    ``q(x) = x − d(q(x))``.

    Args: matrix of `field_matrix`; displacement ``[B, N, 2]`` px. Returns ``[B, 2, H/8, W/8]`` px.
    """
    H, W = size
    forward = (displacement.transpose(1, 2) @ matrix.T).unflatten(-1, (H // STRIDE, W // STRIDE))
    nodes = identity_flow(size, STRIDE, displacement.device)
    flow = nodes - forward
    for _ in range(INVERSION_STEPS - 1):
        flow = nodes - sample(forward, flow / STRIDE)
    return flow


def enlarge(flow: Tensor, factor: int = STRIDE) -> Tensor:
    """Coarse flow to full size; linear, so the identity stays the identity (edges are extrapolated)."""
    B, C, h, w = flow.shape
    nodes = identity_flow((h * factor, w * factor), factor, flow.device).to(flow.dtype)
    whole = enlarged(flow - nodes, factor)
    whole[:, 0] += torch.arange(w * factor, device=flow.device) + 0.5  # the identity, without a picture of it
    whole[:, 1] += torch.arange(h * factor, device=flow.device)[:, None] + 0.5
    return whole


def draw_surface(surface: Surface, vertices: Tensor, box: Box, arch: bool = False) -> tuple[Tensor, Tensor]:
    """Rasterise a driven mesh inside a window of the frame.

    Args: vertices ``[B, V, 3]`` px and depth; box of the frame; arch: tooth coordinates too.
    Returns: the visible triangle ``[B, h, w]``, -1 where there is none, and attributes ``[B, 4 or 6, h, w]``: source x, source
    y, trust, (arch, 2), depth.
    """
    x0, y0, width, height = box
    origin = torch.tensor([x0, y0, 0], dtype=vertices.dtype, device=vertices.device)
    attributes = torch.cat([surface.source, surface.trust[:, None], *[surface.arch] * arch], dim=-1)
    return visible_attributes(vertices - origin, surface.triangles, attributes, (height, width))
