from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from chatanyone.live_config import CarriageConfig
from chatanyone.serve.broadcast import KEY_PAUSE_S, Broadcast, Ended, PacketQueue
from chatanyone.serve.encode import Packet, VideoCodec
from chatanyone.stream.standin import burn_number
from chatanyone.stream.types import UNIT_S, UNIT_SAMPLES, SessionState, Unit


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


class Units:
    """A session that gives its units as fast as they are taken; each moves the clock by its length."""

    size, fps = (64, 96), Fraction(30)

    def __init__(self, count: int, clock: Clock, late_s: dict[int, float] | None = None) -> None:
        self.count, self.clock, self.late_s = count, clock, late_s or {}

    async def units(self) -> AsyncIterator[Unit]:
        start_s = self.clock.now_s
        for index in range(self.count):
            self.clock.now_s = start_s + float(index * UNIT_S) + self.late_s.get(index, 0.0)
            frames = np.zeros((4, 96, 64, 3), np.uint8)
            for j in range(4):
                burn_number(frames[j], 4 * index + j)
            yield Unit(index, 0, np.zeros(UNIT_SAMPLES, np.int16), frames, SessionState.LISTENING)
            await asyncio.sleep(0)


def broadcast(count: int = 12, late_s: dict[int, float] | None = None, **settings: Any) -> tuple[Broadcast, Clock]:
    clock = Clock()
    coders = ThreadPoolExecutor(1)
    return Broadcast(Units(count, clock, late_s), CarriageConfig(**settings), coders, clock), clock  # type: ignore[arg-type]


async def drain(queue: PacketQueue) -> list[Packet]:
    """What is in the queue now."""
    return [await queue.get() for _ in range(len(queue))]


def packet(pts: int, key: bool = False) -> Packet:
    return Packet("video", b"x", pts, pts / 90_000, key, 0)


def test_a_viewer_begins_with_a_key_frame() -> None:
    async def body() -> None:
        queue = PacketQueue(10, lambda: None)
        for pts in range(5):
            queue.put(packet(pts, key=pts == 3))
        assert [one.pts for one in await drain(queue)] == [3, 4] and queue.dropped == 3

    asyncio.run(body())


def test_a_slow_viewer_loses_whole_pictures_up_to_a_key_frame() -> None:
    async def body() -> None:
        asked: list[bool] = []
        queue = PacketQueue(4, lambda: asked.append(True))
        for pts in range(10):
            queue.put(packet(pts, key=pts in (0, 7)))
        assert [one.pts for one in await drain(queue)] == [7, 8, 9]  # 0 to 3 went at the fifth, 4 to 6 had no key frame
        assert asked == [True] and queue.dropped == 7 and len(queue) == 0

    asyncio.run(body())


def test_slow_sound_loses_the_oldest() -> None:
    async def body() -> None:
        queue = PacketQueue(3)
        for pts in range(5):
            queue.put(Packet("sound", b"x", pts, 0, True, 0))
        assert [one.pts for one in await drain(queue)] == [2, 3, 4]
        queue.end()
        with pytest.raises(Ended):
            await queue.get()

    asyncio.run(body())


def test_a_waiting_viewer_is_woken_by_the_end() -> None:
    async def body() -> None:
        queue = PacketQueue(3)
        waiting = asyncio.create_task(queue.get())
        await asyncio.sleep(0)
        queue.end()
        with pytest.raises(Ended):
            await waiting

    asyncio.run(body())


@pytest.mark.parametrize("codec", ["h264", "vp8"])
def test_one_coding_serves_all(codec: VideoCodec) -> None:
    async def body() -> None:
        source, _ = broadcast()
        viewers, listeners = [source.watch(codec) for _ in range(5)], [source.listen() for _ in range(2)]
        collected = [asyncio.create_task(collect(queue)) for queue in (*viewers, *listeners)]
        await source.run()
        packets = [await task for task in collected]
        assert source.counts["pictures"] == 48  # not 5 times 48
        assert all(one == packets[0] for one in packets[:5]) and packets[5] == packets[6]
        assert [one.pts for one in packets[0]] == [3000 * index for index in range(48)]
        assert len(packets[5]) == 12 * UNIT_SAMPLES // 960

    asyncio.run(body())


async def collect(queue: PacketQueue) -> list[Packet]:
    out = []
    try:
        while True:
            out.append(await queue.get())
    except Ended:
        return out


def test_nobody_looks_nothing_is_coded() -> None:
    async def body() -> None:
        source, _ = broadcast(3)
        await source.run()
        assert source.counts["pictures"] == 0 and source.counts["units"] == 3

    asyncio.run(body())


def test_a_late_viewer_gets_its_own_key_frame_soon() -> None:
    async def body() -> None:
        source, _ = broadcast(12)
        first = source.watch("h264")
        running = asyncio.create_task(source.run())
        while source.counts["units"] < 6:
            await first.get()
        late = asyncio.create_task(collect(source.watch("h264")))
        early = asyncio.create_task(collect(first))
        await running
        packets = await late
        assert packets[0].key and 20 <= packets[0].pts // 3000 <= 30
        assert packets == (await early)[-len(packets):]

    asyncio.run(body())


def test_many_requests_make_few_key_frames() -> None:
    async def body() -> None:
        source, clock = broadcast(15)
        queue = source.watch("h264")
        running = asyncio.create_task(source.run())
        keys = []
        try:
            while True:
                source.ask_key("h264")
                one = await queue.get()
                if one.key:
                    keys.append(one.unit)
        except Ended:
            pass
        await running
        assert 3 <= len(keys) <= 15 * float(UNIT_S) / KEY_PAUSE_S + 1, keys

    asyncio.run(body())


def test_t0_is_where_the_punctual_units_say() -> None:
    async def body() -> None:
        source, clock = broadcast(20, late_s={3: 0.05, 9: 0.12, 10: 0.4})
        await source.run()
        assert source.epoch_s == pytest.approx(100.0)
        assert source.last_unit_s == pytest.approx(100 + 19 * float(UNIT_S))

    asyncio.run(body())


def test_the_rate_stays_within_its_limits() -> None:
    async def body() -> None:
        source, _ = broadcast(3, video_kbps=1500, video_min_kbps=120)
        queue = source.watch("h264")
        running = asyncio.create_task(source.run())
        await queue.get()
        encoder = source._encoders["h264"]
        for wish, given in ((5000, 188), (150, 150), (10, 120)):
            source.set_kbps(wish)
            assert encoder.kbps == given
        await running

    asyncio.run(body())
