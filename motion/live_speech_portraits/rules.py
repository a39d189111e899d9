"""Eyes, brows and cheeks, which the sound hardly tells: by rule from the seeded controls.

Live Speech Portraits cycles them from the frames of its training film. This project's training data is performed by rules
(`motion/training/performance.py`), and the same rules work on a stream, with loudness in place of known accents. All
numbers are our choice, as there.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from motion.impulses import FPS
from motion.types import ARKIT_INDEX, EXPRESSION_DIM

FULL_GAZE_RAD = 0.52  # eyeLook weight 1 is about 30°
SILENT_ENERGY = -0.5  # of the encoder's energy channel
VOICE = 5  # numbers of the follower: activity (two poles), loudness fast and slow, beat


def follow_voice(voice: Sequence[float], speaking: float, energy: float) -> list[float]:
    """What brows follow, a frame further: speech activity 0…1, and beats where the voice gets louder than it was.

    Args:
        voice: `VOICE` numbers of the frame before.
        speaking: probability of speech; energy: log energy, both as the speech encoder gives them.
    """
    first, second, fast, slow, beat = voice
    rate = _rate(0.125 if speaking > first else 0.3)
    first += rate * (speaking - first)
    second += rate * (first - second)
    level = max(energy - SILENT_ENERGY, 0.0) * speaking
    fast += _rate(0.08) * (level - fast)
    slow += _rate(1.2) * (level - slow)
    beat += _rate(0.12) * (min(max(fast - slow, 0.0) * 4.0, 1.5) - beat)
    return [first, second, fast, slow, beat]


def upper_face(controls: Sequence[float], voice: Sequence[float], pose: Sequence[float], smile: tuple[float, float], *,
               brows: float = 1.0) -> list[float]:
    """52 weights, the mouth's left at 0.

    Args:
        controls: 13 of `motion.impulses.face_controls`.
        voice: of `follow_voice`.
        pose: head rotation, rad: eyes turn against it, as people hold a gaze.
        smile: weights of mouthSmileLeft and Right, which cheeks follow.
        brows: how lively, 1 is the middle.
    """
    face = [0.0] * EXPRESSION_DIM
    lids, frown, wish = controls[0], controls[3 + 7], min(max(0.5 + 0.8 * controls[3 + 6], 0.0), 2.0)
    activity, beat = voice[1], voice[4]
    mood = 0.05 + 0.06 * controls[3 + 6]
    lift = min(max(brows * (0.20 * wish * beat + mood * (0.5 + 0.5 * activity)), 0.0), 0.9) * (1 - 0.25 * lids)
    side = 1 + 0.12 * frown
    _put(face, lift, "browInnerUp")
    _put(face, 0.8 * lift * side, "browOuterUpLeft")
    _put(face, 0.8 * lift * (2 - side), "browOuterUpRight")
    _put(face, min(max(brows * 0.12 * (frown - 0.6), 0.0), 0.4), "browDownLeft", "browDownRight")
    _put(face, 0.25 * lift, "eyeWideLeft", "eyeWideRight")
    for name, weight in zip(("Left", "Right"), smile):
        _put(face, 0.45 * weight + 0.02, f"cheekSquint{name}")
        _put(face, 0.25 * weight, f"eyeSquint{name}")
        _put(face, 0.04 * beat * brows, f"noseSneer{name}")
    _add_eyes(face, controls, pose)
    return [min(max(weight, 0.0), 1.0) for weight in face]


def _add_eyes(face: list[float], controls: Sequence[float], pose: Sequence[float]) -> None:
    """Lids from the blink, gaze from the glance."""
    lids = controls[0]
    right, up = 0.5 * controls[1] - pose[1] / FULL_GAZE_RAD, 0.5 * controls[2] + pose[0] / FULL_GAZE_RAD
    _put(face, max(right, 0.0), "eyeLookOutLeft", "eyeLookInRight")
    _put(face, max(-right, 0.0), "eyeLookInLeft", "eyeLookOutRight")
    _put(face, max(up, 0.0), "eyeLookUpLeft", "eyeLookUpRight")
    _put(face, max(-up, 0.0), "eyeLookDownLeft", "eyeLookDownRight")
    shut = 0.03 + 0.97 * lids + 0.25 * max(-up, 0.0) * (1 - lids)
    _put(face, shut, "eyeBlinkLeft")
    _put(face, 0.98 * shut, "eyeBlinkRight")
    _put(face, 0.12 * lids, "eyeSquintLeft", "eyeSquintRight", "cheekSquintLeft", "cheekSquintRight")


def _put(face: list[float], weight: float, *names: str) -> None:
    for name in names:
        face[ARKIT_INDEX[name]] += weight


def _rate(seconds: float) -> float:
    """Share of the way that a one-pole follower of this time constant goes in a frame."""
    return 1 - math.exp(-1 / (FPS * seconds))
