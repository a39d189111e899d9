"""The picture's own teeth: when they are taken, what a film shows of them. On the astronaut (public domain), who smiles."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from chatanyone import build
from chatanyone.config import Config
from chatanyone.demo import picture
from chatanyone.driver import Driver
from chatanyone.portrait import Portrait, prepare_portrait
from chatanyone.portraits.teeth import INNER_LIPS, PicturedTeeth, one_colour, pictured_teeth
from chatanyone.vision import CHEEKS
from motion.template.head import HeadTemplate
from motion.types import ARKIT_INDEX, BodyMotion, FaceMotion

LUMINANCE = torch.tensor([0.3, 0.59, 0.11])


@pytest.fixture(scope="module")
def portrait() -> Portrait:
    return prepare_portrait(picture(), (512, 512))


@pytest.fixture(scope="module")
def teeth(portrait: Portrait) -> PicturedTeeth:
    found = pictured_teeth(portrait.image, portrait.face)
    assert found is not None
    return found


def test_a_smile_has_teeth_and_they_are_white(portrait: Portrait, teeth: PicturedTeeth) -> None:
    sure = teeth.colours[3] == 1
    colour = teeth.colours[:3, sure].mean(1)
    assert colour.min() > 0.6 and colour.max() - colour.min() < 0.15
    x, y = portrait.face[list(INNER_LIPS), :2].T
    rows, columns = torch.from_numpy(teeth.covered).nonzero().T
    assert columns.min() > x.min() - 3 and columns.max() < x.max() + 3
    assert rows.min() > y.min() - 3 and rows.max() < y.max() + 3


def test_closed_or_dark_mouths_have_none(portrait: Portrait) -> None:
    closed = portrait.face.clone()
    upper, lower = list(INNER_LIPS[1:10]), list(INNER_LIPS[:10:-1])
    closed[upper, 1] = closed[lower, 1] = (closed[upper, 1] + closed[lower, 1]) / 2
    assert pictured_teeth(portrait.image, closed) is None
    x, y = portrait.face[list(INNER_LIPS), :2].T
    dark = portrait.image.clone()
    dark[:, int(y.min()) - 2:int(y.max()) + 2, int(x.min()):int(x.max())] *= 0.6
    assert pictured_teeth(dark, portrait.face) is None


@pytest.mark.parametrize("tint", [(1.0, 1.0, 1.0), (1.0, 0.86, 0.7)], ids=["grey", "sepia"])
def test_a_picture_of_one_colour_has_no_red_mouth(portrait: Portrait, tint: tuple[float, float, float]) -> None:
    grey = torch.einsum("chw,c->hw", portrait.image, LUMINANCE) * torch.tensor(tint)[:, None, None]
    assert not one_colour(portrait.image, portrait.face) and one_colour(grey, portrait.face)
    source = Driver(replace(portrait, image=grey), HeadTemplate.load()).source
    assert source.colourless
    torch.testing.assert_close(source.mouth_light / source.mouth_light[0], torch.tensor(tint) / tint[0], atol=0.02, rtol=0)


def test_skin_on_teeth_finds_its_colour_on_the_lips(teeth: PicturedTeeth) -> None:
    row, column = torch.from_numpy(teeth.covered).nonzero()[7].tolist()
    places = torch.tensor([[column + 0.5, row + 0.5], [5.25, 6.5]])
    moved = teeth.lips_instead(places)
    assert teeth.lips[int(moved[0, 1]), int(moved[0, 0])] and not teeth.covered[int(moved[0, 1]), int(moved[0, 0])]
    torch.testing.assert_close(moved[1], places[1])


def test_odd_faces_are_no_error(portrait: Portrait, teeth: PicturedTeeth) -> None:
    """A cheek beyond the frame; lips too thin to have a pixel of their own."""
    beyond = portrait.face.clone()
    beyond[list(CHEEKS[:2]), 0] += portrait.size[0]
    pictured_teeth(portrait.image, beyond)
    places = torch.from_numpy(teeth.covered).nonzero()[:3].flip(1) + 0.5
    thin = replace(teeth, lips=np.zeros_like(teeth.lips))
    torch.testing.assert_close(thin.lips_instead(places), places)


def _inside(portrait: Portrait, own: bool) -> Tensor:
    """Luminance of the brightest fifth between the inner lips' middles, mouth half open."""
    driver = Driver(portrait, HeadTemplate.load())
    renderer = build.renderer(Config(), torch.device("cpu"))
    source = driver.source if own else replace(driver.source, teeth=None)
    face = FaceMotion(torch.zeros(1, 52), torch.zeros(1, 3), torch.zeros(1, 3))
    face.expression[:, ARKIT_INDEX["jawOpen"]] = 0.25
    drive = driver(face, BodyMotion(torch.zeros(1, 14, 3), torch.zeros(1, 2, 51)))
    frame = renderer(source, drive)[0]
    mouth = drive.face_keypoints[0, 13:19, :2]
    left, right = (mouth[:2, 0].mean() + mouth[:2, 0].diff() * torch.tensor([-0.2, 0.2])).int().tolist()
    top, bottom = mouth[3:5, 1].int().tolist()
    luminance = (frame[:, top:bottom, left:right] * LUMINANCE[:, None, None]).sum(0).flatten()
    return luminance.quantile(0.8)


def test_a_speaking_mouth_shows_them(portrait: Portrait, teeth: PicturedTeeth) -> None:
    there = (teeth.colours[:3, teeth.colours[3] == 1] * LUMINANCE[:, None]).sum(0).mean()
    assert _inside(portrait, True) > 0.9 * there
    assert _inside(portrait, False) < 0.85 * there
