"""Lip opening as a camera sees it, and loudness as its control."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fractions import Fraction

import numpy as np
import torch
from numpy.typing import NDArray

from chatanyone import timebase
from chatanyone.evaluation.statistics import Curve
from chatanyone.vision.faces import detect_faces, face_landmarks
from motion.style import lip_gap_mm

INNER_LIPS, FACE_HEIGHT = (13, 14), (10, 152)  # MediaPipe's points: middle of the inner lips; forehead, chin
_FLOOR = 1e-4  # of the RMS: -80 dB
Image = NDArray[np.uint8]
Points = NDArray[np.float32]


def follow_face(frames: Iterable[Image], passes: int = 1) -> Iterator[Points | None]:
    """The face mesh ``[478, 3]`` px of one frame after another; None where no face is seen."""
    last: Points | None = None
    for frame in frames:
        found = face_landmarks(frame, last, passes) if last is not None else None
        if found is None:
            faces = detect_faces(frame)
            found = faces[0].landmarks if faces else None
        last = found if found is not None else last
        yield found


def aperture(points: Points | None) -> float:
    """Distance of the inner lips in face heights; NaN for None."""
    if points is None:
        return float("nan")
    lips, height = (np.linalg.norm(points[a, :2] - points[b, :2]) for a, b in (INNER_LIPS, FACE_HEIGHT))
    return float(lips / height)


def aperture_curve(frames: Iterable[Image], passes: int = 1) -> tuple[Curve, float]:
    """``[T]`` with gaps interpolated, and the part of the frames with a face."""
    return without_gaps(np.array([aperture(points) for points in follow_face(frames, passes)]))


def motion_aperture(expression: NDArray[np.float32]) -> Curve:
    """Distance of the template's inner lips, mm: weights ``[T, 52]`` → ``[T]``; not below 0. No picture is needed."""
    return np.maximum(lip_gap_mm(torch.from_numpy(np.ascontiguousarray(expression))).double().numpy(), 0.0)


def without_gaps(curve: Curve) -> tuple[Curve, float]:
    """NaN replaced by straight lines; the part that was known."""
    known = np.isfinite(curve)
    if not known.any():
        return np.zeros(len(curve)), 0.0
    return np.interp(np.arange(len(curve)), np.flatnonzero(known), curve[known]), float(known.mean())


def loudness(samples: NDArray[np.float32], frames: int, fps: Fraction = Fraction(30)) -> Curve:
    """``[T]`` log RMS of each frame's samples (16 kHz); frames after the sound's end are silent."""
    edges = [timebase.first_sample(index, fps) for index in range(frames + 1)]
    pieces = [samples[start:end].astype(np.float64) for start, end in zip(edges, edges[1:])]
    return np.array([np.log((np.sqrt(np.mean(piece**2)) if len(piece) else 0.0) + _FLOOR) for piece in pieces])
