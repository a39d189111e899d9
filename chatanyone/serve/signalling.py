"""Handlers of ``/v1/realtime/calls``: an SDP offer in, 201 with `Location` and the SDP answer out; WHEP for watchers."""

from __future__ import annotations

import json
from typing import Any

from aiohttp import web

from chatanyone.serve.calls import Calls
from chatanyone.serve.library import Library
from chatanyone.serve.refusals import Refused, bad_request
from chatanyone.serve.security import CLIENT, OWNER

MOST_SDP_BYTES = 100_000
_CALLS = "/v1/realtime/calls"


class Signalling:
    """The routes of calls.

    Args:
        calls: all of them.
        portraits: to choose from.
    """

    def __init__(self, calls: Calls, portraits: Library) -> None:
        self._calls, self._portraits = calls, portraits

    async def call(self, request: web.Request) -> web.Response:
        """``POST /v1/realtime/calls``: SDP, or JSON ``{"sdp", "session": {"portrait", …}}``."""
        offer, session = await read_offer(request)
        entry = await self._portraits.ready(self._chosen(request, session.pop("portrait", None)))
        call, answer = await self._calls.open(request[CLIENT], entry.result, offer, session)
        return _created(f"{_CALLS}/{call.id}", answer)

    async def hang_up(self, request: web.Request) -> web.Response:
        """``DELETE /v1/realtime/calls/{id}``"""
        call = self._calls.get(request.match_info["id"])
        call.end("The call was ended.")
        await call.closed.wait()
        return web.Response(status=204)

    async def watch(self, request: web.Request) -> web.Response:
        """``POST /v1/realtime/calls/{id}/whep`` (draft-ietf-wish-whep)."""
        call_id = request.match_info["id"]
        offer, _ = await read_offer(request)
        watcher_id, answer = await self._calls.watch(call_id, offer)
        return _created(f"{_CALLS}/{call_id}/whep/{watcher_id}", answer)

    async def unwatch(self, request: web.Request) -> web.Response:
        """``DELETE /v1/realtime/calls/{id}/whep/{watcher}``"""
        await self._calls.get(request.match_info["id"]).unwatch(request.match_info["watcher"])
        return web.Response(status=204)

    async def record(self, request: web.Request) -> web.Response:
        """``POST /v1/realtime/calls/{id}/recording``: ``{"action": "start" | "stop"}``."""
        action = (await _json(request)).get("action")
        call_id = request.match_info["id"]
        if action == "start":
            self._calls.start_recording(call_id)
        elif action == "stop":
            await self._calls.stop_recording(call_id)
        else:
            raise bad_request("The action must be start or stop.")
        return web.json_response({"recording": action == "start"})

    async def recording(self, request: web.Request) -> web.StreamResponse:
        """``GET /v1/realtime/calls/{id}/recording``: the finished MP4."""
        path = self._calls.recording(request.match_info["id"])
        return web.FileResponse(path, headers={"Content-Type": "video/mp4", "Cache-Control": "no-store"})

    def _chosen(self, request: web.Request, portrait: Any) -> str:
        """The portrait asked for, or the first one."""
        if portrait is None:
            entries = self._portraits.seen_by(request.get(OWNER))
            if not entries:
                raise Refused(409, "no_portrait", "There is no portrait here yet; bring one.")
            return entries[0].id
        if not isinstance(portrait, str):
            raise bad_request("The portrait must be the id of one from /v1/portraits.")
        return portrait


async def read_offer(request: web.Request) -> tuple[str, dict[str, Any]]:
    """The SDP offer and the session's settings."""
    if request.content_type == "application/sdp":
        return await _text(request), {}
    if request.content_type != "application/json":
        raise Refused(415, "unusable", "Send the offer as application/sdp, or as JSON with the keys sdp and session.")
    body = await _json(request)
    offer, session = body.get("sdp"), body.get("session") or {}
    if not isinstance(offer, str) or not isinstance(session, dict):
        raise bad_request("The JSON must hold the offer as text in sdp, and the settings as an object in session.")
    return offer, dict(session)


async def _text(request: web.Request) -> str:
    if (request.content_length or 0) > MOST_SDP_BYTES:
        raise Refused(413, "too_large", f"The offer is larger than {MOST_SDP_BYTES // 1000} kB.")
    data = await request.content.read(MOST_SDP_BYTES + 1)
    while len(data) <= MOST_SDP_BYTES and (more := await request.content.read(MOST_SDP_BYTES + 1 - len(data))):
        data += more
    if len(data) > MOST_SDP_BYTES:
        raise Refused(413, "too_large", f"The offer is larger than {MOST_SDP_BYTES // 1000} kB.")
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise bad_request("The request is not UTF-8 text.") from None


async def _json(request: web.Request) -> dict[str, Any]:
    try:
        body = json.loads(await _text(request))
    except (ValueError, RecursionError):
        raise bad_request("The request is not JSON.") from None
    if not isinstance(body, dict):
        raise bad_request("The request must be one JSON object.")
    return body


def _created(location: str, answer: str) -> web.Response:
    return web.Response(status=201, text=answer, content_type="application/sdp", headers={"Location": location})
