"""One call: a session, its broadcast, the caller's peer, the conversation, watchers, recording; all of it ends together."""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from chatanyone.live_config import LimitsConfig
from chatanyone.serve.broadcast import Broadcast, Sink
from chatanyone.serve.life import Life
from chatanyone.serve.metrics import Metrics
from chatanyone.serve.recorder import Recorder
from chatanyone.serve.refusals import sentence as as_sentence
from chatanyone.serve.transport import Peer, PeerEvents, PeerMaker
from chatanyone.stream.types import Heard, LiveSession, SessionState
from chatanyone.talk import events

TICK_S = 1.0
GOODBYE_S = 0.3  # our choice: so long the last message has to leave before the connection is closed
_log = logging.getLogger(__name__)


class Talker(Protocol):
    """What a call needs of `chatanyone.talk.Conversation`."""

    def begin(self, session: LiveSession) -> None: ...

    def hear(self, samples: NDArray[np.float32]) -> None: ...

    def receive(self, message: str | bytes) -> None: ...

    def on_state(self, state: SessionState) -> None: ...

    def on_heard(self, heard: Heard) -> None: ...

    def on_notice(self, sentence: str) -> None: ...

    def on_end(self, reason: str) -> None: ...

    async def close(self) -> None: ...


@dataclass
class Watcher:
    """Somebody who looks at a call."""

    peer: Peer
    life: Life


class Call:
    """Implements `SessionEvents` by passing them on to the conversation.

    Args:
        limits: how long, how many.
        metrics: told about everything.
        ended: awaited when all is freed.
        clock: seconds, monotonic.
    """

    def __init__(self, limits: LimitsConfig, metrics: Metrics, ended: Callable[[Call], Awaitable[None]],
                 clock: Callable[[], float] = time.monotonic) -> None:
        self.id = secrets.token_urlsafe(12)
        self.watchers: dict[str, Watcher] = {}
        self.recorder: Recorder | None = None
        self.closed = asyncio.Event()
        self.reason: str | None = None
        self._limits, self._metrics, self._ended, self._clock = limits, metrics, ended, clock
        self._life = Life(limits, clock)
        self._ending: asyncio.Task[None] | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._sinks: list[Any] = []
        self._talker: Talker | None = None
        self._session: LiveSession | None = None
        self._peer: Peer | None = None
        self._begun = False
        self.broadcast: Broadcast | None = None

    # Putting it together, in this order.

    def use_talker(self, talker: Talker) -> None:
        """Before the session is opened: it gets the session's events."""
        self._talker = talker

    def use_session(self, session: LiveSession, broadcast: Broadcast) -> None:
        """The clock runs from here on."""
        self._session, self.broadcast = session, broadcast
        self._tasks = [asyncio.create_task(self._carry(broadcast), name="broadcast"),
                       asyncio.create_task(self._watch_over(), name="call")]

    async def connect(self, make_peer: PeerMaker, offer: str) -> str:
        """Answers the caller's offer.

        Raises:
            SignallingError: it cannot be answered.
        """
        assert self.broadcast is not None and self._talker is not None
        told = PeerEvents(opened=self._on_open, message=self._on_message, sound=self._on_sound,
                          estimate=self.broadcast.set_kbps, connected=self._on_connected, gone=self.end)
        self._peer = make_peer(self.broadcast, told)
        return await self._peer.answer(offer)

    async def watch(self, make_peer: PeerMaker, offer: str) -> tuple[str, str]:
        """One more who looks: its id and the SDP answer.

        Raises:
            SignallingError: the offer cannot be answered.
        """
        assert self.broadcast is not None
        watcher_id = secrets.token_urlsafe(12)
        life = Life(self._limits, self._clock)
        peer = make_peer(self.broadcast, PeerEvents(connected=life.connect, gone=lambda reason: self._forget(watcher_id)))
        try:
            answer = await peer.answer(offer)
        except BaseException:
            await peer.close()
            raise
        self.watchers[watcher_id] = Watcher(peer, life)
        return watcher_id, answer

    async def unwatch(self, watcher_id: str) -> None:
        """That one looks no more."""
        watcher = self.watchers.pop(watcher_id, None)
        if watcher is not None:
            await watcher.peer.close()

    def add_sink(self, sink: Sink) -> None:
        """Also takes the frames, to the call's end; has an async `close`."""
        assert self.broadcast is not None
        self.broadcast.sinks.append(sink)
        self._sinks.append(sink)

    # Recording.

    def start_recording(self, path: Path) -> None:
        """From the next key frame on; does nothing while one runs."""
        assert self.broadcast is not None
        if self.recorder is None or self.recorder.closed:
            self.recorder = Recorder(path)
            self.broadcast.sinks.append(self.recorder)
            self.broadcast.ask_key("h264")

    async def stop_recording(self) -> Path | None:
        """The finished file; None when nothing was recorded."""
        recorder = self.recorder
        if recorder is None:
            return None
        if self.broadcast is not None and recorder in self.broadcast.sinks:
            self.broadcast.sinks.remove(recorder)
        return await recorder.close()

    # What is going on.

    def send(self, event: Mapping[str, Any]) -> None:
        """One event to the caller; lost when the caller does not read."""
        if self._peer is None or not self._peer.send(json.dumps(event, ensure_ascii=False)):
            self._metrics.count("messages_lost")

    @property
    def age_s(self) -> float:
        """Since it began."""
        return self._life.age_s

    @property
    def fresh(self) -> bool:
        """Units come as they should: the last one is not older than a second."""
        last_s = self.broadcast.last_unit_s if self.broadcast is not None else None
        return (self.age_s if last_s is None else self._clock() - last_s) < 1.0

    def stats(self) -> dict[str, float]:
        """Names to numbers, of session, transport and coding."""
        numbers: dict[str, float] = dict(self._session.stats()) if self._session is not None else {}
        if self._peer is not None:
            numbers |= {f"transport_{name}": value for name, value in self._peer.stats().items()}
        if self.broadcast is not None:
            numbers |= {f"carried_{name}": float(value) for name, value in self.broadcast.counts.items()}
        return numbers | {"watchers": float(len(self.watchers)), "age_s": self.age_s}

    def end(self, reason: str) -> None:
        """Frees everything; the caller is told the reason, a sentence. May be called often, from anywhere on the loop."""
        if self._ending is None:
            self.reason = as_sentence(reason)
            self._ending = asyncio.create_task(self._end(self.reason), name="end of a call")

    # SessionEvents

    def on_state(self, state: SessionState) -> None:
        """See `SessionEvents`."""
        if self._talker is not None:
            self._talker.on_state(state)

    def on_heard(self, heard: Heard) -> None:
        """See `SessionEvents`."""
        if self._talker is not None:
            self._talker.on_heard(heard)

    def on_notice(self, sentence: str) -> None:
        """See `SessionEvents`."""
        _log.warning("call notice", extra={"call": self.id, "notice": sentence})
        self._metrics.count("notices")
        if self._talker is not None:
            self._talker.on_notice(as_sentence(sentence))

    def on_end(self, reason: str) -> None:
        """The session ended by itself."""
        self.end(reason)

    # The peer's events.

    def _on_connected(self) -> None:
        self._life.connect()
        self._metrics.observe("connect", self.age_s)

    def _on_open(self) -> None:
        if self._talker is not None and self._session is not None and not self._begun:
            self._begun = True
            self._talker.begin(self._session)

    def _on_message(self, message: str | bytes) -> None:
        if self._talker is not None and self._begun:
            self._talker.receive(message)

    def _on_sound(self, samples: NDArray[np.float32]) -> None:
        if self._talker is not None and self._begun:
            self._talker.hear(samples)

    # Looking after it.

    async def _carry(self, broadcast: Broadcast) -> None:
        try:
            await broadcast.run()
        except Exception:
            _log.exception("coding failed", extra={"call": self.id})
            self.end("The pictures could not be coded any more, so the call had to end.")
        else:
            self.end("The session ended.")

    async def _watch_over(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            numbers = self.stats()
            self.send(events.stats(numbers))
            self._metrics.observe_call(numbers)
            self._life.received(numbers.get("transport_bytes_received", 0.0))
            if (reason := self._life.over()) is not None:
                self.end(reason)
            self._check_watchers()

    def _check_watchers(self) -> None:
        for watcher_id, watcher in list(self.watchers.items()):
            watcher.life.received(watcher.peer.stats().get("bytes_received", 0.0))
            if watcher.life.over() is not None:
                self._forget(watcher_id)

    def _forget(self, watcher_id: str) -> None:
        if watcher_id in self.watchers:
            self._tasks.append(asyncio.create_task(self.unwatch(watcher_id)))
            self._tasks = [task for task in self._tasks if not task.done()]

    # The end.

    async def _end(self, reason: str) -> None:
        try:
            await self._say_goodbye(reason)
            await self._free()
        finally:
            self.closed.set()
            await self._ended(self)
        _log.info("call ended", extra={"call": self.id, "reason": reason, "seconds": round(self.age_s, 1)})

    async def _say_goodbye(self, reason: str) -> None:
        if self._talker is not None:
            self._talker.on_end(reason)
            await asyncio.sleep(GOODBYE_S if self._life.connected else 0)

    async def _free(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for free in self._to_free():
            try:
                await free
            except Exception:
                _log.exception("a part of a call could not be freed", extra={"call": self.id})
        self.watchers.clear()
        self._tasks.clear()
        self._talker = self._session = self._peer = self.broadcast = None

    def _to_free(self) -> list[Awaitable[Any]]:
        """In this order: who speaks, who sees, what is recorded, then the session itself."""
        peers = [watcher.peer for watcher in self.watchers.values()]
        if self._peer is not None:
            peers.append(self._peer)
        parts: list[Awaitable[Any]] = [self._talker.close()] if self._talker is not None else []
        parts += [peer.close() for peer in peers]
        parts += [sink.close() for sink in self._sinks]
        parts += [self.stop_recording()]
        return parts + ([self._session.close()] if self._session is not None else [])
