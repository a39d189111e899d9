"""MediaPipe behind typed functions: on the astronaut photograph that ships inside scikit-image (public domain)."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from chatanyone.errors import CheckpointError
from chatanyone.vision import (
    FaceScores, detect_faces, detect_hands, detect_pose, face_landmarks, person_mask, yaw_asymmetry)
from chatanyone.vision.geometry import Crop, box_of, overlap
from motion.types import ARKIT_INDEX

Image = NDArray[np.uint8]


@pytest.fixture(scope="module")
def astronaut() -> Image:
    from skimage import data

    return np.asarray(data.astronaut())


def test_crop_maps_points_back_to_where_its_pixels_came_from() -> None:
    image = np.zeros((200, 300, 3), np.uint8)
    cv2.circle(image, (180, 90), 6, (255, 255, 255), -1)  # OpenCV counts from pixel centres: (180.5, 90.5) here
    crop = Crop.around((160.0, 100.0), 120.0, 256, angle_rad=0.4)
    rows, columns = np.nonzero(crop.cut(image)[..., 0] > 128)
    middle = np.array([[columns.mean() + 0.5, rows.mean() + 0.5, 4.0]], dtype=np.float32)
    back = crop.to_picture(middle)[0]
    assert back[:2] == pytest.approx([180.5, 90.5], abs=0.15)
    assert back[2] == pytest.approx(4.0 * 120 / 256)


def test_shrinking_crop_averages_instead_of_picking() -> None:
    stripes = np.zeros((512, 512, 3), np.uint8)
    stripes[:, ::2] = 255
    crop = Crop.around((256.0, 256.0), 512.0, 64).cut(stripes)
    assert abs(float(crop.mean()) - 127.5) < 3 and float(crop.std()) < 10


def test_overlap_of_a_box_inside_another_is_one() -> None:
    outer, inner = np.array([0, 0, 10, 10], np.float32), np.array([2, 2, 4, 4], np.float32)
    assert overlap(outer, inner) == 1.0
    assert overlap(inner, np.array([5, 5, 6, 6], np.float32)) == 0.0


def test_astronaut_has_one_face_with_eyes_and_mouth_in_place(astronaut: Image) -> None:
    faces = detect_faces(astronaut)
    assert len(faces) == 1
    points = faces[0].landmarks
    assert points.shape == (478, 3) and points.dtype == np.float32
    assert points[468, :2] == pytest.approx([204, 102], abs=4)  # the person's right iris, left in the picture
    assert points[473, :2] == pytest.approx([243, 102], abs=5)
    assert points[1, 2] > points[234, 2] and points[1, 2] > points[454, 2]  # the nose is nearer than the ears
    assert 100 < faces[0].height_px < 150


def test_landmarks_move_with_the_picture(astronaut: Image) -> None:
    turn = cv2.getRotationMatrix2D((220.0, 120.0), 20.0, 0.8)
    turned = cv2.warpAffine(astronaut, turn, (512, 512))
    before, after = detect_faces(astronaut)[0], detect_faces(np.asarray(turned, dtype=np.uint8))[0]
    expected = (before.landmarks[:, :2] - 0.5) @ turn[:, :2].T + turn[:, 2] + 0.5
    error = np.linalg.norm(after.landmarks[:, :2] - expected, axis=1)
    assert float(np.median(error)) < 0.02 * before.height_px


def test_small_face_in_a_big_picture_is_found(astronaut: Image) -> None:
    picture = np.full((2000, 3000, 3), 120, np.uint8)
    small = cv2.resize(astronaut, (230, 230), interpolation=cv2.INTER_AREA)
    picture[1500:1730, 2500:2730] = small
    faces = detect_faces(picture)
    assert len(faces) == 1
    assert 45 < faces[0].height_px < 70
    assert faces[0].center == pytest.approx((2500 + 223 * 0.449, 1500 + 125 * 0.449), abs=12)


def test_no_face_no_pose_no_hands_in_an_empty_picture() -> None:
    grey = np.full((300, 400, 3), 128, np.uint8)
    assert detect_faces(grey) == []
    assert detect_pose(grey) is None
    assert detect_hands(grey) == (None, None)


@pytest.mark.parametrize("half", [0.75, 0.6, 0.5])
def test_faces_that_fill_the_picture_are_found(half: float, astronaut: Image) -> None:
    whole = detect_faces(astronaut)[0]
    (x, y), reach = whole.center, half * whole.height_px
    left, top, right, bottom = (round(v) for v in (x - reach, y - reach, x + reach, y + reach))
    face, = detect_faces(np.ascontiguousarray(astronaut[top:bottom, left:right]))
    assert np.abs(face.landmarks[:, :2] + [left, top] - whole.landmarks[:, :2]).mean() < 0.01 * whole.height_px


def test_tracking_from_a_guess_agrees_with_detection(astronaut: Image) -> None:
    face = detect_faces(astronaut)[0]
    guess = face.landmarks + np.array([4, -3, 0], np.float32)
    again = face_landmarks(astronaut, guess)
    assert again is not None
    assert float(np.linalg.norm(again[:, :2] - face.landmarks[:, :2], axis=1).mean()) < 0.015 * face.height_px
    assert face_landmarks(np.full_like(astronaut, 128), guess) is None


def test_yaw_asymmetry_is_small_in_front_and_signed_to_the_side(astronaut: Image, shared_data: Path) -> None:
    from chatanyone.media.image import read_image

    turned = read_image(shared_data / "portraits" / "paintings" / "s10.jpg")  # looks over her shoulder to the left
    mirrored = np.ascontiguousarray(turned[:, ::-1])
    front, left, right = (yaw_asymmetry(detect_faces(image)[0].landmarks) for image in (astronaut, turned, mirrored))
    assert abs(front) < 0.1
    assert -1.2 < left < -0.6 and left == pytest.approx(-right, abs=0.1)


def test_pose_knows_the_persons_left(astronaut: Image) -> None:
    pose = detect_pose(astronaut)
    assert pose is not None
    assert pose.points[11, 0] > pose.points[12, 0]  # the person's left shoulder is right in the picture
    assert pose.visibility[11] > 0.9 and 180 < pose.shoulder_width_px < 330


def test_mask_covers_the_person_not_the_backdrop(astronaut: Image) -> None:
    mask = person_mask(astronaut)
    assert mask.shape == (512, 512)
    assert mask[80:160, 190:250].mean() > 0.95 and mask[400:500, 180:250].mean() > 0.8
    assert mask[20:120, 330:380].mean() < 0.05


def test_hands_are_the_persons_own(shared_data: Path) -> None:
    from chatanyone.media.image import read_image

    image = read_image(shared_data / "portraits" / "halfbody" / "woman_0048.jpg")
    left, right = detect_hands(image, detect_pose(image))
    assert left is not None and right is not None and left.agrees and right.agrees
    assert left.points[:, 0].min() > 512 > right.points[:, 0].max()
    assert left.points.shape == (21, 3) and left.confidence > 0.8
    mirror = np.ascontiguousarray(image[:, ::-1])
    again, _ = detect_hands(mirror, detect_pose(mirror))
    assert again is not None  # mirrored, the other hand is the left one
    mean = again.points[:, :2].mean(axis=0)
    assert mean == pytest.approx([1024 - right.points[:, 0].mean(), right.points[:, 1].mean()], abs=15)


def test_scores_tell_a_smile(astronaut: Image, shared_data: Path) -> None:
    with FaceScores(shared_data / "models" / "face_landmarker_v2_with_blendshapes.task") as scores:
        found = scores(astronaut)
        assert scores(np.full_like(astronaut, 128)) is None
    assert found is not None
    assert found.expression[ARKIT_INDEX["mouthSmileLeft"]] > 0.5 > found.expression[ARKIT_INDEX["eyeBlinkLeft"]]
    mesh = detect_faces(astronaut)[0].landmarks
    assert float(np.abs(found.landmarks[:, :2] - mesh[:, :2]).mean()) < 4
    assert box_of(found.landmarks)[0] > 100


def test_missing_and_damaged_score_models_are_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="found no such file"):
        FaceScores(tmp_path / "none.task")
    (tmp_path / "bad.task").write_bytes(b"not a model")
    with pytest.raises(CheckpointError, match="does not open"):
        FaceScores(tmp_path / "bad.task")


def test_nothing_is_said_on_stderr(tmp_path: Path, repository: Path) -> None:
    code = ("import numpy as np; from chatanyone.vision import detect_faces, detect_pose, detect_hands, person_mask\n"
            "from skimage import data; image = data.astronaut(); pose = detect_pose(image)\n"
            "detect_faces(image), detect_hands(image, pose), person_mask(image)\n"
            "import sys; print('still here', file=sys.stderr)")
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("GLOG", "TF_"))}
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=repository,
                            env=environment, timeout=120)
    assert result.returncode == 0
    assert result.stderr.strip() == "still here"


def test_face_angle_of_the_crop_is_kept_upright() -> None:
    crop = Crop.around((0.0, 0.0), 10.0, 100, math.pi / 2)
    assert crop.scale == pytest.approx(10.0)
    below = np.array([[0.0, 1.0]]) @ crop.matrix[:, :2].T + crop.matrix[:, 2]
    assert below[0] == pytest.approx([60.0, 50.0])  # picture down becomes crop right
