"""Appearance: what the person looks like, as features that the warping field carries into each frame. Once per picture."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from render.layers import ResBlock, channels_last, conv, stem


class Appearance(NamedTuple):
    """quarter ``[B, C, H/4, W/4]``, eighth ``[B, 2C, H/8, W/8]``, vector ``[B, 2C]`` (the mean over the person)."""

    quarter: Tensor
    eighth: Tensor
    vector: Tensor


class AppearanceEncoder(nn.Module):
    """Foreground, matte and plate to features.

    Args:
        width: C, channels at 1/4; twice as many at 1/8.
    """

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.stem = stem(7, width)
        self.shrink = conv(width, width, stride=2)
        self.quarter = ResBlock(width)
        self.down = conv(width, 2 * width, stride=2)
        self.eighth = ResBlock(2 * width)

    def forward(self, layer: Tensor, plate: Tensor) -> Appearance:
        """Args: layer ``[B, 4, H, W]`` person (premultiplied) and matte; plate ``[B, 3, H, W]``."""
        half = F.relu(self.stem(channels_last(torch.cat([layer, plate], 1))))
        quarter = self.quarter(self.shrink(half))
        eighth = self.eighth(self.down(F.relu(quarter)))
        weight = F.avg_pool2d(layer[:, 3:], 8)
        vector = (eighth * weight).sum((-2, -1)) / weight.sum((-2, -1)).clamp(min=1e-3)
        return Appearance(quarter, eighth, vector)
