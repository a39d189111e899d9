"""The motion of a generated film as a ``.npz`` that explains itself, for `animate --motion-out`; no pickle."""

from __future__ import annotations

import json
import os
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from chatanyone import timebase
from chatanyone.errors import MediaError
from motion.types import ARKIT_NAMES, BODY_KEYPOINTS, HAND_JOINTS, BodyMotion, FaceMotion

FORMAT = "chatanyone.animation"
VERSION = 1

FIELDS: dict[str, str] = {
    "fps": "[2] frames per second: numerator, denominator",
    "timestamps": "[T] seconds, start of each frame",
    "expression": "[T, 52] ARKit weights in [0, 1], named by expression_names",
    "rotation": "[T, 3] head rotation against the picture's pose, axis-angle, rad, template axes "
                "(+X image right, +Y up, +Z to the viewer)",
    "translation": "[T, 3] head translation against the picture's pose, metres, template axes",
    "body": "[T, 14, 3] displacement of the keypoints named by body_names from the picture's, shoulder widths, "
            "image axes (x right, y down, z to the viewer)",
    "hands": "[T, 2, 51] left, right (the person's): 15 joints named by hand_names x 3 axis-angle (rad), global "
             "rotation 3 (rad), wrist translation 3 (shoulder widths), against the hand's pose in the picture",
}


class MotionRecorder:
    """Gathers motion while a film is made."""

    def __init__(self, fps: Fraction) -> None:
        self.fps = fps
        self._faces: list[Tensor] = []
        self._bodies: list[Tensor] = []

    def __call__(self, face: FaceMotion, body: BodyMotion) -> None:
        """Appends some frames."""
        self._faces.append(face.packed().cpu())
        self._bodies.append(body.packed().cpu())

    def arrays(self) -> dict[str, np.ndarray]:
        """What the file holds."""
        face, body = FaceMotion.unpack(torch.cat(self._faces)), BodyMotion.unpack(torch.cat(self._bodies))
        times = [float(timebase.frame_time_s(i, self.fps)) for i in range(len(face.expression))]
        return {
            "format": np.array(FORMAT), "version": np.array(VERSION), "fields": np.array(json.dumps(FIELDS)),
            "fps": np.array([self.fps.numerator, self.fps.denominator]), "timestamps": np.array(times),
            "expression": face.expression.numpy(), "rotation": face.rotation.numpy(),
            "translation": face.translation.numpy(), "body": body.delta.numpy(), "hands": body.hands.numpy(),
            "expression_names": np.array(ARKIT_NAMES), "body_names": np.array(BODY_KEYPOINTS),
            "hand_names": np.array(HAND_JOINTS),
        }

    def save(self, path: str | Path) -> None:
        """Writes beside the target, then renames: a reader never sees half a file."""
        path = Path(path)
        partial = path.with_name(f".{path.name}.{os.getpid()}.partial.npz")
        try:
            np.savez_compressed(partial, **self.arrays())  # type: ignore[arg-type]
            os.replace(partial, path)
        except OSError as error:
            raise MediaError(f"{path} could not be written: {error.strerror or error}") from error
        finally:
            partial.unlink(missing_ok=True)
