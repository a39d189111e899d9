"""The patch discriminator: is this patch of a picture drawn or real? At several scales."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm


class PatchDiscriminator(nn.Module):
    """Three strided convolutions; each output judges a patch of 22 px.

    Args:
        width: channels of the first layer, doubled in each following one.
    """

    def __init__(self, width: int = 32, inputs: int = 3) -> None:
        super().__init__()
        widths = [inputs, width, 2 * width, 4 * width]
        self.layers = nn.ModuleList(spectral_norm(nn.Conv2d(a, b, 4, 2, 1)) for a, b in zip(widths, widths[1:]))
        self.out = spectral_norm(nn.Conv2d(widths[-1], 1, 3, padding=1))

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Judgement ``[B, 1, H/8, W/8]`` and the features of each layer."""
        features = []
        for layer in self.layers:
            x = F.leaky_relu(layer(x), 0.2)
            features.append(x)
        return self.out(x), features


class MultiScaleDiscriminator(nn.Module):
    """A `PatchDiscriminator` for the picture and for each halved copy.

    Args:
        scales: how many sizes.
    """

    def __init__(self, scales: int = 2, width: int = 32, inputs: int = 3) -> None:
        super().__init__()
        self.scales = nn.ModuleList(PatchDiscriminator(width, inputs) for _ in range(scales))

    def forward(self, x: Tensor) -> tuple[list[Tensor], list[list[Tensor]]]:
        """Judgements and features of every scale."""
        judgements, features = [], []
        for number, scale in enumerate(self.scales):
            judgement, layers = scale(x if number == 0 else F.avg_pool2d(x, 2 ** number))
            judgements.append(judgement)
            features.append(layers)
        return judgements, features
