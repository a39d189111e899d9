"""Dials that were turned before the call reach it through the server, and only those that the renderer has."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import aiohttp

from chatanyone.serve.engines import Pick, StandInEngines
from chatanyone.serve.server import Server
from chatanyone.stream.types import Dials, LiveSession, SessionEvents
from tests.helpers.rtc_client import SMALL, base, calling, stand_in_server

GROUPS = ("brows", "mouth")


class Watched(StandInEngines):
    """The stand-in as if it had dials of groups; keeps what its sessions were told."""

    def __init__(self) -> None:
        super().__init__(SMALL, pictures=1)
        self.told: list[Dials] = []

    async def start(self) -> Pick:
        return replace(await super().start(), groups=GROUPS)

    async def open(self, portrait: Any, events: SessionEvents) -> LiveSession:
        session = await super().open(portrait, events)
        pass_on = session.set_dials

        def set_dials(dials: Dials) -> None:
            self.told.append(dials)
            pass_on(dials)

        setattr(session, "set_dials", set_dials)
        return session


def serving(body: Callable[[Server, Watched], Awaitable[None]]) -> None:
    async def run() -> None:
        engines = Watched()
        async with stand_in_server(engines) as server:
            await body(server, engines)

    asyncio.run(run())


def test_dials_picked_before_the_call_reach_the_renderer() -> None:
    async def body(server: Server, engines: Watched) -> None:
        wishes = {"mode": "mirror", "dials": {"pose": 0.5, "groups": {"brows": 1.5, "mouth": -1}}}
        async with calling(server, session=wishes) as client:
            await client.until(lambda: "session.created" in client.kinds())
            created = next(one for one in client.messages if one["type"] == "session.created")["session"]
        assert created["dials"]["pose"] == 0.5 and created["dials"]["groups"] == {"brows": 1.5, "mouth": -1.0}
        assert engines.told[0] == Dials(pose=0.5, groups={"brows": 1.5, "mouth": -1.0})

    serving(body)


def test_a_dial_that_the_renderer_lacks_is_refused_before_the_call() -> None:
    async def body(server: Server, engines: Watched) -> None:
        async with aiohttp.ClientSession() as http:
            async with http.get(base(server) + "/v1/info") as answer:
                assert (await answer.json())["groups"] == list(GROUPS)
            wishes = {"dials": {"groups": {"brows": 1, "horns": 1}}}
            async with http.post(base(server) + "/v1/realtime/calls", json={"sdp": "v=0\r\n", "session": wishes}) as answer:
                assert answer.status == 400
                assert (await answer.json())["error"]["message"] == 'Unknown dial "horns"; known here: brows, mouth.'
        assert engines.told == []

    serving(body)


def test_where_nobody_is_rendered_any_dial_is_taken() -> None:
    """The stand-in has no groups; a page that kept some from another server can still call."""
    async def run() -> None:
        async with stand_in_server() as server, calling(server, session={"dials": {"groups": {"brows": 1}}}) as client:
            await client.until(lambda: "session.created" in client.kinds())

    asyncio.run(run())
