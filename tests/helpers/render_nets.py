"""Rendering nets for tests: small, and with outputs that are no longer zero."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from render.renderer import Renderer

SMALL: dict[str, Any] = dict(features=4, motion=12, generator=8, face=8)


def awake(module: nn.Module, scale: float = 0.05, seed: int = 0) -> nn.Module:
    """Every parameter moved a little, the zero ones too."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(scale * torch.randn(parameter.shape, generator=generator))
    return module.eval()


def small_renderer(awaken: bool = False) -> Renderer:
    """A `Renderer` of a few channels."""
    renderer = Renderer(**SMALL)
    return awake(renderer) if awaken else renderer.eval()  # type: ignore[return-value]
