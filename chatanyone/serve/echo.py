"""``POST /v1/check``: a connection without a session that sends back what it gets, for the connection check page."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from aiohttp import web

from chatanyone.serve.refusals import Refused, bad_request
from chatanyone.serve.signalling import read_offer
from chatanyone.serve.transport import Peer, PeerEvents, SignallingError

MOST = 4  # at a time; our choice
LIFE_S = 20.0


class Echo:
    """Handler of the check.

    Args:
        make_peer: a connection without media.
    """

    def __init__(self, make_peer: Callable[[PeerEvents], Peer]) -> None:
        self._make_peer = make_peer
        self._lives: set[asyncio.Task[None]] = set()

    async def check(self, request: web.Request) -> web.Response:
        """An offer with a data channel and nothing else in, 201 and the answer out."""
        offer, _ = await read_offer(request)
        if "m=audio" in offer or "m=video" in offer:
            raise bad_request("The check takes a data channel only.")
        if len(self._lives) >= MOST:
            raise Refused(503, "full", "Others are checking their connection; try again in a moment.", LIFE_S / 2)
        told = PeerEvents()
        peer = self._make_peer(told)
        told.message = lambda message: None if len(message) > 200 else _send_back(peer, message)
        task = asyncio.create_task(self._live(peer), name="connection check")
        self._lives.add(task)
        task.add_done_callback(self._lives.discard)
        try:
            answer = await peer.answer(offer)
        except SignallingError as error:
            task.cancel()
            raise bad_request(str(error)) from None
        return web.Response(status=201, text=answer, content_type="application/sdp")

    async def close(self) -> None:
        """Ends all checks."""
        for task in list(self._lives):
            task.cancel()
        await asyncio.gather(*self._lives, return_exceptions=True)

    async def _live(self, peer: Peer) -> None:
        try:
            await asyncio.sleep(LIFE_S)
        finally:
            await peer.close()


def _send_back(peer: Peer, message: str | bytes) -> None:
    peer.send(message if isinstance(message, str) else message.decode(errors="replace"))
