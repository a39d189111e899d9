"""What a person does who listens or thinks, on top of the motion that the nets make: small, smooth, seeded.

Somebody who is spoken to looks at the speaker, nods where a phrase ends, lifts the brows now and then, and blinks in the
pauses; somebody who thinks looks aside. Sizes are our choice within what is known of people: back-channel nods of 2 to 4
degrees and 0.5 to 0.8 s, at most every two seconds. Motion is at 30 fps.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from chatanyone.stream.types import SessionState
from motion.types import ARKIT_INDEX, FaceMotion

FPS = 30
_SPEECH_ABOVE_FLOOR_DB, _QUIETEST_SPEECH_DB = 12.0, -50.0
_FLOOR_RISES_DB = 0.1  # a frame: the noise floor follows a louder room within a few seconds
_PAUSE_FRAMES, _PHRASE_FRAMES = 8, 18  # a phrase has 0.6 s of voice and ends with 0.27 s without
_NOD_REST_FRAMES = 60
_NOD_CHANCE, _SECOND_NOD_CHANCE, _BLINK_CHANCE, _BROW_CHANCE = 0.8, 0.35, 0.6, 0.5
_LONG_FRAMES = 150  # somebody who speaks for five seconds gets a nod at a shorter pause
_SILENCE_FRAMES = 30
_LONG_AGO = 10 ** 6
_ATTENTIVE_S, _INATTENTIVE_S, _THINKING_S = 0.35, 1.2, 0.28
_GAZE = tuple(name for name in ARKIT_INDEX if name.startswith("eyeLook"))


@dataclass(frozen=True)
class Movement:
    """One nod, blink or lift of the brows: begins at a frame, has a size, a length in frames and a number of swings."""

    start: int
    size: float
    length: float
    swings: int = 1

    def at(self, frame: int) -> float:
        """0 → size → 0 with flat ends, each further swing half as large."""
        swing, place = divmod((frame - self.start) / self.length, 1.0)
        if not 0 <= swing < self.swings:
            return 0.0
        return self.size * 0.5 ** swing * (0.5 - 0.5 * math.cos(2 * math.pi * place))


@dataclass(frozen=True)
class ListenerState:
    """Where somebody is in listening. A value.

    frame: next; seed: of all chances; attention, thinking: 0 to 1, smoothed; `_speed`: of them, per frame
    floor_db: of the room; voiced, quiet: frames of voice in the phrase, frames without since; last_nod: its frame
    thoughts: how often they thought; movements under way
    """

    seed: int
    frame: int = 0
    attention: float = 0.0
    attention_speed: float = 0.0
    thinking: float = 0.0
    thinking_speed: float = 0.0
    was_thinking: bool = False
    floor_db: float = -60.0
    voiced: int = 0
    quiet: int = _LONG_AGO
    last_nod: int = -_NOD_REST_FRAMES
    thoughts: int = 0
    nods: tuple[Movement, ...] = ()
    blinks: tuple[Movement, ...] = ()
    brows: tuple[Movement, ...] = ()


def listen(face: FaceMotion, state: ListenerState, doing: SessionState,
           voice_db: Tensor) -> tuple[FaceMotion, ListenerState]:
    """The motion with listening or thinking added.

    Args:
        face: ``[T, …]``, T frames at 30 fps, whatever the nets made.
        state: before them.
        doing: of the session.
        voice_db: loudness of the other's voice, ``[T]`` dB below full scale.
    """
    frames = []
    for index, level in enumerate(voice_db.tolist()):
        state = _advance(state, doing, level)
        frames.append(_layer(face, index, state))
        state = replace(state, frame=state.frame + 1)
    return FaceMotion.unpack(torch.stack(frames)) if frames else face, state


def _advance(state: ListenerState, doing: SessionState, level_db: float) -> ListenerState:
    """What one frame of the other's voice sets off."""
    floor = min(level_db, state.floor_db + _FLOOR_RISES_DB) if level_db > -95 else state.floor_db
    state = replace(state, floor_db=floor)
    speaks = level_db > max(floor + _SPEECH_ABOVE_FLOOR_DB, _QUIETEST_SPEECH_DB)
    listens = doing is SessionState.LISTENING
    state = _follow(state, speaks) if listens else replace(state, voiced=0, quiet=_LONG_AGO)
    heard_lately = listens and state.quiet < 2 * FPS
    attention = _eased(state.attention, state.attention_speed, float(heard_lately),
                       _ATTENTIVE_S if heard_lately else _INATTENTIVE_S)
    thinks = doing is SessionState.THINKING
    thinking = _eased(state.thinking, state.thinking_speed, float(thinks), _THINKING_S)
    return replace(state, attention=attention[0], attention_speed=attention[1], thinking=thinking[0],
                   thinking_speed=thinking[1], was_thinking=thinks,
                   thoughts=state.thoughts + (thinks and not state.was_thinking))


def _follow(state: ListenerState, speaks: bool) -> ListenerState:
    """Phrases of the other: their starts lift the brows, their ends make nods and blinks."""
    if speaks:
        if state.quiet >= _SILENCE_FRAMES:
            state = replace(_lift_brows(state), voiced=0)
        return replace(state, voiced=state.voiced + 1, quiet=0)
    state = replace(state, quiet=state.quiet + 1)
    long = state.voiced >= _LONG_FRAMES
    if state.quiet != (_PAUSE_FRAMES // 2 if long else _PAUSE_FRAMES) or state.voiced < _PHRASE_FRAMES:
        return state
    return replace(_blink(_nod(state)), voiced=0)


def _nod(state: ListenerState) -> ListenerState:
    if state.frame - state.last_nod < _NOD_REST_FRAMES or _chance(state, 1) > _NOD_CHANCE:
        return state
    size = math.radians(2.0 + 2.0 * _chance(state, 2))
    length = (0.5 + 0.3 * _chance(state, 3)) * FPS
    nod = Movement(state.frame, size, length, 2 if _chance(state, 4) < _SECOND_NOD_CHANCE else 1)
    return replace(state, nods=_with(state.nods, nod, state.frame), last_nod=state.frame)


def _blink(state: ListenerState) -> ListenerState:
    if _chance(state, 5) > _BLINK_CHANCE:
        return state
    return replace(state, blinks=_with(state.blinks, Movement(state.frame + 2, 0.95, 7.0), state.frame))


def _lift_brows(state: ListenerState) -> ListenerState:
    if _chance(state, 6) > _BROW_CHANCE:
        return state
    lift = Movement(state.frame, 0.1 + 0.1 * _chance(state, 7), 0.9 * FPS)
    return replace(state, brows=_with(state.brows, lift, state.frame))


def _with(movements: tuple[Movement, ...], new: Movement, frame: int) -> tuple[Movement, ...]:
    """Those still under way, and the new one."""
    return tuple(m for m in movements if frame < m.start + m.length * m.swings) + (new,)


def _layer(face: FaceMotion, index: int, state: ListenerState) -> Tensor:
    """One frame ``[58]``; all additions are small, so rotations may be added as vectors."""
    frame, expression = state.frame, face.expression[index].clone()
    attention, thinking = state.attention, state.thinking
    for name in _GAZE:
        expression[ARKIT_INDEX[name]] *= (1 - 0.75 * attention) * (1 - 0.8 * thinking)
    side = 1.0 if _chance(replace(state, frame=state.thoughts), 8) < 0.5 else -1.0
    _add(expression, _look(0.35 * thinking * side, 0.2 * thinking), 1.0)
    _add(expression, {"mouthPressLeft": 0.12, "mouthPressRight": 0.12, "browDownLeft": 0.08, "browDownRight": 0.08}, thinking)
    _add(expression, {"mouthSmileLeft": 0.06, "mouthSmileRight": 0.06}, attention)
    brows = sum(lift.at(frame) for lift in state.brows)
    _add(expression, {"browInnerUp": 0.45, "browOuterUpLeft": 0.9, "browOuterUpRight": 0.9}, brows)
    lids = max((blink.at(frame) for blink in state.blinks), default=0.0)
    for name in ("eyeBlinkLeft", "eyeBlinkRight"):
        expression[ARKIT_INDEX[name]] = max(float(expression[ARKIT_INDEX[name]]), lids)
    nod = sum(movement.at(frame) for movement in state.nods)
    drift = math.sin(2 * math.pi * frame / (4.3 * FPS))
    turn = torch.tensor([nod - math.radians(1.5) * thinking, math.radians(2.5 + 0.7 * drift) * thinking * side,
                         math.radians(-1.2) * thinking * side])
    return torch.cat([expression.clamp(0, 1), face.rotation[index] + turn.to(expression), face.translation[index]])


def _look(right: float, up: float) -> dict[str, float]:
    """Both eyes towards the image's right (the person's left) and up, −1 to 1."""
    sideways = {"eyeLookOutLeft": right, "eyeLookInRight": right} if right > 0 else {
        "eyeLookInLeft": -right, "eyeLookOutRight": -right}
    return sideways | {"eyeLookUpLeft": up, "eyeLookUpRight": up}


def _add(expression: Tensor, weights: dict[str, float], strength: float) -> None:
    for name, weight in weights.items():
        expression[ARKIT_INDEX[name]] += weight * strength


def _eased(value: float, speed: float, target: float, time_s: float) -> tuple[float, float]:
    """One frame of a critically damped spring, value and speed: it gets there in about three times `time_s`, softly."""
    omega = 2 / (time_s * FPS)
    change = value - target
    temp = speed + omega * change
    decay = math.exp(-omega)
    return target + (change + temp) * decay, (speed - omega * temp) * decay


def _chance(state: ListenerState, stream: int) -> float:
    """In [0, 1), of the seed, the frame and what it is for."""
    mixed = (state.seed * 0x9E3779B97F4A7C15 + state.frame * 0xBF58476D1CE4E5B9 + stream * 0x94D049BB133111EB) % 2 ** 64
    mixed = (mixed ^ mixed >> 31) * 0xD6E8FEB86659FD93 % 2 ** 64
    return ((mixed ^ mixed >> 32) % 2 ** 32) / 2 ** 32
