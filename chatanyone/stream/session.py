"""A live session: turns of speech, what the person does meanwhile, and who gets the units."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import AsyncIterator, Callable, Mapping
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chatanyone.errors import ChatAnyoneError
from chatanyone.stream.engine import Engine, Step
from chatanyone.stream.fanout import Fanout
from chatanyone.stream.pacer import Pacer
from chatanyone.stream.sound import Span
from chatanyone.stream.speech import Piece, TurnSpeech
from chatanyone.stream.stats import Stats
from chatanyone.stream.types import IDLE_TURN, Dials, Heard, SessionEvents, SessionState, Unit
from chatanyone.stream.units import rate
from chatanyone.stream.voice import Voice

_log = logging.getLogger(__name__)

KEPT_S = 10.0  # how long the rest of an interrupted turn can be gone on with (our choice)


class Quiet:
    """Events nobody listens to."""

    def on_state(self, state: SessionState) -> None: ...

    def on_heard(self, heard: Heard) -> None: ...

    def on_notice(self, sentence: str) -> None: ...

    def on_end(self, reason: str) -> None: ...


class Session:
    """`chatanyone.stream.types.LiveSession` over any engine.

    Queues: speech that waits, `speech.QUEUE_S`, whoever brings more waits; units ahead, `pacer.MOST_AHEAD`; each consumer,
    `fanout.QUEUE_UNITS`, the oldest are dropped; the user's voice, `voice.KEPT_S`, the oldest is dropped.

    Args:
        make_engine: a fresh engine each time; called again when one dies.
        events: who is told; may be set later, as `events`.
        pictures: in a unit.
    """

    def __init__(self, make_engine: Callable[[], Engine], events: SessionEvents | None = None, pictures: int = 4) -> None:
        self.events: SessionEvents = events or Quiet()
        self._stats = Stats()
        self._size = (0, 0)

        def made() -> Engine:
            engine = make_engine()
            self._size = engine.size
            return engine

        self._pacer = Pacer(made, self, pictures, self._stats)
        self._fanout, self._voice = Fanout(), Voice()
        self._state, self._dials = SessionState.LISTENING, Dials()
        self._style: tuple[Any] | None = None
        self._style_sent = True
        self._turn = self._last_turn = IDLE_TURN
        self._speech: TurnSpeech | None = None  # of the turn that may speak
        self._cut: tuple[TurnSpeech, float] | None = None  # what `resume` may go on with, and since when
        self._room = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._closing: asyncio.Task[None] | None = None

    async def start(self) -> Session:
        """Waits until the engine is ready, then the clock runs.

        Raises:
            ChatAnyoneError: the engine cannot start.
        """
        try:
            await self._pacer.start()
        except BaseException:
            await self.close()
            raise
        self._task = asyncio.create_task(self._pacer.run(), name="pacer")
        self._task.add_done_callback(self._stopped)
        return self

    # What `LiveSession` promises; see there.

    @property
    def size(self) -> tuple[int, int]:
        return self._size

    @property
    def fps(self) -> Fraction:
        return rate(self._pacer.pictures)

    @property
    def turn(self) -> int:
        return self._turn

    @property
    def state(self) -> SessionState:
        return self._state

    def begin_turn(self) -> int:
        self._stop()
        self._cut = None
        self._turn = self._last_turn = self._last_turn + 1
        self._speech = TurnSpeech(self._turn)
        self._room.set()
        self._become(SessionState.THINKING)
        return self._turn

    async def speak(self, samples: NDArray[np.float32], turn: int) -> None:
        rest = _speech(samples)
        while len(rest) and (speech := self._open(turn)) is not None and not speech.ended:
            room = speech.room
            speech.push(rest[:room])
            rest = rest[room:]
            if len(rest):
                self._room.clear()
                await self._room.wait()

    def end_turn(self, turn: int) -> None:
        speech = self._open(turn)
        if speech is None:
            return
        speech.ended = True
        self._room.set()
        if speech is self._speech and speech.over:
            self._finish(speech)

    def interrupt(self) -> Heard | None:
        heard = self._stop()
        self._turn = self._last_turn = self._last_turn + 1
        self._become(SessionState.LISTENING)
        return heard

    def resume(self, turn: int) -> bool:
        speech = self._open(turn)
        if speech is None or speech is self._speech or self._speech is not None:
            return False
        self._speech, self._turn, self._cut = speech, turn, None
        speech.rewind()
        if speech.over:
            self._finish(speech)
        elif not speech.heard:
            self._become(SessionState.THINKING)
        return True

    def hear(self, samples: NDArray[np.float32]) -> None:
        self._voice.hear(_speech(samples))

    def set_dials(self, dials: Dials) -> None:
        self._dials = Dials(_held(dials.expression), _held(dials.pose), _held(dials.gesture),
                            {name: _held(value) for name, value in dials.groups.items()})

    async def set_style(self, style: Any | None) -> None:
        self._style, self._style_sent = (style,), False

    def units(self) -> AsyncIterator[Unit]:
        return self._fanout.subscribe()

    def stats(self) -> Mapping[str, float]:
        waiting = self._speech.waiting / 16_000 if self._speech else 0.0
        return self._stats.numbers() | {
            "fps": float(self.fps), "lead_ms": 1000 * self._pacer.lead_s, "ahead_units": float(self._pacer.ahead),
            "speech_queue_s": waiting, "consumers": float(len(self._fanout)),
            "consumer_queue_units": float(self._fanout.depth), "dropped_units": float(self._fanout.dropped)}

    async def close(self) -> None:
        if self._closing is None:
            self._closing = asyncio.create_task(self._close())
        await asyncio.shield(self._closing)

    # What the pacer asks.

    def compose(self, number: int, count: int, pictures: int, first: bool) -> tuple[Step, Piece, int]:
        speech = self._speech
        piece = speech.take(count) if speech is not None else None
        self._room.set()
        state = SessionState.SPEAKING if piece is not None else self._state
        style = self._style if first or not self._style_sent else None
        self._style_sent = True
        quiet = piece or Piece(np.zeros(count, np.float32), 0, 0, 0)
        step = Step(number, quiet.samples, state, self._voice.levels(), pictures, self._dials, style)
        return step, quiet, speech.turn if speech is not None else IDLE_TURN

    def on_unit(self, index: int, frames: NDArray[np.uint8], sound: NDArray[np.int16], heard: Span | None) -> None:
        speech = self._speech
        said = heard is not None and speech is not None and heard.turn == speech.turn
        if said:
            self._become(SessionState.SPEAKING)
        self._fanout.put(Unit(index, heard.turn if said and heard else IDLE_TURN, sound, frames, self._state))
        if said and speech is not None and heard is not None:
            speech.played(heard.first + heard.count)
            if speech.over:
                self._finish(speech)
            else:
                self.events.on_heard(Heard(speech.turn, speech.heard, False))

    def on_loss(self) -> None:
        if self._speech is not None:
            self._speech.rewind()

    def on_notice(self, sentence: str) -> None:
        self.events.on_notice(sentence)

    def on_end(self, reason: str) -> None:
        self.events.on_end(reason)
        if self._closing is None:
            self._closing = asyncio.create_task(self._close())

    # Turns.

    def _open(self, turn: int) -> TurnSpeech | None:
        """The speech of a turn that is not over; a cut one stays open for `KEPT_S`."""
        if self._cut is not None and asyncio.get_running_loop().time() - self._cut[1] > KEPT_S:
            self._cut = None
        if self._speech is not None and self._speech.turn == turn:
            return self._speech
        return self._cut[0] if self._cut is not None and self._cut[0].turn == turn else None

    def _stop(self) -> Heard | None:
        """Cuts off who speaks or thinks; None when no speech was on its way."""
        speech, self._speech = self._speech, None
        if speech is None:
            return None
        spoke = speech.fed > 0
        self._cut = (speech, asyncio.get_running_loop().time())
        speech.rewind()
        self._room.set()
        self._pacer.cut()
        heard = Heard(speech.turn, speech.heard, True, True)
        self.events.on_heard(heard)
        return heard if spoke else None

    def _finish(self, speech: TurnSpeech) -> None:
        self._speech = None
        self.events.on_heard(Heard(speech.turn, speech.heard, True))
        self._become(SessionState.LISTENING)

    def _become(self, state: SessionState) -> None:
        if state is not self._state:
            self._state = state
            self.events.on_state(state)

    def _stopped(self, task: asyncio.Task[None]) -> None:
        """A clock that stops for any other reason than ours is a fault, and nobody must wait for it in vain."""
        error = None if task.cancelled() else task.exception()
        if error is not None:
            _log.error("the session's clock stopped", exc_info=error)
            self.on_end("the session failed because of a fault in the program; its log says more")

    async def _close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._pacer.close()
        self._speech = self._cut = None
        self._room.set()
        self._fanout.close()


def _held(dial: float) -> float:
    """Within ±2; what is no number is natural."""
    return min(max(float(dial), -2.0), 2.0) if math.isfinite(dial) else 1.0


def _speech(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """Mono float32; numbers that are none are silence.

    Raises:
        ChatAnyoneError: another shape.
    """
    samples = np.asarray(samples, np.float32)
    if samples.ndim != 1:
        raise ChatAnyoneError(f"expected mono samples [n] at 16 kHz, got shape {list(samples.shape)}; mix the channels first")
    return np.nan_to_num(samples, nan=0.0, posinf=0.0, neginf=0.0).clip(-1, 1)
