"""Embeddings of numbers: timesteps and styles."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


def sinusoid(values: Tensor, width: int, *, longest: float = 10_000.0) -> Tensor:
    """Sines and cosines of numbers `[...]` → `[..., width]` (Vaswani et al. 2017, section 3.5)."""
    half = width // 2
    rates = torch.exp(-math.log(longest) * torch.arange(half, device=values.device) / half)
    angles = values.float()[..., None] * rates
    return torch.cat([angles.cos(), angles.sin()], dim=-1)


class TimestepEmbedding(nn.Module):
    """Diffusion timestep `[B]` → `[B, width]`: sinusoid, then two layers (DiT, Peebles & Xie 2023)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width
        self.layers = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, timestep: Tensor) -> Tensor:
        return self.layers(sinusoid(timestep, self.width))


class OptionalEmbedding(nn.Module):
    """A vector `[B, inputs]` that may be absent → `[B, width]`; a learned null stands for absence.

    Args:
        inputs: numbers in the vector.
        width: channels of the embedding.
        scale: the vector's typical size for each number, to bring it near 1.
    """

    scale: Tensor

    def __init__(self, inputs: int, width: int, scale: Tensor | None = None) -> None:
        super().__init__()
        self.register_buffer("scale", torch.ones(inputs) if scale is None else scale.clone())
        self.layers = nn.Sequential(nn.Linear(inputs, width), nn.SiLU(), nn.Linear(width, width))
        self.null = nn.Parameter(torch.randn(width) * 0.02)

    def forward(self, values: Tensor | None, present: Tensor | None, batch: int) -> Tensor:
        """`present` `[B]` (bool) drops single rows; `values` None drops all."""
        null = self.null.repeat(batch, 1)  # not a view: flop counters trip over views of parameters
        if values is None:
            return null
        embedded = self.layers(values / self.scale)
        return embedded if present is None else torch.where(present[:, None], embedded, null)
