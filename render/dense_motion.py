"""The warping field: a small hourglass at 1/8 corrects the geometric flow before the picture is sampled with it."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from render.layers import ResBlock, channels_last, conv, upsample, zero_conv, zero_linear
from render.warp import STRIDE, identity_flow, sample

FLOW_UNIT = 16.0  # px: brings flow offsets to order 1
VISIBLE = 2.0  # logit of the occlusion map before training: nearly everything is seen


class Motion(NamedTuple):
    """flow ``[B, 2, H/8, W/8]`` px, to be added to the geometric flow; occlusion ``[B, 1, H/8, W/8]`` in (0, 1), 1 is seen;
    offset ``[B, 21, 3]``, Eq. 2's Δ in sides of the face window."""

    flow: Tensor
    occlusion: Tensor
    offset: Tensor


def motion_inputs(driving: Tensor, resting: Tensor, coarse: Tensor, layer: Tensor) -> Tensor:
    """What the net sees: heat-map differences, geometric flow, the person before and after it.

    Args: heat maps ``[B, K, h, w]`` of the driving and of the source keypoints; coarse ``[B, 2, h, w]`` px; layer
    ``[1, 4, h, w]`` person and matte at 1/8. Returns ``[B, K + 10, h, w]``.
    """
    B, _, h, w = coarse.shape
    offset = (coarse - identity_flow((h * STRIDE, w * STRIDE), STRIDE, coarse.device)) / FLOW_UNIT
    warped = sample(layer, coarse / STRIDE)
    return torch.cat([driving - resting, offset, warped, layer.expand(B, -1, -1, -1)], 1)


class DenseMotion(nn.Module):
    """Residual flow, occlusion and the implicit offset of the face keypoints.

    Args:
        inputs: channels of `motion_inputs`.
        width: at 1/8; 4/3 of it at 1/16, twice at 1/32.
        appearance: size of the appearance vector.
        bound: px the flow may be moved.
        offset_bound: of the face keypoints, in sides of the face window.
    """

    def __init__(self, inputs: int = 45, width: int = 48, appearance: int = 64, bound: float = 8.0,
                 offset_bound: float = 0.04, points: int = 21) -> None:
        super().__init__()
        self.bound, self.offset_bound, middle, deep = bound, offset_bound, width * 4 // 3, width * 2
        self.stem = conv(inputs, width)
        self.down = conv(width, middle, stride=2)
        self.deeper = conv(middle, deep, stride=2)
        self.person = nn.Linear(appearance, deep)
        self.bottom = ResBlock(deep)
        self.up = conv(deep + middle, middle)
        self.upper = conv(middle + width, width)
        self.out = zero_conv(width, 3)
        self.offset = zero_linear(deep, points * 3)

    def forward(self, x: Tensor, vector: Tensor) -> Motion:
        """Args: x of `motion_inputs`; vector ``[B or 1, appearance]``."""
        high = torch.relu_(self.stem(channels_last(x)))
        middle = torch.relu_(self.down(high))
        deep = self.bottom(self.deeper(middle) + self.person(vector)[..., None, None])
        y = torch.relu_(self.up(torch.cat([upsample(F.relu(deep)), middle], 1)))
        out = self.out(torch.relu_(self.upper(torch.cat([upsample(y), high], 1)))).float()
        offset = torch.tanh(self.offset(F.relu(deep).mean((-2, -1))).float()) * self.offset_bound
        return Motion(torch.tanh(out[:, :2]) * self.bound, torch.sigmoid(out[:, 2:] + VISIBLE),
                      offset.unflatten(-1, (-1, 3)))
