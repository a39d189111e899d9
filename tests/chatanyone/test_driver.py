"""Motion to meshes, control points and keypoints in pixels."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from chatanyone.driver import HAIR_RAYS, HANGING, OUTLINE, Driver, neutral_motion
from motion.template.fit import Camera
from motion.template.head import HeadTemplate
from motion.types import ARKIT_INDEX, BODY_KEYPOINTS
from tests.helpers.template_person import face_px, template_portrait


@pytest.fixture(scope="module")
def template() -> HeadTemplate:
    return HeadTemplate.load()


@pytest.fixture(scope="module")
def driver(template: HeadTemplate) -> Driver:
    return Driver(template_portrait(template), template)


def test_zero_motion_is_the_picture(driver: Driver) -> None:
    drive = driver(*neutral_motion(2))
    torch.testing.assert_close(drive.control[0], driver.source.control, atol=1e-2, rtol=0)
    torch.testing.assert_close(drive.face_keypoints[1], driver.source.face_keypoints, atol=1e-2, rtol=0)
    torch.testing.assert_close(drive.body_keypoints[0], driver.source.body_keypoints)


def test_face_window_is_on_the_grid_and_inside_the_frame(driver: Driver) -> None:
    x0, y0, side = driver.source.face_box
    W, H = driver.portrait.size
    assert side % 16 == 0 and 0 <= x0 <= W - side and 0 <= y0 <= H - side
    low, high = driver.portrait.face[:, :2].amin(0), driver.portrait.face[:, :2].amax(0)
    assert x0 <= low[0] and y0 <= low[1] and x0 + side >= high[0] and y0 + side >= high[1]


def test_speech_closes_a_mouth_the_picture_shows_open(template: HeadTemplate) -> None:
    portrait = template_portrait(template)
    opened = torch.zeros(52)
    opened[ARKIT_INDEX["jawOpen"]] = 0.6
    from tests.helpers.template_person import camera, face_px

    driver = Driver(replace(portrait, face=face_px(template, opened, camera())), template)
    points = template.landmarks(driver.posed(neutral_motion(1)[0]))[0]
    source = template.landmarks(template.deform(driver.fit.neutral, driver.fit.expression))
    gap, rest_gap = source[13, 1] - source[14, 1], points[13, 1] - points[14, 1]
    assert gap > 0.008 and rest_gap < 0.5 * gap


def test_the_head_rides_on_the_neck(driver: Driver) -> None:
    face, body = neutral_motion(2)
    body.delta[1, BODY_KEYPOINTS.index("neck"), 0] = 0.05  # 6 px
    drive = driver(face, body)
    torch.testing.assert_close(drive.head[1, :, 0] - drive.head[0, :, 0], torch.full((drive.head.shape[1],), 6.0))


def test_ears_turn_about_the_neck_and_do_not_follow_the_cheeks(driver: Driver) -> None:
    face, body = neutral_motion(2)
    face.rotation[1, 1] = math.radians(10)
    drive = driver(face, body)
    nose = float(drive.head[1, :, 0].sub(drive.head[0, :, 0]).max())
    rays = slice(len(OUTLINE), len(OUTLINE) + 2 * HAIR_RAYS)
    silhouette = (drive.control[1] - drive.control[0])[rays][::2, 0].abs()
    assert nose > 8 and float(silhouette.max()) < 0.25 * nose


def test_an_arm_without_a_visible_hand_hardly_moves(driver: Driver) -> None:
    face, body = neutral_motion(2)
    wrist = BODY_KEYPOINTS.index("wristLeft")
    body.delta[1, wrist, 1] = -0.2
    moved = driver(face, body).body_keypoints
    assert float(moved[0, wrist, 1] - moved[1, wrist, 1]) == pytest.approx(HANGING * 0.2 * 120, rel=1e-4)


@pytest.mark.parametrize("points_at_viewer", [True, False])
def test_a_hand_does_not_come_off_a_forearm_that_points_at_the_viewer(template: HeadTemplate, points_at_viewer: bool) -> None:
    portrait = template_portrait(template)
    elbow, wrist = (BODY_KEYPOINTS.index(f"{joint}Left") for joint in ("elbow", "wrist"))
    place = portrait.body.clone()
    place[wrist, :2] = place[elbow, :2] + torch.tensor([-10.0 if points_at_viewer else -80.0, 0])
    hands = torch.zeros(2, 21, 3)
    hands[0, :, :2] = place[wrist, :2]
    driver = Driver(replace(portrait, body=place, hands=hands, hand_confidence=torch.tensor([0.4, 0])), template)
    _, body = neutral_motion(1)
    body.hands[0, 0, -6:] = torch.tensor([0, 0.3, 0, 0.1, 0, 0])
    moved = driver._arms(body)
    apart = float((moved.delta[0, wrist] - moved.delta[0, elbow]).norm())
    assert (apart == pytest.approx(0, abs=1e-6)) == points_at_viewer and float(moved.delta[0, wrist, 0]) > 0.04
    assert (float(moved.hands[0, 0, -5]) < 0.15) == points_at_viewer


def test_hands_of_the_paper_portraits_are_rigged(template: HeadTemplate, shared_data: object) -> None:
    from pathlib import Path

    from chatanyone.media.image import read_image
    from chatanyone.portrait import prepare_portrait

    picture = read_image(Path(str(shared_data)) / "portraits/halfbody/open_0181.jpg")
    driver = Driver(prepare_portrait(picture, size=(512, 768), face=None, cache_dir=None), template)
    assert len(driver.hands) == len(driver.source.hands) == 2
    face, body = neutral_motion(2)
    body.hands[1, :, -2] = -0.2
    drive = driver(face, body)
    for mesh in drive.hands:
        lift = mesh[0, :, 1] - mesh[1, :, 1]
        assert lift.min() == pytest.approx(float(lift.max()), abs=1e-2) and lift.min() > 10


def test_a_neck_guessed_beside_the_chin_does_not_hold_it(template: HeadTemplate) -> None:
    portrait = template_portrait(template)
    chin, height = portrait.face[152, :2], float((portrait.face[10, :2] - portrait.face[152, :2]).norm())
    body, neck = portrait.body.clone(), BODY_KEYPOINTS.index("neck")
    body[neck, :2] = chin
    driver = Driver(replace(portrait, body=body), template)
    place = len(driver.source.control) - len(driver.body_control) + neck
    held = driver.source.control[place]
    assert float(held[1] - chin[1]) == pytest.approx(0.35 * height) and float(held[0]) == float(chin[0])
    torch.testing.assert_close(driver.source.body_keypoints[neck], chin)
    face, motion = neutral_motion(1)
    motion.delta[0, neck, 1] = 0.05
    moved = (driver(face, motion).control[0] - driver.source.control)[place]
    torch.testing.assert_close(moved, torch.tensor([0.0, 0.05 * portrait.shoulder_width_px]), atol=1e-2, rtol=0)


def test_hands_that_hold_each_other_move_as_one(template: HeadTemplate) -> None:
    portrait = template_portrait(template)
    hands, sure = torch.zeros(2, 21, 3), torch.full((2,), 0.4)  # seen, but not surely enough to be rigged
    hands[..., :2] = torch.rand(2, 21, 2) * 30 + 200
    driver = Driver(replace(portrait, hands=hands, hand_confidence=sure), template)
    face, body = neutral_motion(1)
    body.hands[0, 0, -3] = 0.2
    moved = driver(face, body).body_keypoints[0] - driver.source.body_keypoints
    left, right = (moved[BODY_KEYPOINTS.index(name), 0] for name in ("wristLeft", "wristRight"))
    assert float(left) > 1 and float(right) > 1


@pytest.mark.parametrize("pitch", [-0.3, 0.3])
def test_the_inside_of_the_mouth_shows_between_the_lips_only(driver: Driver, pitch: float) -> None:
    from render.geometry import propose

    face, body = neutral_motion(1)
    face.rotation[0, 0] = pitch
    drive = driver(face, body)
    inside = propose(driver.source, drive).face[0, 3]
    lips = drive.face_keypoints[0, 13:19, 1] - driver.source.face_box[1]
    assert not inside[int(lips.max()) + 12:].any() and not inside[:int(lips.min()) - 12].any()


def test_a_head_that_comes_nearer_grows(driver: Driver) -> None:
    face, body = neutral_motion(2)
    face.translation[1] = torch.tensor([0.0, 0.0, 0.08]) @ driver.fit.camera.matrix  # towards the camera
    heads = driver(face, body).head
    width = [float(head[:, 0].max() - head[:, 0].min()) for head in heads]
    assert width[1] / width[0] == pytest.approx(0.8 / 0.72, rel=0.01)


@pytest.fixture(scope="module")
def turned(template: HeadTemplate) -> Driver:
    """A head that the picture shows turned by 29 degrees."""
    view = Camera(torch.tensor([0.0, 0.5, 0.0]), torch.tensor([128.0, 130.0]), 700.0)
    return Driver(replace(template_portrait(template), face=face_px(template, torch.zeros(52), view)), template)


def test_cheeks_hide_the_mouth_of_a_turned_head(turned: Driver) -> None:
    template, corners = turned.template, turned.template.landmarks(turned.template.mean)[[61, 291]]
    beside = (torch.cdist(template.mean, corners).amin(1) < 0.02)[template.triangles].all(1)
    kept = {tuple(triangle) for triangle in turned.source.head.triangles.tolist()}
    assert all(tuple(triangle) in kept for triangle in template.triangles[beside].tolist())


def test_the_far_eye_of_a_turned_head_closes(turned: Driver) -> None:
    lids = turned.template.triangles[turned.template.landmark_triangle[[159, 386]]]
    assert turned.source.head.trust[lids].min() > 0.5
