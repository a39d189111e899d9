"""From speech fed to the engine to the sound of units: three times the rate, as late as the pictures are."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.signal import firwin, upfirdn

from chatanyone.stream.speech import Piece
from chatanyone.stream.types import UNIT_SAMPLES
from chatanyone.stream.units import UPSAMPLING

FADE_SAMPLES = 384  # 8 ms at 48 kHz: how sound that is cut off ends, without a click (our choice)
_TAPS = 24 * UPSAMPLING  # the low-pass delays by half of it, 0.75 ms


class Upsampler:
    """16 → 48 kHz as a stream: three samples for each, low-passed below 8 kHz, 0.75 ms late."""

    def __init__(self) -> None:
        self._filter = firwin(_TAPS, 0.95 / UPSAMPLING).astype(np.float32) * UPSAMPLING
        self._past = np.zeros(_TAPS // UPSAMPLING, np.float32)

    def __call__(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """``[n]`` → ``[3n]``."""
        known = np.concatenate([self._past, samples])
        start = len(self._past) * UPSAMPLING
        self._past = known[len(known) - len(self._past):]
        return upfirdn(self._filter, known, UPSAMPLING)[start:start + len(samples) * UPSAMPLING].astype(np.float32)


@dataclass(frozen=True)
class Span:
    """Speech of a turn in the fed stream: from sample `start` of the stream on, `count` samples, the turn's from `first`."""

    turn: int
    start: int
    first: int
    count: int


class SoundTrack:
    """The sound of one engine's life. Units come out in the order in which pieces went in, `lag` later.

    Holds `lag` and the units that are being drawn, a few hundred milliseconds.

    Args:
        lag: samples at 48 kHz between a piece's start and the start of the unit that its step completes: how far the
            engine looks ahead.
    """

    def __init__(self, lag: int) -> None:
        self._upsample = Upsampler()
        self._line = np.zeros(lag, np.float32)
        self._spans: deque[Span] = deque()
        self._fed = 0  # 16 kHz
        self._given = -lag  # 48 kHz, on the same axis

    def feed(self, piece: Piece, turn: int) -> None:
        if piece.count:
            self._spans.append(Span(turn, self._fed + piece.offset, piece.first, piece.count))
        self._line = np.concatenate([self._line, self._upsample(piece.samples)])
        self._fed += len(piece.samples)

    def unit(self) -> tuple[NDArray[np.int16], Span | None]:
        """The next unit's sound and the last speech that was heard by its end, as a span up to there.

        Raises:
            ValueError: nothing was fed for it.
        """
        if len(self._line) < UNIT_SAMPLES:
            raise ValueError(f"expected {UNIT_SAMPLES} samples of sound, the engine was fed for {len(self._line)}")
        sound, self._line = self._line[:UNIT_SAMPLES], self._line[UNIT_SAMPLES:]
        self._given += UNIT_SAMPLES
        return to_int16(sound), self._heard(self._given // UPSAMPLING)

    def cut(self) -> None:
        """Everything that has not been given fades out within 8 ms."""
        count = min(FADE_SAMPLES, len(self._line))
        self._line[:count] *= np.linspace(1, 0, count, dtype=np.float32)
        self._line[count:] = 0
        self._upsample = Upsampler()
        self._spans.clear()

    def gap(self) -> NDArray[np.int16]:
        """Silence in place of a unit that is late: what is said breaks off within 8 ms and begins again as softly."""
        count = min(FADE_SAMPLES, len(self._line))
        sound, fade = np.zeros(UNIT_SAMPLES, np.float32), np.linspace(1, 0, count, dtype=np.float32)
        sound[:count] = self._line[:count] * fade
        self._line = np.concatenate([self._line[:count] * (1 - fade if self._spans else 0), self._line[count:]])
        return to_int16(sound)

    def _heard(self, position: int) -> Span | None:
        last = None
        while self._spans and self._spans[0].start < position:
            span = self._spans[0]
            last = replace(span, count=min(position - span.start, span.count))
            if last.count < span.count:
                break
            self._spans.popleft()
        return last


def to_int16(sound: NDArray[np.float32]) -> NDArray[np.int16]:
    return (sound.clip(-1, 1) * 32767).round().astype(np.int16)
