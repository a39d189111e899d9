"""Smoothing of recorded tracks that keeps fast events: blinks and lips stay, a resting head stops trembling.

The One-Euro filter (Casiez, Roussel, Vogel, CHI 2012, Eq. 3-6) lowers its cutoff when a signal rests and raises it when
it moves. Recorded tracks allow what live ones do not: it runs forwards and backwards and the two are averaged, so that
nothing comes late (our choice).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from motion.types import ARKIT_NAMES

Track = NDArray[np.float64]  # [T, ...]


@dataclass(frozen=True)
class Setting:
    """rest_hz: cutoff while the signal rests; per_speed: Hz more for each unit per second of speed."""

    rest_hz: float
    per_speed: float


# Our choice. Speeds: weights per second (a blink reaches 10), rad per second (a nod 1), metres per second (0.1).
FAST = Setting(6.0, 3.0)  # lids and lips: closed means closed
GAZE = Setting(3.0, 3.0)
SLOW = Setting(1.5, 2.0)  # cheeks, nose
BROWS = Setting(1.3, 0.6)  # what comes back of them is large, and so is its trembling
ROTATION = Setting(1.2, 8.0)
TRANSLATION = Setting(1.0, 60.0)
BODY = Setting(1.2, 6.0)  # shoulder widths per second
HANDS = Setting(2.0, 6.0)  # shoulder widths per second
FINGERS = Setting(1.5, 1.5)  # rad per second
_SPEED_HZ = 4.0  # cutoff of the speed estimate itself


def expression_setting(name: str) -> Setting:
    """The setting of one ARKit channel."""
    if name.startswith("eyeLook"):
        return GAZE
    if name.startswith("brow"):
        return BROWS
    return FAST if name.startswith(("eyeBlink", "eyeWide", "eyeSquint", "mouth", "jaw", "tongue")) else SLOW


def smooth(track: Track, rate_hz: float, setting: Setting) -> Track:
    """Zero-phase One-Euro along the first axis of ``[T, ...]``; constant tracks come back as they are."""
    forwards = _one_euro(track, rate_hz, setting)
    return np.asarray((forwards + _one_euro(track[::-1], rate_hz, setting)[::-1]) / 2)


def smooth_expression(expression: Track, rate_hz: float) -> Track:
    """``[T, 52]``, each channel by its own setting."""
    out = np.empty_like(expression)
    for channel, name in enumerate(ARKIT_NAMES):
        out[:, channel] = smooth(expression[:, channel], rate_hz, expression_setting(name))
    return np.asarray(np.clip(out, 0, 1))


def fill_gaps(track: Track, valid: NDArray[np.bool_]) -> Track:
    """Straight lines across the frames of ``[T, ...]`` that are not ``valid``; the ends repeat what is nearest."""
    if valid.all():
        return track.copy()
    if not valid.any():
        raise ValueError("no valid frame to fill the gaps from")
    frames = np.arange(len(track))
    flat = track.reshape(len(track), -1)
    columns = [np.interp(frames, frames[valid], column[valid]) for column in flat.T]
    return np.stack(columns, axis=1).reshape(track.shape)


def _one_euro(track: Track, rate_hz: float, setting: Setting) -> Track:
    out = np.array(track, dtype=np.float64)
    speed = np.zeros_like(out[0])
    for t in range(1, len(out)):
        change = (track[t] - out[t - 1]) * rate_hz
        speed = speed + _weight(_SPEED_HZ, rate_hz) * (change - speed)
        cutoff = setting.rest_hz + setting.per_speed * np.abs(np.where(np.abs(change) > np.abs(speed), change, speed))
        out[t] = out[t - 1] + _weight(cutoff, rate_hz) * (track[t] - out[t - 1])
    return out


def _weight(cutoff_hz: float | Track, rate_hz: float) -> Track:
    """Eq. 5's α of a first-order low-pass: 1 / (1 + τ / Δt), τ = 1 / 2πf."""
    return np.asarray(1 / (1 + rate_hz / (2 * math.pi * np.asarray(cutoff_hz))))
