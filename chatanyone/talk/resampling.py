"""Sound that comes in pieces → 16 kHz, without a seam between the pieces."""

from __future__ import annotations

import av
import numpy as np
from av.audio.frame import AudioFrame
from numpy.typing import NDArray

from chatanyone.timebase import SAMPLE_RATE_HZ


class PcmStream:
    """Little-endian int16 bytes, mono, cut anywhere → float32 at 16 kHz. One per stream: FFmpeg's filter has a memory."""

    def __init__(self, rate_hz: int) -> None:
        self._rate_hz, self._rest = rate_hz, b""
        self._resampler = av.AudioResampler(format="flt", layout="mono", rate=SAMPLE_RATE_HZ)
        self._position = 0

    @property
    def fresh(self) -> bool:
        """Nothing came yet."""
        return not self._position and not self._rest

    def push(self, data: bytes) -> NDArray[np.float32]:
        """Samples ``[n]`` that are ready; half a sample waits for its other half."""
        data = self._rest + data
        whole = len(data) // 2 * 2
        self._rest = data[whole:]
        if not whole:
            return np.zeros(0, np.float32)
        samples = np.frombuffer(data[:whole], "<i2").astype(np.float32) / 32768
        frame = AudioFrame.from_ndarray(samples[None], format="flt", layout="mono")
        frame.sample_rate, frame.pts = self._rate_hz, self._position
        self._position += len(samples)
        return _joined(self._resampler.resample(frame))

    def flush(self) -> NDArray[np.float32]:
        """The last samples."""
        return _joined(self._resampler.resample(None)) if self._position else np.zeros(0, np.float32)


def _joined(frames: list[AudioFrame]) -> NDArray[np.float32]:
    return np.concatenate([np.zeros(0, np.float32), *(frame.to_ndarray()[0] for frame in frames)]).astype(np.float32)
