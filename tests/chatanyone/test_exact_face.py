"""The face's mesh on the landmarks that are seen."""

from __future__ import annotations

import torch

from chatanyone.driver import OUTLINE, Driver, neutral_motion
from chatanyone.exact_face import SKIN_LANDMARKS, ExactFace
from motion.template.head import HeadTemplate
from render.types import Part
from tests.helpers.template_person import template_portrait


def _rig() -> tuple[Driver, ExactFace]:
    driver = Driver(template_portrait(HeadTemplate.load()), HeadTemplate.load())
    return driver, ExactFace(driver, driver.portrait.face)


def _landmarks(driver: Driver, head: torch.Tensor) -> torch.Tensor:
    return driver.template.landmarks(head)[:SKIN_LANDMARKS, :2]


def test_the_mesh_lands_on_displaced_landmarks_and_teeth_stay() -> None:
    driver, exact = _rig()
    drive = driver(*neutral_motion(1))
    before = drive.head.clone()
    seen = exact.landmarks.clone()
    lip = [0, 11, 12, 13]  # of the upper lip's middle
    seen[lip] -= torch.tensor([0.0, 3.0])
    exact(drive, torch.cat([seen, torch.zeros(len(seen), 1)], 1))
    moved = _landmarks(driver, drive.head[0]) - _landmarks(driver, before[0])
    assert moved[lip, 1].max() < -1.5
    assert moved[[14, 17, 152], 1].abs().max() < 0.5  # the lower lip and the chin: the mesh is open between the lips
    inner = driver.template.triangles[driver.template.part == Part.TEETH].unique()
    torch.testing.assert_close(drive.head[0, inner], before[0, inner])
    torch.testing.assert_close(drive.head[0, :, 2], before[0, :, 2])


def test_what_the_fit_explains_already_is_not_moved_twice() -> None:
    driver, exact = _rig()
    face, body = neutral_motion(1)
    face.rotation[0, 1] = 0.1
    drive = driver(face, body, measured=True)
    before = drive.head.clone()
    seen = exact.landmarks + _landmarks(driver, before[0]) - exact.rest
    exact(drive, torch.cat([seen, torch.zeros(len(seen), 1)], 1))
    assert (drive.head - before).abs().max() < 0.01


def test_the_outline_of_the_field_goes_along_and_mistakes_are_bounded() -> None:
    driver, exact = _rig()
    drive = driver(*neutral_motion(1))
    before = drive.control.clone()
    exact(drive, torch.cat([exact.landmarks + torch.tensor([500.0, 0.0]), torch.zeros(SKIN_LANDMARKS, 1)], 1))
    step = (drive.control - before)[0, :len(OUTLINE), 0]
    assert (step > 0).all() and step.max() <= exact.largest * 1.01
