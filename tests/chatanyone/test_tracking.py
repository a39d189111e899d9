"""Clips become motion: on landmarks made by the template itself, on a moved photograph, on real speech."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image as PilImage

from chatanyone import tracking
from chatanyone.errors import MediaError, PortraitError
from chatanyone.media.video import VideoReader
from chatanyone.motionfile import Measured, MotionDocument
from chatanyone.tracking import Observation, solve, track_file, track_frames
from chatanyone.tracking_fit import fit_track, lid_aperture, lip_aperture, measure_blinks, relative_pose
from chatanyone.vision.response import astray_when_turned
from motion.template.fit import Camera
from motion.template.head import HeadTemplate
from motion.types import ARKIT_INDEX, BODY_KEYPOINTS

Image = NDArray[np.uint8]
FPS = Fraction(30)
JAW, BLINKS = ARKIT_INDEX["jawOpen"], [ARKIT_INDEX["eyeBlinkLeft"], ARKIT_INDEX["eyeBlinkRight"]]


@pytest.fixture(scope="module")
def template() -> HeadTemplate:
    return HeadTemplate.load()


def speech(T: int = 48) -> NDArray[np.float64]:
    """``[T, 52]``: syllables with the jaw, one blink of five frames, both eyes."""
    expression = np.zeros((T, 52))
    expression[:, JAW] = 0.25 * (1 - np.cos(np.arange(T) / 30 * 2 * np.pi * 3)) * (np.arange(T) > 8)
    expression[20:25, BLINKS] = np.array([0.3, 0.8, 1.0, 0.6, 0.2])[:, None]
    return expression


def project(template: HeadTemplate, expression: NDArray[np.float64], turns: NDArray[np.float64],
            scales: NDArray[np.float64]) -> list[NDArray[np.float32]]:
    """Points as the detector shows them: they stray as the head turns away from the first frame's pose."""
    frames, stray = [], astray_when_turned()
    for weights, turn, scale in zip(expression, turns, scales):
        mesh = template.vertices(torch.zeros(len(template.identity)), torch.from_numpy(weights).float())
        pitch, yaw, _ = (float(value) for value in turn - turns[0])
        points = template.landmarks(mesh) + pitch * stray[0] + pitch**2 * stray[1] + yaw * stray[2]
        camera = Camera(torch.from_numpy(turn).float(), torch.tensor([200.0, 150.0]), float(scale))
        frames.append(camera.project(points, template.pivot).numpy())
    return frames


def _measured_in(document: MotionDocument) -> Measured:
    assert document.measured is not None
    return document.measured


def test_known_motion_is_found_again(template: HeadTemplate) -> None:
    T = 48
    truth = speech(T)
    turns = np.zeros((T, 3))
    turns[:, 1] = np.deg2rad(8) * np.sin(np.arange(T) / T * 2 * np.pi)
    turns[:, 0] = 0.1
    frames = project(template, truth, turns, np.full(T, 900.0))
    track = fit_track(template, frames, [None] * T)
    assert np.corrcoef(track.expression[:, JAW], truth[:, JAW])[0, 1] > 0.97
    assert 0.75 * truth[:, JAW].max() < track.expression[:, JAW].max() < 1.25 * truth[:, JAW].max()
    rotation, translation, reference = relative_pose(track)
    assert np.rad2deg(np.abs((rotation - turns + [0.1, 0, 0])).max()) < 1.5
    assert np.abs(translation).max() < 0.01
    assert reference["reference_scale"] == pytest.approx(900, rel=0.03)
    assert track.residual_px.max() < 1.0


def test_a_smile_is_no_calm_face_and_no_dimple(template: HeadTemplate) -> None:
    """Closed lips, eyes open, head straight, but smiling for a third of the clip: it must come back as that smile."""
    T = 45
    truth = np.zeros((T, 52))
    smiles = [ARKIT_INDEX["mouthSmileLeft"], ARKIT_INDEX["mouthSmileRight"]]
    truth[28:43, smiles] = 0.6 * np.sin(np.arange(15) / 15 * np.pi)[:, None]
    truth[:28, JAW] = 0.3 * np.sin(np.arange(28) / 4) ** 2
    track = fit_track(template, project(template, truth, np.zeros((T, 3)), np.full(T, 900.0)), [None] * T)
    found = track.expression[:, smiles]
    assert np.corrcoef(found[:, 0], truth[:, smiles[0]])[0, 1] > 0.97 and found.max() > 0.5
    others = [column for column in range(52) if column not in (*smiles, JAW)]
    # Neither dimples nor, at rest, a frown; these are points of the mesh, of which the detector would show a little less.
    assert track.expression[28:, others].max() < 0.16
    assert track.expression[:20, smiles].max() < 0.1


def test_blinks_are_measured_at_full_height(template: HeadTemplate) -> None:
    truth = speech()
    frames = project(template, truth, np.zeros((48, 3)), np.full(48, 900.0))
    blinks = measure_blinks(frames)
    assert blinks is not None and blinks.shape == (48, 2)
    assert blinks.max() > 0.9 and int(blinks[:, 0].argmax()) in (21, 22)
    assert np.abs(blinks[:18]).max() < 0.1 and np.abs(blinks[28:]).max() < 0.1
    wink = truth.copy()
    wink[:, BLINKS[1]] = 0
    left, right = np.moveaxis(_measured(project(template, wink, np.zeros((48, 3)), np.full(48, 900.0))), 1, 0)
    assert left.max() > 0.9 and right.max() < 0.1  # the person's left
    assert measure_blinks(frames[:10]) is None


def _measured(frames: list[NDArray[np.float32]]) -> NDArray[np.float32]:
    blinks = measure_blinks(frames)
    assert blinks is not None
    return blinks


def test_blinks_survive_the_whole_way_and_gaps_are_bridged(template: HeadTemplate) -> None:
    frames = project(template, speech(), np.zeros((48, 3)), np.full(48, 900.0))
    noise = np.random.default_rng(0)
    observations = [Observation(face=frame + noise.normal(0, 0.15, frame.shape).astype(np.float32)) for frame in frames]
    for lost in (0, 30, 31):
        observations[lost] = Observation()
    steps: list[int] = []
    document = solve(observations, FPS, (400, 300), lambda: steps.append(1))
    assert len(document) == 48 and len(steps) == 45
    assert document.valid.tolist() == [t not in (0, 30, 31) for t in range(48)]
    blink = document.expression[:, BLINKS]
    assert blink.max() > 0.85 and int(blink[:, 0].argmax()) in (21, 22, 23)
    assert np.isfinite(document.expression).all() and _measured_in(document).body_valid.sum() == 0
    assert document.timestamps[30] == pytest.approx(1.0)
    assert (_measured_in(document).hand_confidence == 0).all()
    assert (_measured_in(document).hand_landmarks == 0).all() and (document.hands[..., :-3] == 0).all()


def test_coming_nearer_is_depth(template: HeadTemplate) -> None:
    scales = np.linspace(850, 950, 20)
    track = fit_track(template, project(template, np.zeros((20, 52)), np.zeros((20, 3)), scales), [None] * 20)
    _, translation, _ = relative_pose(track)
    assert (np.diff(translation[:, 2]) > 0).all()
    assert np.ptp(translation[:, 2]) == pytest.approx(0.8 * (900 / 850 - 900 / 950), rel=0.1)


@pytest.fixture(scope="module")
def astronaut() -> Image:
    from skimage import data

    return np.asarray(data.astronaut())


def moved(image: Image, angle_deg: float, shift: float) -> Image:
    matrix = cv2.getRotationMatrix2D((223.0, 250.0), angle_deg, 1.0)
    matrix[0, 2] += shift
    return np.asarray(cv2.warpAffine(image, matrix, (512, 512), borderMode=cv2.BORDER_REPLICATE), dtype=np.uint8)


def test_a_moved_photograph_moves_the_document(astronaut: Image) -> None:
    T = 18
    angles = 8 * np.sin(np.arange(T) / T * 2 * np.pi)
    frames = [moved(astronaut, float(angle), 15.0 * (angle > 0)) for angle in angles]
    frames[12] = np.full_like(astronaut, 128)
    document = track_frames(iter(frames), FPS)
    assert document.valid.sum() == T - 1 and not document.valid[12]
    assert _measured_in(document).size.tolist() == [512, 512]
    roll = np.rad2deg(document.rotation[:, 2])  # OpenCV's positive angle and +Z towards the viewer: counter-clockwise
    assert np.abs((roll - roll.mean()) - (angles - angles.mean())).max() < 2.5
    assert np.rad2deg(document.rotation[:, :2]).std(axis=0).max() < 2
    assert document.expression[:, ARKIT_INDEX["mouthSmileLeft"]].std() < 0.15
    seen = _measured_in(document)
    assert seen.body_valid.sum() == T - 1 and 180 < seen.shoulder_width_px < 330
    left = BODY_KEYPOINTS.index("shoulderLeft")
    # counter-clockwise lifts the image's right
    assert np.corrcoef(seen.keypoints[:, left, 1], -angles)[0, 1] > 0.8


def test_no_face_ever_is_the_users_mistake() -> None:
    with pytest.raises(PortraitError, match="at least one of 3 frames"):
        track_frames([np.full((120, 160, 3), 90, np.uint8)] * 3, FPS)


def test_a_picture_is_a_clip_of_one_frame(astronaut: Image, tmp_path: Path) -> None:
    PilImage.fromarray(astronaut).save(tmp_path / "a.png")
    document = track_file(tmp_path / "a.png", tmp_path / "a.npz")
    again = MotionDocument.load(tmp_path / "a.npz")
    assert len(again) == 1 and again.valid.all() and _measured_in(again).landmarks is not None
    assert np.array_equal(document.expression, again.expression)
    assert again.expression[0, ARKIT_INDEX["mouthSmileLeft"]] > 0.2 > again.expression[0, BLINKS].max()
    assert np.abs(again.rotation).max() == 0 and np.abs(again.translation).max() == 0


def test_unreadable_files_are_named(tmp_path: Path) -> None:
    (tmp_path / "no.mp4").write_text("not a film")
    for name in ("no.mp4", "missing.mp4", "missing.png"):
        with pytest.raises(MediaError):
            track_file(tmp_path / name, progress=False)


def test_the_observer_stays_with_its_person(astronaut: Image, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracking, "_pose", lambda image, face: None)
    two = np.concatenate([astronaut[:300, 60:360], np.full((300, 300, 3), 200, np.uint8)], axis=1)
    both = two.copy()
    both[:, 300:] = cv2.resize(astronaut[40:240, 120:320], (300, 300))  # someone larger comes in
    observer = tracking.Observer()
    empty = np.full_like(two, 200)
    faces = [observer(frame).face for frame in (two, empty, both)]
    assert faces[0] is not None and faces[1] is None and faces[2] is not None
    assert abs(float(faces[2][:, 0].mean() - faces[0][:, 0].mean())) < 10


def test_real_speech_lips_and_lids_are_followed(shared_data: Path) -> None:
    path = shared_data / "clips" / "grid" / "lrwp9a.mpg"

    def faces() -> Iterator[Observation]:
        observer = tracking.Observer()
        with VideoReader(path) as reader:
            for frame in reader:
                yield Observation(face=observer._find(frame))

    document = solve(list(faces()), Fraction(25), (360, 288))
    seen = _measured_in(document).landmarks
    assert document.valid.all() and seen is not None
    lips = [lip_aperture(points) for points in seen]
    lids = [lid_aperture(points) for points in seen]
    template = HeadTemplate.load()
    neutral = template.vertices(torch.from_numpy(_measured_in(document).identity), torch.zeros(52))
    mesh = template.deform(neutral, torch.from_numpy(document.expression))
    upper, lower = template.on_surface(mesh, torch.tensor([13, 14])).unbind(dim=1)
    assert np.corrcoef((upper - lower).norm(dim=1), lips)[0, 1] > 0.9
    blink = document.expression[:, BLINKS].mean(axis=1)
    assert blink.max() > 0.6 and np.corrcoef(blink, lids)[0, 1] < -0.9
    assert np.rad2deg(np.abs(np.diff(document.rotation, axis=0)).max()) < 2  # 50 degrees a second
