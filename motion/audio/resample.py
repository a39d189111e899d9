"""Rows of an encoder at 50 Hz → features at the motion's frame rate, in exact arithmetic.

Convention: frame ``i`` is described at its centre, sample ``(i + ½) · 16000 / fps``, by linear interpolation between
the rows at samples ``320 k``. Positions are integers and `Fraction`s, so nothing drifts.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from fractions import Fraction

import torch
from torch import Tensor

from motion.audio.mel import HOP, SAMPLE_RATE

ROW_SAMPLES = 2 * HOP  # 320: Whisper's second convolution has stride 2
ROWS_HZ = SAMPLE_RATE // ROW_SAMPLES  # 50


def frame_count(samples: int, fps: Fraction) -> int:
    """Frames of a clip: ``ceil(n · fps / 16000)``."""
    return -(-samples * fps.numerator // (SAMPLE_RATE * fps.denominator))


def row_before(frame: int, fps: Fraction) -> int:
    """The last row at or before the centre of a frame."""
    return (2 * frame + 1) * fps.denominator * ROWS_HZ // (2 * fps.numerator)


def at_frames(rows: Tensor, first: int, last: int, fps: Fraction, offset: int = 0) -> Tensor:
    """Interpolate rows ``[R, C]``, the first of which is row `offset`, at frames ``first … last − 1``: ``[T, C]``."""
    divisor = 2 * fps.numerator
    places = [divmod((2 * frame + 1) * fps.denominator * ROWS_HZ, divisor) for frame in range(first, last)]
    low = torch.tensor([row - offset for row, _ in places], dtype=torch.int64, device=rows.device)
    share = torch.tensor([rest / divisor for _, rest in places], dtype=rows.dtype, device=rows.device)
    return torch.lerp(rows[low], rows[low + 1], share[:, None])


@dataclass
class RowState:
    """rows: those still needed, ``[R, C]``, the first of which is row `offset` of the clip; emitted: frames given."""

    rows: Tensor
    offset: Tensor
    emitted: Tensor

    def clone(self) -> RowState:
        return RowState(*(getattr(self, item.name).clone() for item in fields(self)))


class FrameSampler:
    """The stream form of `at_frames`: a frame comes out once the rows on both sides of its centre are there."""

    def __init__(self, fps: Fraction) -> None:
        if fps <= 0:
            raise ValueError(f"the frame rate must be positive, got {fps}")
        self.fps = fps

    def init_state(self, dim: int, device: torch.device | str = "cpu") -> RowState:
        zero = torch.zeros((), dtype=torch.int64)
        return RowState(torch.zeros(0, dim, device=device), zero, zero.clone())

    def step(self, rows: Tensor, state: RowState) -> tuple[Tensor, RowState]:
        """New rows ``[R, C]`` → frames ``[T, C]``; rows that no later frame needs are forgotten."""
        rows, offset, first = torch.cat([state.rows, rows]), int(state.offset), int(state.emitted)
        last = first
        while row_before(last, self.fps) + 1 < offset + len(rows):
            last += 1
        frames = at_frames(rows, first, last, self.fps, offset) if last > first else rows[:0]
        keep = min(max(row_before(last, self.fps) - offset, 0), len(rows))
        return frames, RowState(rows[keep:].clone(), torch.tensor(offset + keep), torch.tensor(last))
