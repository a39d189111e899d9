"""The generator: warped features, the geometric frame and the hand control image become a residual on that frame."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from render.layers import ResBlock, channels_last, conv, stem, upsample, zero_conv

RESIDUAL_CHANNELS = 3 * 4 + 1  # colours of 2 × 2 pixels, and one mask


class HandInjection(nn.Module):
    """The textured hand rendering at 1/2, 1/4 and 1/8. Without biases: where no hand is drawn, it adds exactly nothing.
    Its gains start at zero, so weights trained without hands are not disturbed by them.

    Args:
        widths: channels of the generator at the three levels.
    """

    def __init__(self, widths: tuple[int, int, int]) -> None:
        super().__init__()
        half, quarter, eighth = widths
        self.first = stem(4, half, bias=False)
        self.second = conv(half, quarter, stride=2, bias=False)
        self.third = conv(quarter, eighth, stride=2, bias=False)
        self.gain = nn.ParameterList(nn.Parameter(torch.zeros(width, 1, 1)) for width in widths)

    @property
    def silent(self) -> bool:
        """Whether all gains are still zero: then evaluation need not compute it."""
        return not any(bool(gain.any()) for gain in self.gain)

    def forward(self, hands: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Args: hands ``[B, 4, H, W]`` RGB and mask."""
        half = torch.relu_(self.first(channels_last(hands)))
        quarter = torch.relu_(self.second(half))
        eighth = torch.relu_(self.third(quarter))
        return half * self.gain[0], quarter * self.gain[1], eighth * self.gain[2]


class Generator(nn.Module):
    """A U-Net at 1/2, 1/4, 1/8 of the frame.

    Args:
        width: channels at 1/4; half at 1/2, twice at 1/8.
        features: channels of the appearance features at 1/4; twice as many at 1/8.
        bound: how far a colour may be changed.
    """

    def __init__(self, width: int = 32, features: int = 32, bound: float = 0.5) -> None:
        super().__init__()
        half, deep, self.bound = width // 2, width * 2, bound
        self.stem = stem(4, half)
        self.down = conv(half, width, stride=2)
        self.fuse = conv(width + features, width)
        self.deeper = conv(width, deep, stride=2)
        self.fuse_deep = conv(deep + 2 * features, deep, kernel=1)
        self.bottom = ResBlock(deep)
        self.up = conv(deep, width, kernel=1)
        self.middle = ResBlock(width)
        self.upper = conv(width, half, kernel=1)
        self.top = conv(half, half)
        self.out = zero_conv(half, RESIDUAL_CHANNELS)
        self.hands = HandInjection((half, width, deep))

    def forward(self, frame: Tensor, alpha: Tensor, quarter: Tensor, eighth: Tensor, hands: Tensor | None = None) -> Tensor:
        """The change of colour.

        Args: frame ``[B, 3, H, W]`` and alpha ``[B, 1, H, W]`` that geometry proposes; quarter ``[B, C, H/4, W/4]`` and eighth
        ``[B, 2C, H/8, W/8]`` warped features times occlusion; hands ``[B, 4, H, W]``, None where there are none.
        Returns ``[B, 3, H, W]``.
        """
        unheard = hands is None or (not self.training and self.hands.silent)
        injected = None if unheard else self.hands(hands)
        x = self.stem(channels_last(torch.cat([frame, alpha], 1)))
        half = torch.relu_(x if injected is None else x + injected[0])
        x = self.fuse(_join(torch.relu_(self.down(half)), quarter))
        middle = x if injected is None else x + injected[1]
        x = self.fuse_deep(_join(torch.relu_(self.deeper(F.relu(middle))), eighth))
        deep = self.bottom(x if injected is None else x + injected[2])
        middle = self.middle(upsample(self.up(F.relu(deep))) + middle)
        top = torch.relu_(self.top(torch.relu_(upsample(self.upper(F.relu(middle))) + half)))
        return masked_residual(self.out(top), self.bound)


def _join(x: Tensor, features: Tensor) -> Tensor:
    """Beside each other, in the type and memory order of the first."""
    return torch.cat([x, channels_last(features.to(x.dtype))], 1)


def masked_residual(x: Tensor, bound: float) -> Tensor:
    """``[B, 13, H/2, W/2]``: bounded residuals of 2 × 2 pixels, and their mask → ``[B, 3, H, W]`` in float32."""
    x = x.contiguous().float()
    residual = x[:, :-1].clamp(-bound, bound) * torch.sigmoid(x[:, -1:])
    B, C, h, w = residual.shape
    # the same as pixel_shuffle, which is slower in either memory order
    return residual.view(B, C // 4, 2, 2, h, w).permute(0, 1, 4, 2, 5, 3).reshape(B, C // 4, 2 * h, 2 * w)
