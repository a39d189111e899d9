"""`chatanyone animate`: a picture and a voice, a motion document or a driving clip become a film."""

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
from chatanyone.exchange import read_motion
from chatanyone.media.audio import read_audio
from chatanyone.media.image import read_image
from chatanyone.media.sound import RATE_HZ, Sound, has_sound
from chatanyone.media.video import VideoWriter, check_output
from chatanyone.motionfile import MotionDocument
from chatanyone.pipeline import Frame, Scene, Style
from chatanyone.portrait import Portrait, default_cache_dir, prepare_portrait
from chatanyone.prefetch import ahead
from chatanyone.recording import MotionRecorder
from chatanyone.redraw import MODES, absolute_motion, draw, relative_motion
from motion.style import apply_dials
from motion.types import BodyMotion, FaceMotion


@dataclass(frozen=True)
class Request:
    """What to make of what; paths. One of audio (alone), motion or driving says how the person moves.

    audio: the voice; with motion or driving only the film's sound
    driving_motion: relative to the clip's calm frame, or absolute
    """

    image: str | Path
    audio: str | Path | None = None
    output: str | Path = "out.mp4"
    motion: str | Path | None = None
    driving: str | Path | None = None
    driving_motion: str = "relative"
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
    _check_sources(request, config)
    with timings.part("set-up"):
        output = check_output(request.output, request.force)
        if request.motion_out is not None:
            check_output(request.motion_out, request.force, (".npz",))
        picture = read_image(request.image)
    make = _replay if request.audio is None or request.motion or request.driving else _speak
    make(request, config, picture, output, timings)
    print(f"{output}: {timings}")
    return timings


def _check_sources(request: Request, config: Config) -> None:
    if request.motion and request.driving:
        raise MediaError("both a motion document and a driving clip are given; choose --motion or --driving")
    if not (request.audio or request.motion or request.driving):
        raise MediaError("nothing says how the person moves; give --audio, --motion or --driving")
    styled = request.style_video or config.motion.style
    if styled and (request.motion or request.driving):
        raise MediaError("a style is for speech; with --motion or --driving the movement is there already")
    if request.style_video and config.motion.style:
        raise MediaError("both a style and a style clip are given; choose --style or --style-video")
    if request.driving_motion not in MODES:
        raise MediaError(f"--driving-motion must be {' or '.join(MODES)}, not '{request.driving_motion}'")


def _speak(request: Request, config: Config, picture: NDArray[np.uint8], output: Path, timings: Timings) -> None:
    """From a voice."""
    assert request.audio is not None
    with timings.part("set-up"):
        samples = read_audio(request.audio)
        style = _style(request, config)
    recorder = MotionRecorder(config.media.rate, sound=Path(request.audio).name)
    with timings.part("model loading"):
        engine = build.pipeline(config, on_motion=recorder if request.motion_out is not None else None)
    with timings.part("set-up"):
        portrait = _portrait(picture, request, config)
    with timings.part("generation"):
        state = engine.init(portrait, config.motion.seed, style, build.strengths(config))
        total = timebase.frames_for_samples(len(samples), config.media.rate)
        _film(engine.run(samples, state), total, output, request.audio, request, config)
    if request.motion_out is not None:
        recorder.document().save(request.motion_out)
    timings.video_s = float(timebase.sample_time_s(len(samples)))


def _replay(request: Request, config: Config, picture: NDArray[np.uint8], output: Path, timings: Timings) -> None:
    """From motion that is there already: a document, or what a driving clip's person does."""
    sound = request.audio or (request.driving if request.driving and has_sound(request.driving) else None)
    with timings.part("set-up"):
        samples = read_audio(sound) if sound else None
        document = _document(request, config)
        _warn_of_lengths(document, samples, request)
    with timings.part("model loading"):
        prepare = build.scenes(config)
    with timings.part("set-up"):
        scene = prepare(_portrait(picture, request, config))
        face, body = _moved(document, scene, request, config)
    with timings.part("generation"):
        _film(draw(scene, face, body), len(document), output, sound, request, config)
    if request.motion_out is not None:
        MotionDocument.of(face, body, document.fps, source=document.source, sound=Path(sound).name if sound else "",
                          ).save(request.motion_out)
    timings.video_s = document.duration_s


def _document(request: Request, config: Config) -> MotionDocument:
    """The motion at the film's rate."""
    if request.motion:
        return read_motion(request.motion).resampled(config.media.rate)
    from chatanyone.tracking import track_file

    return track_file(str(request.driving), fps=config.media.rate, task_model=config.tracking.task_model)


def _moved(document: MotionDocument, scene: Scene, request: Request, config: Config) -> tuple[FaceMotion, BodyMotion]:
    """What the portrait does, dials applied."""
    dials = build.strengths(config)
    face, body = apply_dials(document.face_motion(), document.body_motion(), expression=dials.expression, pose=dials.pose,
                             gesture=dials.gesture, groups=dials.groups)
    turned = document.with_motion(face, body)
    if not request.driving:
        return face, body
    if request.driving_motion == "relative":
        return relative_motion(turned), body
    driver = getattr(scene, "driver")
    return absolute_motion(turned, driver.rest, driver.fit.camera.rotation), body


def _warn_of_lengths(document: MotionDocument, samples: NDArray[np.float32] | None, request: Request) -> None:
    """The film is as long as the motion; says so where the sound is not."""
    if samples is None:
        if document.sound:
            _warn(f"the film has no sound; its motion was made with {document.sound}, give that with --audio")
        return
    sound_s = float(timebase.sample_time_s(len(samples)))
    if abs(sound_s - document.duration_s) > 1.5 / document.fps:
        _warn(f"the sound lasts {sound_s:.2f} s, the motion {document.duration_s:.2f} s; the film lasts as long as the motion")


def _film(frames: Iterator[Frame], total: int, output: Path, sound: str | Path | None, request: Request,
          config: Config) -> None:
    """Pictures and, where there is one, sound, interleaved."""
    rate, track = config.media.rate, Sound(sound) if sound else None
    channels = track.channels if track else 1
    with VideoWriter(output, config.media.width_height, rate, RATE_HZ if track else None, channels, request.force) as writer:
        for index, frame in enumerate(_with_progress(ahead(frames), total, output.name)):
            writer.write(frame)
            if track:
                writer.write_audio(track.read(timebase.first_sample(index + 1, rate, RATE_HZ) - writer.samples))


def _with_progress(frames: Iterator[Frame], total: int, name: str) -> Iterator[Frame]:
    """A bar with rate and time left, where somebody looks at it."""
    form = "{desc} {percentage:3.0f}% |{bar}| {n_fmt}/{total_fmt} frames, {rate_noinv_fmt}, {remaining} left"
    yield from tqdm(frames, name, total, unit=" frames", disable=None, file=sys.stderr, bar_format=form)


def _portrait(picture: NDArray[np.uint8], request: Request, config: Config) -> Portrait:
    portrait = prepare_portrait(picture, config.media.width_height, request.face, _cache_folder(config))
    for warning in portrait.warnings:
        _warn(warning)
    return portrait


def _warn(sentence: str) -> None:
    print(f"chatanyone: warning: {sentence}", file=sys.stderr)


def _cache_folder(config: Config) -> Path | None:
    """Where prepared portraits are kept; none where nothing can be written, which only costs time."""
    folder = Path(config.render.cache) if config.render.cache else default_cache_dir()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return None
    return folder if os.access(folder, os.W_OK) else None


def _style(request: Request, config: Config) -> Style:
    """The manner of the person in the style clip, or a style of that name."""
    from chatanyone.styles import clip_style, styles_of

    if request.style_video is not None:
        return clip_style(request.style_video, config).pipeline_style()
    return styles_of(config).resolve(config.motion.style).pipeline_style() if config.motion.style else Style()
