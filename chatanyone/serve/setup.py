"""Which engine, which preparation of portraits and clips a server gets."""

from __future__ import annotations

from chatanyone.config import Config
from chatanyone.serve.engines import Engines, StandInEngines
from chatanyone.serve.portraits import Prepare, as_it_is
from chatanyone.serve.styles import Track, no_style


def engines_and_preparers(config: Config, stand_in: bool) -> tuple[Engines, Prepare, Track]:
    """The real ones, or those that need nothing."""
    return StandInEngines(), as_it_is, no_style
