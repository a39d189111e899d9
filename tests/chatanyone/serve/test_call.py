"""A call's life without a network: what it tells, when it ends, what happens when the renderer dies."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from chatanyone.errors import ChatAnyoneError
from chatanyone.live_config import LiveConfig
from chatanyone.serve.broadcast import Broadcast
from chatanyone.serve.calls import Calls
from chatanyone.serve.engines import StandInEngines
from chatanyone.serve.health import Health, coding_fault
from chatanyone.serve.metrics import Metrics
from chatanyone.serve.refusals import Refused
from chatanyone.serve.transport import PeerEvents, SignallingError
from chatanyone.stream.types import SessionEvents
from chatanyone.talk import events
from tests.helpers.rtc_client import SMALL, live_config


class FakePeer:
    """A connection that keeps what is sent to it."""

    def __init__(self, broadcast: Broadcast | None, told: PeerEvents) -> None:
        self.told, self.sent, self.closed = told, [], 0  # type: ignore[var-annotated]
        self.received = 0.0

    async def answer(self, offer: str) -> str:
        if offer == "bad":
            raise SignallingError("the offer is bad")
        self.told.connected()
        self.told.opened()
        return "answer"

    def send(self, message: str) -> bool:
        self.sent.append(json.loads(message))
        return True

    def stats(self) -> Mapping[str, float]:
        return {"bytes_received": self.received}

    async def close(self) -> None:
        self.closed += 1


class FakeTalker:
    """A conversation that says what happened to it."""

    def __init__(self, send: Any) -> None:
        self.send, self.calls = send, []  # type: ignore[var-annotated]

    def __getattr__(self, name: str) -> Any:
        return lambda *arguments: self.calls.append(name)

    def on_notice(self, sentence: str) -> None:
        self.send(events.notice(sentence))

    def on_end(self, reason: str) -> None:
        self.send(events.ended(reason))

    async def close(self) -> None:
        self.calls.append("close")


class House:
    """Calls with fakes on both sides."""

    def __init__(self, folder: Path, engines: Any = None, **settings: Any) -> None:
        self.peers: list[FakePeer] = []
        self.talkers: list[FakeTalker] = []
        live: LiveConfig = live_config(**settings).live
        self.metrics = Metrics()
        self.calls = Calls(live, engines or StandInEngines(SMALL, 1), self._peer, self._talker, self.metrics, folder)

    def _peer(self, speaks: bool, broadcast: Broadcast | None, told: PeerEvents) -> FakePeer:
        self.peers.append(FakePeer(broadcast, told))
        return self.peers[-1]

    def _talker(self, send: Any, wishes: Any) -> FakeTalker:
        self.talkers.append(FakeTalker(send))
        return self.talkers[-1]


async def until(condition: Callable[[], Any]) -> None:
    async def wait() -> None:
        while not condition():
            await asyncio.sleep(0.01)

    await asyncio.wait_for(wait(), 30)


def test_the_parts_are_joined_and_freed(tmp_path: Path) -> None:
    async def body() -> None:
        house = House(tmp_path)
        call, answer = await house.calls.open("me", None, "offer", {})
        peer, talker = house.peers[0], house.talkers[0]
        assert answer == "answer" and talker.calls[0] == "begin"
        peer.told.message("{}")
        peer.told.sound([0.0])  # type: ignore[arg-type]
        assert talker.calls[1:3] == ["receive", "hear"]
        call.end("Enough.")
        call.end("Later.")
        await call.closed.wait()
        assert peer.sent[-1]["type"] == "chatanyone.ended" and peer.sent[-1]["reason"] == "Enough."
        assert peer.closed == 1 and talker.calls[-1] == "close" and house.calls.admission.taken == 0
        await house.calls.close()

    asyncio.run(body())


def test_a_bad_offer_leaves_nothing(tmp_path: Path) -> None:
    async def body() -> None:
        house = House(tmp_path)
        with pytest.raises(Refused, match="^the offer is bad$"):
            await house.calls.open("me", None, "bad", {})
        assert house.calls.admission.taken == 0 and not house.calls.running and house.peers[0].closed == 1
        await house.calls.close()

    asyncio.run(body())


class _Broken(StandInEngines):
    async def open(self, portrait: Any, told: SessionEvents) -> Any:
        raise ChatAnyoneError("the renderer did not start")


def test_a_renderer_that_does_not_start_leaves_nothing(tmp_path: Path) -> None:
    async def body() -> None:
        house = House(tmp_path, _Broken())
        with pytest.raises(ChatAnyoneError, match="did not start"):
            await house.calls.open("me", None, "offer", {})
        assert house.calls.admission.taken == 0 and not house.calls.running
        await house.calls.close()

    asyncio.run(body())


def test_a_renderer_that_dies_is_reported_and_the_call_goes_on_or_ends_with_a_sentence(tmp_path: Path) -> None:
    """The session starts another one and says so; when it gives up, the caller gets its last sentence."""
    async def body() -> None:
        house = House(tmp_path)
        call, _ = await house.calls.open("me", None, "offer", {})
        peer, session = house.peers[0], call._session
        units = call.broadcast.counts  # type: ignore[union-attr]
        for _ in range(20):
            engine = session._pacer._engine if hasattr(session._pacer, "_engine") else None  # type: ignore[union-attr]
            if engine is None or call.reason is not None:
                break
            engine.crash()
            before = units["units"]
            await until(lambda: call.reason is not None or units["units"] >= before + 2)
            if call.reason is None:
                assert any(one["type"] == "chatanyone.notice" for one in peer.sent)
        call.on_end("The renderer could not be started again.")
        await asyncio.wait_for(call.closed.wait(), 20)
        last = peer.sent[-1]
        assert last["type"] == "chatanyone.ended" and last["reason"][0].isupper() and last["reason"].endswith(".")

    asyncio.run(body())


def test_the_longest_call_ends_with_a_sentence(tmp_path: Path) -> None:
    async def body() -> None:
        house = House(tmp_path, limits__session_s=1.0, limits__idle_s=60.0)
        call, _ = await house.calls.open("me", None, "offer", {})
        await asyncio.wait_for(call.closed.wait(), 20)
        assert "limit of 0.0166667 minutes" in house.peers[0].sent[-1]["reason"]
        assert any(one["type"] == "chatanyone.stats" for one in house.peers[0].sent)

    asyncio.run(body())


def test_draining_tells_waits_and_ends(tmp_path: Path) -> None:
    async def body() -> None:
        house = House(tmp_path, limits__sessions=2)
        first, _ = await house.calls.open("a", None, "offer", {})
        second, _ = await house.calls.open("b", None, "offer", {})
        draining = asyncio.create_task(house.calls.drain(0.5))
        await asyncio.sleep(0.05)
        for peer in house.peers:
            assert "ends in 0 seconds" in peer.sent[-1]["message"] or "being stopped" in peer.sent[-1]["message"]
        with pytest.raises(Refused, match="about to stop"):
            await house.calls.open("c", None, "offer", {})
        first.end("The call was ended.")
        await first.closed.wait()
        assert not draining.done()
        await draining
        assert second.closed.is_set() and second.reason == "The server was stopped."
        assert not (await Health(house.calls).report())["ok"]

    asyncio.run(body())


def test_too_many_watchers(tmp_path: Path) -> None:
    async def body() -> None:
        house = House(tmp_path, limits__watchers=1)
        call, _ = await house.calls.open("me", None, "offer", {})
        watcher, _ = await house.calls.watch(call.id, "offer")
        with pytest.raises(Refused, match="1 already look at this call"):
            await house.calls.watch(call.id, "offer")
        await call.unwatch(watcher)
        with pytest.raises(Refused, match="offer is bad"):
            await house.calls.watch(call.id, "bad")
        await house.calls.watch(call.id, "offer")
        await house.calls.close()
        assert [peer.closed for peer in house.peers] == [1, 1, 1, 1]

    asyncio.run(body())


def test_stale_media_is_not_healthy(tmp_path: Path) -> None:
    async def body() -> None:
        house = House(tmp_path)
        health = Health(house.calls)
        call, _ = await house.calls.open("me", None, "offer", {})
        await until(lambda: call.broadcast.last_unit_s)  # type: ignore[union-attr]
        assert (await health.report())["ok"]
        clock, call._clock = call._clock, lambda: float("inf")
        report = await health.report()
        call._clock = clock
        assert not report["ok"] and report["stale_calls"] == 1
        await house.calls.close()

    asyncio.run(body())


def test_coders_that_fail_are_not_healthy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert coding_fault() is None
    monkeypatch.setattr("chatanyone.serve.health.VideoEncoder", None)
    assert "TypeError" in str(coding_fault())
