"""The person in the picture for programs: sound in, pictures with their times out. `from chatanyone import Avatar`.

    from chatanyone import Avatar
    from chatanyone.media.audio import read_audio

    speech = read_audio("hello.wav")                     # float32 [n], 16 kHz, mono; int16 does too
    pictures = []
    with Avatar("me.jpg") as avatar:
        for start in range(0, len(speech), 1600):        # as it comes, here a tenth of a second at a time
            avatar.push(speech[start:start + 1600])
            for time_s, picture in avatar:               # what is ready by now: uint8 [768, 512, 3], RGB
                pictures.append((time_s, picture))
        avatar.finish()                                  # no more sound: the rest comes out
        pictures += avatar
    print(f"{len(pictures)} pictures, the last one at {pictures[-1][0]:.2f} s")
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from chatanyone import build, timebase
from chatanyone.animate import _cache_folder
from chatanyone.config import Config, load_config
from chatanyone.errors import MediaError, StreamClosed
from chatanyone.media.image import read_image
from chatanyone.pipeline import AvatarPipeline, Frame, PipelineState, Style, drawn
from chatanyone.portrait import Portrait, prepare_portrait
from chatanyone.stream.gate import TAIL_FRAMES, MouthGate, gated
from chatanyone.stream.units import MOTION_FPS
from motion.types import BodyMotion, FaceMotion


class TimedFrame(NamedTuple):
    """time_s: when it is due, from the first sample on; frame: uint8 ``[H, W, 3]``, RGB."""

    time_s: float
    frame: Frame


class Avatar:
    """Not paced: pictures come as fast as they are asked for. Not for several threads at once.

    Iterating gives the pictures whose sound has been pushed, then ends; push more and iterate again. A picture needs up to
    0.3 s of sound beyond its own time.

    Args:
        image: a picture of a person: a file, pixels ``[H, W, 3]`` or a prepared portrait.
        config: settings, or the path of a settings file; None takes the defaults.
        style: how the person moves.

    Raises:
        ChatAnyoneError: the picture or a setting cannot be used.
    """

    def __init__(self, image: str | Path | NDArray[np.uint8] | Portrait, config: Config | str | Path | None = None,
                 style: Style = Style()) -> None:
        self._config = config if isinstance(config, Config) else load_config(config)
        portrait = image if isinstance(image, Portrait) else _prepared(image, self._config)
        self.size = portrait.size
        self.fps = self._config.media.rate
        engine = build.pipeline(self._config)
        make_scene = engine.stages.scene
        self._scene = _Interruptible(make_scene(portrait))
        self._engine = AvatarPipeline(engine.stages._replace(scene=lambda _: self._scene), self.fps)
        self._state: PipelineState | None = self._engine.init(
            portrait, self._config.motion.seed, style, build.strengths(self._config))
        self._sound: deque[NDArray[np.float32]] = deque()
        self._ready: deque[TimedFrame] = deque()
        self._given, self._finishing = 0, False

    def push(self, samples: NDArray[Any]) -> None:
        """Speech, mono at 16 kHz: float in [-1, 1] or int16; any number of samples.

        Raises:
            StreamClosed: `finish` or `close` was called before.
            MediaError: another form of sound.
        """
        if self._state is None or self._finishing:
            raise StreamClosed("this avatar takes no more sound; make another one")
        samples = _mono(samples)
        if samples.any() and self._state is not None:
            waiting = sum(map(len, self._sound)) + int(np.argmax(samples != 0))
            self._scene.speech_from(timebase.frames_for_samples(self._state.clock.samples + waiting, self.fps))
        self._sound.append(samples)

    def finish(self) -> None:
        """No more sound comes; iterating gives the rest."""
        self._finishing = True

    def interrupt(self) -> int:
        """Forgets the sound that no picture was asked for yet, and closes the mouth within three pictures.

        Returns how many samples were forgotten; time goes on as if they had never been pushed.
        """
        dropped = sum(map(len, self._sound))
        self._sound.clear()
        self._ready.clear()
        if self._state is not None:
            tail = round(TAIL_FRAMES * self.fps / MOTION_FPS)
            self._scene.cut(timebase.frames_for_samples(self._state.clock.samples, self.fps) + tail)
        return dropped

    def close(self) -> None:
        """Frees everything; may be called twice."""
        self._state = None
        self._sound.clear()
        self._ready.clear()

    def __enter__(self) -> Avatar:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[TimedFrame]:
        while self._ready or self._work():
            if self._ready:
                yield self._ready.popleft()

    def _work(self) -> bool:
        """One piece of sound, or the end; whether there was anything to do."""
        if self._state is None or self._state.clock.closed:
            return False
        if self._sound:
            piece = self._sound.popleft()
            now, later = np.split(piece, [timebase.SAMPLE_RATE_HZ // 10])
            if len(later):
                self._sound.appendleft(later)
            frames, self._state = self._engine.step(now, self._state)
        elif self._finishing:
            frames, self._state = self._engine.flush(self._state)
        else:
            return False
        for frame in frames:
            self._ready.append(TimedFrame(float(timebase.frame_time_s(self._given, self.fps)), frame))
            self._given += 1
        return True


class _Interruptible:
    """A scene whose mouth can be closed, whatever motion is still under way."""

    def __init__(self, scene: Any) -> None:
        self._scene, self._gate, self._frame, self._cut_before = scene, MouthGate(), 0, 0

    def cut(self, before: int) -> None:
        """Frames before this one keep their mouth shut."""
        self._cut_before = before

    def speech_from(self, frame: int) -> None:
        """New speech begins there, which opens the mouth again."""
        self._cut_before = min(self._cut_before, frame)

    def __call__(self, face: FaceMotion, body: BodyMotion) -> Tensor:
        pictures: Tensor = self._scene(self._held(face), body)
        return pictures

    def pictures(self, face: FaceMotion, body: BodyMotion) -> NDArray[np.uint8]:
        """The same as bytes."""
        return drawn(self._scene, self._held(face), body)

    def _held(self, face: FaceMotion) -> FaceMotion:
        factors = []
        for _ in range(len(face.expression)):
            self._gate = self._gate.step(self._frame < self._cut_before)
            factors.append(self._gate.factor)
            self._frame += 1
        return gated(face, torch.tensor(factors))


def _prepared(image: str | Path | NDArray[np.uint8], config: Config) -> Portrait:
    """From the cache where there is one."""
    pixels = image if isinstance(image, np.ndarray) else read_image(image)
    return prepare_portrait(pixels, config.media.width_height, cache_dir=_cache_folder(config))


def _mono(samples: NDArray[Any]) -> NDArray[np.float32]:
    samples = np.asarray(samples)
    if samples.ndim != 1 or not (samples.dtype == np.int16 or np.issubdtype(samples.dtype, np.floating)):
        raise MediaError(f"expected mono sound [n] as int16 or float, got {samples.dtype} {list(samples.shape)}; "
                         "mix the channels and convert it first")
    if samples.dtype == np.int16:
        return samples.astype(np.float32) / 32768
    return np.nan_to_num(samples.astype(np.float32), nan=0.0, posinf=0.0, neginf=0.0).clip(-1, 1)
