"""The drawn inside of the mouth."""

from __future__ import annotations

import torch

from render.mouth import ENAMEL, SLIT, depth_light, enamel_gain, mouth_colours, pictured, teeth_colours
from render.types import Part


def test_teeth_are_brighter_than_tongue_and_tongue_than_the_back() -> None:
    part = torch.tensor([[[int(Part.TEETH), int(Part.TONGUE), int(Part.CAVITY)]]])
    arch = torch.zeros(1, 2, 1, 3)
    arch[:, 0], arch[:, 1] = 0.13, 0.6  # off the gap between two teeth, below the gum
    colour = mouth_colours(part, arch, torch.full((1, 1, 3), 0.5), torch.ones(3))[0, :, 0].mean(0)
    assert colour[0] > colour[1] > colour[2]


def test_light_scales_colours() -> None:
    part, arch = torch.full((1, 2, 2), int(Part.TONGUE)), torch.zeros(1, 2, 2, 2)
    full = mouth_colours(part, arch, torch.zeros(1, 2, 2), torch.ones(3))
    torch.testing.assert_close(mouth_colours(part, arch, torch.zeros(1, 2, 2), torch.full((3,), 0.5)), full / 2)


def test_a_colourless_picture_has_a_colourless_mouth_as_bright_as_another() -> None:
    part = torch.tensor([[[int(Part.TEETH), int(Part.TONGUE), int(Part.CAVITY)]]])
    arch, inward, light = torch.full((1, 2, 1, 3), 0.2), torch.full((1, 1, 3), 0.5), torch.full((3,), 0.7)
    luminance = torch.tensor([0.3, 0.59, 0.11])
    grey, red = (mouth_colours(part, arch, inward, light, colourless=colourless)[0, :, 0] for colourless in (True, False))
    torch.testing.assert_close(grey, (luminance @ red).expand(3, -1))
    sepia = mouth_colours(part, arch, inward, torch.tensor([0.7, 0.6, 0.4]), colourless=True)[0, :, 0]
    torch.testing.assert_close(sepia[0] / sepia[2], torch.full((3,), 0.7 / 0.4))
    tone = torch.tensor([0.8, 0.7, 0.5])  # of one's own teeth in such a picture: they get no tint twice
    teeth = torch.cat([tone, torch.ones(1)]).view(4, 1, 1)
    assert enamel_gain(teeth, tone, colourless=True).diff().abs().max() < 1e-6


def test_roots_turn_to_gum_and_gaps_are_darker() -> None:
    def tooth(along: float, height: float) -> torch.Tensor:
        return teeth_colours(torch.tensor([along, height]).view(1, 2, 1, 1))[0, :, 0, 0]

    root, edge = tooth(0.13, 0.0), tooth(0.13, 0.6)
    assert root[0] > 1.5 * root[1] and edge[0] < 1.2 * edge[1]  # gum is red, enamel is not
    assert tooth(0.0, 0.6).mean() < tooth(0.13, 0.6).mean()


def test_close_lips_shade_what_is_behind_them_and_redden_it() -> None:
    part, arch = torch.full((1, 1, 2), int(Part.TEETH)), torch.full((1, 2, 1, 2), 0.6)
    openness = torch.tensor([[[0.3, 1.0]]])  # at the lips; in the middle of a wide mouth
    colour = mouth_colours(part, arch, torch.zeros(1, 1, 2), torch.ones(3), openness)[0, :, 0]
    shaded, lit = colour.T
    assert shaded.mean() < 0.6 * lit.mean() and shaded[0] / shaded[2] > 1.3 * lit[0] / lit[2]
    torch.testing.assert_close(lit, mouth_colours(part, arch, torch.zeros(1, 1, 2), torch.ones(3))[0, :, 0, 1])


def test_a_mouth_is_deep_behind_the_teeth_and_in_its_corners() -> None:
    part = torch.full((1, 3, 3), int(Part.TONGUE))
    down, across = torch.meshgrid(torch.linspace(0, 1, 3), torch.linspace(-1, 1, 3), indexing="ij")
    light = depth_light(part, torch.zeros(1, 2, 3, 3), torch.stack([across, down])[None], torch.ones(1, 3, 3))[0][0, 0]
    assert (light.diff(dim=0) > 0.2).all() and (light[:, 1:2] > light[:, [0, 2]]).all()


def test_lower_teeth_have_less_light_than_upper_ones() -> None:
    """Heights of lower teeth are negative; their colours are those of upper ones."""
    height = torch.tensor([0.3, 0.9, -0.9, -0.3])
    arch = torch.stack([torch.zeros(4), height])[None, :, :, None]
    place = torch.stack([torch.zeros(4, 1), torch.linspace(0, 1, 4)[:, None]])[None]
    light = depth_light(torch.full((1, 4, 1), int(Part.TEETH)), arch, place, torch.ones(1, 4, 1))[0][0, 0, :, 0]
    assert (light[:2] == 1).all() and (light[2:] < 0.9).all()
    colour = teeth_colours(arch)[0, :, :, 0]
    torch.testing.assert_close(colour, colour.flip(1))


def test_upper_teeth_are_the_pictures_own_and_move_with_the_mesh() -> None:
    """Upper, lower, tongue: only the first looks its colour up, where the mesh says; unless lips nearly meet it keeps it."""
    teeth = torch.zeros(4, 4, 4)
    teeth[:, :, 2] = torch.tensor([0.9, 0.8, 0.7, 1.0])[:, None]
    part = torch.tensor([[[int(Part.TEETH), int(Part.TEETH), int(Part.TONGUE)]]])
    arch = torch.tensor([[0.0, 0.0, 0.0], [0.6, -0.6, 0.0]]).view(1, 2, 1, 3)
    shown = torch.full((1, 2, 1, 3), 2.5)
    drawn = torch.full((1, 3, 1, 3), 0.4)

    def colours(wide: float, places: torch.Tensor = shown) -> torch.Tensor:
        return pictured(drawn, part, arch, places, teeth, torch.full((3,), 1.5), torch.full((1, 1, 3), wide))[0, :, 0].T

    upper, lower, tongue = colours(0.5)
    torch.testing.assert_close(upper, torch.tensor([0.9, 0.8, 0.7]))
    torch.testing.assert_close(lower, torch.full((3,), 0.6))  # as much brighter as the picture's are
    torch.testing.assert_close(tongue, torch.full((3,), 0.4))
    assert (colours(0.1)[0] < 0.6 * upper).all()
    torch.testing.assert_close(colours(0.5, shown - 2)[0], torch.full((3,), 0.6))  # no tooth there


def test_gain_is_what_makes_drawn_enamel_the_pictures() -> None:
    light, tone = torch.tensor([0.8, 0.8, 0.9]), torch.tensor([0.6, 0.55, 0.5])
    teeth = torch.zeros(4, 3, 3)
    teeth[:, 1, 1] = torch.cat([tone, torch.ones(1)])
    torch.testing.assert_close(enamel_gain(teeth, light) * torch.tensor(ENAMEL) * light, tone)


def test_a_slit_between_lips_shows_little_of_what_is_behind() -> None:
    """Teeth as bright as in an open mouth, between two dark lines of lip, look like stitches."""
    part, nowhere = torch.full((1, 1, 2), int(Part.TEETH)), torch.zeros(1, 2, 1, 2)
    seen = depth_light(part, nowhere, nowhere, torch.tensor([[[0.1, 0.5]]]))[1][0, 0, 0]
    torch.testing.assert_close(seen, torch.tensor([SLIT, 1.0]))
