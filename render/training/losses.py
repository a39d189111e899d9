"""Losses between a drawn and a true picture, and the numbers that judge them."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SCALES = 3
MOUTH_WEIGHT, EYE_WEIGHT = 3.0, 3.0


def weighted_l1(made: Tensor, true: Tensor, weight: Tensor) -> Tensor:
    """Mean absolute difference; weight ``[B, 1, H, W]``."""
    return ((made - true).abs() * weight).sum() / (weight.sum() * made.shape[1]).clamp(min=1)


def gradient_loss(made: Tensor, true: Tensor, weight: Tensor, scales: int = SCALES) -> Tensor:
    """L1 of horizontal and vertical differences at several scales: edges must be as sharp as the truth, and as steep."""
    total = made.new_zeros(())
    for scale in range(scales):
        if scale:
            made, true, weight = (F.avg_pool2d(x, 2) for x in (made, true, weight))
        for axis in (-1, -2):
            size = made.shape[axis] - 1
            total = total + weighted_l1(made.diff(dim=axis), true.diff(dim=axis), weight.narrow(axis, 0, size))
    return total / scales


def texture_loss(made: Tensor, true: Tensor, weight: Tensor, patch: int = 8) -> Tensor:
    """L1 of how much texture (mean size of differences) each patch holds, wherever in the patch it lies.

    Where drawn and true picture do not lie exactly over each other, L1 alone is smallest for blur; this is not.
    """
    def energy(x: Tensor) -> Tensor:
        steps = x.diff(dim=-1)[..., 1:, :].abs() + x.diff(dim=-2)[..., :, 1:].abs()
        return F.avg_pool2d(steps, patch, patch // 2)

    return weighted_l1(energy(made), energy(true), F.avg_pool2d(weight[..., 1:, 1:], patch, patch // 2))


def region_weight(area: Tensor, regions: Mapping[int, float], spread: int = 1) -> Tensor:
    """``[B, 1, H, W]``: each area's weight, 1 elsewhere; the heavy ones reach ``spread // 2`` px beyond their edge."""
    table = torch.ones(256, device=area.device)
    for region, value in regions.items():
        table[region] = value
    weight = table[area.int()]
    return F.max_pool2d(weight, spread, 1, spread // 2) if spread > 1 else weight


def equivariance(finder: nn.Module, layer: Tensor, shift: float = 0.06, scale: float = 0.1) -> dict[str, Tensor]:
    """Implicit keypoints belong to the person, not to the frame: moved and enlarged, the picture has them where the same
    map takes them; and they stay near the landmarks (the prior).

    Args: finder: layer ``[1, 4, H, W]`` → offsets ``[1, K, 2]`` px from the landmarks. Returns both losses, in 1/64 of the
    picture's height.
    """
    unit = layer.shape[-2] / 64
    grow = 1 + scale * (2 * float(torch.rand(())) - 1)
    x, y = (shift * (2 * float(torch.rand(())) - 1) for _ in range(2))
    theta = torch.tensor([[[1 / grow, 0, x], [0, 1 / grow, y]]], device=layer.device, dtype=layer.dtype)
    moved = F.grid_sample(layer, F.affine_grid(theta, list(layer.shape), align_corners=False), align_corners=False)
    offset, other = finder(layer) / unit, finder(moved) / unit
    return {"equivariance": (other - grow * offset).abs().mean(), "prior": offset.square().mean()}


def psnr(made: Tensor, true: Tensor, mask: Tensor | None = None) -> float:
    """Peak signal to noise ratio in dB, of colours in [0, 1]; inside ``mask [B, 1, H, W]``."""
    squared = (made - true).square().mean(1, keepdim=True)
    mean = squared.mean() if mask is None else (squared * mask).sum() / mask.sum().clamp(min=1)
    return float(-10 * torch.log10(mean.clamp(min=1e-10)))


def sharpness(made: Tensor, true: Tensor, mask: Tensor) -> float:
    """Gradient energy against the truth's, inside ``mask``: 1 as sharp, below blurred."""
    def energy(x: Tensor) -> Tensor:
        inner = mask[..., 1:, 1:]
        return ((x.diff(dim=-1)[..., 1:, :].square() + x.diff(dim=-2)[..., :, 1:].square()) * inner).sum()

    return float((energy(made) / energy(true).clamp(min=1e-6)).sqrt())
