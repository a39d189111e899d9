"""The proof of the clock: hours on a virtual one, with pictures that are late and a loop that stands still."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import numpy as np
import pytest
from numpy.typing import NDArray

from chatanyone.stream.session import Session
from chatanyone.stream.standin import StandInEngine, read_level, read_number
from chatanyone.stream.types import UNIT_S, Unit
from tests.helpers.virtual_time import VirtualLoop, run

SIZE = (32, 48)
UNIT = float(UNIT_S)


@dataclass
class Seen:
    """What came out, unit by unit."""

    units: int = 0
    worst_late_s: float = 0.0
    last_late_s: float = 0.0
    offsets: list[float] = field(default_factory=list)  # seconds between a chirp and its picture
    wrong_mouths: int = 0
    loud: int = 0
    last_index: int = -1
    held: int = 0
    number: int = -1

    def take(self, unit: Unit, now_s: float, start_s: float) -> None:
        assert unit.index > self.last_index
        self.units, self.last_index = self.units + 1, unit.index
        self.last_late_s = now_s - start_s - unit.index * UNIT
        self.worst_late_s = max(self.worst_late_s, self.last_late_s)
        number = read_number(unit.frames[0])
        assert number is not None
        fresh, self.number = number != self.number, number
        self.held += not fresh
        head = np.abs(unit.sound[:1600].astype(np.int32))
        if not fresh:
            assert not head.any(), "a held picture has no sound"
            return
        if number % 60 == 0:
            self.offsets.append(_onset_s(unit.sound))
        else:
            loud = np.sqrt((head.astype(np.float64) ** 2).mean()) / 32768 > 0.08
            self.loud += int(loud)
            self.wrong_mouths += loud != (read_level(unit.frames[0]) > 0.24)


def _onset_s(sound: NDArray[np.int16]) -> float:
    """Where a chirp begins, given that it is the loudest: its window starts at nought."""
    return max(int(np.flatnonzero(np.abs(sound) > 50)[0]) - 20, 0) / 48_000


async def _hours(hours: float, stall_every_s: float) -> tuple[Seen, dict[str, float]]:
    """Every 200th step is late by a unit or two, the loop stands still for a second now and then, and every
    twenty seconds somebody says something. One picture a unit, which is all that is looked at."""
    loop, random = asyncio.get_running_loop(), np.random.default_rng(0)
    assert isinstance(loop, VirtualLoop)
    work = random.choice([0.02, 0.2, 0.3], size=4096, p=[0.995, 0.0025, 0.0025])
    engine = StandInEngine(SIZE, lambda number: float(work[number % 4096]))
    session = await Session(lambda: engine, pictures=1).start()
    talking = asyncio.create_task(_talk(session))
    seen, start_s, stall_s = Seen(), float("nan"), loop.time() + stall_every_s
    async for unit in session.units():
        start_s = loop.time() if seen.units == 0 else start_s
        seen.take(unit, loop.time(), start_s)
        if loop.time() > stall_s:
            loop.now_s += 1.0
            stall_s += stall_every_s
        if unit.index * UNIT >= hours * 3600:
            break
    stats = dict(session.stats())
    talking.cancel()
    await session.close()
    return seen, stats


async def _talk(session: Session) -> None:
    voice = (0.4 * np.sin(np.arange(8000) * 0.3)).astype(np.float32)
    while True:
        await asyncio.sleep(19.37)
        turn = session.begin_turn()
        await session.speak(voice, turn)
        session.end_turn(turn)


def _check(hours: float, stall_every_s: float) -> None:
    seen, stats = run(_hours(hours, stall_every_s))
    assert seen.last_index == pytest.approx(hours * 3600 / UNIT, abs=9)
    assert abs(seen.last_late_s) < 0.010, "drift"
    assert seen.worst_late_s < 1.0
    assert stats["underruns"] >= hours * 100 and stats["skipped"] >= 20
    offsets = np.abs(seen.offsets)
    assert len(offsets) > hours * 1500 and np.percentile(offsets, 95) <= 0.001 and offsets.max() <= 0.001
    assert seen.loud > hours * 100 and seen.wrong_mouths <= 0.02 * seen.loud
    assert stats["speech_queue_s"] < 1.0
    print(f"{hours:g} h: {seen.units} units, {stats['underruns']:.0f} underruns, {stats['skipped']:.0f} left out, drift "
          f"{1000 * seen.last_late_s:.3f} ms, A/V offset at most {1000 * offsets.max():.2f} ms")


def test_ten_minutes_do_not_drift() -> None:
    _check(1 / 6, 100)


@pytest.mark.slow
def test_eight_hours_do_not_drift() -> None:
    _check(8.0, 600)
