"""Exact arithmetic of units: 2/15 s each, 6400 samples of sound, four frames of motion, 2133⅓ samples of speech."""

from __future__ import annotations

from fractions import Fraction

from chatanyone import timebase
from chatanyone.stream.types import SOUND_HZ, UNIT_S

MOTION_FPS = Fraction(30)  # of the engine's motion, whatever is drawn of it
UNIT_FRAMES = int(UNIT_S * MOTION_FPS)  # 4
SPEECH_HZ = timebase.SAMPLE_RATE_HZ
UPSAMPLING = SOUND_HZ // SPEECH_HZ  # 3
PICTURES = (4, 2, 1)  # a unit may hold so many: 30, 15 or 7.5 a second; every 1st, 2nd, 4th frame of the motion


def due_s(index: int, start_s: float) -> float:
    """When unit `index` is due on the clock on which unit 0 is due at `start_s`; nothing is summed up, so nothing drifts."""
    return start_s + index * UNIT_S.numerator / UNIT_S.denominator


def slot_at(time_s: float, start_s: float) -> int:
    """The unit during which `time_s` falls."""
    return int((time_s - start_s) * UNIT_S.denominator / UNIT_S.numerator // 1)


def speech_before(step: int) -> int:
    """Speech samples in the first `step` units: 2134, 4267, 6400, …; never fewer than their sound needs."""
    return -(-step * UNIT_S.numerator * SPEECH_HZ // UNIT_S.denominator)


def stride(pictures: int) -> int:
    """Every how many-th frame of the motion is drawn.

    Raises:
        ValueError: a unit cannot be divided so.
    """
    if pictures not in PICTURES:
        raise ValueError(f"expected 4, 2 or 1 pictures a unit, got {pictures}")
    return UNIT_FRAMES // pictures


def rate(pictures: int) -> Fraction:
    """Pictures per second."""
    return pictures / UNIT_S
