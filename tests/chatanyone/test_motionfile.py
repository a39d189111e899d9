"""The motion document: round trip, no pickle, clear errors."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch

from chatanyone.errors import MediaError
from chatanyone.motionfile import FIELDS, MotionDocument
from motion.types import ARKIT_NAMES, BODY_KEYPOINTS


def document(T: int = 7) -> MotionDocument:
    draw = np.random.default_rng(0)

    def some(*shape: int) -> np.ndarray:
        return draw.uniform(0, 1, shape).astype(np.float32)

    return MotionDocument(
        fps=Fraction(30000, 1001), size=(640, 480), timestamps=np.arange(T) * 1001 / 30000, valid=np.arange(T) % 3 > 0,
        expression=some(T, 52), rotation=some(T, 3), translation=some(T, 3), reference_rotation=some(3),
        reference_centre=some(2), reference_scale=np.float32(3).reshape(()), identity=some(11), body=some(T, 14, 3),
        body_valid=np.ones(T, bool), shoulder_width_px=np.array(120.0, np.float32), neck_px=some(2),
        hands=some(T, 2, 21, 3), hand_confidence=some(T, 2),
        hand_motion=some(T, 2, 51), hand_reference=some(2, 51), residual_px=some(T))


def test_round_trip_keeps_every_field(tmp_path: Path) -> None:
    before = document()
    before.save(tmp_path / "a.npz")
    after = MotionDocument.load(tmp_path / "a.npz")
    assert after.fps == Fraction(30000, 1001) and after.size == (640, 480) and len(after) == 7
    assert after.landmarks is None
    for name in set(FIELDS) - {"landmarks"}:
        assert np.array_equal(getattr(before, name), getattr(after, name)), name
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.npz"]


def test_the_file_explains_itself_without_this_program(tmp_path: Path) -> None:
    document().save(tmp_path / "a.npz")
    with np.load(tmp_path / "a.npz", allow_pickle=False) as file:
        assert tuple(file["expression_names"]) == ARKIT_NAMES and tuple(file["body_names"]) == BODY_KEYPOINTS
        assert file["fps"].tolist() == [30000, 1001] and int(file["version"]) == 1
        assert set(json.loads(str(file["fields"]))) == set(FIELDS)
        assert all(file[key].dtype != object for key in file.files)


def test_motion_types_come_out_with_their_shapes() -> None:
    motion = document()
    face, body = motion.face_motion(), motion.body_motion()
    assert face.packed().shape == (7, 58) and body.packed().shape == (7, 144)
    assert torch.equal(face.rotation, torch.from_numpy(motion.rotation))
    assert body.delta.median(dim=0).values.abs().max() < 1e-6
    assert torch.equal(body.hands, torch.from_numpy(motion.hand_motion))
    motion.hand_confidence[:, 0] = 0
    unseen = motion.body_motion()
    assert torch.equal(unseen.hands[:, 0, 48:], body.delta[:, BODY_KEYPOINTS.index("wristLeft")])
    assert torch.equal(unseen.hands[:, 1], body.hands[:, 1])


def rewrite(path: Path, **changes: object) -> None:
    with np.load(path, allow_pickle=False) as file:
        arrays = {key: file[key] for key in file.files}
    arrays |= {key: np.asarray(value) for key, value in changes.items() if value is not None}
    np.savez(path, **{key: value for key, value in arrays.items() if key not in changes or changes[key] is not None})


@pytest.mark.parametrize(("changes", "message"), [
    ({"version": 99}, "found chatanyone.motion version 99"),
    ({"format": "other"}, "found other version 1"),
    ({"rotation": None}, "expected rotation in"),
    ({"body": np.zeros((3, 14, 3))}, "expected 7 frames of body"),
    ({"expression": np.full((7, 52), np.nan)}, "finite numbers for expression"),
    ({"expression_names": ["a", "b"]}, "52 ARKit names"),
])
def test_wrong_documents_are_refused(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    document().save(tmp_path / "a.npz")
    rewrite(tmp_path / "a.npz", **changes)
    with pytest.raises(MediaError, match=message):
        MotionDocument.load(tmp_path / "a.npz")


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


def test_a_failed_write_leaves_the_old_file_and_no_rest(tmp_path: Path) -> None:
    document().save(tmp_path / "a.npz")
    old = (tmp_path / "a.npz").read_bytes()
    broken = document()
    broken.expression = None  # type: ignore[assignment]
    broken.hands = np.empty(3, dtype=object)
    with pytest.raises(ValueError):
        np.load(_save_objects(broken, tmp_path), allow_pickle=False)["hands"]
    assert (tmp_path / "a.npz").read_bytes() == old


def _save_objects(broken: MotionDocument, folder: Path) -> Path:
    broken.save(folder / "b.npz")
    return folder / "b.npz"
