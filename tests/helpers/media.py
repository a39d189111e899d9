"""Small real files for the tests, and what is in a written film."""

from __future__ import annotations

import struct
import zlib
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image


class Film(NamedTuple):
    """What a player would see of a file; times in seconds."""

    frames: int
    size: tuple[int, int]
    fps: Fraction
    video_start_s: float
    video_length_s: float
    audio_start_s: float | None
    audio_length_s: float | None


def probe(path: Path) -> Film:
    """Decodes a whole file; the counts are of what came out, not of what the header says."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        pictures = list(container.decode(stream))
        fps = Fraction(stream.average_rate or 0)
        times = [float(frame.time or 0) for frame in pictures]
        size = (stream.width, stream.height)
    audio_start, audio_length = _probe_audio(path)
    return Film(len(pictures), size, fps, times[0], times[-1] - times[0] + float(1 / fps), audio_start, audio_length)


def _probe_audio(path: Path) -> tuple[float | None, float | None]:
    with av.open(str(path)) as container:
        if not container.streams.audio:
            return None, None
        stream = container.streams.audio[0]
        assert stream.duration is not None and stream.time_base is not None
        blocks = list(container.decode(stream))
        return float(blocks[0].time or 0), float(stream.duration * stream.time_base)


def gradient(height: int, width: int) -> NDArray[np.uint8]:
    """A picture whose four corners differ, so that a flip or a turn cannot go unseen: RGB ``[H, W, 3]``."""
    y, x = np.mgrid[0:height, 0:width]
    channels = (x * 255 // max(1, width - 1), y * 255 // max(1, height - 1), np.full_like(x, 64))
    return np.stack(channels, axis=-1).astype(np.uint8)


def write_picture(path: Path, height: int = 96, width: int = 80) -> Path:
    Image.fromarray(gradient(height, width)).save(path)
    return path


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_header(width: int, height: int) -> bytes:
    """A PNG of the claimed size with hardly any data behind it."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", zlib.compress(bytes(1000)))
