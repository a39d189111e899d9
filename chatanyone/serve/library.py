"""Things people bring, prepared beside the event loop: an entry is preparing, then ready or failed with a sentence."""

from __future__ import annotations

import asyncio
import logging
import math
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from aiohttp import BodyPartReader, web

from chatanyone.errors import ChatAnyoneError
from chatanyone.serve.refusals import Refused, bad_request
from chatanyone.serve.refusals import sentence as as_sentence

_CHUNK = 1 << 16
_log = logging.getLogger(__name__)


@dataclass
class Entry:
    """One picture or clip.

    source: the file as it came
    owner: a browser's name; None: everybody sees it
    result: what the preparation gave; for whoever opens the session
    usual_s: how long a preparation takes here, for the progress
    """

    id: str
    name: str
    source: Path
    owner: str | None = None
    state: Literal["preparing", "ready", "failed"] = "preparing"
    sentence: str = ""
    result: Any = None
    thumbnail: bytes | None = None
    begun_s: float | None = None
    usual_s: float = 5.0

    @property
    def progress(self) -> float:
        """0 to 1. An estimate by the time that preparations took: they do not report how far they are."""
        if self.state != "preparing":
            return 1.0
        if self.begun_s is None:
            return 0.05
        return 0.1 + 0.85 * (1 - math.exp(-1.5 * (time.monotonic() - self.begun_s) / self.usual_s))

    def public(self) -> dict[str, Any]:
        """For the page."""
        return {"id": self.id, "name": self.name, "state": self.state, "progress": round(self.progress, 3),
                "sentence": self.sentence}


class Library:
    """Entries by id. The oldest that was brought goes when there are too many.

    Args:
        kind: ``portrait`` or ``style``, for sentences.
        most: brought entries kept.
        prepare: fills in `result` and `thumbnail`; may take seconds, must not hold the event loop.
    """

    def __init__(self, kind: str, most: int, prepare: Callable[[Entry], Coroutine[Any, Any, None]]) -> None:
        self._kind, self._most, self._prepare = kind, most, prepare
        self._entries: OrderedDict[str, Entry] = OrderedDict()
        self._tasks: set[asyncio.Task[None]] = set()
        self._turn = asyncio.Lock()  # one preparation at a time: they take all cores
        self._usual_s = 5.0

    def add(self, entry: Entry) -> Entry:
        """Takes an entry in and begins to prepare it, if it is not ready yet."""
        self._entries[entry.id] = entry
        self._make_room()
        if entry.state == "ready":
            return entry
        task = asyncio.create_task(self._run(entry), name=f"prepare {self._kind}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return entry

    def seen_by(self, owner: str | None) -> list[Entry]:
        """The house's own entries and those that this browser brought."""
        return [entry for entry in self._entries.values() if entry.owner is None or entry.owner == owner]

    def get(self, entry_id: str) -> Entry:
        """By id; ids of brought entries cannot be guessed.

        Raises:
            Refused: 404.
        """
        if entry_id not in self._entries:
            raise Refused(404, "not_found", f"This server has no such {self._kind} (any more).")
        return self._entries[entry_id]

    async def ready(self, entry_id: str) -> Entry:
        """Waits while it is being prepared.

        Raises:
            Refused: unknown, or its preparation failed.
        """
        entry = self.get(entry_id)
        while entry.state == "preparing" and self._tasks:
            await asyncio.wait(set(self._tasks), return_when=asyncio.FIRST_COMPLETED)
        if entry.state != "ready":
            raise Refused(409, "not_ready", entry.sentence or f"This {self._kind} could not be prepared.")
        return entry

    async def close(self) -> None:
        """Stops preparing."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _run(self, entry: Entry) -> None:
        async with self._turn:
            entry.begun_s, entry.usual_s = time.monotonic(), self._usual_s
            try:
                await self._prepare(entry)
            except ChatAnyoneError as error:
                self._fail(entry, _without_path(str(error), entry))
            except Exception:
                _log.exception("a preparation failed", extra={"kind": self._kind})
                self._fail(entry, f"This {self._kind} could not be prepared; the server's log says why.")
            else:
                entry.state = "ready"
                self._usual_s = max(0.2, time.monotonic() - entry.begun_s)

    def _fail(self, entry: Entry, sentence: str) -> None:
        entry.state, entry.sentence = "failed", sentence
        if entry.owner is not None:
            entry.source.unlink(missing_ok=True)

    def _make_room(self) -> None:
        brought = [entry for entry in self._entries.values() if entry.owner is not None]
        for entry in brought[:max(0, len(brought) - self._most)]:
            del self._entries[entry.id]
            entry.source.unlink(missing_ok=True)


async def receive_file(request: web.Request, folder: Path, most_bytes: int, what: str) -> tuple[Path, str]:
    """The field `file` of a form → a file in `folder` under a name nobody can guess, and the name it had.

    Raises:
        Refused: no such field, or too large; nothing is left behind then.
    """
    if not request.content_type.startswith("multipart/"):
        raise bad_request(f"Send the {what} as multipart/form-data, in the field 'file'.")
    if (request.content_length or 0) > most_bytes + 10_000:
        raise _too_large(what, most_bytes)
    try:
        form = await request.multipart()
        while (part := await form.next()) is not None:
            if isinstance(part, BodyPartReader) and part.name == "file":
                path = folder / secrets.token_urlsafe(16)
                await _store(part, path, most_bytes, what)
                return path, _shown_name(part.filename)
    except ValueError:
        raise bad_request("The form could not be read; send multipart/form-data.") from None
    raise bad_request(f"Send the {what} in the form's field 'file'.")


async def _store(part: BodyPartReader, path: Path, most_bytes: int, what: str) -> None:
    size = 0
    try:
        with path.open("xb") as file:
            while chunk := await part.read_chunk(_CHUNK):
                size += len(chunk)
                if size > most_bytes:
                    raise _too_large(what, most_bytes)
                file.write(chunk)
        if not size:
            raise bad_request(f"The {what} is empty; choose another file.")
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def _too_large(what: str, most_bytes: int) -> Refused:
    return Refused(413, "too_large", f"The {what} is larger than {most_bytes / 1e6:g} MB; choose a smaller file.")


def _shown_name(filename: str | None) -> str:
    """What the person called it, as a label: no path, no control characters, short."""
    stem = Path((filename or "").replace("\\", "/")).stem
    return "".join(letter for letter in stem if letter.isprintable())[:60].strip() or "yours"


def _without_path(sentence: str, entry: Entry) -> str:
    """Our own sentences name files; the person knows only what they chose."""
    named = sentence.replace(str(entry.source), "this file").replace(entry.source.name, "this file")
    return as_sentence(named)
