"""A style out of somebody's motion."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from chatanyone.config import Config
from chatanyone.errors import MediaError
from chatanyone.exchange import SUFFIXES, read_motion
from chatanyone.media.audio import read_audio
from chatanyone.motionfile import MotionDocument
from chatanyone.styles.calibration import Calibration, Samples
from chatanyone.styles.style import REFERENCE_FRAMES, NamedStyle
from motion.style import style_range
from motion.types import FaceMotion

FPS = Fraction(30)  # the face net's own rate, whatever the film's
LEAST_FRAMES = 30
_AUDIBLE = 0.01  # of full scale


def clip_style(path: str | Path, config: Config, name: str = "clip", description: str = "") -> NamedStyle:
    """The manner of the person in a film, or in a motion document (``.npz``, ``.csv``, ``.json``)."""
    samples = None
    if Path(path).suffix.lower() in SUFFIXES:
        document = read_motion(path)
    else:
        from chatanyone.tracking import track_file

        document = track_file(path, fps=FPS, task_model=config.tracking.task_model)
        samples = sound(path)
    try:
        return clip_manner(document, Calibration.of(config), name, description, samples)
    except MediaError as error:
        raise MediaError(f"{path} cannot give a style: {error}") from None


def sound(path: str | Path) -> Samples | None:
    """16 kHz, of a film; None where it is silent."""
    try:
        samples = read_audio(path)
    except MediaError:
        return None
    return samples if np.abs(samples).max(initial=0.0) > _AUDIBLE else None


def clip_manner(document: MotionDocument, calibration: Calibration, name: str, description: str = "",
                samples: Samples | None = None) -> NamedStyle:
    """`document_style` with the correction that makes the face net follow it; samples: the document's sound, 16 kHz."""
    style = document_style(document, name, description)
    return calibration.corrected(style, document.resampled(FPS).face_motion(), samples)


def document_style(document: MotionDocument, name: str, description: str = "") -> NamedStyle:
    """Ranges of the whole clip, and the part of it that moves most like the whole.

    Raises:
        MediaError: the clip is shorter than a second.
    """
    motion = document.resampled(FPS).face_motion()
    if len(motion.expression) < LEAST_FRAMES:
        raise MediaError("it must be a film of a second or more in which somebody moves, not a picture")
    whole = style_range(motion)
    return NamedStyle(name, description, whole.expression, whole.pose, typical_part(motion))


def typical_part(motion: FaceMotion) -> Tensor:
    """Expressions ``[R ≤ 90, 52]``: of all windows, half a second apart, the one whose range is nearest to the clip's."""
    expression, whole = motion.expression, style_range(motion).expression
    starts = range(0, max(len(expression) - REFERENCE_FRAMES, 0) + 1, 15)
    still = torch.zeros(REFERENCE_FRAMES, 3)

    def distance(start: int) -> float:
        window = expression[start:start + REFERENCE_FRAMES]
        found = style_range(FaceMotion(window, still[:len(window)], still[:len(window)])).expression
        assert found is not None and whole is not None
        return float((found.clamp(min=1e-4).log() - whole.clamp(min=1e-4).log()).abs().sum())

    best = min(starts, key=distance)
    return expression[best:best + REFERENCE_FRAMES].clone()
