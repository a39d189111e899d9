"""The one clock of a session: when speech is fed to the engine, and when its units go out.

Unit k is due at t0 + k · 2/15 s, exactly. A unit is asked for `lead` before it is due, so speech waits no longer than it
must. Nothing piles up: at most `MOST_AHEAD` units are asked for or ready.

* Underrun (a unit is not ready when due): an idle unit takes its place, the last picture and silence. The late unit takes
  the next place, so speech is delayed as a whole and not lost.
* Overrun (the event loop stood still for more than a unit): the units whose time has passed are left out, whole; indices
  jump, the clock does not. Speech goes on where it was.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from chatanyone.stream.engine import Engine, Made, Step
from chatanyone.stream.sound import SoundTrack, Span
from chatanyone.stream.speech import Piece
from chatanyone.stream.stats import Stats
from chatanyone.stream.supervisor import HUNG_S, Supervisor
from chatanyone.stream.types import UNIT_S
from chatanyone.stream.units import PICTURES, due_s, rate, slot_at, speech_before

MOST_AHEAD = 2
SPARE_S = 0.015  # between a unit being ready and being due, beyond what the engine mostly needs (our choice)
_SHORTEST_LEAD_S, _LONGEST_LEAD_S = 0.02, float(MOST_AHEAD * UNIT_S)
_FIRST_LEAD_S = 0.11
_FIRST_STEPS = 3  # of an engine: they fill its caches and say nothing of the next ones
_SETTLING_UNITS = 12  # of an engine: caches fill, other programs make room; misses of that time do not lower the rate
MISSES, WITHIN_UNITS = 6, 45  # so many underruns within six seconds lower the rate (our choice)
_STUCK_S = 0.4
_REDRAWING = 0.8  # of the time for drawing a unit, until it was measured
_WARNING_UNITS = 450


class Source(Protocol):
    """The session behind a pacer: what it says, and who hears of it."""

    def compose(self, number: int, count: int, pictures: int, first: bool) -> tuple[Step, Piece, int]:
        """The step with `count` samples, its speech and the speech's turn; `first`: the engine is new."""

    def on_unit(self, index: int, frames: NDArray[np.uint8], sound: NDArray[np.int16], heard: Span | None) -> None: ...

    def on_loss(self) -> None:
        """What was fed and not heard must be fed again."""

    def on_notice(self, sentence: str) -> None: ...

    def on_end(self, reason: str) -> None: ...


class Pacer:
    """Args: make_engine: a fresh engine; source: the session; pictures: in a unit; stats: where numbers are kept."""

    def __init__(self, make_engine: Callable[[], Engine], source: Source, pictures: int, stats: Stats) -> None:
        self._supervisor, self._source, self.pictures, self.stats = Supervisor(make_engine, self), source, pictures, stats
        self.slot, self.start_s, self.lead_s = 0, float("nan"), _FIRST_LEAD_S
        self._engine: Engine | None = None
        self._track = SoundTrack(0)
        self._number = 0
        self._sent: deque[float] = deque()
        self._ready: deque[Made] = deque()
        self._picture: NDArray[np.uint8] | None = None
        self._misses: deque[int] = deque(maxlen=MISSES)
        self._warn_again = 0
        self._wake = asyncio.Event()

    async def start(self) -> None:
        """Waits for the engine and its first unit, so that nobody sees black; t0 is 20 ms later."""
        await self._supervisor.start()
        loop = asyncio.get_running_loop()
        latest_s = loop.time() + HUNG_S
        while not self._ready and loop.time() < latest_s:
            self.start_s = loop.time()
            self._feed(self.start_s)
            await self._sleep(latest_s - loop.time())
        self.start_s = loop.time() + _SHORTEST_LEAD_S  # whoever opens the session can still ask for its first unit

    async def run(self) -> None:
        """Until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            now = loop.time()
            self._catch_up(now)
            while due_s(self.slot, self.start_s) <= now:
                self._emit()
            self._feed(now)
            self._check_hung(now)
            await self._sleep(self._next_event() - loop.time())

    async def close(self) -> None:
        await self._supervisor.close()

    def cut(self) -> None:
        """Silence and a closing mouth from the next unit on, if the engine is quick enough also in units that are ready."""
        self._track.cut()
        if self._engine is not None:
            self._engine.cut(self._again_from())

    def _again_from(self) -> int:
        """The first step whose pictures can be drawn again before they are due; none where that would make the next unit
        late, which keeps an open mouth for longer than it could close it."""
        busy, drawing = self.stats.percentile("busy", 50), self.stats.percentile("drawing", 50)
        again = self.stats.percentile("redrawing", 95, last=16)
        takes = again if again is not None else _REDRAWING * (drawing or busy or 0.0)
        free = asyncio.get_running_loop().time()
        if self._sent:
            free = max(free, self._sent[0] + len(self._sent) * (busy or 0.0))
        first = self._number - self.ahead
        while first < self._number and free + takes > due_s(self.slot + self.ahead + first - self._number, self.start_s):
            first += 1
        ends = free + takes * (self._number - first)
        following = due_s(self.slot + self.ahead, self.start_s) - (self.stats.percentile("busy", 95, last=64) or 0.0)
        return first if ends <= following else self._number

    def set_pictures(self, pictures: int) -> None:
        self.pictures = pictures
        self._misses.clear()

    @property
    def ahead(self) -> int:
        """Units asked for and not sent out."""
        return len(self._sent) + len(self._ready)

    def on_engine(self, engine: Engine | None) -> None:
        if engine is None:
            self.stats.counts["crashes"] += 1
            self._source.on_loss()
        self._engine, self._number = engine, 0
        self._track = SoundTrack(engine.lag if engine else 0)
        self._sent.clear()
        self._ready.clear()
        self._misses.clear()
        self._wake.set()

    def on_made(self, made: Made) -> None:
        if made.again:
            self._replace(made)
            return
        took = asyncio.get_running_loop().time() - self._sent.popleft()
        if made.number >= _FIRST_STEPS:
            self.stats.time("step", took)
        self.stats.time("busy", made.busy_s)
        for part, seconds in made.parts_s.items():
            self.stats.time(part, seconds)
        usual = self.stats.percentile("step", 95, last=64)
        if usual is not None:
            self.lead_s = min(max(usual + SPARE_S, _SHORTEST_LEAD_S), _LONGEST_LEAD_S)
        self._ready.append(made)
        self._wake.set()

    def on_notice(self, sentence: str) -> None:
        self._source.on_notice(sentence)

    def on_end(self, reason: str) -> None:
        self._source.on_end(reason)

    def _replace(self, made: Made) -> None:
        """Other pictures for a unit that is still here."""
        self.stats.time("redrawing", made.busy_s)
        for place, ready in enumerate(self._ready):
            if ready.number == made.number:
                self._ready[place] = replace(ready, frames=made.frames)

    def _catch_up(self, now: float) -> None:
        if now - due_s(self.slot, self.start_s) > UNIT_S:
            current = slot_at(now, self.start_s)
            self.stats.counts["skipped"] += current - self.slot
            self.slot = current

    def _emit(self) -> None:
        if self._ready:
            made = self._ready.popleft()
            frames, self._picture = made.frames, made.frames[-1]
            sound, heard = self._track.unit()
            if made.sound is not None:
                sound = np.clip(sound.astype(np.int32) + made.sound, -32768, 32767).astype(np.int16)
        else:
            frames, sound, heard = self._idle(), self._track.gap(), None
            self._miss()
        self.stats.counts["units"] += 1
        self._source.on_unit(self.slot, frames, sound, heard)
        self.slot += 1

    def _idle(self) -> NDArray[np.uint8]:
        """The last picture as long as a unit; black before the first."""
        if self._picture is None:
            width, height = self._engine.size if self._engine else (16, 16)
            self._picture = np.zeros((height, width, 3), np.uint8)
        return np.repeat(self._picture[None], self.pictures, axis=0)

    def _miss(self) -> None:
        self.stats.counts["underruns"] += 1
        if self._engine is None or not self._sent or due_s(self.slot, self.start_s) - self._sent[0] > _STUCK_S:
            return  # it is not slow, it is gone
        if self._number <= _SETTLING_UNITS:
            return  # it is not slow, it is cold
        self._misses.append(self.slot)
        if len(self._misses) == MISSES and self.slot - self._misses[0] < WITHIN_UNITS:
            self._slow_down()

    def _slow_down(self) -> None:
        """Half as many pictures, or, where there is only one left, a word of warning a minute."""
        if self.pictures > PICTURES[-1]:
            self.set_pictures(PICTURES[PICTURES.index(self.pictures) + 1])
            self._source.on_notice("this machine cannot keep up, so the picture now changes "
                                   f"{float(rate(self.pictures)):g} times a second")
        elif self.slot >= self._warn_again:
            self._warn_again = self.slot + _WARNING_UNITS
            self._source.on_notice("this machine cannot keep up even with few pictures, so there will be pauses")

    def _feed(self, now: float) -> None:
        while self._engine is not None and self.ahead < MOST_AHEAD and self._asked_at() <= now:
            number = self._number
            count = speech_before(number + 1) - speech_before(number)
            step, piece, turn = self._source.compose(number, count, self.pictures, number == 0)
            self._track.feed(piece, turn)
            self._sent.append(now)
            self._number += 1
            self._engine.step(step)

    def _asked_at(self) -> float:
        """When the next unit must be asked for."""
        return due_s(self.slot + self.ahead, self.start_s) - self.lead_s

    def _next_event(self) -> float:
        due = due_s(self.slot, self.start_s)
        return min(due, self._asked_at()) if self._engine is not None and self.ahead < MOST_AHEAD else due

    def _check_hung(self, now: float) -> None:
        if self._sent and now - self._sent[0] > HUNG_S:
            self._supervisor.lost(self._engine, f"no picture for {HUNG_S:g} s")

    async def _sleep(self, seconds: float) -> None:
        """Or until the engine changes."""
        if seconds > 0:
            handle = asyncio.get_running_loop().call_later(seconds, self._wake.set)
            await self._wake.wait()
            handle.cancel()
            self._wake.clear()
        else:
            await asyncio.sleep(0)
