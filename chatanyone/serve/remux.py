"""Coded pictures as they are, and sound as AAC, into a container: MP4 on disk, FLV to an RTMP server."""

from __future__ import annotations

import io
from fractions import Fraction
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from chatanyone.serve.encode import VIDEO_HZ, Packet
from chatanyone.stream.types import SOUND_HZ, UNIT_SAMPLES

AAC_BIT_RATE = 96_000
_SAMPLES_PER_TICK = Fraction(SOUND_HZ, VIDEO_HZ)
_KEPT_SAMPLES = 4 * UNIT_SAMPLES  # sound that waits for the first key frame


class Remux:
    """Starts with the first key frame: its time is 0 for pictures and sound alike. Not thread-safe; may block.

    Args:
        target: path or URL.
        kind: ``mp4`` or ``flv``.
        options: of the container.

    Raises:
        OSError: the target cannot be written (any of the methods).
    """

    def __init__(self, target: str, kind: str, options: dict[str, str] | None = None) -> None:
        self._target, self._kind, self._options = target, kind, options or {}
        self._container: Any = None
        self._start = 0  # 90 kHz
        self._waiting: list[tuple[int, NDArray[np.int16]]] = []  # position, 48 kHz, and sound before the first key frame
        self._samples = 0  # written
        self.pictures = 0

    @property
    def started(self) -> bool:
        """A key frame came."""
        return self._container is not None

    def picture(self, packet: Packet) -> None:
        """One coded H.264 picture."""
        if self._container is None:
            if not packet.key:
                return
            self._open(packet)
        out = av.Packet(packet.data)
        out.stream = self._video
        out.pts = out.dts = packet.pts - self._start
        out.time_base = Fraction(1, VIDEO_HZ)
        out.is_keyframe = packet.key
        self._container.mux(out)
        self.pictures += 1

    def sound(self, samples: NDArray[np.int16], unit: int) -> None:
        """A unit's sound, mono at 48 kHz."""
        self._waiting.append((unit * UNIT_SAMPLES, samples))
        if self._container is not None:
            for position, part in self._waiting:
                self._write_sound(position, part)
            self._waiting.clear()
        while sum(len(part) for _, part in self._waiting) > _KEPT_SAMPLES:
            self._waiting.pop(0)

    def close(self) -> None:
        """Ends the container."""
        if self._container is not None:
            self._container.mux(self._audio.encode(None))
            self._container.close()
            self._container = None

    def _open(self, key: Packet) -> None:
        self._start = key.pts
        container = av.open(self._target, "w", format=self._kind, options=self._options)
        # Size and parameter sets are read from the key frame itself.
        with av.open(io.BytesIO(key.data), format="h264") as source:
            self._video: Any = container.add_stream_from_template(source.streams.video[0])
        self._video.time_base = Fraction(1, VIDEO_HZ)
        self._audio: Any = container.add_stream("aac", rate=SOUND_HZ, layout="mono")
        self._audio.bit_rate = AAC_BIT_RATE
        self._container = container

    def _write_sound(self, position: int, samples: NDArray[np.int16]) -> None:
        """Keeps the sound's own count on the clock: what is too early is cut, what is missing is silence."""
        start = position - int(self._start * _SAMPLES_PER_TICK) - self._samples
        samples = samples[-start:] if start < 0 else np.pad(samples, (start, 0))
        if not len(samples):
            return
        frame = av.AudioFrame.from_ndarray((samples / np.float32(32768))[None].astype(np.float32), "fltp", "mono")
        frame.sample_rate, frame.pts, frame.time_base = SOUND_HZ, self._samples, Fraction(1, SOUND_HZ)
        self._samples += len(samples)
        self._container.mux(self._audio.encode(frame))
