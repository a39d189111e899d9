"""Where sessions come from: the real engine, or the stand-in that needs no weights, no portrait and no time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Protocol

from chatanyone.stream.types import UNIT_S, LiveSession, SessionEvents


@dataclass(frozen=True)
class Pick:
    """What this machine can do, measured at start.

    size: width, height, px; fps: pictures per second; sentence: for the page; groups: those of `motion.style`
    """

    size: tuple[int, int]
    fps: Fraction
    sentence: str
    groups: tuple[str, ...] = ()
    numbers: Mapping[str, float] = field(default_factory=dict)


class Engines(Protocol):
    """Opens sessions; one for a server. All on the event loop."""

    async def start(self) -> Pick:
        """Measures what this machine renders. Called once, before the first `open`."""

    async def open(self, portrait: Any, events: SessionEvents) -> LiveSession:
        """A session that has begun; `portrait` is what `Portraits.ready` gave.

        Raises:
            ChatAnyoneError: it cannot begin.
        """

    def styles(self) -> Mapping[str, Any]:
        """Those that ship, by name."""

    async def close(self) -> None:
        """Frees what is kept between sessions."""


class StandInEngines:
    """Sessions in which the stand-in draws numbers and chirps.

    Args:
        size: width, height, px.
        pictures: in a unit: 4, 2 or 1.
        chirps: whether there are chirps.
    """

    def __init__(self, size: tuple[int, int] = (256, 384), pictures: int = 4, chirps: bool = True) -> None:
        self.size, self.pictures, self.chirps = size, pictures, chirps

    async def start(self) -> Pick:
        """See `Engines.start`."""
        fps = self.pictures / UNIT_S
        return Pick(self.size, fps, f"A stand-in draws numbers, {self.size[0]} × {self.size[1]} at {float(fps):g} pictures "
                                    "a second; nobody is rendered.")

    async def open(self, portrait: Any, events: SessionEvents) -> LiveSession:
        """See `Engines.open`."""
        from chatanyone.stream.standin import open_standin

        return await open_standin(events, self.size, self.pictures, chirps=self.chirps)

    def styles(self) -> Mapping[str, Any]:
        """See `Engines.styles`."""
        return {}

    async def close(self) -> None:
        """See `Engines.close`."""
