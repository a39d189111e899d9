"""The inside of the mouth, drawn from the template: teeth, tongue and cavity as a control image.

A closed-mouth picture shows nothing of it, so its colours are ours: enamel with tooth boundaries, a wet tongue, darkness
behind them, all under the light that falls on the face. They were set beside the mouths of nine filmed speakers, which are
less white, and less black, than one would paint them. The face-refine network finishes what this proposes.
"""

from __future__ import annotations

import torch
from torch import Tensor

from render.fast import mean_filter
from render.types import Part
from render.warp import sample

ENAMEL = (0.93, 0.885, 0.80)  # upper teeth then have 0.7 of the cheeks' light; in films of speakers 0.61 to 1.0
GUM = (0.62, 0.30, 0.29)
TONGUE = (0.66, 0.34, 0.32)
WET_LIP = (0.58, 0.27, 0.26)
CAVITY = (0.34, 0.16, 0.145)
TEETH_ACROSS = 15.0  # teeth along half a circle of an arch; of these a broad smile shows eight or nine
CORNER = 0.9  # radians along the arch, from where the cheek's shadow hides the teeth
UPWARDS = 0.8  # light on the lower teeth against the upper ones: the lip stands before them
DEEP, NEAR = 0.9, 1.5  # light behind the upper teeth and on the tongue behind the lower lip: a mouth is no plate
CORNERS = 0.25  # of that light, lost towards the corners
SLIT, SLIT_LIT, OPEN = 0.4, 0.12, 0.4  # of the inside that a slit shows; shares of a wide square that are slit, and not
BESIDE = 5  # fine px, a square: so near to the picture's own teeth the gap to the lip is filled with them
LIPS_PART = 0.25  # share from which no slit darkens teeth that the picture shows in its own light
LUMINANCE = (0.3, 0.59, 0.11)
SHADED = (0.50, 0.35, 0.30)  # light that is left where the lips stand close about: it has passed by red lips


def mouth_colours(part: Tensor, arch: Tensor, inward: Tensor, light: Tensor, openness: Tensor | None = None,
                  colourless: bool = False) -> Tensor:
    """Colours of the inner mouth.

    Args: part ``[B, h, w]`` (`Part`, any value outside the mouth); arch ``[B, 2, h, w]`` tooth coordinates; inward
    ``[B, h, w]`` in [0, 1]: how deep in the mouth (0 at the lips, 1 at the back); light ``[3]``; openness ``[B, h, w]``:
    share of a square about the pixel that is inside the mouth (a half at the lips' edge); without it nothing is shaded;
    colourless: of a picture in one colour, which is the light's.
    Returns ``[B, 3, h, w]``.
    """
    back = (inward * 3).clamp(0, 1)[:, None]
    colour = _fill(WET_LIP, part) * (1 - back) + _fill(CAVITY, part) * back
    colour = torch.where((part == Part.TONGUE)[:, None], _fill(TONGUE, part), colour)
    colour = torch.where((part == Part.TEETH)[:, None], teeth_colours(arch), colour)
    shade = torch.where(part == Part.TEETH, 1 - 0.45 * inward, 1 - 0.25 * inward - 0.4 * inward ** 3)
    if openness is not None:  # lips keep light from what is just behind them
        lit = ((openness - 0.3) / 0.6).clamp(0, 1)[:, None]
        colour = colour * torch.lerp(_fill(SHADED, part), torch.ones_like(lit), lit * lit * (3 - 2 * lit))
    if colourless:
        colour = (colour * _fill(LUMINANCE, part)).sum(1, keepdim=True)
    return (colour * shade[:, None] * light[:, None, None]).clamp(0, 1)


def depth_light(part: Tensor, arch: Tensor, place: Tensor, wide: Tensor) -> tuple[Tensor, Tensor]:
    """How much of the mouth's light is where, ``[B, 1, h, w]``: less behind the upper teeth and in the corners; and how much
    of what is there is seen, ``[B, 1, h, w]``: in a slit less than of the lips.

    Args: part, arch as above; place ``[B, 2, h, w]``: across, -1 and 1 at the corners, and down, 0 at the upper lip and 1 at
    the lower one; wide ``[B, h, w]``: share of a wide square about the pixel that is inside the mouth.
    """
    across, down = place.clamp(-1, 1).unbind(1)
    cavity = (DEEP + (NEAR - DEEP) * down.clamp(min=0)) * (1 - CORNERS * across.square())
    teeth = torch.where(arch[:, 1] < 0, UPWARDS, 1.0)
    light = torch.where(part == Part.TEETH, teeth, cavity)
    slit = SLIT + (1 - SLIT) * ((wide - SLIT_LIT) / (OPEN - SLIT_LIT)).clamp(0, 1)
    return light[:, None], slit[:, None]


def enamel_gain(teeth: Tensor, light: Tensor, colourless: bool = False) -> Tensor:
    """``[3]``: the picture's own teeth ``[4, H, W]`` against those that `mouth_colours` would draw under light ``[3]``."""
    tone = (teeth[:3] * teeth[3:]).sum((1, 2)) / teeth[3:].sum().clamp(min=1.0)
    enamel = tone.new_tensor(ENAMEL)
    if colourless:
        enamel = (enamel @ enamel.new_tensor(LUMINANCE)).expand(3)
    return (tone / (enamel * light).clamp(min=0.05)).clamp(0.5, 2.0)


def pictured(colour: Tensor, part: Tensor, arch: Tensor, shown: Tensor, teeth: Tensor, gain: Tensor,
             wide: Tensor) -> Tensor:
    """Colours ``[B, 3, h, w]`` with the picture's own teeth in place of the template's upper ones, which move as they do; they
    meet the lips without a dark line. Lower teeth are as bright.

    They bear the light of the picture, so only lips that nearly meet darken them. Args: shown ``[B, 2, h, w]`` px: the place
    in the picture that the mesh shows; teeth ``[4, H, W]`` of the source; gain ``[3]`` (`enamel_gain`); wide as above.
    """
    enamel = part == Part.TEETH
    colour = torch.where(enamel[:, None], (colour * gain[:, None, None]).clamp(max=1), colour)
    own, sure = sample(teeth[None], shown).split([3, 1], 1)
    sure = sure * (enamel & (arch[:, 1] >= 0))[:, None]
    near = mean_filter(torch.cat([own * sure, sure], 1), BESIDE, BESIDE)
    own = torch.where(sure > 0, own, near[:, :3] / near[:, 3:].clamp(min=1e-4))
    sure = torch.where((part == Part.CAVITY)[:, None], (near[:, 3:] * BESIDE).clamp(max=1), sure)
    parted = ((wide - SLIT_LIT) / (LIPS_PART - SLIT_LIT)).clamp(0, 1)[:, None]
    return torch.lerp(colour, own * torch.lerp(_fill(SHADED, part), torch.ones_like(parted), parted), sure)


def teeth_colours(arch: Tensor) -> Tensor:
    """Enamel that turns to gum at the root, a little darker between teeth and much in the corners: ``[B, 2, h, w]`` → RGB."""
    along, height = arch[:, 0], arch[:, 1].abs()
    position = along * TEETH_ACROSS / 3.1416
    between = torch.cos(position * 3.1416).square()
    gap = 1 - 0.05 * between - 0.08 * between.pow(8)
    gum = ((0.12 - height) / 0.12).clamp(0, 1)[:, None]
    edge = 1 - 0.10 * ((height - 0.85) / 0.15).clamp(0, 1)
    turn = 0.55 + 0.45 * torch.cos(along * 0.9).clamp(0, 1)
    enamel = _fill(ENAMEL, along) * (gap * edge * turn)[:, None]
    corner = (along.abs() / CORNER).clamp(0, 1)[:, None]  # the back teeth stand in the cheek's shadow
    return (enamel * (1 - gum) + _fill(GUM, along) * gum) * (1 - corner) + _fill(CAVITY, along) * corner


def _fill(colour: tuple[float, float, float], like: Tensor) -> Tensor:
    return torch.tensor(colour, device=like.device).view(1, 3, 1, 1)
