"""`chatanyone animate`: one picture and one voice become a film."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from chatanyone import build, timebase
from chatanyone.config import Config
from chatanyone.errors import MediaError
from chatanyone.media.audio import read_audio
from chatanyone.media.image import read_image
from chatanyone.media.sound import RATE_HZ, Sound
from chatanyone.media.video import VideoWriter, check_output
from chatanyone.pipeline import AvatarPipeline, Frame, Style
from chatanyone.prefetch import ahead
from chatanyone.portrait import Portrait, default_cache_dir, prepare_portrait
from chatanyone.recording import MotionRecorder


@dataclass(frozen=True)
class Request:
    """What to make of what; paths."""

    image: str | Path
    audio: str | Path
    output: str | Path
    style_video: str | Path | None = None
    motion_out: str | Path | None = None
    face: int | None = None
    force: bool = False


@dataclass
class Timings:
    """Seconds spent on each part, in the order of work; `video_s` is the length of the film."""

    parts_s: dict[str, float] = field(default_factory=dict)
    video_s: float = 0.0

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.parts_s[name] = self.parts_s.get(name, 0.0) + time.perf_counter() - start

    @property
    def real_time_factor(self) -> float:
        """Seconds of generation per second of film; below 1 is live."""
        return self.parts_s.get("generation", 0.0) / self.video_s if self.video_s else 0.0

    def __str__(self) -> str:
        parts = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in self.parts_s.items())
        return f"{parts} for {self.video_s:.1f} s of film (real-time factor {self.real_time_factor:.2f})"


def animate(request: Request, config: Config, started_s: float | None = None) -> Timings:
    """Makes the film. Everything that can be refused is refused before the nets are loaded.

    Args:
        request, config: what and how.
        started_s: `time.perf_counter()` when the program started, to count its imports as set-up.

    Raises:
        ChatAnyoneError: an input cannot be used; nothing is written then.
    """
    timings = Timings({"set-up": 0.0 if started_s is None else time.perf_counter() - started_s})
    with timings.part("set-up"):
        output = check_output(request.output, request.force)
        if request.motion_out is not None:
            check_output(request.motion_out, request.force, (".npz",))
        picture, samples = read_image(request.image), read_audio(request.audio)
    with timings.part("model loading"):
        recorder = MotionRecorder(config.media.rate) if request.motion_out is not None else None
        engine = build.pipeline(config, on_motion=recorder)
    with timings.part("set-up"):
        portrait = _portrait(picture, request, config)
        style = _style(request, config)
    with timings.part("generation"):
        _film(engine, portrait, style, samples, output, request, config)
    if recorder is not None and request.motion_out is not None:
        recorder.save(request.motion_out)
    timings.video_s = float(timebase.sample_time_s(len(samples)))
    print(f"{output}: {timings}")
    return timings


def _film(engine: AvatarPipeline, portrait: Portrait, style: Style, samples: NDArray[np.float32], output: Path,
          request: Request, config: Config) -> None:
    rate, total = config.media.rate, timebase.frames_for_samples(len(samples), config.media.rate)
    state = engine.init(portrait, config.motion.seed, style, build.strengths(config))
    sound = Sound(request.audio)
    with VideoWriter(output, config.media.width_height, rate, RATE_HZ, sound.channels, request.force) as writer:
        for index, frame in enumerate(_with_progress(ahead(engine.run(samples, state)), total, output.name)):
            writer.write(frame)
            writer.write_audio(sound.read(timebase.first_sample(index + 1, rate, RATE_HZ) - writer.samples))


def _with_progress(frames: Iterator[Frame], total: int, name: str) -> Iterator[Frame]:
    """A bar with rate and time left, where somebody looks at it."""
    form = "{desc} {percentage:3.0f}% |{bar}| {n_fmt}/{total_fmt} frames, {rate_noinv_fmt}, {remaining} left"
    yield from tqdm(frames, name, total, unit=" frames", disable=None, file=sys.stderr, bar_format=form)


def _portrait(picture: NDArray[np.uint8], request: Request, config: Config) -> Portrait:
    portrait = prepare_portrait(picture, config.media.width_height, request.face, _cache_folder(config))
    for warning in portrait.warnings:
        print(f"chatanyone: warning: {warning}", file=sys.stderr)
    return portrait


def _cache_folder(config: Config) -> Path | None:
    """Where prepared portraits are kept; none where nothing can be written, which only costs time."""
    folder = Path(config.render.cache) if config.render.cache else default_cache_dir()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return None
    return folder if os.access(folder, os.W_OK) else None


def _style(request: Request, config: Config) -> Style:
    """The manner of the person in the style clip."""
    if request.style_video is None:
        return Style()
    from chatanyone.tracking import track_file
    from motion.style import style_range

    clip = track_file(request.style_video, fps=config.media.rate, task_model=config.tracking.task_model)
    if len(clip) < 2:
        raise MediaError(f"the style clip {request.style_video} must be a film in which somebody moves, not a picture")
    motion = clip.face_motion()
    return Style(style_range(motion), motion)
