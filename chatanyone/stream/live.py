"""Opens live sessions with the real renderer."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable
from pathlib import Path

from chatanyone.config import Config
from chatanyone.portrait import Portrait
from chatanyone.stream.engine import Engine
from chatanyone.stream.process import ProcessEngine
from chatanyone.stream.session import Session
from chatanyone.stream.types import SessionEvents


async def open_session(portrait: Portrait | Path, config: Config, events: SessionEvents | None = None,
                       pictures: int = 4) -> RenderedSession:
    """A session whose clock runs.

    Args:
        portrait: prepared, at the size that is to be shown; or the file it was saved to, which must stay.
        config: of the nets; `config.threads` is how many cores the renderer may use.
        events: who is told.
        pictures: in a unit, see `choose`.

    Raises:
        ChatAnyoneError: the renderer cannot start.
    """
    session = RenderedSession(portrait, config, events, pictures)
    await session.start()
    return session


class RenderedSession(Session):
    """A session that keeps its portrait for as long as it lives, so that a renderer that died can be started again."""

    def __init__(self, portrait: Portrait | Path, config: Config, events: SessionEvents | None, pictures: int) -> None:
        self._held = contextlib.ExitStack()
        path, size = _file(portrait, self._held)
        make: Callable[[], Engine] = lambda: ProcessEngine(path, size, config)
        super().__init__(make, events, pictures)

    async def _close(self) -> None:
        await super()._close()
        self._held.close()


def _file(portrait: Portrait | Path, held: contextlib.ExitStack) -> tuple[Path, tuple[int, int]]:
    """Where the portrait is, and its width and height."""
    if not isinstance(portrait, Portrait):
        return Path(portrait), Portrait.load(portrait).size
    folder = Path(held.enter_context(tempfile.TemporaryDirectory(prefix="chatanyone-")))
    portrait.save(folder / "portrait.safetensors")
    return folder / "portrait.safetensors", portrait.size
