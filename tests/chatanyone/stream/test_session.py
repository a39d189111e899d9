from __future__ import annotations

import asyncio
from fractions import Fraction

import numpy as np
import pytest
from numpy.typing import NDArray

from chatanyone.errors import ChatAnyoneError
from chatanyone.stream.session import Session
from chatanyone.stream.standin import StandInEngine, find_chirps, open_standin, read_level, read_number
from chatanyone.stream.types import IDLE_TURN, UNIT_S, Dials, Heard, LiveSession, SessionState, Unit
from tests.helpers.virtual_time import VirtualLoop, run

SIZE = (64, 96)


class Recorder:
    """What a session told."""

    def __init__(self) -> None:
        self.states: list[SessionState] = []
        self.heard: list[Heard] = []
        self.notices: list[str] = []
        self.ends: list[str] = []

    def on_state(self, state: SessionState) -> None:
        self.states.append(state)

    def on_heard(self, heard: Heard) -> None:
        self.heard.append(heard)

    def on_notice(self, sentence: str) -> None:
        self.notices.append(sentence)

    def on_end(self, reason: str) -> None:
        self.ends.append(reason)


def tone(seconds: float, amplitude: float = 0.3) -> NDArray[np.float32]:
    return (amplitude * np.sin(2 * np.pi * 300 * np.arange(round(16_000 * seconds)) / 16_000)).astype(np.float32)


async def collect(session: LiveSession, count: int) -> list[tuple[float, Unit]]:
    """Units with the time at which they came."""
    loop, units = asyncio.get_running_loop(), []
    async for unit in session.units():
        units.append((loop.time(), unit))
        if len(units) == count:
            break
    return units


def sound_of(units: list[tuple[float, Unit]]) -> NDArray[np.float32]:
    return np.concatenate([unit.sound for _, unit in units]).astype(np.float32) / 32768


def test_units_are_due_every_two_fifteenths_of_a_second() -> None:
    async def main() -> list[tuple[float, Unit]]:
        session = await open_standin(size=SIZE)
        units = await collect(session, 100)
        assert session.fps == 30 and session.size == SIZE and session.stats()["underruns"] == 0
        await session.close()
        return units

    units = run(main())
    first = units[0][0]
    assert [unit.index for _, unit in units] == list(range(100))
    np.testing.assert_allclose([time - first for time, _ in units], np.arange(100) * float(UNIT_S), atol=1e-6)
    numbers = [read_number(frame) for _, unit in units for frame in unit.frames]
    assert numbers == list(range(400)), "every picture once, in order"
    assert all(unit.sound.shape == (6400,) and unit.turn == IDLE_TURN for _, unit in units)


def test_the_clock_starts_with_a_picture() -> None:
    async def main() -> list[tuple[float, Unit]]:
        session = await open_standin(size=SIZE, work_s=lambda number: 0.02 if number else 0.9)
        units = await collect(session, 10)
        assert session.stats()["underruns"] == 0
        await session.close()
        return units

    units = run(main())
    assert [read_number(frame) for _, unit in units for frame in unit.frames] == list(range(40))


@pytest.mark.parametrize("pictures, fps", [(4, 30), (2, 15), (1, Fraction(15, 2))])
def test_slower_sessions_draw_every_nth_frame(pictures: int, fps: Fraction) -> None:
    async def main() -> tuple[Fraction, list[tuple[float, Unit]]]:
        session = await open_standin(size=SIZE, pictures=pictures)
        units = await collect(session, 10)
        await session.close()
        return session.fps, units

    rate, units = run(main())
    assert rate == fps
    numbers = [read_number(frame) for _, unit in units for frame in unit.frames]
    assert numbers == list(range(0, 40, 4 // pictures))


def test_speech_is_seen_when_it_is_heard_and_whole() -> None:
    events = Recorder()

    async def main() -> list[tuple[float, Unit]]:
        session = await open_standin(events, SIZE, chirps=False)
        turn = session.begin_turn()
        await session.speak(tone(0.7), turn)
        session.end_turn(turn)
        units = await collect(session, 14)
        await session.close()
        return units

    units = run(main())
    sound = sound_of(units)
    loud = np.flatnonzero(np.abs(sound) > 0.02)
    assert (loud[-1] - loud[0]) / 48_000 == pytest.approx(0.7, abs=0.005)
    per_frame = np.sqrt((sound.reshape(-1, 1600) ** 2).mean(axis=1))
    levels = np.array([read_level(frame) for _, unit in units for frame in unit.frames])
    assert np.corrcoef(per_frame, levels)[0, 1] > 0.99
    assert events.states == [SessionState.THINKING, SessionState.SPEAKING, SessionState.LISTENING]
    assert events.heard[-1] == Heard(1, 11_200, True)
    positions = [heard.samples for heard in events.heard]
    assert positions == sorted(positions) and len(positions) >= 5
    assert {unit.turn for _, unit in units} == {IDLE_TURN, 1}


def test_real_time_speech_has_no_holes() -> None:
    """Twenty-millisecond packets that jitter by ten: nothing is inserted into the middle of a word."""
    async def main() -> list[tuple[float, Unit]]:
        session = await open_standin(size=SIZE, chirps=False)
        reading = asyncio.create_task(collect(session, 30))
        turn, speech, loop = session.begin_turn(), tone(2.0), asyncio.get_running_loop()
        start, late = loop.time(), np.random.default_rng(0).uniform(0, 0.02, 100)
        for index in range(100):
            await asyncio.sleep(max(start + 0.02 * index + late[index] - loop.time(), 0))
            await session.speak(speech[320 * index:320 * (index + 1)], turn)
        session.end_turn(turn)
        units = await reading
        await session.close()
        return units

    sound = sound_of(run(main()))
    loud = np.flatnonzero(np.abs(sound) > 0.02)
    assert (loud[-1] - loud[0]) / 48_000 == pytest.approx(2.0, abs=0.005)


def test_synthesised_speech_waits_for_room() -> None:
    async def main() -> float:
        session = await open_standin(size=SIZE)
        loop = asyncio.get_running_loop()
        turn, start = session.begin_turn(), loop.time()
        await session.speak(tone(10), turn)
        waited = loop.time() - start
        assert session.stats()["speech_queue_s"] <= 4.0
        await session.close()
        return waited

    assert 5.5 < run(main()) < 7


@pytest.mark.parametrize("pictures, work_s, shut_ms", [(4, 0.09, 195), (4, 0.03, 182), (2, 0.09, 195), (1, 0.09, 230)])
def test_interruption_stops_sound_and_mouth_and_tells_how_much_was_heard(pictures: int, work_s: float, shut_ms: float) -> None:
    """At every phase of a unit, with a renderer that draws one picture after the other."""
    sound_ms, mouth_ms = [], []
    for shift in np.linspace(0, float(UNIT_S), 21):
        stopped, closed, heard = run(_interrupted(1.5 + float(shift), pictures, work_s))
        sound_ms.append(stopped)
        mouth_ms.append(closed)
        assert heard is not None and heard.interrupted and heard.turn == 1
        assert 0.9 * 16_000 < heard.samples < 1.6 * 16_000
    print(f"{pictures} pictures in {1000 * work_s:g} ms: sound stops in {np.percentile(sound_ms, 95):.0f} ms, the mouth is "
          f"shut in {np.percentile(mouth_ms, 95):.0f} ms (p95)")
    assert np.percentile(sound_ms, 95) <= 130
    assert np.percentile(mouth_ms, 95) <= shut_ms


def test_units_that_are_ready_are_drawn_again_with_a_shut_mouth(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two units lie ready, both with an open mouth; the next one is shown with a shut one, but for 10 ms before it is due."""
    monkeypatch.setattr("chatanyone.stream.pacer.SPARE_S", 0.2)
    mouth_ms = [run(_interrupted(1.5 + float(shift), 4, 0.03))[1] for shift in np.linspace(0, float(UNIT_S), 21)]
    assert np.percentile(mouth_ms, 80) < 200 and max(mouth_ms) < 260, sorted(mouth_ms)


def test_a_late_unit_makes_no_click() -> None:
    """Speech breaks off within 8 ms and begins again as softly, and only the gap is added to it."""
    async def main() -> NDArray[np.float32]:
        session = await open_standin(size=SIZE, chirps=False, work_s=lambda n: 0.3 if n == 12 else 0.02)
        reading = asyncio.create_task(collect(session, 30))
        turn = session.begin_turn()
        await session.speak(tone(2.5), turn)
        units = await reading
        assert session.stats()["underruns"] == 2
        await session.close()
        return sound_of(units)

    sound = run(main())
    assert np.abs(np.diff(sound)).max() < 0.02
    loud = np.abs(sound.reshape(-1, 80)).max(axis=1) > 0.25
    edges = np.flatnonzero(np.diff(loud.astype(int)))
    assert len(edges) == 4 and (edges[2] - edges[1]) * 80 == pytest.approx(2 * 6400, abs=240)


async def _interrupted(after_s: float, pictures: int, work_s: float) -> tuple[float, float, Heard | None]:
    """Milliseconds from the interruption to the end of sound and to the first shut picture, as they are played."""
    session = await open_standin(size=SIZE, pictures=pictures, chirps=False, work_s=lambda number: work_s)
    loop = asyncio.get_running_loop()
    reading = asyncio.create_task(collect(session, 24))
    turn = session.begin_turn()
    speaking = asyncio.create_task(session.speak(tone(20), turn))
    await asyncio.sleep(after_s)
    at, heard = loop.time(), session.interrupt()
    assert session.turn == 2
    await session.speak(tone(1), 3)  # of nobody's turn: dropped
    units = await reading
    assert session.stats()["underruns"] == 0, "drawing again made a unit late"
    speaking.cancel()
    await session.close()
    start = units[0][0]
    sound = sound_of(units)
    assert np.abs(np.diff(sound)).max() < 0.05, "a click"
    stopped = start + (np.flatnonzero(np.abs(sound) > 0.001)[-1] + 1) / 48_000
    levels = np.array([read_level(frame) for _, unit in units for frame in unit.frames])
    closed = start + (np.flatnonzero(levels > 0.1 * levels.max())[-1] + 1) / pictures * float(UNIT_S)
    return 1000 * (stopped - at), 1000 * (closed - at), heard


def test_a_false_alarm_goes_on_where_it_was_cut() -> None:
    async def main() -> tuple[list[tuple[float, Unit]], Heard | None]:
        session = await open_standin(size=SIZE, chirps=False)
        reading = asyncio.create_task(collect(session, 40))
        turn = session.begin_turn()
        ramp = np.linspace(0, 1, 32_000, dtype=np.float32) * tone(2, 1.0)
        await session.speak(ramp, turn)
        session.end_turn(turn)
        await asyncio.sleep(1.2)
        heard = session.interrupt()
        await asyncio.sleep(1.0)
        assert session.resume(turn) and session.turn == turn
        assert not session.resume(turn), "it goes on already"
        units = await reading
        assert not session.resume(turn), "it is over"
        await session.close()
        return units, heard

    units, heard = run(main())
    assert heard is not None
    loud = np.abs(sound_of(units)) > 0.005
    total = loud.reshape(-1, 400).any(axis=1).sum() / 120
    assert total == pytest.approx(2.0, abs=0.06), "nothing lost, nothing said twice"


def test_a_new_turn_cuts_the_old_one_off() -> None:
    events = Recorder()

    async def main() -> None:
        session = await open_standin(events, SIZE)
        old = session.begin_turn()
        await session.speak(tone(2), old)
        await collect(session, 6)
        new = session.begin_turn()
        await session.speak(tone(1), old)
        assert session.turn == new and session.stats()["speech_queue_s"] == 0 and not session.resume(old)
        session.end_turn(new)
        await session.close()

    run(main())
    assert events.heard[-2:] == [Heard(1, events.heard[-2].samples, True, True), Heard(2, 0, True)]
    assert events.states[-2:] == [SessionState.THINKING, SessionState.LISTENING]


def test_late_units_delay_speech_as_a_whole() -> None:
    """Every tenth step takes too long: idle units are put in, and all of the speech is heard with its pictures."""
    async def main() -> tuple[list[tuple[float, Unit]], float]:
        session = await open_standin(size=SIZE, chirps=False, work_s=lambda n: 0.3 if n % 25 == 9 else 0.02)
        reading = asyncio.create_task(collect(session, 60))
        turn = session.begin_turn()
        await session.speak(tone(3), turn)
        session.end_turn(turn)
        units = await reading
        underruns = session.stats()["underruns"]
        await session.close()
        return units, underruns

    units, underruns = run(main())
    assert underruns >= 2
    sound = sound_of(units)
    assert (np.abs(sound) > 0.02).reshape(-1, 400).any(axis=1).sum() / 120 == pytest.approx(3.0, abs=0.1)
    per_frame = np.sqrt((sound.reshape(-1, 1600) ** 2).mean(axis=1))
    levels = np.array([read_level(frame) for _, unit in units for frame in unit.frames])
    shown = np.repeat([len({read_number(frame) for frame in unit.frames}) == 4 for _, unit in units], 4)
    assert np.corrcoef(per_frame[shown], levels[shown])[0, 1] > 0.99
    idle = sound.reshape(-1, 6400)[~shown[::4]]
    assert len(idle) and not idle[:, 400:].any(), "idle units are silent"


def test_time_that_passed_is_left_out_whole() -> None:
    """The loop stands still for a second: eight indices are missing, the clock is as before."""
    async def main() -> list[tuple[float, Unit]]:
        session = await open_standin(size=SIZE)
        reading = asyncio.create_task(collect(session, 40))
        await asyncio.sleep(2)
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        loop.now_s += 1.05
        units = await reading
        assert session.stats()["skipped"] == 7
        await session.close()
        return units

    units = run(main())
    start = units[0][0]
    late = [time - start - unit.index * float(UNIT_S) for time, unit in units]
    assert max(late) < float(UNIT_S) and min(late) > -1e-6 and abs(late[-1]) < 1e-6
    assert max(np.diff([unit.index for _, unit in units])) == 8


def test_slow_consumers_lose_whole_units_and_hold_nobody_up() -> None:
    async def main() -> tuple[list[int], list[int], float]:
        session = await open_standin(size=SIZE)
        fast, slow = [], []

        async def lag() -> None:
            async for unit in session.units():
                slow.append(unit.index)
                await asyncio.sleep(1.0)

        task = asyncio.create_task(lag())
        async for unit in session.units():
            fast.append(unit.index)
            if len(fast) == 60:
                break
        dropped = session.stats()["dropped_units"]
        task.cancel()
        await session.close()
        return fast, slow, dropped

    fast, slow, dropped = run(main())
    assert fast == list(range(60)) and len(slow) <= 9 and slow[-1] >= 45 and dropped > 30


def test_repeated_misses_lower_the_rate_and_say_so() -> None:
    events = Recorder()

    async def main() -> Fraction:
        session = await open_standin(events, SIZE, work_s=lambda number: 0.16 if number < 60 else 0.05)
        await collect(session, 120)
        before = session.stats()["underruns"]
        await collect(session, 30)
        assert session.stats()["underruns"] == before, "then it keeps up"
        await session.close()
        return session.fps

    assert run(main()) < 30
    assert "this machine cannot keep up, so the picture now changes 15 times a second" in events.notices


def test_a_cold_start_does_not_lower_the_rate() -> None:
    events = Recorder()

    async def main() -> Fraction:
        session = await open_standin(events, SIZE, work_s=lambda number: 0.26 if number < 10 else 0.05)
        await collect(session, 80)
        assert session.stats()["underruns"] >= 6, "it was late often enough"
        await session.close()
        return session.fps

    assert run(main()) == 30
    assert not events.notices


def test_too_slow_a_machine_is_said_to_be_so_once_a_minute() -> None:
    events = Recorder()

    async def main() -> None:
        session = await open_standin(events, SIZE, pictures=1, work_s=lambda number: 0.2)
        await collect(session, 600)
        await session.close()

    run(main())
    assert events.notices == ["this machine cannot keep up even with few pictures, so there will be pauses"] * 2


def test_a_dead_engine_is_replaced_and_the_speech_goes_on() -> None:
    events, engines = Recorder(), []

    def make() -> StandInEngine:
        engines.append(StandInEngine(SIZE, chirps=False))
        return engines[-1]

    async def main() -> list[tuple[float, Unit]]:
        session = await Session(make, events).start()
        reading = asyncio.create_task(collect(session, 40))
        turn = session.begin_turn()
        await session.speak(tone(2), turn)
        session.end_turn(turn)
        await asyncio.sleep(1.1)
        engines[0].crash()
        units = await reading
        await session.close()
        return units

    units = run(main())
    assert len(engines) == 2 and len(events.notices) == 1 and "is being started again" in events.notices[0]
    assert [unit.index for _, unit in units] == list(range(40))
    heard = (np.abs(sound_of(units)) > 0.02).reshape(-1, 400).any(axis=1).sum() / 120
    assert heard == pytest.approx(2.0, abs=0.06)
    assert events.heard[-1] == Heard(1, 32_000, True)


def test_a_hung_engine_counts_as_dead_and_three_deaths_end_the_session() -> None:
    events, engines = Recorder(), []

    def make() -> StandInEngine:
        engines.append(StandInEngine(SIZE, work_s=lambda number: -1 if number > 5 else 0.02))
        return engines[-1]

    async def main() -> int:
        session = await Session(make, events).start()
        return len([unit async for unit in session.units()])

    assert run(main()) > 100, "the picture is held meanwhile; then the stream ends"
    assert len(engines) == 3 and len(events.notices) == 2
    assert events.ends == ["the renderer stopped 3 times within a minute (no picture for 8 s); the session was ended"]


def test_dials_act_within_two_units() -> None:
    async def main() -> list[tuple[float, Unit]]:
        session = await open_standin(size=SIZE, chirps=False)
        reading = asyncio.create_task(collect(session, 20))
        turn = session.begin_turn()
        await session.speak(tone(4, 0.2), turn)
        await asyncio.sleep(1.3)
        session.set_dials(Dials(expression=2.0))
        units = await reading
        await session.close()
        return units

    units = run(main())
    levels = [np.mean([read_level(frame) for frame in unit.frames]) for _, unit in units]
    at = next(index for index, (time, _) in enumerate(units) if time > units[0][0] + 1.3)
    assert levels[at + 2] == pytest.approx(2 * levels[at - 1], rel=0.1)


def test_chirps_and_numbers_meet() -> None:
    async def main() -> list[tuple[float, Unit]]:
        session = await open_standin(size=SIZE)
        units = await collect(session, 62)
        await session.close()
        return units

    units = run(main())
    numbers = [read_number(frame) for _, unit in units for frame in unit.frames]
    shown = [index / 30 for index, number in enumerate(numbers) if number is not None and number % 60 == 0]
    assert find_chirps(sound_of(units)) == pytest.approx(shown, abs=0.001) and len(shown) == 5


def test_a_listener_that_fails_ends_the_session_with_a_sentence(caplog: pytest.LogCaptureFixture) -> None:
    events = Recorder()

    def fail(heard: Heard) -> None:
        raise RuntimeError("somebody else's fault")

    async def main() -> list[Unit]:
        session = await open_standin(events, SIZE)
        events.on_heard = fail  # type: ignore[method-assign]
        turn = session.begin_turn()
        await session.speak(tone(1), turn)
        return [unit async for unit in session.units()]

    assert len(run(main())) < 10
    assert events.ends == ["the session failed because of a fault in the program; its log says more"]
    assert "somebody else's fault" in caplog.text


def test_dials_that_are_no_numbers_are_natural() -> None:
    async def main() -> None:
        session = await open_standin(size=SIZE)
        session.set_dials(Dials(float("nan"), 9.0, -9.0, {"brows": float("inf")}))
        assert session._dials == Dials(1.0, 2.0, -2.0, {"brows": 1.0})
        await session.close()

    run(main())


def test_wrong_sound_is_refused_in_a_sentence() -> None:
    async def main() -> None:
        session = await open_standin(size=SIZE)
        with pytest.raises(ChatAnyoneError, match=r"expected mono samples \[n\] at 16 kHz, got shape \[2, 100\]"):
            session.hear(np.zeros((2, 100), np.float32))
        await session.close()
        await session.close()

    run(main())
