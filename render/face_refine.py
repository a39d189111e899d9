"""The face pass: the face window once more, with the mouth's control image and the picture's own face beside it."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from render.generator import RESIDUAL_CHANNELS, masked_residual
from render.layers import ResBlock, channels_last, conv, stem, upsample, zero_conv

FEATHER = 1 / 8  # of the window's side over which the pass fades out


def window_mask(side: int, device: torch.device | str = "cpu") -> Tensor:
    """``[1, 1, S, S]``: 1 in the middle, exactly 0 on the window's outermost pixels, smooth between."""
    position = torch.arange(side, device=device)
    edge = torch.minimum(position, side - 1 - position) / (FEATHER * side)
    ramp = edge.clamp(0, 1)
    ramp = ramp * ramp * (3 - 2 * ramp)
    return (ramp[:, None] * ramp[None])[None, None]


class FaceRefine(nn.Module):
    """A U-Net at 1/2, 1/4, 1/8 of the face window.

    Args:
        width: channels at 1/4; half at 1/2, twice at 1/8.
        points: face keypoints.
        appearance: size of the appearance vector.
        bound: how far a colour may be changed.
    """

    def __init__(self, width: int = 32, points: int = 21, appearance: int = 64, bound: float = 0.5) -> None:
        super().__init__()
        half, deep, self.bound = width // 2, width * 2, bound
        self.stem = stem(3 + 3 + 8, half)
        self.down = conv(half, width, stride=2)
        self.encode = ResBlock(width)
        self.deeper = conv(width, deep, stride=2)
        self.points = conv(points, deep)
        self.person = nn.Linear(appearance, deep)
        self.bottom = nn.Sequential(ResBlock(deep), ResBlock(deep))
        self.up = conv(deep, width, kernel=1)
        self.decode = ResBlock(width)
        self.upper = conv(width, half, kernel=1)
        self.top = conv(half, half)
        self.out = zero_conv(half, RESIDUAL_CHANNELS)

    def forward(self, window: Tensor, source: Tensor, control: Tensor, heat: Tensor, vector: Tensor) -> Tensor:
        """The change of colour.

        Args: window ``[B, 3, S, S]`` of the frame; source ``[1, 3, S, S]`` of the picture; control ``[B, 8, S, S]``;
        heat ``[B, 21, S/8, S/8]`` of Eq. 2's keypoints; vector ``[B or 1, appearance]``.
        Returns ``[B, 3, S, S]``, already faded out.
        """
        B, _, S, _ = window.shape
        seen = torch.cat([window, source.expand(B, -1, -1, -1), control], 1)
        half = torch.relu_(self.stem(channels_last(seen)))
        middle = self.encode(self.down(half))
        deep = self.deeper(F.relu(middle)) + self.points(channels_last(heat)) + self.person(vector)[..., None, None]
        deep = self.bottom(deep)
        middle = self.decode(upsample(self.up(F.relu(deep))) + middle)
        top = torch.relu_(self.top(torch.relu_(upsample(self.upper(F.relu(middle))) + half)))
        return masked_residual(self.out(top), self.bound) * window_mask(S, window.device)
