"""What a live session is to those who talk through it (`chatanyone.talk`) and those who carry it (`chatanyone.serve`).

A unit is 2/15 s = 133⅓ ms: 6400 samples at 48 kHz and the pictures of the same time. It is never split: who drops one
drops its sound and its pictures, so sound and lips cannot drift apart.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from fractions import Fraction
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

UNIT_S = Fraction(2, 15)
SOUND_HZ = 48_000  # of what is sent; what is spoken and heard comes at 16 kHz
UNIT_SAMPLES = int(UNIT_S * SOUND_HZ)  # 6400
IDLE_TURN = 0  # turn of units that carry nobody's speech


class SessionState(str, Enum):
    """What the person in the picture is doing."""

    LISTENING = "listening"
    THINKING = "thinking"
    SPEAKING = "speaking"


@dataclass(frozen=True)
class Unit:
    """133⅓ ms of the person.

    index: since the session's t0; the unit is due at t0 + index · 2/15 s
    turn: whose speech it carries; `IDLE_TURN` when silent
    sound: int16 ``[6400]``, mono, 48 kHz
    frames: uint8 ``[N, H, W, 3]``, RGB; N pictures evenly spread over the unit
    state: of the session at that time
    """

    index: int
    turn: int
    sound: NDArray[np.int16]
    frames: NDArray[np.uint8]
    state: SessionState


@dataclass(frozen=True)
class Dials:
    """Strengths that can be turned while the person speaks; 1 is natural. `groups` are those of `motion.style`."""

    expression: float = 1.0
    pose: float = 1.0
    gesture: float = 1.0
    groups: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Heard:
    """How much of a turn has been played.

    turn: number; samples: 16 kHz samples of its speech that were sent out; finished: all of it was, or it was cut off;
    interrupted: it was cut off
    """

    turn: int
    samples: int
    finished: bool
    interrupted: bool = False


class SessionEvents(Protocol):
    """What a session tells whoever listens; called on the event loop, must return at once."""

    def on_state(self, state: SessionState) -> None: ...

    def on_heard(self, heard: Heard) -> None:
        """While a turn is played, once a unit, and at its end."""

    def on_notice(self, sentence: str) -> None:
        """Something a person should know: the renderer was started again, the rate was lowered."""

    def on_end(self, reason: str) -> None:
        """The session ended by itself; `reason` is a sentence."""


class LiveSession(Protocol):
    """One portrait, one clock. All methods are called on the event loop and return at once unless they are `async`."""

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the pictures, px."""

    @property
    def fps(self) -> Fraction:
        """Pictures per second."""

    @property
    def turn(self) -> int:
        """The turn that may speak now."""

    def begin_turn(self) -> int:
        """A new turn, thinking until its first sound arrives. What an older turn still says is cut off."""

    async def speak(self, samples: NDArray[np.float32], turn: int) -> None:
        """Queues speech, 16 kHz mono in [-1, 1]; waits while more than a bounded time is queued (real-time voices never
        wait, synthesised ones run at most some seconds ahead). Speech of a turn that is over is dropped silently."""

    def end_turn(self, turn: int) -> None:
        """No more speech will come for this turn; it ends (→ listening) when what is queued has been played."""

    def interrupt(self) -> Heard | None:
        """Stops sound and mouth at once; says how much of the turn was heard, None when nobody spoke."""

    def resume(self, turn: int) -> bool:
        """After a false alarm: goes on where `interrupt` cut, if that turn's speech is still kept."""

    def hear(self, samples: NDArray[np.float32]) -> None:
        """The user's own voice, 16 kHz, as it comes: the person listens (nods, gaze)."""

    def set_dials(self, dials: Dials) -> None:
        """Takes effect within a unit or two."""

    async def set_style(self, style: Any | None) -> None:
        """`chatanyone.pipeline.Style` or None for the default; takes effect without a cut."""

    def units(self) -> AsyncIterator[Unit]:
        """Paced: each unit comes when it is due. Any number of consumers; a slow one loses whole units."""

    def stats(self) -> Mapping[str, float]:
        """Names to numbers: queue depths, underruns, drops, stage milliseconds, rendered fps."""

    async def close(self) -> None:
        """Ends everything that belongs to the session; may be called twice."""
