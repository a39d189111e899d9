"""The real engine without its process: steps in, pictures out. Motion flows on from the first frame to the last."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from chatanyone import timebase
from chatanyone.config import Config
from chatanyone.pipeline import AvatarPipeline, Stages, Strengths, Style
from chatanyone.stream.engine import Step
from chatanyone.stream.gate import MouthGate, gated
from chatanyone.stream.listening import ListenerState, listen
from chatanyone.stream.types import UNIT_SAMPLES, Dials
from chatanyone.stream.units import MOTION_FPS, UNIT_FRAMES, UPSAMPLING, stride
from motion.types import BodyMotion, FaceMotion

_DIAL_SHARE = 0.5  # of the way to new dials goes each unit: half a second for most of it, without a jump (our choice)
_MOST_PRIMING = 60  # frames
_STYLE_FIELDS = ("style_expression", "style_pose", "reference_keys", "reference_values", "manner")


class Drawer:
    """One person, one session.

    Args:
        stages: all nets, for motion at 30 fps.
        portrait: prepared.
        config: seed and the strengths that count as 1.
    """

    def __init__(self, stages: Stages, portrait: Any, config: Config) -> None:
        self.stages, self.config = stages, config
        self.scene = stages.scene(portrait)
        self._engine = AvatarPipeline(stages._replace(scene=lambda _: _undrawn), on_motion=self._collect)
        self._dials = self._own(Dials())
        self._style = Style()
        self._state = self._engine.init(portrait, config.motion.seed, self._style, self._dials)
        self._listener, self._gate = ListenerState(config.motion.seed), MouthGate()
        self._faces, self._bodies = torch.zeros(0, 58), torch.zeros(0, 144)
        self.lag = self._prime()
        self._frame = 0

    @torch.inference_mode()
    def step(self, step: Step, cut_before: Callable[[], int], out: NDArray[np.uint8]) -> dict[str, float]:
        """Draws a unit into `out` ``[N, H, W, 3]``; gives the seconds of each part.

        Args:
            step: the work.
            cut_before: asked before every picture: frames of motion before this one have their mouth held shut.
            out: where the pictures go.
        """
        started = time.perf_counter()
        self._adjust(step)
        self._feed(step.samples)
        face, body = self._next_motion()
        face, self._listener = listen(face, self._listener, step.state, torch.from_numpy(step.voice))
        moved = time.perf_counter()
        for index, picture in enumerate(self._pictures(face, body, step.pictures, cut_before)):
            out[index] = picture
        self._frame += UNIT_FRAMES
        return {"motion": moved - started, "drawing": time.perf_counter() - moved}

    def _pictures(self, face: FaceMotion, body: BodyMotion, count: int,
                  cut_before: Callable[[], int]) -> Iterator[NDArray[np.uint8]]:
        """As many at a time as are drawn side by side, so that an interruption still closes the mouth of the rest."""
        every = stride(count)
        together = max(getattr(self.scene, "workers", 1), 1) if _device(self.scene).type == "cpu" else count
        for first in range(0, count, together):
            shown = range(first * every, min(first + together, count) * every, every)
            factors = torch.tensor([self._held(range(place, place + every), cut_before()) for place in shown])
            part = gated(_rows(face, list(shown)), factors)
            yield from _pixels(self.scene(part, BodyMotion(body.delta[list(shown)], body.hands[list(shown)])))

    def _held(self, places: range, cut_before: int) -> float:
        """What of the mouth a picture shows: the least of the frames of motion during which it is seen, so that few pictures
        close no later and open no sooner than many."""
        factors = []
        for place in places:
            self._gate = self._gate.step(self._frame + place < cut_before)
            factors.append(self._gate.factor)
        return min(factors)

    @torch.inference_mode()
    def warm_up(self, count: int = UNIT_FRAMES) -> None:
        """The first pictures fill caches and start threads; nobody should wait for that."""
        face, body = FaceMotion.unpack(torch.zeros(count, 58)), BodyMotion.unpack(torch.zeros(count, 144))
        for _ in range(2):
            self.scene(face, body)

    def _prime(self) -> int:
        """Feeds silence until motion comes; gives how far a piece of speech lies behind the unit it completes, 48 kHz."""
        for frames in range(1, _MOST_PRIMING):
            done = timebase.first_sample(frames - 1, MOTION_FPS)
            self._feed(np.zeros(timebase.first_sample(frames, MOTION_FPS) - done, np.float32))
            if len(self._faces):
                break
        else:
            raise RuntimeError(f"the engine gave no motion within {_MOST_PRIMING} frames of sound")
        ready = len(self._faces)
        self._faces, self._bodies = self._faces[:0], self._bodies[:0]
        frame_samples = UNIT_SAMPLES // UNIT_FRAMES
        return UPSAMPLING * timebase.first_sample(frames, MOTION_FPS) - ready * frame_samples

    def _feed(self, samples: NDArray[np.float32]) -> None:
        _, self._state = self._engine.step(samples, self._state)

    def _collect(self, face: FaceMotion, body: BodyMotion) -> None:
        self._faces = torch.cat([self._faces, face.packed().cpu()])
        self._bodies = torch.cat([self._bodies, body.packed().cpu()])

    def _next_motion(self) -> tuple[FaceMotion, BodyMotion]:
        """The next unit's; the last frame is held where the stages are behind."""
        missing = UNIT_FRAMES - len(self._faces)
        if missing > 0:
            raise RuntimeError(f"the stages gave {len(self._faces)} frames of motion for a unit, not {UNIT_FRAMES}")
        face, self._faces = self._faces[:UNIT_FRAMES], self._faces[UNIT_FRAMES:]
        body, self._bodies = self._bodies[:UNIT_FRAMES], self._bodies[UNIT_FRAMES:]
        return FaceMotion.unpack(face), BodyMotion.unpack(body)

    def _adjust(self, step: Step) -> None:
        """Dials move half of the way each unit; a style is swapped between hops, its resting face fades over."""
        if step.style is not None:
            self._style = step.style[0] or Style()
            fresh: Any = self.stages.face.init_state(self.config.motion.seed, self._style, self._dials)
            swapped = {name: getattr(fresh, name) for name in _STYLE_FIELDS if hasattr(fresh, name)}
            self._state = replace(self._state, face=replace(self._state.face, **swapped))  # type: ignore[type-var]
        self._dials = _between(self._dials, self._own(step.dials))
        face: Any = self._state.face
        body: Any = self._state.body
        if hasattr(face, "expression"):
            fresh = self.stages.face.init_state(self.config.motion.seed, replace(self._style, reference=None), self._dials)
            rest = _faded(face.rest, fresh.rest)
            face = replace(face, expression=fresh.expression, pose=fresh.pose, groups=fresh.groups, rest=rest)
        if hasattr(body, "gesture"):
            fresh = self.stages.body.init_state(self.config.motion.seed, None, self._dials)
            body = replace(body, gesture=fresh.gesture, groups=fresh.groups)
        self._state = replace(self._state, face=face, body=body)

    def _own(self, dials: Dials) -> Strengths:
        """A dial of 1 is what the settings ask for."""
        motion = self.config.motion
        groups = dict(getattr(motion, "groups", None) or {})
        groups = {name: groups.get(name, 1.0) * dials.groups.get(name, 1.0) for name in {*groups, *dials.groups}}
        return Strengths(motion.expression * dials.expression, motion.pose * dials.pose, motion.gesture * dials.gesture,
                         groups)


def _between(now: Strengths, wanted: Strengths) -> Strengths:
    """Half of the way."""
    def go(a: float, b: float) -> float:
        return b if abs(b - a) < 0.02 else a + _DIAL_SHARE * (b - a)

    groups = {name: go(now.groups.get(name, 1.0), wanted.groups.get(name, 1.0)) for name in {*now.groups, *wanted.groups}}
    return Strengths(go(now.expression, wanted.expression), go(now.pose, wanted.pose), go(now.gesture, wanted.gesture),
                     groups)


def _faded(now: Tensor | None, wanted: Tensor | None) -> Tensor | None:
    """A quarter of the way."""
    if now is None and wanted is None:
        return None
    here, there = (torch.zeros(58) if rest is None else rest.cpu() for rest in (now, wanted))
    if float((there - here).abs().max()) < 0.002:
        return wanted
    return torch.lerp(here, there, 0.25).to(wanted if wanted is not None else here)


def _undrawn(face: FaceMotion, body: BodyMotion) -> Tensor:
    """A scene that draws nothing: the pipeline then only moves."""
    return torch.zeros(len(face.expression), 3, 1, 1)


def _pixels(pictures: Tensor) -> NDArray[np.uint8]:
    """``[B, 3, H, W]`` in [0, 1] → uint8 ``[B, H, W, 3]``."""
    whole = pictures.clamp(0, 1).mul(255).round().to(torch.uint8)
    return whole.permute(0, 2, 3, 1).cpu().numpy()


def _rows(face: FaceMotion, rows: list[int]) -> FaceMotion:
    return FaceMotion(face.expression[rows], face.rotation[rows], face.translation[rows])


def _device(scene: Any) -> torch.device:
    return torch.device(getattr(scene, "device", "cpu"))
