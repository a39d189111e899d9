"""The renderer's process: real pipes, real shared memory, real deaths; once with nets, otherwise without their weight."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from chatanyone.config import Config
from chatanyone.errors import ChatAnyoneError
from chatanyone.stream import supervisor
from chatanyone.stream.engine import Made, Step
from chatanyone.stream.live import open_session
from chatanyone.stream.process import ProcessEngine
from chatanyone.stream.ring import Ring
from chatanyone.stream.session import Session
from chatanyone.stream.types import SessionState, Unit
from chatanyone.stream.units import speech_before

HELPERS = Path(__file__).resolve().parents[2] / "helpers" / "processes"
SIZE = (64, 96)
Light = Callable[..., ProcessEngine]


class Told:
    """Sentences that a session said."""

    def __init__(self) -> None:
        self.notices: list[str] = []
        self.ends: list[str] = []
        self.on_notice, self.on_end = self.notices.append, self.ends.append

    def on_state(self, _: object) -> None: ...

    def on_heard(self, _: object) -> None: ...


@pytest.fixture
def light(monkeypatch: pytest.MonkeyPatch) -> Light:
    """Renderers without nets. New processes get our search path, where another package's `tests` may come first; so what
    they run is a module with a name of its own."""
    monkeypatch.syspath_prepend(str(HELPERS))
    serve = importlib.import_module("light_renderer").serve
    return lambda behaviour="good": ProcessEngine(Path(behaviour), SIZE, Config(), serve)


def _step(number: int, pictures: int = 4) -> Step:
    count = speech_before(number + 1) - speech_before(number)
    return Step(number, np.zeros(count, np.float32), SessionState.LISTENING, np.full(4, -100, np.float32), pictures)


async def _answers(engine: ProcessEngine, count: int, pictures: int = 4) -> list[Made]:
    made: asyncio.Queue[Made] = asyncio.Queue()
    await engine.start(made.put_nowait, lambda reason: None)
    answers = []
    for number in range(count):
        engine.step(_step(number, pictures))
        answers.append(await asyncio.wait_for(made.get(), 60))
    return answers


async def _units(session: Session, until: Callable[[list[Unit]], bool]) -> list[Unit]:
    units: list[Unit] = []
    async for unit in session.units():
        units.append(unit)
        if until(units) or len(units) > 300:
            break
    return units


def test_a_session_with_nets(tiny_config: Config, portrait_file: Path) -> None:
    """The real thing in small: the person moves."""
    told = Told()

    async def main() -> list[Unit]:
        session = await open_session(portrait_file, tiny_config, told, pictures=1)
        assert session.size == (256, 384)
        units = await _units(session, lambda units: len(units) > 8 and _moves(units))
        await session.close()
        return units

    units = asyncio.run(main())
    assert units[0].frames.shape == (1, 384, 256, 3) and _moves(units) and not told.ends
    assert not _children()


def test_a_renderer_that_is_killed_is_started_again(light: Light) -> None:
    told = Told()

    async def main() -> list[Unit]:
        session = await Session(light, told, pictures=1).start()
        units = await _units(session, lambda units: len(units) > 4)
        os.kill(_children()[0], signal.SIGKILL)
        units += await _units(session, lambda units: bool(told.notices) and len(units) > 8 and _moves(units))
        await session.close()
        return units

    units = asyncio.run(main())
    assert told.notices[0] == "the renderer stopped (it ended with code -9) and is being started again"
    assert _moves(units) and not told.ends and [unit.index for unit in units] == sorted(unit.index for unit in units)
    assert not _children()


def _moves(units: list[Unit]) -> bool:
    return not np.array_equal(units[-1].frames, units[-2].frames)


def test_units_come_back_in_order_through_few_slots(light: Light) -> None:
    async def main() -> None:
        engine = light()
        answers = await _answers(engine, 9, pictures=2)
        assert [made.number for made in answers] == list(range(9))
        assert [made.frames[1, 5, 5, 0] for made in answers] == list(range(9))
        assert all(made.frames.shape == (2, 96, 64, 3) and not made.frames.flags.writeable for made in answers)
        assert engine.lag == 8000
        await engine.close()
        await engine.close()

    asyncio.run(main())


def test_a_cut_reaches_the_renderer_at_once(light: Light) -> None:
    async def main() -> None:
        engine, made = light(), asyncio.Queue[Made]()
        await engine.start(made.put_nowait, lambda reason: None)
        engine.step(_step(0))
        first = await made.get()
        engine.cut(0)
        again = await made.get()
        assert (again.number, again.again, first.again) == (0, True, False)
        assert first.frames[0, 0, 0, 0] == 0 and again.frames[0, 0, 0, 0] == 200
        for number in range(1, 9):  # a cut takes no slot from the steps
            engine.step(_step(number))
            engine.cut(number)
            answers = sorted([await made.get(), await made.get()], key=lambda answer: answer.again)
            assert [(answer.number, answer.again) for answer in answers] == [(number, False), (number, True)]
            assert answers[0].frames[0, 0, 0, 0] == 100 + number and answers[1].frames[0, 0, 0, 0] == 200 + number
        await engine.close()

    asyncio.run(main())


def test_opening_and_closing_leaks_nothing(light: Light, monkeypatch: pytest.MonkeyPatch) -> None:
    """Descriptors, threads, processes and shared memory are as before; closing works at any moment."""
    names, create = [], Ring.create

    def spy(size: tuple[int, int], slots: int) -> Ring:
        ring = create(size, slots)
        names.append(ring.shape.name)
        return ring

    monkeypatch.setattr(Ring, "create", spy)

    async def cycle(steps: int) -> None:
        engine = light()
        task = asyncio.create_task(_answers(engine, steps))
        if steps:
            await task
        else:
            await asyncio.sleep(0)
            task.cancel()
        await engine.close()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(cycle(1))
    before = _held()
    for steps in (0, 3, 0, 2, 1):
        asyncio.run(cycle(steps))
    assert _held() == before and before[1:] == (1, [])
    assert len(names) == 6 and not [name for name in names if Path("/dev/shm", name).exists()]


def test_a_renderer_that_dies_three_times_ends_the_session(light: Light) -> None:
    told = Told()

    async def main() -> None:
        session = await Session(lambda: light("dies"), told, pictures=1).start()
        await _units(session, lambda units: False)
        await session.close()

    asyncio.run(main())
    assert told.ends == ["the renderer stopped 3 times within a minute (it ended with code 3); the session was ended"]
    assert len(told.notices) == 2 and not _children()


def test_a_hung_renderer_is_killed(light: Light, monkeypatch: pytest.MonkeyPatch) -> None:
    told = Told()
    monkeypatch.setattr("chatanyone.stream.pacer.HUNG_S", 0.3)
    monkeypatch.setattr("chatanyone.stream.process._END_S", 0.1)
    monkeypatch.setattr(supervisor, "MOST_DEATHS", 1)

    async def main() -> None:
        session = await Session(lambda: light("hangs"), told, pictures=1).start()
        await _units(session, lambda units: False)
        await session.close()

    asyncio.run(main())
    assert len(told.notices + told.ends) >= 1 and "no picture for 0.3 s" in (told.notices + told.ends)[0]
    assert not _children()


def test_a_renderer_that_cannot_start_says_why(light: Light) -> None:
    async def main() -> None:
        engine = light("refuses")
        with pytest.raises(ChatAnyoneError, match="the renderer did not start: PortraitError: it is refused"):
            await _answers(engine, 1)
        await engine.close()

    asyncio.run(main())
    assert not _children()


def test_two_sessions_never_mix(light: Light) -> None:
    async def main() -> None:
        engines = [light(), light()]
        answers = await asyncio.gather(*(_answers(engine, 20, pictures) for engine, pictures in zip(engines, (4, 1))))
        for made, pictures in zip(answers, (4, 1)):
            assert [int(one.frames[0, 0, 0, 0]) for one in made] == list(range(20))
            assert {one.frames.shape[0] for one in made} == {pictures}
        await asyncio.gather(*(engine.close() for engine in engines))

    asyncio.run(main())
    assert not _children()


@pytest.mark.parametrize("start", [
    "from chatanyone.stream.worker import exit_with_parent; from concurrent.futures import ProcessPoolExecutor as P; "
    "P(1, multiprocessing.get_context('spawn'), exit_with_parent).submit(print).result()",
    "import asyncio, light_renderer; from pathlib import Path; from chatanyone.config import Config; "
    "from chatanyone.stream.process import ProcessEngine as E; "
    "asyncio.run(E(Path('good'), (64, 96), Config(), light_renderer.serve).start(print, print))",
    "import asyncio; from pathlib import Path; from chatanyone.config import Config; "
    "from chatanyone.serve.workshop import Workshop; w = Workshop(Config(), Path('.')); asyncio.run(w._open())",
], ids=["pool", "renderer", "workshop"])
def test_children_of_a_killed_server_end(start: str) -> None:
    """Nobody can tidy up after SIGKILL, so they must see it themselves."""
    code = (f"import multiprocessing, sys, time; sys.path[:0] = [{str(HELPERS)!r}]; {start}; "
            "print(*[child.pid for child in multiprocessing.active_children()], flush=True); time.sleep(600)")
    server = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=HELPERS.parents[2])
    assert server.stdout is not None
    pids: list[int] = []
    while not pids:
        pids = [int(pid) for pid in server.stdout.readline().split() if pid.isdigit()]
    server.kill()
    server.communicate()
    end = time.monotonic() + 30
    while any(_runs(pid) for pid in pids) and time.monotonic() < end:
        time.sleep(0.02)
    assert not [pid for pid in pids if _runs(pid)]


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _children() -> list[int]:
    """Renderers of ours, by process id."""
    found: list[int] = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it ended meanwhile
            parent = int(status.read_text().rpartition(")")[2].split()[1])
            if parent == os.getpid() and b"spawn_main" in status.with_name("cmdline").read_bytes():
                found.append(int(status.parent.name))
    return found


def _held() -> tuple[int, int, list[int]]:
    """Open descriptors, threads, renderers; executor threads of a finished loop may need a moment."""
    end = time.monotonic() + 2
    while threading.active_count() > 1 and time.monotonic() < end:
        time.sleep(0.01)
    return len(os.listdir("/proc/self/fd")), threading.active_count(), _children()
