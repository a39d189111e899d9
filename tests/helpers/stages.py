"""Stand-ins for the nets: tiny, exact, with the look-ahead and the state that the real ones have."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import torch
from torch import Tensor

from chatanyone import timebase
from chatanyone.pipeline import Stages, Strengths, Style
from motion.layers.state import StreamState
from motion.types import BODY_DIM, FACE_DIM, BodyMotion, FaceMotion


@dataclass
class _Held(StreamState):
    """Rows a stage has received and not given out, and a value that depends on all before."""

    held: Tensor
    running: Tensor
    seen: int = 0


class LoudnessStage:
    """Features: mean, peak and running mean of each frame's samples; `look_ahead` frames late."""

    def __init__(self, fps: Fraction, look_ahead: int = 2) -> None:
        self.fps, self.look_ahead = fps, look_ahead

    def init_state(self) -> _Held:
        return _Held(torch.zeros(0), torch.zeros(1))

    def step(self, samples: Tensor, state: _Held) -> tuple[Tensor, _Held]:
        return self._give(replace(state, held=torch.cat([state.held, samples])), self.look_ahead)

    def flush(self, state: _Held) -> tuple[Tensor, _Held]:
        """Silence follows up to the end of the last frame."""
        received = timebase.first_sample(state.seen, self.fps) + len(state.held)
        end = timebase.first_sample(timebase.frames_for_samples(received, self.fps), self.fps)
        return self._give(replace(state, held=torch.cat([state.held, torch.zeros(end - received)])), 0)

    def _give(self, state: _Held, look_ahead: int) -> tuple[Tensor, _Held]:
        rows, held, running, seen = [], state.held, state.running, state.seen
        while True:
            start = timebase.first_sample(seen, self.fps)
            size = timebase.first_sample(seen + 1, self.fps) - start
            if len(held) < timebase.first_sample(seen + 1 + look_ahead, self.fps) - start:
                break
            mine, held, seen = held[:size], held[size:].clone(), seen + 1
            running = 0.9 * running + mine.mean()
            rows.append(torch.cat([mine.mean()[None], mine.abs().max()[None], running]))
        return torch.stack(rows) if rows else torch.zeros(0, 3), _Held(held, running, seen)


class FaceStandIn:
    """Jaw follows the peak; emits in blocks, as a windowed sampler does."""

    def __init__(self, block: int = 3) -> None:
        self.block = block

    def init_state(self, seed: int, style: Style, strengths: Strengths) -> _Held:
        return _Held(torch.zeros(0, 3), torch.full((1,), seed / 100 + strengths.expression))

    def step(self, features: Tensor, state: _Held) -> tuple[FaceMotion, _Held]:
        rows = torch.cat([state.held, features])
        count = len(rows) // self.block * self.block
        return self._motion(rows[:count], state), replace(state, held=rows[count:].clone())

    def flush(self, state: _Held) -> tuple[FaceMotion, _Held]:
        return self._motion(state.held, state), replace(state, held=state.held[:0])

    def _motion(self, rows: Tensor, state: _Held) -> FaceMotion:
        packed = torch.zeros(len(rows), FACE_DIM)
        packed[:, :3] = rows
        packed[:, 3] = state.running
        return FaceMotion.unpack(packed)


class BodyStandIn:
    """The first keypoint follows the running mean, one frame late."""

    def init_state(self, seed: int, portrait: Any, strengths: Strengths) -> _Held:
        return _Held(torch.zeros(0, 3), torch.full((1,), strengths.gesture))

    def step(self, features: Tensor, face: FaceMotion, state: _Held) -> tuple[BodyMotion, _Held]:
        rows = torch.cat([state.held, face.packed()[:, :3]])
        return self._motion(rows[:-1], state), replace(state, held=rows[-1:].clone())

    def flush(self, state: _Held) -> tuple[BodyMotion, _Held]:
        return self._motion(state.held, state), replace(state, held=state.held[:0])

    def _motion(self, rows: Tensor, state: _Held) -> BodyMotion:
        packed = torch.zeros(len(rows), BODY_DIM)
        packed[:, 0] = rows[:, 2] * state.running
        return BodyMotion.unpack(packed)


class FlatScene:
    """Frames of one colour that spells the motion: red the jaw, green the body, blue what `seed` and dials gave."""

    def __init__(self, portrait: Any, size: tuple[int, int] = (64, 96)) -> None:
        self.size = size

    def __call__(self, face: FaceMotion, body: BodyMotion) -> Tensor:
        colour = torch.stack([face.expression[:, 1], body.delta[:, 0, 0], face.expression[:, 3] / 4], dim=1)
        width, height = self.size
        return colour[:, :, None, None].expand(-1, -1, height, width)


def stand_ins(fps: Fraction = Fraction(30), size: tuple[int, int] = (64, 96)) -> Stages:
    return Stages(LoudnessStage(fps), FaceStandIn(), BodyStandIn(), lambda portrait: FlatScene(portrait, size))


class NoiseScene(FlatScene):
    """Frames that do not compress, to fill a disk."""

    def __call__(self, face: FaceMotion, body: BodyMotion) -> Tensor:
        width, height = self.size
        return torch.rand(len(face.expression), 3, height, width)
