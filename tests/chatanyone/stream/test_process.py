"""The renderer's process, with tiny nets: real pipes, real shared memory, real deaths."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from chatanyone.config import Config
from chatanyone.errors import ChatAnyoneError
from chatanyone.stream.engine import Made, Step
from chatanyone.stream.live import open_session
from chatanyone.stream.process import ProcessEngine
from chatanyone.stream.types import SessionState, Unit
from chatanyone.stream.units import speech_before

SIZE = (256, 384)


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


def test_units_come_back_in_order_and_nothing_is_left(tiny_config: Config, portrait_file: Path) -> None:
    async def main() -> None:
        engine = ProcessEngine(portrait_file, SIZE, tiny_config)
        answers = await _answers(engine, 5, pictures=2)
        assert [made.number for made in answers] == list(range(5))
        assert all(made.frames.shape == (2, 384, 256, 3) and made.busy_s > 0 for made in answers)
        assert answers[0].frames.std() > 5 and {"motion", "drawing"} <= answers[0].parts_s.keys()
        assert engine.lag > 0
        await engine.close()
        await engine.close()

    asyncio.run(main())
    assert _held()[1:] == (1, [], [])  # of descriptors the first process leaves Python's own resource tracker


def test_open_and_close_leak_nothing(tiny_config: Config, portrait_file: Path) -> None:
    """Descriptors, threads, processes and shared memory are as before; closing works at any moment."""
    async def cycle(after_ready: bool) -> None:
        engine = ProcessEngine(portrait_file, SIZE, tiny_config)
        task = asyncio.create_task(_answers(engine, 1))
        if after_ready:
            await task
        else:
            await asyncio.sleep(0)
            task.cancel()
        await engine.close()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(cycle(True))
    before = _held()
    for after_ready in (False, True, False):
        asyncio.run(cycle(after_ready))
    assert _held() == before


def test_a_renderer_that_is_killed_is_started_again(tiny_config: Config, portrait_file: Path) -> None:
    notices: list[str] = []

    class Events:
        on_state = on_heard = on_end = staticmethod(lambda _: None)
        on_notice = staticmethod(notices.append)

    async def main() -> list[Unit]:
        session = await open_session(portrait_file, tiny_config, Events(), pictures=1)
        units = []
        async for unit in session.units():
            units.append(unit)
            if len(units) == 3:
                os.kill(_children()[0], signal.SIGKILL)
            moves = len(units) > 5 and not np.array_equal(units[-1].frames, units[-2].frames)
            if notices and moves and len(units) > 20 or len(units) > 400:
                break
        await session.close()
        return units

    units = asyncio.run(main())
    assert notices == ["the renderer stopped (it ended with code -9) and is being started again"]
    assert len(units) < 400, "it never moved again"
    assert not _children()


def test_a_renderer_that_cannot_start_says_why(tiny_config: Config, tmp_path: Path) -> None:
    async def main() -> None:
        engine = ProcessEngine(tmp_path / "none.safetensors", SIZE, tiny_config)
        with pytest.raises(ChatAnyoneError, match="the renderer did not start: PortraitError"):
            await _answers(engine, 1)
        await engine.close()

    asyncio.run(main())
    assert not _children()


def _children() -> list[int]:
    """Renderers of ours, by process id."""
    found = []
    for task in Path("/proc/self/task").iterdir():
        found += [int(pid) for pid in (task / "children").read_text().split()]
    return [pid for pid in found if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]


def _held() -> tuple[int, int, list[int], list[str]]:
    """Open descriptors, threads, renderers, shared memory; executor threads of a finished loop may need a moment."""
    end = time.monotonic() + 2
    while threading.active_count() > 1 and time.monotonic() < end:
        time.sleep(0.01)
    memory = sorted(path.name for path in Path("/dev/shm").iterdir() if path.name.startswith("psm_"))
    return len(os.listdir("/proc/self/fd")), threading.active_count(), _children(), memory
