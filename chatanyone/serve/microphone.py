"""The user's sound: RTP packets as the network brings them → 16 kHz float32, in order, without gaps.

aiortc's own buffer waits for four packets before it gives one, and for 320 ms when one is lost; an interruption cannot wait
so long. Here a packet that is in order goes on at once; only a missing one is waited for, `REORDER` packets long.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
import numpy as np
from av.audio.resampler import AudioResampler
from numpy.typing import NDArray

from chatanyone.serve.encode import SOUND_BLOCK
from chatanyone.stream.types import SOUND_HZ

HEARD_HZ = 16_000
REORDER = 3  # packets that may overtake a missing one before it counts as lost: 60 ms
MOST_SILENCE = SOUND_HZ  # samples; a longer gap is no gap but a new beginning
_SEQUENCES, _STAMPS = 1 << 16, 1 << 32


@dataclass(frozen=True)
class Piece:
    """Coded sound, in order; `silence`: 48 kHz samples that are missing before it."""

    data: bytes
    silence: int = 0


class Sorter:
    """Late, doubled and overtaken packets → pieces in order. Holds `REORDER` packets at most."""

    def __init__(self) -> None:
        self.late = self.doubled = self.lost = 0
        self._waiting: dict[int, tuple[int, bytes]] = {}  # sequence number → time stamp, data
        self._next: int | None = None  # sequence number
        self._stamp: int | None = None  # where the next piece should begin, 48 kHz

    def push(self, sequence: int, stamp: int, data: bytes) -> Iterator[Piece]:
        """One packet as it came: 16-bit sequence number, 32-bit time stamp."""
        if self._next is None or self._far(sequence):
            self._restart(sequence)
        if _ahead(sequence, self._next) < 0:
            self.late += 1
            return
        if sequence in self._waiting:
            self.doubled += 1
            return
        self._waiting[sequence] = (stamp, data)
        yield from self._ready()

    def _far(self, sequence: int) -> bool:
        """The client started again: no reordering jumps that far."""
        return abs(_ahead(sequence, self._next)) > 500

    def _restart(self, sequence: int) -> None:
        self._waiting.clear()
        self._next, self._stamp = sequence, None

    def _ready(self) -> Iterator[Piece]:
        while self._waiting:
            assert self._next is not None
            if self._next not in self._waiting:
                if len(self._waiting) <= REORDER:
                    return
                first = min(self._waiting, key=lambda number: _ahead(number, self._next))
                self.lost += _ahead(first, self._next)
                self._next = first
            yield self._take(self._next)
            self._next = (self._next + 1) % _SEQUENCES

    def _take(self, sequence: int) -> Piece:
        stamp, data = self._waiting.pop(sequence)
        missing = 0 if self._stamp is None else (stamp - self._stamp + _STAMPS // 2) % _STAMPS - _STAMPS // 2
        self._stamp = (stamp + opus_samples(data)) % _STAMPS
        return Piece(data, missing if 0 < missing <= MOST_SILENCE else 0)


class Microphone:
    """Opus packets → the user's sound. Not thread-safe; less than a millisecond a packet."""

    def __init__(self) -> None:
        self.sorter = Sorter()
        self.broken = 0
        self._decoder: Any = av.CodecContext.create("libopus", "r")
        self._decoder.sample_rate, self._decoder.format, self._decoder.layout = SOUND_HZ, "s16", "mono"
        self._resampler = AudioResampler(format="flt", layout="mono", rate=HEARD_HZ)
        self._pts = 0

    def push(self, sequence: int, stamp: int, data: bytes) -> NDArray[np.float32]:
        """Sound that is in order now, 16 kHz in [-1, 1]; may be empty."""
        parts = [part for piece in self.sorter.push(sequence, stamp, data) for part in self._decode(piece)]
        return np.concatenate(parts) if parts else np.empty(0, np.float32)

    def _decode(self, piece: Piece) -> Iterator[NDArray[np.float32]]:
        if piece.silence:
            yield from self._resample(np.zeros(piece.silence, np.int16))
        try:
            frames = self._decoder.decode(av.Packet(piece.data))
        except av.FFmpegError:
            self.broken += 1
            return
        for frame in frames:
            yield from self._resample(frame.to_ndarray().reshape(-1))

    def _resample(self, samples: NDArray[np.int16]) -> Iterator[NDArray[np.float32]]:
        frame = av.AudioFrame.from_ndarray(samples[None], format="s16", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = SOUND_HZ, self._pts, Fraction(1, SOUND_HZ)
        self._pts += frame.samples
        for out in self._resampler.resample(frame):
            yield out.to_ndarray().reshape(-1).astype(np.float32, copy=False)


def opus_samples(data: bytes) -> int:
    """48 kHz samples in an Opus packet, from its first bytes (RFC 6716, section 3.1); 20 ms where they make no sense."""
    if not data:
        return SOUND_BLOCK
    config, code = data[0] >> 3, data[0] & 3
    if config < 12:
        frame = (480, 960, 1920, 2880)[config & 3]
    elif config < 16:
        frame = (480, 960)[config & 1]
    else:
        frame = (120, 240, 480, 960)[config & 3]
    count = (1, 2, 2, data[1] & 63 if len(data) > 1 else 1)[code]
    return frame * count if 0 < frame * count <= 5760 else SOUND_BLOCK


def _ahead(sequence: int, reference: int | None) -> int:
    """How far `sequence` is after `reference`, wrapped: -32768 … 32767."""
    return (sequence - (reference or 0) + _SEQUENCES // 2) % _SEQUENCES - _SEQUENCES // 2
