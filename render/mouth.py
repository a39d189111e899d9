"""The inside of the mouth, drawn from the template: teeth, tongue and cavity as a control image.

A closed-mouth picture shows nothing of it, so its colours are ours: enamel with tooth boundaries, a wet tongue, darkness
behind them, all under the light that falls on the face. The face-refine network finishes what this proposes.
"""

from __future__ import annotations

import torch
from torch import Tensor

from render.types import Part

ENAMEL = (0.93, 0.89, 0.82)
GUM = (0.62, 0.30, 0.29)
TONGUE = (0.62, 0.31, 0.30)
WET_LIP = (0.58, 0.27, 0.26)
CAVITY = (0.17, 0.05, 0.05)
TEETH_ACROSS = 12.0  # teeth from corner to corner of one arch, about as many as a smile shows


def mouth_colours(part: Tensor, arch: Tensor, inward: Tensor, light: Tensor) -> Tensor:
    """Colours of the inner mouth.

    Args: part ``[B, h, w]`` (`Part`, any value outside the mouth); arch ``[B, 2, h, w]`` tooth coordinates; inward
    ``[B, h, w]`` in [0, 1]: how deep in the mouth (0 at the lips, 1 at the back); light ``[3]``.
    Returns ``[B, 3, h, w]``.
    """
    back = (inward * 3).clamp(0, 1)[:, None]
    colour = _fill(WET_LIP, part) * (1 - back) + _fill(CAVITY, part) * back
    colour = torch.where((part == Part.TONGUE)[:, None], _fill(TONGUE, part), colour)
    colour = torch.where((part == Part.TEETH)[:, None], teeth_colours(arch), colour)
    shade = torch.where(part == Part.TEETH, 1 - 0.45 * inward, (1 - 0.75 * inward))
    return (colour * shade[:, None] * light[:, None, None]).clamp(0, 1)


def teeth_colours(arch: Tensor) -> Tensor:
    """Enamel that turns to gum at the root, darker between teeth and towards the corners: ``[B, 2, h, w]`` → RGB."""
    along, height = arch.unbind(1)
    position = along * TEETH_ACROSS / 3.1416
    gap = 1 - 0.22 * torch.cos(position * 3.1416).pow(2).pow(10)
    gum = ((0.12 - height) / 0.12).clamp(0, 1)[:, None]
    edge = 1 - 0.10 * ((height - 0.85) / 0.15).clamp(0, 1)
    turn = 0.55 + 0.45 * torch.cos(along * 0.9).clamp(0, 1)
    enamel = _fill(ENAMEL, along) * (gap * edge * turn)[:, None]
    corner = ((along.abs() - 0.8) / 0.4).clamp(0, 1)[:, None]  # the back teeth stand in the cheek's shadow
    return (enamel * (1 - gum) + _fill(GUM, along) * gum) * (1 - corner) + _fill(CAVITY, along) * corner


def _fill(colour: tuple[float, float, float], like: Tensor) -> Tensor:
    return torch.tensor(colour, device=like.device).view(1, 3, 1, 1)
