"""Nothing of a call is left when it has ended."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import os
import threading
import weakref
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from chatanyone.serve.server import Server
from tests.helpers.rtc_client import Tone, calling, stand_in_server


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").is_dir() else 0


def memory_mib() -> float:
    """Resident, after the C library gave back what is free: its arenas alone move by tens of MiB."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


async def cycle(server: Server, graves: list[weakref.ref[Any]]) -> None:
    async with calling(server, microphone=Tone(), keep_pictures=False) as client:
        await client.until(lambda: client.numbers and client.sounds)
        call = next(iter(server.calls.running.values()))
        for part in (call, call._peer, call._session, call.broadcast, call._talker):
            graves.append(weakref.ref(part))
        closed = call.closed
        del call, part
    await asyncio.wait_for(closed.wait(), 30)


async def settled() -> None:
    for _ in range(20):
        await asyncio.sleep(0.01)
        gc.collect()


def test_everything_of_a_call_is_freed() -> None:
    async def body() -> None:
        async with stand_in_server() as server:
            graves: list[weakref.ref[Any]] = []
            await cycle(server, [])
            await settled()
            before = threading.active_count(), descriptors(), len(asyncio.all_tasks())
            for _ in range(3):
                await cycle(server, graves)
            await settled()
            assert [one() for one in graves if one() is not None] == []
            threads, files, tasks = threading.active_count(), descriptors(), len(asyncio.all_tasks())
            assert threads <= before[0] + 2 and files <= before[1] + 2 and tasks <= before[2], (before, threads, files, tasks)
            assert server.calls.admission.taken == 0 and not server.calls.running

    asyncio.run(body())


@pytest.mark.slow
def test_fifty_calls_one_after_the_other() -> None:
    async def body() -> None:
        async with stand_in_server(limits__requests=1000, limits__requests_per_s=100.0) as server:
            for _ in range(10):
                await cycle(server, [])
            await settled()
            before = memory_mib(), threading.active_count(), descriptors()
            for _ in range(40):
                await cycle(server, [])
            await settled()
            after = memory_mib(), threading.active_count(), descriptors()
            print(f"after 10 and 50 calls: {before[0]:.1f} and {after[0]:.1f} MiB, {before[1]} and {after[1]} threads, "
                  f"{before[2]} and {after[2]} descriptors")
            assert after[0] - before[0] < 16 and after[1] <= before[1] + 2 and after[2] <= before[2] + 2

    asyncio.run(body())
