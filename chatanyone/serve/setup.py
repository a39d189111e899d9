"""Which engine, which preparation of portraits and clips a server gets."""

from __future__ import annotations

from pathlib import Path

from chatanyone.config import Config
from chatanyone.serve.engines import Engines, StandInEngines
from chatanyone.serve.portraits import Prepare, as_it_is
from chatanyone.serve.styles import Track, no_style


def engines_and_preparers(config: Config, stand_in: bool, folder: Path) -> tuple[Engines, Prepare, Track]:
    """The real ones, or those that need nothing.

    folder: for what is prepared
    """
    if stand_in:
        return StandInEngines(), as_it_is, no_style
    from chatanyone.serve.rendered import RenderedEngines
    from chatanyone.serve.workshop import Workshop

    workshop = Workshop(config, folder)
    return RenderedEngines(config, workshop), workshop.portrait, workshop.style
