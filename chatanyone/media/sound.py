"""The sound of a film: the recording itself, not the 16 kHz copy that the nets hear."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
from av.error import FFmpegError
from numpy.typing import NDArray

from chatanyone.errors import MediaError, reason

RATE_HZ = 48_000  # what every player and AAC encoder takes


class Sound:
    """Reads a file's first sound track block by block, at 48 kHz, at any length in the same memory.

    Args:
        path: any file FFmpeg reads; `chatanyone.media.audio.read_audio` has checked it.

    Attributes:
        channels: 1 for a mono recording, otherwise 2.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        with av.open(str(path)) as container:
            self.channels = min(2, container.streams.audio[0].codec_context.channels)
        self._blocks = self._decode()
        self._left = np.zeros((self.channels, 0), np.float32)

    def read(self, count: int) -> NDArray[np.float32]:
        """The next `count` samples, ``[channels, count]`` in [-1, 1]; silence after the end."""
        while self._left.shape[1] < count:
            block = next(self._blocks, None)
            if block is None:
                block = np.zeros((self.channels, count - self._left.shape[1]), np.float32)
            self._left = np.concatenate([self._left, block], axis=1)
        taken, self._left = self._left[:, :count], self._left[:, count:].copy()
        return taken

    def _decode(self) -> Iterator[NDArray[np.float32]]:
        layout = ("mono", "stereo")[self.channels - 1]
        resampler = av.AudioResampler(format="fltp", layout=layout, rate=RATE_HZ)
        try:
            with av.open(str(self.path)) as container:
                for frame in container.decode(container.streams.audio[0]):
                    frame.pts = None  # gaps in a file's own clock are not silence to be filled
                    yield from (np.asarray(block.to_ndarray(), np.float32) for block in resampler.resample(frame))
                yield from (np.asarray(block.to_ndarray(), np.float32) for block in resampler.resample(None))
        except (FFmpegError, ValueError, IndexError) as error:
            raise MediaError(f"the sound of {self.path} could not be read to its end ({reason(error)})") from None


def has_sound(path: str | Path) -> bool:
    """Whether a file holds a sound track; a file that cannot be opened holds none."""
    try:
        with av.open(str(path)) as container:
            return bool(container.streams.audio)
    except (FFmpegError, OSError, ValueError):
        return False
