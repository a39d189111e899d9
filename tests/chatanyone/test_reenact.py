"""Reenactment: landmarks of a known motion give a driving state that lands on them."""

from __future__ import annotations

import torch

from chatanyone.driver import Driver, neutral_motion
from chatanyone.reenact import drive_to
from motion.template.head import HeadTemplate
from motion.types import ARKIT_INDEX, BODY_KEYPOINTS
from tests.helpers.template_person import template_portrait


def test_the_head_lands_on_the_landmarks_and_the_body_on_its_keypoints() -> None:
    template = HeadTemplate.load()
    driver = Driver(template_portrait(template), template)
    face, body = neutral_motion(1)
    face.rotation[0, 1], face.translation[0, 0] = 0.15, 0.01
    face.expression[0, ARKIT_INDEX["jawOpen"]] = 0.4
    body.delta[0, :, 1] = 0.05  # the whole body sinks 6 px
    truth = driver(face, body)
    points = driver.portrait.body[:, :2] + torch.tensor([0.0, 6.0])
    found = drive_to(driver, template.landmarks(truth.head)[0], points)
    error = (template.landmarks(found.head) - template.landmarks(truth.head))[0, :, :2].norm(dim=1)
    still = (template.landmarks(driver.rest_vertices) - template.landmarks(truth.head))[0, :, :2].norm(dim=1)
    assert still.mean() > 4 and error.mean() < 0.2 * still.mean()
    assert torch.allclose(found.body_keypoints[0], points)
    wrist = len(driver.source.control) - len(BODY_KEYPOINTS) + BODY_KEYPOINTS.index("wristLeft")
    assert torch.allclose(found.control[0, wrist], points[BODY_KEYPOINTS.index("wristLeft")])
