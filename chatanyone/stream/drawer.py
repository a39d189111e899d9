"""The real engine without its process: steps in, pictures out. Motion flows on from the first frame to the last."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from chatanyone import timebase
from chatanyone.config import Config
from chatanyone.pipeline import DRAWN_AT_ONCE, AvatarPipeline, Stages, Strengths, Style, drawn
from chatanyone.stages import PortraitScene
from chatanyone.stream.engine import Step
from chatanyone.stream.facewindow import FaceWindow
from chatanyone.stream.gate import MouthGate, gated
from chatanyone.stream.listening import ListenerState, listen
from chatanyone.stream.types import UNIT_SAMPLES, Dials
from chatanyone.stream.units import MOTION_FPS, UNIT_FRAMES, UPSAMPLING, stride
from motion.types import BodyMotion, FaceMotion

_DIAL_SHARE = 0.5  # of the way to new dials goes each unit: half a second for most of it, without a jump (our choice)
_MOST_PRIMING = 60  # frames
_KEPT_UNITS = 2  # as many as the pacer lets be ready (`pacer.MOST_AHEAD`)
_STYLE_FIELDS = ("style_expression", "style_pose", "reference_keys", "reference_values", "manner", "blinks")


@dataclass
class _Drawn:
    """A unit as it was drawn: its step's number, motion before the gate, the gate before it, what the pictures show of
    the mouth, the pictures."""

    number: int
    frame: int
    face: FaceMotion
    body: BodyMotion
    gate: MouthGate
    factors: list[float]
    pictures: NDArray[np.uint8]


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
        self._drawn: deque[_Drawn] = deque(maxlen=_KEPT_UNITS)
        scene: Any = self.scene
        geometry = isinstance(scene, PortraitScene) and not config.render.use_networks
        self._window = FaceWindow(scene) if geometry else None

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
        self._draw(step, face, body, cut_before, out)
        self._frame += UNIT_FRAMES
        return {"motion": moved - started, "drawing": time.perf_counter() - moved}

    @torch.inference_mode()
    def redraw(self, first: int, cut_before: Callable[[], int]) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        """After a cut: pictures of the last units whose mouth is open and should not be, by the number of their step.

        Args:
            first: steps before this one stay as they are.
            cut_before: as for `step`.
        """
        again = [unit for unit in self._drawn if unit.number >= first] if self._window is not None else []
        gate = again[0].gate if again else self._gate
        for unit in again:
            every = UNIT_FRAMES // len(unit.pictures)
            unit.gate, factors = gate, []
            for place in range(0, UNIT_FRAMES, every):
                factor, gate = _held(gate, range(unit.frame + place, unit.frame + place + every), cut_before())
                factors.append(factor)
            if self._window is None or factors == unit.factors:
                continue
            rows = list(range(0, UNIT_FRAMES, every))
            pictures = self._window(gated(_rows(unit.face, rows), torch.tensor(factors)), _body_rows(unit.body, rows),
                                    unit.pictures)
            if pictures is None:
                return  # and the gate stays where it is: what was drawn is what is seen
            unit.factors, unit.pictures = factors, pictures
            yield unit.number, pictures
        self._gate = gate

    def _draw(self, step: Step, face: FaceMotion, body: BodyMotion, cut_before: Callable[[], int],
              out: NDArray[np.uint8]) -> None:
        """As many at a time as are drawn side by side in twos, so that an interruption still closes the mouth of the rest."""
        every, before = stride(step.pictures), self._gate
        together = DRAWN_AT_ONCE * max(getattr(self.scene, "workers", 1), 1)
        together = together if _device(self.scene).type == "cpu" else step.pictures
        all_factors, parts = [], []
        for first in range(0, step.pictures, together):
            shown = list(range(first * every, min(first + together, step.pictures) * every, every))
            factors = []
            for place in shown:
                frames = range(self._frame + place, self._frame + place + every)
                factor, self._gate = _held(self._gate, frames, cut_before())
                factors.append(factor)
            part = gated(_rows(face, shown), torch.tensor(factors))
            parts.append(drawn(self.scene, part, _body_rows(body, shown)))
            all_factors += factors
        pictures = parts[0] if len(parts) == 1 else np.concatenate(parts)
        out[:] = pictures
        if self._window is not None:
            self._drawn.append(_Drawn(step.number, self._frame, face, body, before, all_factors, pictures))

    @torch.inference_mode()
    def warm_up(self, count: int = UNIT_FRAMES) -> None:
        """The first pictures fill caches and start threads; nobody should wait for that."""
        face, body = FaceMotion.unpack(torch.zeros(count, 58)), BodyMotion.unpack(torch.zeros(count, 144))
        for _ in range(2):
            pictures = drawn(self.scene, face, body)
            if self._window is not None:
                self._window(face, body, pictures)

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
        """Dials move half of the way each unit; a style is swapped between hops, its resting face and correction fade over."""
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
            faded = {name: _faded(getattr(face, name), getattr(fresh, name)) for name in ("rest", "gain", "offset", "curve")}
            face = replace(face, expression=fresh.expression, pose=fresh.pose, groups=fresh.groups, **faded)
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


def _held(gate: MouthGate, frames: range, cut_before: int) -> tuple[float, MouthGate]:
    """What of the mouth a picture shows: the least of the frames of motion during which it is seen, so that few pictures
    close no later and open no sooner than many; and the gate after them."""
    factors = []
    for frame in frames:
        gate = gate.step(frame < cut_before)
        factors.append(gate.factor)
    return min(factors), gate


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


def _rows(face: FaceMotion, rows: list[int]) -> FaceMotion:
    return FaceMotion(face.expression[rows], face.rotation[rows], face.translation[rows])


def _body_rows(body: BodyMotion, rows: list[int]) -> BodyMotion:
    return BodyMotion(body.delta[rows], body.hands[rows])


def _device(scene: Any) -> torch.device:
    return torch.device(getattr(scene, "device", "cpu"))
