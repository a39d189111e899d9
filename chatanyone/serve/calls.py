"""All calls of a server: who may begin one, what it is made of, what is left of it when it has ended."""

from __future__ import annotations

import asyncio
import logging
import os
from collections import OrderedDict
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from chatanyone.live_config import LiveConfig
from chatanyone.serve.admission import Admission
from chatanyone.serve.broadcast import Broadcast
from chatanyone.serve.call import Call, Talker
from chatanyone.serve.engines import Engines
from chatanyone.serve.metrics import Metrics
from chatanyone.serve.recorder import Camera, Rtmp
from chatanyone.serve.refusals import Refused, bad_request, not_found
from chatanyone.serve.transport import Peer, PeerEvents, SignallingError
from chatanyone.talk.commands import CommandError

DRAINING = "The server is being stopped; this call ends in {seconds:.0f} seconds."
_log = logging.getLogger(__name__)

# The call's `send` and the settings in the request's `session` → what talks in the call.
TalkerMaker = Callable[[Callable[[Mapping[str, Any]], None], Mapping[str, Any]], Talker]
# Whether the other side may speak (a caller) or not (a watcher); None sends no media.
MakePeer = Callable[[bool, "Broadcast | None", PeerEvents], Peer]


class Calls:
    """Opens, finds and ends calls.

    Args:
        config: limits, rates, outputs.
        engines: where sessions come from.
        make_peer: a WebRTC connection.
        make_talker: a conversation.
        metrics: told about everything.
        folder: for recordings.
    """

    def __init__(self, config: LiveConfig, engines: Engines, make_peer: MakePeer, make_talker: TalkerMaker,
                 metrics: Metrics, folder: Path) -> None:
        self.admission = Admission(config.limits.sessions, config.limits.retry_s)
        self.running: dict[str, Call] = {}
        self._config, self._engines, self._metrics, self._folder = config, engines, metrics, folder
        self._make_peer, self._make_talker = make_peer, make_talker
        self._recordings: OrderedDict[str, Path] = OrderedDict()
        self._coders = ThreadPoolExecutor(max(2, os.cpu_count() or 2), thread_name_prefix="coder")

    async def open(self, client: str, portrait: Any, offer: str, wishes: Mapping[str, Any]) -> tuple[Call, str]:
        """A call that has begun, and the SDP answer.

        Raises:
            Refused: full, or the offer or the wishes cannot be.
            ChatAnyoneError: the session cannot begin.
        """
        self.admission.enter(client)
        call = Call(self._config.limits, self._metrics, self._forget)
        self.running[call.id] = call
        try:
            answer = await self._begin(call, portrait, offer, wishes)
        except BaseException as error:
            call.end("The call could not begin.")
            await asyncio.shield(call.closed.wait())
            if isinstance(error, (SignallingError, CommandError)):
                raise bad_request(str(error)) from None
            raise
        _log.info("call began", extra={"call": call.id, "client": client})
        self._metrics.count("calls")
        return call, answer

    async def _begin(self, call: Call, portrait: Any, offer: str, wishes: Mapping[str, Any]) -> str:
        call.use_talker(self._make_talker(call.send, wishes))
        session = await self._engines.open(portrait, call)
        call.use_session(session, Broadcast(session, self._config.carriage, self._coders, measured=self._metrics.observe))
        self._add_outputs(call, session.size, float(session.fps))
        return await call.connect(partial(self._make_peer, True), offer)

    def _add_outputs(self, call: Call, size: tuple[int, int], fps: float) -> None:
        """The first call also goes where the configuration says."""
        if len(self.running) > 1:
            return
        if self._config.output.rtmp:
            call.add_sink(Rtmp(self._config.output.rtmp))
        if self._config.output.camera:
            call.add_sink(Camera(size, fps))

    async def watch(self, call_id: str, offer: str) -> tuple[str, str]:
        """One more who looks at a call: its id and the SDP answer.

        Raises:
            Refused: no such call, too many, or the offer cannot be.
        """
        call = self.get(call_id)
        if len(call.watchers) >= self._config.limits.watchers:
            raise Refused(503, "full", f"{self._config.limits.watchers} already look at this call; no more fit in.",
                          self._config.limits.retry_s)
        try:
            return await call.watch(partial(self._make_peer, False), offer)
        except SignallingError as error:
            raise bad_request(str(error)) from None

    def get(self, call_id: str) -> Call:
        """A call that runs.

        Raises:
            Refused: 404.
        """
        call = self.running.get(call_id)
        if call is None or call.reason is not None:
            raise not_found("call")
        return call

    def start_recording(self, call_id: str) -> None:
        """See `Call.start_recording`."""
        if not self._config.output.recordings:
            raise Refused(403, "recordings_off", "This server does not record calls.")
        self.get(call_id).start_recording(self._folder / f"{call_id}.mp4")

    async def stop_recording(self, call_id: str) -> None:
        """Finishes the file, if one was begun."""
        self._keep(call_id, await self.get(call_id).stop_recording())

    def recording(self, call_id: str) -> Path:
        """A finished recording, also of a call that has ended.

        Raises:
            Refused: there is none.
        """
        if call_id not in self._recordings:
            raise not_found("recording")
        return self._recordings[call_id]

    async def drain(self, seconds: float) -> None:
        """No new calls; those that run are told, then have `seconds`, then end."""
        self.admission.draining = True
        for call in self.running.values():
            call.on_notice(DRAINING.format(seconds=seconds))
        waiting = [asyncio.create_task(call.closed.wait()) for call in self.running.values()]
        if waiting:
            await asyncio.wait(waiting, timeout=seconds)
        await self.close()

    async def close(self) -> None:
        """Ends all calls at once."""
        self.admission.draining = True
        calls = list(self.running.values())
        for call in calls:
            call.end("The server was stopped.")
        await asyncio.gather(*(call.closed.wait() for call in calls))
        self._coders.shutdown(wait=False)

    async def _forget(self, call: Call) -> None:
        self.running.pop(call.id, None)
        self.admission.leave()
        if call.recorder is not None:
            self._keep(call.id, await call.recorder.close())

    def _keep(self, call_id: str, path: Path | None) -> None:
        if path is None:
            return
        self._recordings[call_id] = path
        while len(self._recordings) > self._config.limits.stored:
            self._recordings.popitem(last=False)[1].unlink(missing_ok=True)
