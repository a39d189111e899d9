"""The gallery: pictures of the house, and those people bring; each is checked, shrunk for the page and prepared."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from aiohttp import web
from PIL import Image

from chatanyone.errors import ConfigError
from chatanyone.live_config import LimitsConfig
from chatanyone.serve import content
from chatanyone.serve.library import Entry, Library, receive_file
from chatanyone.serve.refusals import Refused
from chatanyone.serve.security import OWNER

_PICTURES = (".jpg", ".jpeg", ".png", ".webp")
Prepare = Callable[[Path], Awaitable[Any]]  # a picture → what a session is opened with


async def as_it_is(picture: Path) -> Path:
    """A preparation that does nothing."""
    return picture


class Portraits:
    """Handlers of ``/v1/portraits``.

    Args:
        limits: of uploads.
        folder: where uploads go.
        prepare: see `Prepare`.
    """

    def __init__(self, limits: LimitsConfig, folder: Path, prepare: Prepare = as_it_is) -> None:
        self._limits, self._folder, self._prepare = limits, folder, prepare
        self.library = Library("portrait", limits.stored, self._make_ready)

    def add_house(self, folder: str | Path | None, demo: bool = True) -> None:
        """The configured folder's pictures, and the demo's.

        Raises:
            ConfigError: there is no such folder.
        """
        if demo and (picture := demo_picture(self._folder)) is not None:
            self.library.add(Entry("eileen-collins", "Eileen Collins", picture))
        if folder is None:
            return
        if not Path(folder).is_dir():
            raise ConfigError(f"live.portraits must be a folder of pictures, {folder} is none")
        for path in sorted(Path(folder).iterdir()):
            if path.suffix.lower() in _PICTURES:
                name = path.stem.replace("_", " ").replace("-", " ").strip()
                self.library.add(Entry(self._free_id(path.stem), name, path))

    def _free_id(self, stem: str) -> str:
        """A readable id; a number where two files would have the same."""
        plain = re.sub(r"[^a-z0-9]+", "-", stem.lower()).strip("-") or "portrait"
        taken = {entry.id for entry in self.library.seen_by(None)}
        return next(one for one in (plain, *(f"{plain}-{n}" for n in range(2, 10_000))) if one not in taken)

    async def list(self, request: web.Request) -> web.Response:
        """``GET /v1/portraits``"""
        return web.json_response({"portraits": [entry.public() for entry in self.library.seen_by(request.get(OWNER))]})

    async def show(self, request: web.Request) -> web.Response:
        """``GET /v1/portraits/{id}``"""
        return web.json_response(self.library.get(request.match_info["id"]).public())

    async def thumbnail(self, request: web.Request) -> web.Response:
        """``GET /v1/portraits/{id}/thumbnail``"""
        entry = self.library.get(request.match_info["id"])
        if entry.thumbnail is None:
            raise Refused(404, "not_ready", "This portrait has no thumbnail yet.", 1.0)
        return web.Response(body=entry.thumbnail, content_type="image/jpeg",
                            headers={"Cache-Control": "private, max-age=3600"})

    async def upload(self, request: web.Request) -> web.Response:
        """``POST /v1/portraits``: what is no picture is refused at once, whether it shows a person only later."""
        path, name = await receive_file(request, self._folder, self._limits.upload_bytes, "picture")
        try:
            await asyncio.to_thread(content.check_picture, path, self._limits.upload_pixels)
        except content.MediaError as error:
            path.unlink(missing_ok=True)
            raise Refused(415, "unusable", str(error)) from None
        entry = self.library.add(Entry(path.name, name, path, owner=request.get(OWNER) or path.name))
        return web.json_response(entry.public(), status=202, headers={"Location": f"/v1/portraits/{entry.id}"})

    async def _make_ready(self, entry: Entry) -> None:
        entry.thumbnail = await asyncio.to_thread(content.thumbnail, entry.source)
        entry.result = await self._prepare(entry.source)
        framed = Path(entry.result).with_suffix(".jpg") if isinstance(entry.result, Path) else entry.source
        if framed != entry.source and framed.is_file():  # cut as in a call, so that the person does not jump when it begins
            entry.thumbnail = await asyncio.to_thread(content.thumbnail, framed)


def demo_picture(folder: Path) -> Path | None:
    """The demo's photograph (public domain, inside scikit-image) as a file; None where scikit-image is missing."""
    from chatanyone.demo import picture

    try:
        pixels = picture()
    except ConfigError:
        return None
    path = folder / "eileen-collins.png"
    Image.fromarray(pixels).save(path)
    return path
