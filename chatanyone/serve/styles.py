"""Reference clips: somebody's way of moving, tracked once, then chosen by id."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from aiohttp import web

from chatanyone.live_config import LimitsConfig
from chatanyone.serve import content
from chatanyone.serve.library import Entry, Library, receive_file
from chatanyone.serve.refusals import Refused
from chatanyone.serve.security import OWNER

Track = Callable[[Path], Awaitable[Any]]  # a clip → `chatanyone.pipeline.Style`


async def no_style(clip: Path) -> None:
    """A tracking that does nothing; the default style."""


class Styles:
    """Handlers of ``/v1/styles``.

    Args:
        limits: of uploads.
        folder: where uploads go.
        track: see `Track`.
    """

    def __init__(self, limits: LimitsConfig, folder: Path, track: Track = no_style) -> None:
        self._limits, self._folder, self._track = limits, folder, track
        self.library = Library("style", limits.stored, self._make_ready)

    def add_house(self, styles: Mapping[str, Any]) -> None:
        """Styles that ship, by name."""
        for name, style in styles.items():
            self.library.add(Entry(name, name.replace("_", " ").capitalize(), Path(name), state="ready", result=style))

    def style(self, style_id: str) -> Any | None:
        """What was tracked; None when there is no such clip or it is not ready."""
        try:
            return self.library.get(style_id).result
        except Refused:
            return None

    async def list(self, request: web.Request) -> web.Response:
        """``GET /v1/styles``"""
        return web.json_response({"styles": [entry.public() for entry in self.library.seen_by(request.get(OWNER))]})

    async def show(self, request: web.Request) -> web.Response:
        """``GET /v1/styles/{id}``"""
        return web.json_response(self.library.get(request.match_info["id"]).public())

    async def upload(self, request: web.Request) -> web.Response:
        """``POST /v1/styles``"""
        path, name = await receive_file(request, self._folder, self._limits.style_bytes, "clip")
        try:
            await asyncio.to_thread(content.check_clip, path, self._limits.style_s)
        except content.MediaError as error:
            path.unlink(missing_ok=True)
            raise Refused(415, "unusable", str(error)) from None
        entry = self.library.add(Entry(path.name, name, path, owner=request.get(OWNER) or path.name))
        return web.json_response(entry.public(), status=202, headers={"Location": f"/v1/styles/{entry.id}"})

    async def _make_ready(self, entry: Entry) -> None:
        entry.result = await self._track(entry.source)
        entry.source.unlink(missing_ok=True)  # only its motion is kept
