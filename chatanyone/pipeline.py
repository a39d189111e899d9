"""The streaming engine: samples in, frames out. Offline work is a loop over `step`, so there is one path to test.

The engine cuts whatever arrives into hops of `hop` frames before any net sees it, so that the calls the nets receive,
and with them every bit of the frames, do not depend on how the samples came in. State is a value: `step` returns a new
one, an old one can be stepped again, `tensors` turns one into a safetensors file, `restored` goes on from there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from chatanyone import timebase
from chatanyone.errors import StreamClosed
from chatanyone.media.frames import as_bytes
from chatanyone.prefetch import ahead, side_by_side
from motion.correction import Correction
from motion.layers.state import StreamState
from motion.types import BODY_DIM, FACE_DIM, BodyMotion, FaceMotion, StyleRange

HOP_FRAMES = 1  # our choice: the stages gather frames themselves, so a longer hop would only add latency
MOTION_AHEAD = 2  # passes of motion that wait to be drawn, of a whole clip
DRAWN_AT_ONCE = 2  # frames, by a core: drawn one by one they take a quarter longer
PASSES_DRAWN = 2  # side by side, of a whole clip: a core that has done its part of one goes on with the next

Frame = NDArray[np.uint8]  # RGB [H, W, 3]
Samples = Tensor | NDArray[np.float32]  # [n], mono in [-1, 1], 16 kHz


@dataclass(frozen=True)
class Strengths:
    """Dials on the natural amount of movement, 1 is natural; `groups` are those of `motion.style.GROUPS`."""

    expression: float = 1.0
    pose: float = 1.0
    gesture: float = 1.0
    groups: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Style:
    """How the person moves, taken from a reference clip; every part is optional.

    range: amplitude of expression and pose (AdaLN)
    reference: motion of the clip, whose expression tokens are concatenated along time
    rest: ``[58]`` resting face and head that are added to the motion
    correction: of what the face net leaves of the clip's manner
    """

    range: StyleRange | None = None
    reference: FaceMotion | None = None
    rest: Tensor | None = None
    correction: Correction | None = None


class StageState(Protocol):
    """What a stage remembers: a value that can be taken apart into named tensors."""

    def tensors(self) -> dict[str, Tensor]: ...


class AudioStage(Protocol):
    """Samples ``[n]`` → features ``[T, C]``, one row a frame; may hold rows back until later samples came."""

    def init_state(self) -> Any: ...

    def step(self, samples: Tensor, state: Any) -> tuple[Tensor, Any]: ...

    def flush(self, state: Any) -> tuple[Tensor, Any]: ...


class FaceStage(Protocol):
    """Features ``[T, C]`` → face motion; may hold frames back."""

    def init_state(self, seed: int, style: Style, strengths: Strengths) -> Any: ...

    def step(self, features: Tensor, state: Any) -> tuple[FaceMotion, Any]: ...

    def flush(self, state: Any) -> tuple[FaceMotion, Any]: ...


class BodyStage(Protocol):
    """New features ``[T, C]`` and new face motion (fewer or more frames) → body motion; may hold frames back."""

    def init_state(self, seed: int, portrait: Any, strengths: Strengths) -> Any: ...

    def step(self, features: Tensor, face: FaceMotion, state: Any) -> tuple[BodyMotion, Any]: ...

    def flush(self, state: Any) -> tuple[BodyMotion, Any]: ...


class Scene(Protocol):
    """One portrait, ready to be driven: motion of T frames → pictures ``[T, 3, H, W]`` in [0, 1]."""

    def __call__(self, face: FaceMotion, body: BodyMotion) -> Tensor: ...


class Stages(NamedTuple):
    """The engine's parts; `scene` prepares a portrait for rendering."""

    audio: AudioStage
    face: FaceStage
    body: BodyStage
    scene: Callable[[Any], Scene]


@dataclass
class Clock(StreamState):
    """How far a session is, and what waits between the stages.

    pending: ``[n]`` samples that do not fill a hop yet
    faces: ``[T, 58]`` packed face motion of frames the body stage has not given yet
    samples: received; frames: given out
    """

    pending: Tensor
    faces: Tensor | None = None
    samples: int = 0
    frames: int = 0
    closed: bool = False


@dataclass(frozen=True)
class PipelineState:
    """One session: what was made of the portrait, the clock and the states of the stages."""

    scene: Scene
    clock: Clock
    audio: StageState
    face: StageState
    body: StageState

    def tensors(self) -> dict[str, Tensor]:
        """Everything but the portrait, named ``stage/field``: copies that share no memory, ready for safetensors."""
        return {f"{part}/{name}": value.clone() for part in _PARTS
                for name, value in getattr(self, part).tensors().items()}

    def restored(self, tensors: Mapping[str, Tensor]) -> PipelineState:
        """This (fresh) session at the point where `tensors` was taken."""
        parts: dict[str, dict[str, Tensor]] = {part: {} for part in _PARTS}
        for name, value in tensors.items():
            part, _, own = name.partition("/")
            if part not in parts:
                raise ValueError(f"expected names that start with {', '.join(_PARTS)}; '{name}' is of another state")
            parts[part][own] = value
        return replace(self, **{part: _restored(getattr(self, part), parts[part]) for part in _PARTS})


_NO_MOTION = FaceMotion.unpack(torch.zeros(0, FACE_DIM)), BodyMotion.unpack(torch.zeros(0, BODY_DIM))
_PARTS = ("clock", "audio", "face", "body")


class AvatarPipeline:
    """Drives portraits by speech.

    Args:
        stages: the nets and what surrounds them.
        fps: frame rate of what comes out.
        hop: frames per pass through the stages.
        on_motion: is handed the motion of the frames that are about to be rendered.
    """

    def __init__(self, stages: Stages, fps: Fraction = Fraction(30), hop: int = HOP_FRAMES,
                 on_motion: Callable[[FaceMotion, BodyMotion], None] | None = None) -> None:
        self.stages, self.fps, self.hop, self.on_motion = stages, fps, hop, on_motion

    @torch.inference_mode()
    def init(self, portrait: Any, seed: int = 0, style: Style = Style(),
             strengths: Strengths = Strengths()) -> PipelineState:
        """A session at time 0."""
        stages = self.stages
        return PipelineState(
            stages.scene(portrait), Clock(torch.zeros(0)), stages.audio.init_state(),
            stages.face.init_state(seed, style, strengths), stages.body.init_state(seed, portrait, strengths))

    def step(self, samples: Samples, state: PipelineState) -> tuple[list[Frame], PipelineState]:
        """Takes any number of samples, gives the frames that they complete.

        Raises:
            StreamClosed: the session was flushed.
        """
        made: list[Frame] = []
        for frames, state in self.iterate(samples, state):
            made += frames
        return made, state

    def iterate(self, samples: Samples, state: PipelineState) -> Iterator[tuple[list[Frame], PipelineState]]:
        """`step`, one hop at a time, so that a long chunk needs no more memory than a short one."""
        for face, body, state in self._passes(samples, state):
            yield self._render(face, body, state.scene), state

    def _passes(self, samples: Samples, state: PipelineState) -> Iterator[tuple[FaceMotion, BodyMotion, PipelineState]]:
        """The motion that samples complete, one hop at a time; at first none, for what was only received."""
        for piece in _mono(samples).split(timebase.SAMPLE_RATE_HZ):
            state = self._receive(piece, state)
            yield *_NO_MOTION, state
            while (hop := self._next_hop(state.clock)) is not None:
                clock = replace(state.clock, pending=state.clock.pending[len(hop):].clone())
                face, body, state = self._advance(hop, replace(state, clock=clock))
                yield face, body, state

    def flush(self, state: PipelineState) -> tuple[list[Frame], PipelineState]:
        """Ends the stream: all that the stages still hold comes out."""
        face, body, state = self._last_pass(state)
        return self._render(face, body, state.scene), state

    def _last_pass(self, state: PipelineState) -> tuple[FaceMotion, BodyMotion, PipelineState]:
        """The motion that the stages still hold."""
        clock = _open(state)
        total = timebase.frames_for_samples(clock.samples, self.fps)
        rest = replace(state, clock=replace(clock, pending=clock.pending[:0].clone()))
        face, body, state = self._advance(clock.pending, rest, last=True)
        if state.clock.frames != total:
            raise RuntimeError(f"the stages gave {state.clock.frames} frames for {clock.samples} samples, not {total}")
        return face, body, replace(state, clock=replace(state.clock, closed=True, faces=None))

    def run(self, samples: Samples, state: PipelineState) -> Iterator[Frame]:
        """A whole clip, frame by frame: what `step` and `flush` give (up to rounding where short passes are drawn together).
        The motion of later frames is made, in a thread, while earlier ones are drawn, two passes side by side: drawing waits
        for nothing."""
        scene, workers = state.scene, getattr(state.scene, "workers", 1)
        motion = ahead(self._whole_motion(samples, state, workers * DRAWN_AT_ONCE), MOTION_AHEAD)
        for frames in side_by_side(lambda moved: self._render(*moved, scene), motion, min(workers, PASSES_DRAWN)):
            yield from frames

    def _whole_motion(self, samples: Samples, state: PipelineState,
                      least: int) -> Iterator[tuple[FaceMotion, BodyMotion]]:
        """The motion of a whole clip, in the passes in which it is drawn: of so many frames at least."""
        waiting: list[tuple[FaceMotion, BodyMotion]] = []
        for face, body, state in self._passes(samples, state):
            waiting += [(face, body)] * bool(len(face.expression))
            if sum(len(face.expression) for face, _ in waiting) >= least:
                yield _together(waiting)
                waiting = []
        yield _together([*waiting, self._last_pass(state)[:2]])

    def _receive(self, samples: Tensor, state: PipelineState) -> PipelineState:
        clock = _open(state)
        pending = torch.cat([clock.pending, samples])
        return replace(state, clock=replace(clock, pending=pending, samples=clock.samples + len(samples)))

    def _next_hop(self, clock: Clock) -> Tensor | None:
        """The samples of the next `hop` frames, once they are all there; boundaries are exact, so hops never drift."""
        start = clock.samples - len(clock.pending)
        hops_done = timebase.frames_covered(start, self.fps) // self.hop
        end = timebase.first_sample((hops_done + 1) * self.hop, self.fps)
        return clock.pending[:end - start] if clock.samples >= end else None

    @torch.inference_mode()
    def _advance(self, samples: Tensor, state: PipelineState,
                 last: bool = False) -> tuple[FaceMotion, BodyMotion, PipelineState]:
        """One pass through all stages but the last, which draws."""
        with _one_thread():
            features, state = self._hear(samples, state, last)
            given, state = self._move_face(features, state, last)
            face, body, state = self._move_body(features, given, state, last)
        if self.on_motion is not None and len(face.expression):
            self.on_motion(face, body)
        return face, body, replace(state, clock=replace(state.clock, frames=state.clock.frames + len(face.expression)))

    def _hear(self, samples: Tensor, state: PipelineState, last: bool) -> tuple[Tensor, PipelineState]:
        features, audio = self.stages.audio.step(samples, state.audio)
        if last:
            rest, audio = self.stages.audio.flush(audio)
            features = torch.cat([features, rest])
        return features, replace(state, audio=audio)

    def _move_face(self, features: Tensor, state: PipelineState, last: bool) -> tuple[FaceMotion, PipelineState]:
        motion, face = self.stages.face.step(features, state.face)
        if last:
            rest, face = self.stages.face.flush(face)
            motion = FaceMotion.unpack(torch.cat([motion.packed(), rest.packed()]))
        return motion, replace(state, face=face)

    def _move_body(self, features: Tensor, given: FaceMotion, state: PipelineState, last: bool,
                   ) -> tuple[FaceMotion, BodyMotion, PipelineState]:
        """Body motion that is ready and the face motion of the same frames; the face of later frames waits."""
        motion, body = self.stages.body.step(features, given, state.body)
        if last:
            rest, body = self.stages.body.flush(body)
            motion = BodyMotion.unpack(torch.cat([motion.packed(), rest.packed()]))
        kept = state.clock.faces
        faces = given.packed() if kept is None else torch.cat([kept, given.packed()])
        ready = len(motion.delta)
        clock = replace(state.clock, faces=faces[ready:].clone())
        return FaceMotion.unpack(faces[:ready]), motion, replace(state, body=body, clock=clock)

    @torch.inference_mode()
    def _render(self, face: FaceMotion, body: BodyMotion, scene: Scene) -> list[Frame]:
        return list(drawn(scene, face, body)) if len(face.expression) else []


def _together(passes: list[tuple[FaceMotion, BodyMotion]]) -> tuple[FaceMotion, BodyMotion]:
    """The motion of passes that follow one another."""
    if len(passes) == 1:
        return passes[0]
    faces, bodies = (torch.cat([motion.packed() for motion in kind]) for kind in zip(*passes))
    return FaceMotion.unpack(faces), BodyMotion.unpack(bodies)


def drawn(scene: Scene, face: FaceMotion, body: BodyMotion) -> NDArray[np.uint8]:
    """Pictures of T frames as bytes, ``[T, H, W, 3]``; scenes that draw side by side make them there, in `pictures`."""
    pictures: Callable[[FaceMotion, BodyMotion], NDArray[np.uint8]] | None = getattr(scene, "pictures", None)
    return as_bytes(scene(face, body)) if pictures is None else pictures(face, body)


@contextmanager
def _one_thread() -> Iterator[None]:
    """The motion nets are small: on a busy machine threads that wait for one another cost them tenfold (measured: 3 s of
    speech through the encoder beside seven other processes on two cores took 9 to 35 s with two threads, 1 to 1.6 s with
    one)."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _restored(fresh: Any, tensors: dict[str, Tensor]) -> Any:
    """States of fixed form are made from their tensors alone, the others need a fresh one to say what is absent."""
    return fresh.restored(tensors) if isinstance(fresh, StreamState) else type(fresh).from_tensors(tensors)


def _mono(samples: Samples) -> Tensor:
    """``[n]`` float32 on the CPU."""
    samples = torch.as_tensor(samples, dtype=torch.float32).detach().cpu()
    if samples.ndim != 1:
        raise ValueError(f"expected mono samples [n], got shape {list(samples.shape)}; mix the channels first")
    return samples


def _open(state: PipelineState) -> Clock:
    if state.clock.closed:
        raise StreamClosed("this stream was flushed already; start another with init")
    return state.clock
