"""Motion that is there already, put on a portrait: relative keeps what the picture shows, absolute what the clip shows."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from chatanyone.driver import ABSOLUTE, Driver
from chatanyone.motionfile import Measured, MotionDocument
from chatanyone.redraw import absolute_motion, calm_frame, draw, relative_motion
from motion.template.head import HeadTemplate
from motion.types import ARKIT_INDEX, BodyMotion, FaceMotion
from tests.helpers.motion import moving
from tests.helpers.template_person import template_portrait

SMILE, JAW, BLINK = (ARKIT_INDEX[name] for name in ("mouthSmileLeft", "jawOpen", "eyeBlinkLeft"))


def clip(reference: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> MotionDocument:
    """Ten calm frames with a smile of 0.3 and a turned head, then twenty in which it grows and the mouth opens."""
    T = 30
    document = moving(T)
    document.expression[:], document.rotation[:], document.translation[:] = 0, 0, 0
    document.expression[:, SMILE] = 0.3
    document.expression[10:, SMILE] = 0.7
    document.expression[10:, JAW] = 0.5
    document.expression[20:, BLINK] = 1.0
    document.rotation[:10] = [0, math.radians(4), 0]
    document.rotation[10:] = [0, math.radians(14), 0]
    document.measured = Measured(
        size=np.array([640, 480]), valid=np.arange(T) > 2, reference_rotation=np.array(reference, np.float32),
        reference_centre=np.zeros(2, np.float32), reference_scale=np.array(1, np.float32), identity=np.zeros(3, np.float32),
        keypoints=np.zeros((T, 14, 3), np.float32), body_valid=np.ones(T, bool),
        shoulder_width_px=np.array(1, np.float32), neck_px=np.zeros(2, np.float32),
        hand_landmarks=np.zeros((T, 2, 21, 3), np.float32), hand_confidence=np.zeros((T, 2), np.float32),
        hand_reference=np.zeros((2, 51), np.float32), residual_px=np.zeros(T, np.float32))
    return document


def test_the_calm_frame_is_seen_shut_and_straight() -> None:
    assert 3 <= calm_frame(clip()) < 10
    document = moving(40)
    document.expression[:, :] = 0.2
    document.expression[17] = 0
    document.rotation[:] = 0.2
    document.rotation[17] = 0
    assert calm_frame(document) == 17


def test_relative_keeps_the_pictures_own_expression() -> None:
    motion = relative_motion(clip())
    assert motion.expression[5].abs().max() == 0 and motion.rotation[5].abs().max() < 1e-6
    assert motion.expression[15, SMILE] == pytest.approx(0.4) and motion.expression[15, JAW] == pytest.approx(0.5)
    assert motion.expression[25, BLINK] == 1.0
    assert motion.rotation[15, 1] == pytest.approx(math.radians(10), abs=1e-5)


def test_relative_may_take_a_smile_away() -> None:
    document = clip()
    document.expression[10:20, SMILE] = 0.1
    assert relative_motion(document).expression[15, SMILE] == pytest.approx(-0.2)


def test_absolute_shows_the_clips_expression_and_turn() -> None:
    driver = Driver(template_portrait(HeadTemplate.load()), HeadTemplate.load())
    driver.rest[:] = 0
    driver.rest[SMILE] = 0.5
    turned = torch.tensor([0.0, math.radians(-5), 0.0])
    motion = absolute_motion(clip((0.0, math.radians(10), 0.0)), driver.rest, turned)
    shown = (driver.rest + motion.expression).clamp(0, 1)
    assert shown[5, SMILE] == pytest.approx(0.3) and shown[15, SMILE] == pytest.approx(0.7)
    assert shown[15, JAW] == pytest.approx(0.5) and shown[25, BLINK] == 1.0
    assert motion.rotation[5, 1] == pytest.approx(math.radians(10 + 4 + 5), abs=1e-5)  # in the clip 14, in the picture −5


def test_absolute_without_a_camera_keeps_the_turns() -> None:
    document = clip()
    document.measured = None
    motion = absolute_motion(document, torch.zeros(52), torch.tensor([0.0, 0.3, 0.0]))
    assert torch.equal(motion.rotation, document.face_motion().rotation)


def test_openers_are_what_the_driver_sets_outright() -> None:
    document = clip()
    document.expression[:, [ARKIT_INDEX[name] for name in ABSOLUTE]] = 0.05
    assert torch.allclose(relative_motion(document).expression[:, [ARKIT_INDEX[n] for n in ABSOLUTE]], torch.tensor(0.05))


def test_frames_come_one_by_one_whatever_the_batch() -> None:
    calls = []

    def scene(face: FaceMotion, body: BodyMotion) -> torch.Tensor:
        calls.append(len(face.expression))
        return face.expression[:, :1, None, None].expand(-1, 3, 4, 6)

    document = moving(20)
    frames = list(draw(scene, document.face_motion(), document.body_motion(), batch=8))
    assert calls == [8, 8, 4] and len(frames) == 20 and frames[0].shape == (4, 6, 3) and frames[0].dtype == np.uint8
    assert [int(frame[0, 0, 0]) for frame in frames] == [round(255 * float(w)) for w in document.expression[:, 0]]
