"""Sound files: whatever PyAV reads → mono float32 at 16 kHz, and back to WAV."""

from __future__ import annotations

import wave
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.error import FFmpegError

from chatanyone.errors import MediaError, reason

SAMPLE_RATE = 16000


def read_audio(path: str | Path) -> np.ndarray:
    """The sound of any file with an audio stream (a video too): float32 ``[round(n · 16000 / rate)]``, mono, 16 kHz.

    Channels are averaged. The first audio stream counts.

    Raises:
        MediaError: the file is missing, a folder, not a media file, without sound, empty, or holds NaN or infinity.
    """
    path = Path(path)
    if path.is_dir():
        raise MediaError(f"Expected a sound file but {path} is a folder; name a file in it.")
    if not path.exists():
        raise MediaError(f"Expected a sound file at {path} but there is none; check the path.")
    if path.stat().st_size == 0:
        raise MediaError(f"The sound file {path} is empty (0 bytes); record or export it again.")
    try:
        samples, rate_hz = _decode(path)
    except (FFmpegError, ValueError, UnicodeDecodeError) as error:
        raise MediaError(f"{path} is not a sound file that FFmpeg can read ({reason(error)}); convert it to WAV.") from error
    return _checked(path, samples, rate_hz)


def _decode(path: Path) -> tuple[np.ndarray, int]:
    with av.open(str(path)) as container:
        if not container.streams.audio:
            raise MediaError(f"{path} has no audio stream; give a file with sound.")
        stream = container.streams.audio[0]
        chunks = [_mono(frame) for frame in _frames(container, stream)]
        rate_hz = int(stream.rate or stream.codec_context.sample_rate)
    samples = np.concatenate(chunks) if chunks else np.zeros(0, np.float32)
    return samples, rate_hz


def _frames(container: av.container.InputContainer, stream: AudioStream) -> Iterator[AudioFrame]:
    yield from container.decode(stream)


def _mono(frame: AudioFrame) -> np.ndarray:
    """One frame as the mean of its channels, float32 in [-1, 1]."""
    data = frame.to_ndarray()
    channels = frame.layout.nb_channels
    if not frame.format.is_planar:
        data = data.reshape(-1, channels).T
    if data.dtype == np.uint8:
        return ((data.astype(np.float32) - 128) / 128).mean(0)
    if data.dtype.kind == "i":
        return (data / 2.0 ** (8 * data.dtype.itemsize - 1)).mean(0).astype(np.float32)
    return data.astype(np.float32).mean(0)


def _checked(path: Path, samples: np.ndarray, rate_hz: int) -> np.ndarray:
    if not len(samples):
        raise MediaError(f"The sound of {path} has no samples; give a recording that is longer than nothing.")
    bad = int(np.count_nonzero(~np.isfinite(samples)))
    if bad:
        raise MediaError(
            f"The sound of {path} holds {bad} samples that are NaN or infinite; export it again as 16-bit WAV."
        )
    return resample(samples, rate_hz)


def resample(samples: np.ndarray, rate_hz: int, to_hz: int = SAMPLE_RATE) -> np.ndarray:
    """Mono float32 at another rate, with exactly ``round(n · to_hz / rate_hz)`` samples."""
    count = (2 * len(samples) * to_hz + rate_hz) // (2 * rate_hz)
    if rate_hz == to_hz:
        return samples.astype(np.float32)
    resampler = av.AudioResampler(format="flt", layout="mono", rate=to_hz)
    chunks = [frame.to_ndarray()[0] for part in _blocks(samples, rate_hz) for frame in resampler.resample(part)]
    chunks += [frame.to_ndarray()[0] for frame in resampler.resample(None)]
    result = np.concatenate(chunks) if chunks else np.zeros(0, np.float32)
    return np.pad(result, (0, max(0, count - len(result))))[:count].astype(np.float32)


def _blocks(samples: np.ndarray, rate_hz: int) -> Iterator[AudioFrame]:
    """Frames of one second: FFmpeg counts the samples of a frame in 32 bits."""
    for start in range(0, len(samples), rate_hz):
        part = np.ascontiguousarray(samples[None, start:start + rate_hz], np.float32)
        frame = AudioFrame.from_ndarray(part, format="flt", layout="mono")
        frame.sample_rate, frame.pts = rate_hz, start
        yield frame


def write_wav(path: str | Path, samples: np.ndarray, rate_hz: int = SAMPLE_RATE) -> None:
    """Mono float samples ``[N]`` in [-1, 1] as a 16-bit WAV file; louder ones are clipped."""
    path = Path(path)
    if not path.parent.is_dir():
        raise MediaError(f"Cannot write {path}: the folder {path.parent} does not exist; make it first.")
    data = np.round(np.clip(samples, -1, 1) * 32767).astype("<i2")
    try:
        with wave.open(str(path), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(rate_hz)
            file.writeframes(data.tobytes())
    except OSError as error:
        raise MediaError(f"Cannot write {path} ({error.strerror}); choose another place.") from error
