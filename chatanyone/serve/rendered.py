"""Sessions with the real renderer, at the size and rate that this machine can draw live."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from chatanyone.config import Config
from chatanyone.demo import picture
from chatanyone.serve.engines import Pick
from chatanyone.serve.workshop import Workshop
from chatanyone.stream.choose import CANDIDATES, Choice, choose_here
from chatanyone.stream.live import open_session
from chatanyone.stream.types import LiveSession, SessionEvents
from chatanyone.stream.units import rate

_log = logging.getLogger(__name__)


class RenderedEngines:
    """See `chatanyone.serve.engines.Engines`. Portraits are files that `Workshop.portrait` wrote.

    Args:
        config: of the nets; `live.size` and `live.pictures` fix what is otherwise measured.
        workshop: told the size.
    """

    def __init__(self, config: Config, workshop: Workshop) -> None:
        self._config, self._workshop = config, workshop
        self._pictures = 4

    async def start(self) -> Pick:
        """See `Engines.start`. May take a minute."""
        from motion.style import GROUPS

        _log.info("trying out what this machine can draw live; this may take a minute")
        choice = await self._choose()
        _log.info(str(choice))
        self._workshop.size, self._pictures = choice.size, choice.pictures
        tried = {f"{size[0]}x{size[1]}@{float(rate(pictures)):g}": round(share, 3) for (size, pictures), share in choice.tried}
        return Pick(choice.size, choice.fps, str(choice), GROUPS, tried)

    async def open(self, portrait: Path, events: SessionEvents) -> LiveSession:
        """See `Engines.open`."""
        return await open_session(portrait, self._config, events, self._pictures)

    def styles(self) -> Mapping[str, Any]:
        """See `Engines.styles`."""
        from chatanyone.styles import styles_of

        store = styles_of(self._config)
        return {name: store.get(name).pipeline_style() for name in store.names()}

    async def close(self) -> None:
        """See `Engines.close`."""
        await self._workshop.close()

    async def _choose(self) -> Choice:
        live = self._config.live
        candidates = [candidate for candidate in CANDIDATES
                      if live.size in ("auto", f"{candidate[0][0]}x{candidate[0][1]}")
                      and live.fps in ("auto", f"{float(rate(candidate[1])):g}")]
        return await choose_here(self._config, picture(), candidates or CANDIDATES)
