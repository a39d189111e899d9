"""When people blink and where they look: seeded, and a function of the frame number alone.

Blinks and saccades are events: a few-step sampler averages them away, so their times come from here and the net shapes
lids and gaze from them (blink input: SadTalker; gaze input: VASA-1). The same goes for which syllables a speaker's hands
and head underline. Time is cut into slots with random numbers of their own, so that frame i is the same whatever
was asked before: nothing to store, nothing to flush. Rates are our choice, within what is known of people (10 to 20
blinks a minute, lids shut in about 0.1 s and open in about 0.2 s, a saccade every one to three seconds).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from motion.diffusion.ddim import frame_generator

BLINK_SLOT = 96  # frames: at most one blink in each, 3.2 s at 30 fps
BLINK_CHANCE = 0.85
GAZE_SLOT = 50  # frames: one glance in each
GESTURE_CODES = 6
GESTURE_SLOT = 30  # frames between independent values of the gesture code

_BLINK_STREAM, _GAZE_STREAM, _CODE_STREAM = 0x51, 0x67, 0x63


def eye_controls(seed: int, first: int, count: int, *, liveliness: float = 1.0) -> Tensor:
    """Controls `[count, 3]` of frames `first…`: lid closure 0…1, gaze towards the image's right and up (−1…1)."""
    rows = []
    for frame in range(first, first + count):
        x, y = _gaze(seed, frame)
        rows.append((_closure(seed, frame), x * liveliness, y * liveliness))
    return torch.tensor(rows, dtype=torch.float32).reshape(count, 3)


def gesture_code(seed: int, first: int, count: int) -> Tensor:
    """Smooth random numbers `[count, 6]`, standard normal at each knot, a function of the frame alone.

    The body stage is a regression; these are its freedom: which stresses get a beat, how large, with which hand. The
    training data's gestures are made from the same numbers, so the net learns what they mean.
    """
    rows = []
    for frame in range(first, first + count):
        slot, offset = divmod(frame, GESTURE_SLOT)
        blend = _smooth(offset / GESTURE_SLOT)
        here, there = (torch.randn(GESTURE_CODES, generator=_generator(seed, s, _CODE_STREAM)) for s in (slot, slot + 1))
        rows.append(here + (there - here) * blend)
    return torch.stack(rows) if rows else torch.zeros(0, GESTURE_CODES)


def _closure(seed: int, frame: int) -> float:
    """Lids at a frame: 0 open, about 1 shut. A blink shuts in 2 to 3 frames and opens in 4 to 6."""
    closure = 0.0
    for slot in (frame // BLINK_SLOT - 1, frame // BLINK_SLOT):
        happens, place, depth, close, open_ = torch.rand(5, generator=_generator(seed, slot, _BLINK_STREAM)).tolist()
        if happens > BLINK_CHANCE:
            continue
        start = slot * BLINK_SLOT + place * BLINK_SLOT
        close_frames, open_frames = 2.2 + close, 4.0 + 2 * open_
        after = frame - start
        if 0 < after < close_frames:
            closure = max(closure, (0.92 + 0.08 * depth) * _smooth(after / close_frames))
        elif close_frames <= after < close_frames + open_frames:
            closure = max(closure, (0.92 + 0.08 * depth) * (1 - _smooth((after - close_frames) / open_frames)) )
    return closure


def _gaze(seed: int, frame: int) -> tuple[float, float]:
    """Gaze at a frame: mostly at the viewer, now and then aside; a jump takes about 60 ms."""
    slot = frame // GAZE_SLOT
    jump = slot * GAZE_SLOT + 5 + torch.rand(1, generator=_generator(seed, slot, _GAZE_STREAM)).item() * (GAZE_SLOT - 12)
    blend = _smooth(min(max((frame - jump) / 2.5, 0.0), 1.0))
    before, after = _fixation(seed, slot - 1), _fixation(seed, slot)
    return (before[0] + (after[0] - before[0]) * blend, before[1] + (after[1] - before[1]) * blend)


def _fixation(seed: int, slot: int) -> tuple[float, float]:
    """Where the eyes rest after the jump of a slot."""
    generator = _generator(seed, slot, _GAZE_STREAM + 1)
    away, size = torch.rand(2, generator=generator).tolist()
    x, y = torch.randn(2, generator=generator).tolist()
    spread = 0.08 if away < 0.65 else 0.35 + 0.2 * size  # small corrections around the viewer, or a glance aside
    return (max(-1.0, min(1.0, spread * x)), max(-1.0, min(1.0, 0.6 * spread * y)))


def _generator(seed: int, slot: int, stream: int) -> torch.Generator:
    """One stream of random numbers for each kind of event."""
    return frame_generator(seed ^ (stream << 40), slot)


def _smooth(x: float) -> float:
    """0 → 1 with flat ends."""
    return 0.5 - 0.5 * math.cos(math.pi * x)
