"""Gathers the motion of a film while it is made, for `animate --motion-out`."""

from __future__ import annotations

from fractions import Fraction

import torch
from torch import Tensor

from chatanyone.motionfile import MotionDocument
from motion.types import BodyMotion, FaceMotion


class MotionRecorder:
    """Called with some frames after others; `document` is all of them.

    Args:
        fps: of the film.
        about: of `MotionDocument`: `origin`, `source`, `sound`.
    """

    def __init__(self, fps: Fraction, **about: str) -> None:
        self.fps, self.about = fps, about
        self._faces: list[Tensor] = []
        self._bodies: list[Tensor] = []

    def __call__(self, face: FaceMotion, body: BodyMotion) -> None:
        """Appends some frames."""
        self._faces.append(face.packed().cpu())
        self._bodies.append(body.packed().cpu())

    def document(self) -> MotionDocument:
        """All frames so far."""
        face, body = FaceMotion.unpack(torch.cat(self._faces)), BodyMotion.unpack(torch.cat(self._bodies))
        return MotionDocument.of(face, body, self.fps, **self.about)
