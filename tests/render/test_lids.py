"""Lids that close over an eye the picture shows open."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from chatanyone.driver import Driver, neutral_motion
from motion.template.head import HeadTemplate
from motion.types import ARKIT_INDEX
from render.geometry import prepare, propose
from render.lids import _relaxed
from tests.helpers.template_person import template_portrait

SKIN = 0.6


@pytest.fixture(scope="module")
def driver() -> Driver:
    """Even skin, and about each eye black and white stripes: eyes, lashes and all."""
    template = HeadTemplate.load()
    portrait = template_portrait(template, (256, 384))
    picture = torch.full_like(portrait.image, SKIN)
    y, x = torch.meshgrid(torch.arange(384) + 0.5, torch.arange(256) + 0.5, indexing="ij")
    for a, b in ((33, 133), (362, 263)):
        middle, half = portrait.face[[a, b], :2].mean(0), float((portrait.face[a, :2] - portrait.face[b, :2]).norm()) / 2
        near = ((x - middle[0]) / (1.1 * half)).square() + ((y - middle[1]) / (0.75 * half)).square() < 1
        picture = torch.where(near, (x.long() // 2 % 2).float(), picture)
    return Driver(replace(portrait, image=picture, foreground=picture, plate=picture), template)


def test_a_closed_lid_is_skin_and_no_streaks(driver: Driver) -> None:
    face, body = neutral_motion(1)
    face.expression[0, [ARKIT_INDEX["eyeBlinkLeft"], ARKIT_INDEX["eyeBlinkRight"]]] = 1.0
    frame = propose(driver.source, driver(face, body)).frame[0, 0]
    for corners in ([0, 1], [2, 3]):
        points = driver.source.face_keypoints[corners, :2]
        x, y = points.mean(0).round().int().tolist()
        width = int((points[1] - points[0]).norm())
        lid = frame[y - round(0.1 * width):y, x - width // 5:x + width // 5]
        assert lid.numel() >= 10 and (lid - SKIN).abs().mean() < 0.1  # 0.4 where the strip is stretched


def test_eyes_as_open_as_in_the_picture_stay_the_picture(driver: Driver) -> None:
    frame = propose(driver.source, driver(*neutral_motion(1))).frame[0]
    points = driver.source.face_keypoints[:8, :2]
    (x0, y0), (x1, y1) = points.amin(0).int().tolist(), points.amax(0).int().tolist()
    assert (frame - driver.portrait.image)[:, y0:y1, x0:x1].abs().max() < 0.1


def test_eyes_too_small_to_show_a_lid_are_left_alone(driver: Driver) -> None:
    source = replace(driver.source, face_keypoints=driver.source.face_keypoints * 0.1, cache={})
    prepare(source)
    assert "lids" not in source.cache


def test_the_skin_goes_on_between_its_borders() -> None:
    ramp = torch.linspace(0, 1, 40).expand(1, 3, 30, 40)
    unknown = torch.zeros(1, 1, 30, 40, dtype=torch.bool)
    unknown[..., 8:22, 10:30] = True
    found = _relaxed(torch.where(unknown, 9.0, ramp), unknown)
    assert (found - ramp).abs().max() < 0.01
