"""Frames with time stamps to and from files, through PyAV (FFmpeg's libraries, no program to install)."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any

import av
import numpy as np
from av.video.reformatter import ColorRange, Colorspace, VideoReformatter
from numpy.typing import NDArray

from chatanyone import timebase
from chatanyone.errors import MediaError, reason

CRF = "19"  # our choice: x264's constant rate factor
TUNE = "grain"  # our choice: hair, skin and cloth keep 0.97 of their fine detail; 0.80 without it at CRF 18 and 2/3 the size
PRESET = "veryfast"  # our choice: 4 ms a frame on one core, about a quarter larger than the default preset
AUDIO_BIT_RATE = 96_000  # per channel
# AAC codes blocks of 1024 samples; at 48 kHz a block (21 ms) is shorter than a frame, at 16 kHz (64 ms) it is not.
AUDIO_RATE_HZ = 48_000
BT709 = 1  # primaries, transfer and matrix alike, in ITU-T H.273's numbering

_DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def check_output(path: str | Path, force: bool = False, suffixes: tuple[str, ...] = (".mp4",)) -> Path:
    """Refuses an output path early, before minutes of work are spent on it.

    Raises:
        MediaError: another file type, no such folder, a folder itself, or the file exists and `force` is not set.
    """
    path = Path(path)
    if path.suffix.lower() not in suffixes:
        raise MediaError(f"the output must end in {' or '.join(suffixes)}, not '{path.name}'")
    if not path.parent.is_dir():
        raise MediaError(f"the output folder {path.parent} does not exist; create it first")
    if path.is_dir():
        raise MediaError(f"the output {path} is a folder; give the path of a file")
    if path.exists() and not force:
        raise MediaError(f"{path} exists already; give another name, or --force to overwrite it")
    if not os.access(path.parent, os.W_OK):
        raise MediaError(f"the output folder {path.parent} may not be written; choose another")
    return path


class VideoWriter:
    """H.264 and AAC in MP4: sound and picture start together at 0 and end within one frame of each other.

    The file grows under a hidden name beside the target and takes the target's name when it is whole, so that neither
    Ctrl-C nor a full disk leaves a broken file. Use it as a context manager: leaving by an exception discards.

    Args:
        path: target, ``.mp4``.
        size: width and height, pixels, both even.
        fps: frame rate.
        audio_rate_hz: rate of the samples given to `write_audio`; None writes a silent film without a sound track.
        channels: of those samples, 1 or 2.
        force: overwrite the target.
    """

    def __init__(self, path: str | Path, size: tuple[int, int], fps: Fraction, audio_rate_hz: int | None = None,
                 channels: int = 1, force: bool = False) -> None:
        self.path = check_output(path, force)
        self.fps = fps
        self.frames = self.samples = 0
        self._convert = VideoReformatter()  # one for all frames: its tables take longer than a frame
        self._partial = self.path.with_name(f".{self.path.name}.{os.getpid()}.partial")
        self._container: av.container.OutputContainer | None = None
        try:
            self._open(size, audio_rate_hz, channels)
        except OSError as error:
            raise self._failed(error) from error

    def _open(self, size: tuple[int, int], audio_rate_hz: int | None, channels: int) -> None:
        self._container = av.open(str(self._partial), "w", format="mp4", options={"movflags": "+faststart"})
        options = {"crf": CRF, "preset": PRESET, "tune": TUNE}
        self._video = self._container.add_stream("libx264", rate=self.fps, options=options)
        self._video.width, self._video.height = size
        self._video.pix_fmt = "yuv420p"
        context = self._video.codec_context
        context.time_base = 1 / self.fps
        # Named, or players guess by picture height and skin turns green or red.
        context.colorspace = context.color_primaries = context.color_trc = BT709
        context.color_range = ColorRange.MPEG
        self._audio = None
        self._audio_rate_hz = audio_rate_hz
        self._layout = ("mono", "stereo")[channels - 1]
        if audio_rate_hz is not None:
            self._audio = self._container.add_stream("aac", rate=AUDIO_RATE_HZ, layout=self._layout)
            self._audio.bit_rate = AUDIO_BIT_RATE * channels
            self._resampler = av.AudioResampler(format="fltp", layout=self._layout, rate=AUDIO_RATE_HZ)

    def write(self, frame: NDArray[np.uint8]) -> None:
        """Appends one frame, RGB ``[H, W, 3]``."""
        if frame.shape != (self._video.height, self._video.width, 3):
            raise ValueError(f"expected a frame of {self._video.width} x {self._video.height}, got {frame.shape}")
        picture = self._convert.reformat(av.VideoFrame.from_ndarray(frame, format="rgb24"), format="yuv420p",
                                         dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG)
        picture.pts, picture.time_base = self.frames, 1 / self.fps
        self.frames += 1
        self._mux(self._video, picture)

    def write_audio(self, samples: NDArray[np.float32]) -> None:
        """Appends sound, float ``[n]`` or ``[channels, n]`` in [-1, 1] at `audio_rate_hz`."""
        if self._audio is None or self._audio_rate_hz is None:
            raise ValueError("this writer was opened without a sound track")
        count = samples.shape[-1]
        if not count:
            return
        planes = np.ascontiguousarray(np.atleast_2d(samples), np.float32)
        pcm = av.AudioFrame.from_ndarray(planes, format="fltp", layout=self._layout)
        pcm.sample_rate, pcm.pts = self._audio_rate_hz, self.samples
        pcm.time_base = Fraction(1, self._audio_rate_hz)
        self.samples += count
        for block in self._resampler.resample(pcm):
            self._mux(self._audio, block)

    def close(self) -> None:
        """Ends both tracks and gives the file its name."""
        if self._container is None:
            return
        try:
            self._end_sound()
            self._mux(self._video, None)
            self._container.close()
            self._container = None
            os.replace(self._partial, self.path)
        except OSError as error:
            raise self._failed(error) from error

    def _end_sound(self) -> None:
        """Silence up to the end of the last frame, so that both tracks end together."""
        if self._audio is None or self._audio_rate_hz is None:
            return
        missing = timebase.first_sample(self.frames, self.fps, self._audio_rate_hz) - self.samples
        channels = 1 + (self._layout == "stereo")
        self.write_audio(np.zeros((channels, max(0, missing)), np.float32))
        for block in self._resampler.resample(None):
            self._mux(self._audio, block)
        self._mux(self._audio, None)

    def discard(self) -> None:
        """Leaves nothing behind."""
        container, self._container = self._container, None
        try:
            if container is not None:
                container.close()
        except (OSError, ValueError):
            pass  # the trailer of a file that is thrown away
        self._partial.unlink(missing_ok=True)

    def _mux(self, stream: Any, frame: av.VideoFrame | av.AudioFrame | None) -> None:
        if self._container is None:
            raise ValueError("this writer is closed")
        try:
            for packet in stream.encode(frame):
                self._container.mux(packet)
        except OSError as error:
            raise self._failed(error) from error

    def _failed(self, error: OSError) -> MediaError:
        self.discard()
        if error.errno in _DISK_FULL:
            return MediaError(f"the disk is full: {self.path} could not be written; free some space and run again")
        return MediaError(f"{self.path} could not be written: {error.strerror or error}")

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        if kind is None:
            self.close()
        else:
            self.discard()


class VideoReader:
    """Iterates the frames of a clip as upright RGB ``[H, W, 3]``, at its own rate or picked at another.

    Args:
        path: any file FFmpeg reads that holds a picture track.
        fps: rate of the frames that come out; None keeps the file's average rate. Variable rates come out constant.
    """

    def __init__(self, path: str | Path, fps: Fraction | None = None) -> None:
        self.path = Path(path)
        if not self.path.is_file():
            raise MediaError(f"there is no video at {self.path}")
        try:
            self._container = av.open(str(self.path))
        except (OSError, ValueError) as error:
            raise MediaError(f"{self.path} is not a video this program reads ({reason(error)})") from None
        if not self._container.streams.video:
            self._container.close()
            raise MediaError(f"{self.path} has no picture track; give a video")
        self._stream = self._container.streams.video[0]
        self._stream.thread_type = "AUTO"
        self.source_fps = Fraction(self._stream.average_rate or self._stream.guessed_rate or 25)
        self.fps = fps or self.source_fps

    @property
    def frames_expected(self) -> int | None:
        """How many frames will come, for a progress bar, where the file says so."""
        if self._stream.duration and self._stream.time_base:
            return round(self._stream.duration * self._stream.time_base * self.fps)
        return round(Fraction(self._container.duration, av.time_base) * self.fps) if self._container.duration else None

    def __iter__(self) -> Iterator[NDArray[np.uint8]]:
        try:
            yield from self._picked()
        except (OSError, ValueError) as error:
            raise MediaError(f"{self.path} is damaged and could not be read to its end ({reason(error)})") from None

    def _picked(self) -> Iterator[NDArray[np.uint8]]:
        """Output frame i shows the last source frame that has started at i / fps."""
        frame_s = 1 / self.source_fps
        given, shown, end_s = 0, None, Fraction(0)
        for starts_s, picture in self._timed():
            while shown is not None and timebase.frame_time_s(given, self.fps) < starts_s:
                yield shown
                given += 1
            shown, end_s = picture, starts_s + frame_s
        while shown is not None and timebase.frame_time_s(given, self.fps) < end_s:
            yield shown
            given += 1

    def _timed(self) -> Iterator[tuple[Fraction, NDArray[np.uint8]]]:
        """Every source frame with its start, seconds since the first; frames without a time stamp follow on."""
        first_s, next_s = None, Fraction(0)
        for frame in self._container.decode(self._stream):
            starts_s = next_s if frame.pts is None or frame.time_base is None else frame.pts * frame.time_base
            first_s = starts_s if first_s is None else first_s
            next_s = starts_s + 1 / self.source_fps
            yield starts_s - first_s, _upright(frame)

    def close(self) -> None:
        self._container.close()

    def __enter__(self) -> VideoReader:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.close()


def _upright(frame: av.VideoFrame) -> NDArray[np.uint8]:
    """Phones store the sensor's orientation and a rotation (degrees, counter-clockwise) beside it."""
    quarter_turns = round(getattr(frame, "rotation", 0) / 90) % 4
    return np.ascontiguousarray(np.rot90(frame.to_ndarray(format="rgb24"), quarter_turns))
