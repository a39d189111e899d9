"""The motion document: round trip, older files, no pickle, clear errors."""

from __future__ import annotations

import json
from dataclasses import fields
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from chatanyone.errors import MediaError
from chatanyone.motionfile import FIELDS, MEASURED_FIELDS, MOTION_FIELDS, Measured, MotionDocument, displaced
from chatanyone.recording import MotionRecorder
from motion.types import ARKIT_NAMES, BODY_KEYPOINTS, HAND_JOINTS, BodyMotion, FaceMotion

NTSC = Fraction(30000, 1001)


def some(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0, 1, shape).astype(np.float32)


def measured(T: int) -> Measured:
    return Measured(
        size=np.array([640, 480]), valid=np.arange(T) % 3 > 0, reference_rotation=some(3), reference_centre=some(2),
        reference_scale=np.array(3, np.float32), identity=some(11), keypoints=some(T, 14, 3), body_valid=np.ones(T, bool),
        shoulder_width_px=np.array(120.0, np.float32), neck_px=some(2), hand_landmarks=some(T, 2, 21, 3),
        hand_confidence=some(T, 2), hand_reference=some(2, 51), residual_px=some(T))


def document(T: int = 7, tracked: bool = True) -> MotionDocument:
    return MotionDocument(
        NTSC, some(T, 52), some(T, 3), some(T, 3, seed=1), some(T, 14, 3), some(T, 2, 51), origin="tracked",
        source="clip.mp4", sound="clip.mp4", measured=measured(T) if tracked else None)


@pytest.mark.parametrize("tracked", [True, False])
def test_round_trip_keeps_everything(tmp_path: Path, tracked: bool) -> None:
    before = document(tracked=tracked)
    before.save(tmp_path / "a.npz")
    after = MotionDocument.load(tmp_path / "a.npz")
    assert (after.fps, len(after), after.origin, after.source, after.sound) == (NTSC, 7, "tracked", "clip.mp4", "clip.mp4")
    assert all(np.array_equal(getattr(before, name), getattr(after, name)) for name in MOTION_FIELDS)
    assert (after.measured is not None) == tracked
    for item in fields(Measured) if tracked else ():
        assert np.array_equal(getattr(before.measured, item.name), getattr(after.measured, item.name)), item.name
    assert after.valid.all() != tracked and after.timestamps[3] == pytest.approx(3 * 1001 / 30000)
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.npz"]


def test_the_file_explains_itself_without_this_program(tmp_path: Path) -> None:
    document().save(tmp_path / "a.npz")
    with np.load(tmp_path / "a.npz", allow_pickle=False) as file:
        assert tuple(file["expression_names"]) == ARKIT_NAMES and tuple(file["body_names"]) == BODY_KEYPOINTS
        assert file["fps"].tolist() == [30000, 1001] and int(file["version"]) == 2
        described = set(json.loads(str(file["fields"])))
        assert described == set(FIELDS) - {"measured_landmarks"}
        about = {"format", "version", "fields", "expression_names", "body_names", "hand_names"}
        assert set(file.files) - about == described
        assert all(file[key].dtype != object for key in file.files)


def test_motion_comes_out_as_it_went_in() -> None:
    face = FaceMotion.unpack(torch.rand(5, 58))
    body = BodyMotion.unpack(torch.rand(5, 144))
    made = MotionDocument.of(face, body, Fraction(25), sound="a.wav")
    assert torch.equal(made.face_motion().packed(), face.packed())
    assert torch.equal(made.body_motion().packed(), body.packed())
    assert made.duration_s == pytest.approx(0.2) and made.valid.all()


def test_a_recorder_joins_what_it_heard() -> None:
    recorder = MotionRecorder(Fraction(30), sound="hello.wav")
    faces, bodies = torch.rand(6, 58), torch.rand(6, 144)
    for start, end in ((0, 1), (1, 5), (5, 6)):
        recorder(FaceMotion.unpack(faces[start:end]), BodyMotion.unpack(bodies[start:end]))
    made = recorder.document()
    assert torch.equal(made.face_motion().packed(), faces) and made.sound == "hello.wav" and made.origin == "made"


def test_tracked_points_become_displacements() -> None:
    keypoints, hands, seen = some(7, 14, 3), some(7, 2, 51), np.ones((7, 2))
    seen[:, 0] = 0
    body, moved = displaced(keypoints, hands, seen)
    assert np.abs(np.median(body, axis=0)).max() < 1e-6
    assert np.array_equal(moved[:, 0, 48:], body[:, BODY_KEYPOINTS.index("wristLeft")])  # never seen: it goes with the arm
    assert np.array_equal(moved[:, 1], hands[:, 1])


def test_another_rate_keeps_time_and_shape() -> None:
    before = document(60)
    before.expression[:, 0] = np.arange(60) / 60
    after = before.resampled(Fraction(15))
    assert len(after) == 30 and after.fps == 15 and after.measured is None and after.source == "clip.mp4"
    assert np.abs(after.expression[:, 0] - after.timestamps * float(NTSC) / 60).max() < 1e-6
    assert before.resampled(NTSC) is before


def write(path: Path, arrays: dict[str, Any]) -> Path:
    np.savez(path, **{key: np.asarray(value) for key, value in arrays.items()})
    return path


def first_tracked_version(T: int = 7) -> dict[str, Any]:
    """As `chatanyone track` wrote it before there was one form."""
    given = measured(T)
    old = {name: getattr(given, name) for name in MEASURED_FIELDS if getattr(given, name) is not None}
    old |= {"body": old.pop("keypoints"), "hands": old.pop("hand_landmarks"), "hand_motion": some(T, 2, 51)}
    return old | {"format": "chatanyone.motion", "version": 1, "fps": [30, 1], "expression_names": ARKIT_NAMES,
                  "timestamps": np.arange(T) / 30, "expression": some(T, 52), "rotation": some(T, 3),
                  "translation": some(T, 3)}


def test_tracked_files_of_the_first_version_are_read(tmp_path: Path) -> None:
    old = first_tracked_version()
    new = MotionDocument.load(write(tmp_path / "old.npz", old))
    assert new.origin == "tracked" and new.measured is not None and len(new) == 7
    assert np.array_equal(new.measured.keypoints, old["body"]) and np.array_equal(new.hands, old["hand_motion"])
    assert np.array_equal(new.measured.hand_landmarks, old["hands"])
    assert np.abs(np.median(new.body, axis=0)).max() < 1e-6
    new.save(tmp_path / "new.npz")
    assert np.array_equal(MotionDocument.load(tmp_path / "new.npz").body, new.body)


def test_made_files_of_the_first_version_are_read(tmp_path: Path) -> None:
    old: dict[str, Any] = {
        "format": "chatanyone.animation", "version": 1, "fps": [25, 1], "timestamps": np.arange(4) / 25,
        "expression": some(4, 52), "rotation": some(4, 3), "translation": some(4, 3), "body": some(4, 14, 3),
        "hands": some(4, 2, 51), "expression_names": ARKIT_NAMES, "body_names": BODY_KEYPOINTS, "hand_names": HAND_JOINTS}
    new = MotionDocument.load(write(tmp_path / "old.npz", old))
    assert new.origin == "made" and new.fps == 25 and np.array_equal(new.body, old["body"])


def rewrite(path: Path, **changes: object) -> None:
    with np.load(path, allow_pickle=False) as file:
        arrays = {key: file[key] for key in file.files}
    arrays |= {key: np.asarray(value) for key, value in changes.items() if value is not None}
    write(path, {key: value for key, value in arrays.items() if key not in changes or changes[key] is not None})


@pytest.mark.parametrize(("changes", "message"), [
    ({"version": 99}, "found chatanyone.motion version 99"), ({"version": "two"}, "found chatanyone.motion version 0"),
    ({"format": "other"}, "found other version 2"), ({"rotation": None}, "expected rotation in"),
    ({"body": np.zeros((3, 14, 3))}, "expected 7 frames of body"), ({"hands": np.zeros((7, 2, 50))}, "7 frames of hands"),
    ({"expression": np.full((7, 52), np.nan)}, "finite numbers for expression"),
    ({"expression": np.zeros((0, 52))}, "found no frame"), ({"expression": np.array("text")}, "expected a motion file|frames"),
    ({"expression_names": ["a", "b"]}, "52 ARKit names"), ({"fps": [30, 0]}, "contents do not fit|frame rate"),
    ({"fps": [0, 1]}, "expected a frame rate"), ({"fps": 30}, "expected a frame rate"),
    ({"measured_identity": None}, "expected identity in"), ({"measured_valid": [True]}, "7 frames of measured_valid"),
])
def test_wrong_documents_are_refused(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    document().save(tmp_path / "a.npz")
    rewrite(tmp_path / "a.npz", **changes)
    with pytest.raises(MediaError, match=message):
        MotionDocument.load(tmp_path / "a.npz")


@pytest.mark.parametrize(("name", "message"), [
    ("hand_motion", "expected hands|frames of hands"), ("hands", "expected"), ("residual_px", "expected residual_px")])
def test_incomplete_old_files_are_refused(tmp_path: Path, name: str, message: str) -> None:
    old = first_tracked_version()
    del old[name]
    with pytest.raises(MediaError, match=message):
        MotionDocument.load(write(tmp_path / "old.npz", old))


def test_missing_damaged_and_pickled_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match="no such file"):
        MotionDocument.load(tmp_path / "none.npz")
    (tmp_path / "text.npz").write_text("hello")
    with pytest.raises(MediaError, match="cannot be read"):
        MotionDocument.load(tmp_path / "text.npz")
    np.savez(tmp_path / "pickled.npz", format=np.array([{"a": 1}], dtype=object))
    with pytest.raises(MediaError, match="cannot be read"):
        MotionDocument.load(tmp_path / "pickled.npz")
    document().save(tmp_path / "cut.npz")
    whole = (tmp_path / "cut.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(whole[:len(whole) // 2])
    with pytest.raises(MediaError, match="cannot be read"):
        MotionDocument.load(tmp_path / "cut.npz")


def test_a_failed_write_leaves_the_old_file_and_no_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    document().save(tmp_path / "a.npz")
    old = (tmp_path / "a.npz").read_bytes()

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez_compressed", full)
    with pytest.raises(MediaError, match="a.npz could not be written: No space left"):
        document().save(tmp_path / "a.npz")
    assert (tmp_path / "a.npz").read_bytes() == old and [entry.name for entry in tmp_path.iterdir()] == ["a.npz"]
    with pytest.raises(MediaError, match="could not be written"):
        document().save(tmp_path / "none" / "a.npz")
