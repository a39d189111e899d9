"""The motion document: what a clip's person did, as a ``.npz`` that needs no pickle and explains itself.

Every array of the file, its shape and its unit stands in `FIELDS`; the same text is stored in the file (`fields`), so
that it can be read without this program: ``np.load("motion.npz")["fields"]``.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
import zipfile
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from chatanyone.errors import MediaError
from motion.types import ARKIT_NAMES, BODY_KEYPOINTS, HAND_JOINTS, BodyMotion, FaceMotion

FORMAT = "chatanyone.motion"
VERSION = 1
Array = NDArray[Any]

FIELDS: dict[str, str] = {
    "timestamps": "[T] seconds, start of each frame",
    "valid": "[T] true where a face was found; other frames are interpolated",
    "expression": "[T, 52] ARKit weights in [0, 1], named by expression_names",
    "rotation": "[T, 3] head rotation against the reference pose, axis-angle, rad, template axes "
                "(+X image right, +Y up, +Z to the viewer)",
    "translation": "[T, 3] head translation against the reference pose, metres, template axes",
    "reference_rotation": "[3] the reference pose (the clip's median) against the camera, axis-angle, rad",
    "reference_centre": "[2] px, where the head's pivot lies in the reference pose",
    "reference_scale": "[] px per metre in the reference pose",
    "identity": "[I] identity coefficients of the head template, standard deviations",
    "body": "[T, 14, 3] keypoints named by body_names, shoulder widths, image axes (x right, y down, z to the viewer), "
            "origin at the clip's median neck base",
    "body_valid": "[T] true where a body was found",
    "shoulder_width_px": "[] median shoulder width, px",
    "neck_px": "[2] median neck base, px",
    "hands": "[T, 2, 21, 3] left, right (the person's): MediaPipe's hand landmarks, px; z relative to the wrist, "
             "larger is nearer",
    "hand_confidence": "[T, 2] 0 where a hand was not seen; those frames are interpolated",
    "hand_motion": "[T, 2, 51] left, right: 15 joints named by hand_names x 3 axis-angle (rad), each in the joint's posed "
                   "frame, global rotation 3 (rad, template axes), wrist translation 3 (shoulder widths, image axes); all "
                   "against hand_reference; zeros where a hand is never seen",
    "hand_reference": "[2, 51] the hands everything is relative to: absolute joint rotations, global rotation, wrist px, 0",
    "landmarks": "[T, 478, 3] MediaPipe's face mesh, px, z larger is nearer (optional, unsmoothed)",
    "residual_px": "[T] rms distance of the fitted template's landmarks from the measured ones, px",
}
OPTIONAL = ("landmarks",)


@dataclass
class MotionDocument:
    """The fields of `FIELDS`, with the clip's rate and picture size (width, height in px)."""

    fps: Fraction
    size: tuple[int, int]
    timestamps: NDArray[np.float64]
    valid: NDArray[np.bool_]
    expression: NDArray[np.float32]
    rotation: NDArray[np.float32]
    translation: NDArray[np.float32]
    reference_rotation: NDArray[np.float32]
    reference_centre: NDArray[np.float32]
    reference_scale: NDArray[np.float32]
    identity: NDArray[np.float32]
    body: NDArray[np.float32]
    body_valid: NDArray[np.bool_]
    shoulder_width_px: NDArray[np.float32]
    neck_px: NDArray[np.float32]
    hands: NDArray[np.float32]
    hand_confidence: NDArray[np.float32]
    hand_motion: NDArray[np.float32]
    hand_reference: NDArray[np.float32]
    residual_px: NDArray[np.float32]
    landmarks: NDArray[np.float32] | None = None

    def __len__(self) -> int:
        return len(self.timestamps)

    def face_motion(self) -> FaceMotion:
        """``[T, …]``, relative to the reference pose."""
        arrays = (self.expression, self.rotation, self.translation)
        return FaceMotion(*(torch.from_numpy(np.asarray(array, dtype=np.float32)) for array in arrays))

    def body_motion(self) -> BodyMotion:
        """``[T, …]`` displacement from the clip's median pose; a hand never seen moves with its arm, fingers at rest."""
        delta = torch.from_numpy(self.body - np.median(self.body, axis=0)).float()
        hands = torch.from_numpy(np.array(self.hand_motion, dtype=np.float32))
        for side, name in enumerate(("wristLeft", "wristRight")):
            if not (self.hand_confidence[:, side] > 0).any():
                hands[:, side, -3:] = delta[:, BODY_KEYPOINTS.index(name)]
        return BodyMotion(delta, hands)

    def save(self, path: str | Path) -> None:
        """Writes beside the target, then renames: a reader never sees half a file."""
        path = Path(path)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".npz")
        os.close(handle)
        try:
            np.savez_compressed(name, **self._arrays())
            os.replace(name, path)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name)
            raise

    def _arrays(self) -> dict[str, Array]:
        values = {key: getattr(self, key) for key in FIELDS}
        arrays = {key: np.asarray(value) for key, value in values.items() if value is not None}
        return arrays | {
            "format": np.array(FORMAT), "version": np.array(VERSION), "fields": np.array(json.dumps(FIELDS)),
            "fps": np.array([self.fps.numerator, self.fps.denominator], dtype=np.int64),
            "size": np.array(self.size, dtype=np.int64),
            "expression_names": np.array(ARKIT_NAMES), "body_names": np.array(BODY_KEYPOINTS),
            "hand_names": np.array(HAND_JOINTS),
        }

    @classmethod
    def load(cls, path: str | Path) -> MotionDocument:
        """Inverse of `save`; `MediaError` when the file is missing, damaged, of another kind or version."""
        arrays = _read(Path(path))
        kind, version = str(arrays.get("format", "none")), int(arrays.get("version", 0))
        if kind != FORMAT or version != VERSION:
            raise MediaError(f"expected {FORMAT} version {VERSION} in {path}, found {kind} version {version}; "
                             "make it again with `chatanyone track`")
        required = {"fps", "size", "expression_names", *FIELDS} - set(OPTIONAL)
        missing = sorted(required - arrays.keys())
        if missing:
            raise MediaError(f"expected {', '.join(missing)} in {path}, not found; "
                             "make it again with `chatanyone track`")
        _check(arrays, path)
        fps = Fraction(int(arrays["fps"][0]), int(arrays["fps"][1]))
        fields = {key: arrays[key] for key in FIELDS if key in arrays}
        return cls(fps, (int(arrays["size"][0]), int(arrays["size"][1])), **fields)


def _read(path: Path) -> dict[str, Array]:
    try:
        with np.load(path, allow_pickle=False) as file:
            return {key: file[key] for key in file.files}
    except FileNotFoundError as error:
        raise MediaError(f"expected a motion file at {path}, found no such file; check the path") from error
    except (OSError, ValueError, EOFError, AttributeError, zipfile.BadZipFile) as error:
        raise MediaError(f"expected a motion file (.npz) at {path}, but it cannot be read; "
                         "make it again with `chatanyone track`") from error


def _check(arrays: dict[str, Array], path: str | Path) -> None:
    if tuple(arrays["expression_names"].tolist()) != ARKIT_NAMES:
        raise MediaError(f"expected the 52 ARKit names in their usual order in {path}, found others; make it again")
    T = len(arrays["timestamps"])
    for key, text in FIELDS.items():
        if text.startswith("[T") and key in arrays and (not arrays[key].shape or len(arrays[key]) != T):
            raise MediaError(f"expected {T} frames of {key} in {path}, found {list(arrays[key].shape)}; make it again")
    for key in ("expression", "rotation", "translation"):
        if not np.isfinite(arrays[key]).all():
            raise MediaError(f"expected finite numbers for {key} in {path}, found others; make it again")
