"""The motion document: what a person does, frame by frame, as a ``.npz`` that needs no pickle and explains itself.

One form for motion that was tracked in a clip, made from speech, edited or imported. Every array of the file, its shape
and its unit stands in `FIELDS`; the same text is stored in the file (`fields`), so that it can be read without this
program: ``np.load("motion.npz")["fields"]``.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from chatanyone import timebase
from chatanyone.errors import MediaError
from motion.types import ARKIT_NAMES, BODY_KEYPOINTS, HAND_JOINTS, BodyMotion, FaceMotion

FORMAT = "chatanyone.motion"
VERSION = 2
ORIGINS = ("tracked", "made", "edited", "imported")
Array = NDArray[Any]
Floats = NDArray[np.float32]

MOTION_FIELDS: dict[str, str] = {
    "expression": "[T, 52] ARKit weights in [0, 1], named by expression_names",
    "rotation": "[T, 3] head rotation against the reference pose (a picture's own, a clip's median), axis-angle, rad, "
                "template axes (+X image right, +Y up, +Z to the viewer)",
    "translation": "[T, 3] head translation against the reference pose, beyond that of the neck, metres, template axes",
    "body": "[T, 14, 3] displacement of the keypoints named by body_names from the reference pose, shoulder widths, image "
            "axes (x right, y down, z to the viewer)",
    "hands": "[T, 2, 51] left, right (the person's): 15 joints named by hand_names x 3 axis-angle (rad), each in the "
             "joint's posed frame, global rotation 3 (rad, template axes), wrist translation 3 (shoulder widths, image "
             "axes); all against the reference pose",
}
MEASURED_FIELDS: dict[str, str] = {
    "size": "[2] width and height of the clip, px",
    "valid": "[T] true where a face was found; other frames are interpolated",
    "reference_rotation": "[3] the reference pose (the clip's median) against the camera, axis-angle, rad",
    "reference_centre": "[2] px, where the head's pivot lies in the reference pose",
    "reference_scale": "[] px per metre in the reference pose",
    "identity": "[I] identity coefficients of the head template, standard deviations",
    "keypoints": "[T, 14, 3] body keypoints, shoulder widths, image axes, origin at the clip's median neck base",
    "body_valid": "[T] true where a body was found",
    "shoulder_width_px": "[] median shoulder width, px",
    "neck_px": "[2] median neck base, px",
    "hand_landmarks": "[T, 2, 21, 3] left, right (the person's): MediaPipe's hand landmarks, px; z relative to the wrist, "
                      "larger is nearer",
    "hand_confidence": "[T, 2] 0 where a hand was not seen; those frames are interpolated",
    "hand_reference": "[2, 51] the hands that hands is relative to: absolute joint rotations, global rotation, wrist px, 0",
    "residual_px": "[T] rms distance of the fitted template's landmarks from the measured ones, px",
    "landmarks": "[T, 478, 3] MediaPipe's face mesh, px, z larger is nearer (optional, unsmoothed)",
}
FIELDS: dict[str, str] = {
    "origin": "tracked, made, edited or imported",
    "source": "name of the clip or file it comes from, may be empty",
    "sound": "name of the sound that belongs to it, may be empty",
    "fps": "[2] frames per second: numerator, denominator",
    "timestamps": "[T] seconds, start of each frame",
} | MOTION_FIELDS | {f"measured_{name}": text + " (tracked motion only)" for name, text in MEASURED_FIELDS.items()}


@dataclass
class Measured:
    """What tracking knows of the clip beyond the motion: the fields of `MEASURED_FIELDS`."""

    size: NDArray[np.int64]
    valid: NDArray[np.bool_]
    reference_rotation: Floats
    reference_centre: Floats
    reference_scale: Floats
    identity: Floats
    keypoints: Floats
    body_valid: NDArray[np.bool_]
    shoulder_width_px: Floats
    neck_px: Floats
    hand_landmarks: Floats
    hand_confidence: Floats
    hand_reference: Floats
    residual_px: Floats
    landmarks: Floats | None = None


@dataclass
class MotionDocument:
    """Motion of T frames: the fields of `MOTION_FIELDS`, their rate and where they come from."""

    fps: Fraction
    expression: Floats
    rotation: Floats
    translation: Floats
    body: Floats
    hands: Floats
    origin: str = "made"
    source: str = ""
    sound: str = ""
    measured: Measured | None = None

    def __len__(self) -> int:
        return len(self.expression)

    @property
    def timestamps(self) -> NDArray[np.float64]:
        """``[T]`` seconds, start of each frame."""
        return np.array([float(timebase.frame_time_s(t, self.fps)) for t in range(len(self))])

    @property
    def duration_s(self) -> float:
        return float(timebase.frame_time_s(len(self), self.fps))

    @property
    def valid(self) -> NDArray[np.bool_]:
        """``[T]`` false where tracking had to guess."""
        return np.ones(len(self), dtype=np.bool_) if self.measured is None else self.measured.valid

    def face_motion(self) -> FaceMotion:
        """``[T, …]``, relative to the reference pose."""
        return FaceMotion(*(_tensor(array) for array in (self.expression, self.rotation, self.translation)))

    def body_motion(self) -> BodyMotion:
        """``[T, …]``, relative to the reference pose."""
        return BodyMotion(_tensor(self.body), _tensor(self.hands))

    @classmethod
    def of(cls, face: FaceMotion, body: BodyMotion, fps: Fraction, **about: Any) -> MotionDocument:
        """From motion ``[T, …]``; `about` are `origin`, `source`, `sound`, `measured`."""
        return cls(fps, _array(face.expression), _array(face.rotation), _array(face.translation), _array(body.delta),
                   _array(body.hands), **about)

    def with_motion(self, face: FaceMotion, body: BodyMotion, origin: str = "edited") -> MotionDocument:
        """The same document with other motion of as many frames."""
        return MotionDocument.of(face, body, self.fps, origin=origin, source=self.source, sound=self.sound,
                                 measured=self.measured)

    def resampled(self, fps: Fraction) -> MotionDocument:
        """At another rate, straight lines between frames; what was measured in the clip's own frames is left out."""
        if fps == self.fps or not len(self):
            return self
        count = max(round(len(self) * fps / self.fps), 1)
        times = np.array([float(t * self.fps / fps) for t in range(count)])
        arrays: dict[str, Any] = {name: _interpolated(getattr(self, name), times) for name in MOTION_FIELDS}
        return replace(self, fps=fps, measured=None, **arrays)

    def save(self, path: str | Path) -> None:
        """Writes beside the target, then renames: a reader never sees half a file."""
        save_arrays(path, self._arrays())

    def _arrays(self) -> dict[str, Array]:
        arrays: dict[str, Array] = {name: np.asarray(getattr(self, name), dtype=np.float32) for name in MOTION_FIELDS}
        if self.measured is not None:
            given = {name: getattr(self.measured, name) for name in MEASURED_FIELDS}
            arrays |= {f"measured_{name}": np.asarray(value) for name, value in given.items() if value is not None}
        arrays |= {
            "origin": np.array(self.origin), "source": np.array(self.source), "sound": np.array(self.sound),
            "fps": np.array([self.fps.numerator, self.fps.denominator], dtype=np.int64), "timestamps": self.timestamps}
        described = {name: text for name, text in FIELDS.items() if name in arrays}
        return arrays | {
            "format": np.array(FORMAT), "version": np.array(VERSION), "fields": np.array(json.dumps(described)),
            "expression_names": np.array(ARKIT_NAMES), "body_names": np.array(BODY_KEYPOINTS),
            "hand_names": np.array(HAND_JOINTS),
        }

    @classmethod
    def load(cls, path: str | Path) -> MotionDocument:
        """Inverse of `save`, for files of older versions too.

        Raises:
            MediaError: the file is missing, damaged, of another kind or of a version still to come.
        """
        from chatanyone.motionfile_reading import read_document

        return read_document(Path(path))


def save_arrays(path: str | Path, arrays: dict[str, Array]) -> None:
    """A compressed ``.npz``, whole or not at all."""
    path = Path(path)
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".npz")
    except OSError as error:
        raise MediaError(f"{path} could not be written: {error.strerror or error}") from error
    os.close(handle)
    try:
        np.savez_compressed(name, **arrays)
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException as error:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)
        if isinstance(error, OSError):
            raise MediaError(f"{path} could not be written: {error.strerror or error}") from error
        raise


def displaced(keypoints: Array, hands: Array, hand_confidence: Array) -> tuple[Floats, Floats]:
    """What tracking found as motion: `body` ``[T, 14, 3]`` against the clip's median pose, and `hands` ``[T, 2, 51]``,
    where a hand that is never seen moves with its arm, fingers at rest."""
    body = np.asarray(keypoints - np.median(keypoints, axis=0), dtype=np.float32)
    hands = np.array(hands, dtype=np.float32)
    for side, name in enumerate(("wristLeft", "wristRight")):
        if not (hand_confidence[:, side] > 0).any():
            hands[:, side, -3:] = body[:, BODY_KEYPOINTS.index(name)]
    return body, hands


def _array(tensor: torch.Tensor) -> Floats:
    return np.asarray(tensor.detach().cpu().numpy(), dtype=np.float32)


def _tensor(array: Array) -> torch.Tensor:
    return torch.from_numpy(np.array(array, dtype=np.float32))


def _interpolated(values: Array, times: NDArray[np.float64]) -> Floats:
    """``[T, …]`` at fractional frames."""
    flat = values.reshape(len(values), -1)
    columns = [np.interp(times, np.arange(len(values)), column) for column in flat.T]
    return np.stack(columns, axis=1).reshape(len(times), *values.shape[1:]).astype(np.float32)
