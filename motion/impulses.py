"""What a person does of their own accord: blinks, glances, sway, breath, and which stresses they underline.

A few-step sampler that feeds on its own output averages rare events away and lets slow motion drift (measured: a
pitch of 7° after a minute), and a regression averages free choices away. So all of that comes from here and the nets
shape the motion from it (blink input: SadTalker; gaze input: VASA-1). Everything is a function of the seed and of the
frame number alone: time is cut into slots with random numbers of their own, so frame i is the same whatever was asked
before, with nothing to store and nothing to flush. Rates are our choice, within what is known of people (10 to 20
blinks a minute, lids shut in about 0.1 s and open in about 0.2 s, a saccade every one to three seconds, 12 to 18
breaths a minute). Frames are at 30 fps.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor

from motion.diffusion.ddim import frame_generator

BLINK_SLOT = 96  # frames: at most one blink in each, 3.2 s at 30 fps
BLINK_CHANCE = 0.85
GAZE_SLOT = 50  # frames: one glance in each
CALM_START = 20  # frames without blinks and glances: a stream starts as the picture is
GESTURE_NOISE = 6  # free numbers
GESTURE_CODES = GESTURE_NOISE + 2  # and sine and cosine of the breath
GESTURE_SLOT = 30  # frames between independent values of a free number
SWAY = 10  # free numbers of face and head: six of the pose, brows, frown, warmth, emphasis
SWAY_SLOTS = ((77, 0.95), (32, 0.5))  # frames between knots and weight: power mostly below 0.3 Hz
FACE_CONTROLS = 3 + SWAY
FPS = 30
BLINKS_PER_S = BLINK_CHANCE * FPS / BLINK_SLOT

_BLINK_STREAM, _GAZE_STREAM, _FIXATION_STREAM, _CODE_STREAM, _BREATH_STREAM, _SWAY_STREAM = range(1, 7)


def face_controls(seed: int, first: int, count: int, *, gaze: float = 1.0, blinks: float = 1.0) -> Tensor:
    """Controls `[count, 13]` of frames `first…`: those of `eye_controls`, then those of `sway`."""
    return torch.cat([eye_controls(seed, first, count, gaze=gaze, blinks=blinks), sway(seed, first, count)], dim=1)


def eye_controls(seed: int, first: int, count: int, *, gaze: float = 1.0, blinks: float = 1.0) -> Tensor:
    """`[count, 3]`: lid closure 0…1, gaze towards the image's right and up (−1…1, times `gaze`).

    `blinks` is their rate against `BLINKS_PER_S`. Rarer, some of the default's are left out; more often, slots are shorter.
    """
    rows = []
    for frame in range(first, first + count):
        x, y = _gaze(seed, frame)
        rows.append((_closure(seed, frame, blinks), x * gaze, y * gaze))
    return torch.tensor(rows, dtype=torch.float32).reshape(count, 3)


def sway(seed: int, first: int, count: int) -> Tensor:
    """`[count, 10]` smooth random numbers, about standard normal: pitch, yaw, roll, x, y, z, brows, frown, warmth,
    emphasis."""
    rows = [_sway(seed, frame) for frame in range(first, first + count)]
    return torch.tensor(rows, dtype=torch.float32).reshape(count, SWAY)


def gesture_code(seed: int, first: int, count: int) -> Tensor:
    """What the body does of its own accord: `[count, 8]`, a function of the frame alone.

    Six smooth random numbers, standard normal at each knot, and sine and cosine of the breath. The body stage is a
    regression; these are its freedom: which stresses get a beat, how large, with which hand. The training data's
    gestures are made from the same numbers, so the net learns what they mean.
    """
    rows = [_noise(seed, frame) + _breath(seed, frame) for frame in range(first, first + count)]
    return torch.tensor(rows, dtype=torch.float32).reshape(count, GESTURE_CODES)


def _noise(seed: int, frame: int) -> tuple[float, ...]:
    """Cosine interpolation between the knots of neighbouring slots."""
    slot, offset = divmod(frame, GESTURE_SLOT)
    blend = _smooth(offset / GESTURE_SLOT)
    here, there = (_normal(seed, s, _CODE_STREAM, GESTURE_NOISE) for s in (slot, slot + 1))
    return tuple(a + (b - a) * blend for a, b in zip(here, there))


def _sway(seed: int, frame: int) -> list[float]:
    """Two octaves of the same noise; each number has its knots elsewhere, or all would turn at once."""
    values = [0.0] * SWAY
    for octave, (length, weight) in enumerate(SWAY_SLOTS):
        for index in range(SWAY):
            slot, offset = divmod(frame + index * 11, length)
            blend = _smooth(offset / length)
            here, there = (_normal(seed, s, _SWAY_STREAM + octave, SWAY)[index] for s in (slot, slot + 1))
            values[index] += weight * (here + (there - here) * blend)
    return values


def _breath(seed: int, frame: int) -> tuple[float, float]:
    """Sine and cosine of the breath's phase; rate and start belong to the seed."""
    rate, start = _uniform(seed, 0, _BREATH_STREAM, 2)
    phase = 2 * math.pi * ((12 + 6 * rate) / 60 * frame / FPS + start)
    return math.sin(phase), math.cos(phase)


def _closure(seed: int, frame: int, rate: float = 1.0) -> float:
    """Lids at a frame: 0 open, about 1 shut. A blink shuts in 2 to 3 frames and opens in 4 to 6."""
    closure = 0.0
    chance = BLINK_CHANCE * rate
    length = BLINK_SLOT if chance <= 1 else round(BLINK_SLOT / chance)
    for slot in (frame // length - 1, frame // length):
        happens, place, depth, close, open_ = _uniform(seed, slot, _BLINK_STREAM, 5)
        if happens > chance:
            continue
        start = max(slot + place, 0) * length
        if start < CALM_START:
            continue
        close_frames, open_frames = 2.2 + close, 4.0 + 2 * open_
        after = frame - start
        if 0 < after < close_frames:
            closure = max(closure, (0.92 + 0.08 * depth) * _smooth(after / close_frames))
        elif close_frames <= after < close_frames + open_frames:
            closure = max(closure, (0.92 + 0.08 * depth) * (1 - _smooth((after - close_frames) / open_frames)))
    return closure


def _gaze(seed: int, frame: int) -> tuple[float, float]:
    """Gaze at a frame: mostly at the viewer, now and then aside; a jump takes about 60 ms."""
    slot = frame // GAZE_SLOT
    jump = slot * GAZE_SLOT + 5 + _uniform(seed, slot, _GAZE_STREAM, 1)[0] * (GAZE_SLOT - 12)
    blend = _smooth(min(max((frame - jump) / 2.5, 0.0), 1.0))
    before, after = _fixation(seed, slot - 1), _fixation(seed, slot)
    x, y = (a + (b - a) * blend for a, b in zip(before, after))
    calm = _smooth(min(max(frame / CALM_START, 0.0), 1.0))
    return x * calm, y * calm


def _fixation(seed: int, slot: int) -> tuple[float, float]:
    """Where the eyes rest after the jump of a slot."""
    away, size = _uniform(seed, slot, _FIXATION_STREAM, 2)
    x, y = _normal(seed, slot, _FIXATION_STREAM, 2)
    spread = 0.08 if away < 0.65 else 0.35 + 0.2 * size  # small corrections around the viewer, or a glance aside
    return (max(-1.0, min(1.0, spread * x)), max(-1.0, min(1.0, 0.6 * spread * y)))


@lru_cache(maxsize=256)
def _uniform(seed: int, slot: int, stream: int, count: int) -> tuple[float, ...]:
    """Numbers in [0, 1) of a slot, one stream for each kind of event."""
    return tuple(torch.rand(count, generator=frame_generator(seed ^ (stream << 40), slot)).tolist())


@lru_cache(maxsize=256)
def _normal(seed: int, slot: int, stream: int, count: int) -> tuple[float, ...]:
    """Standard normal numbers of a slot."""
    return tuple(torch.randn(count, generator=frame_generator(seed ^ (stream << 41), slot)).tolist())


def _smooth(x: float) -> float:
    """0 → 1 with flat ends."""
    return 0.5 - 0.5 * math.cos(math.pi * x)
