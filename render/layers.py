"""Building blocks of the rendering nets. No normalisation: nothing depends on other frames or on running statistics."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

RESIDUAL_GAIN = 0.3  # of a block's last convolution at initialisation: without norms, deep chains must start near identity


def conv(inputs: int, outputs: int, kernel: int = 3, stride: int = 1, bias: bool = True) -> nn.Conv2d:
    """A convolution that keeps the size (or divides it by the stride), with He's initialisation for ReLU."""
    layer = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=bias)
    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def stem(inputs: int, outputs: int, bias: bool = True) -> nn.Conv2d:
    """Full size to 1/2: pixels of 4 × 4 windows, read in place (a `pixel_unshuffle` costs more than the convolution)."""
    layer = nn.Conv2d(inputs, outputs, 4, 2, 1, bias=bias)
    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    return layer


def zero_conv(inputs: int, outputs: int, kernel: int = 3) -> nn.Conv2d:
    """A convolution whose output is zero until it is trained."""
    layer = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    return layer


def zero_linear(inputs: int, outputs: int) -> nn.Linear:
    """A linear map whose output is zero until it is trained."""
    layer = nn.Linear(inputs, outputs)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


class ResBlock(nn.Module):
    """``x + conv(relu(conv(relu(x))))``."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second = conv(width, width), conv(width, width)
        with torch.no_grad():
            self.second.weight.mul_(RESIDUAL_GAIN)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(torch.relu_(self.first(F.relu(x))))


def upsample(x: Tensor) -> Tensor:
    """Twice the size; nearest, because a convolution follows."""
    return F.interpolate(x, scale_factor=2, mode="nearest")


def channels_last(x: Tensor) -> Tensor:
    """The memory order in which CPU and GPU convolve fastest."""
    return x.contiguous(memory_format=torch.channels_last)
