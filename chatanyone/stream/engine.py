"""What makes the pictures of a session: fed 133⅓ ms of speech at a time, it answers with the pictures of a unit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from chatanyone.stream.types import Dials, SessionState


@dataclass(frozen=True)
class Step:
    """One unit's work.

    number: 0, 1, 2, … since the engine started
    samples: float32 ``[2133 or 2134]``, speech or silence at 16 kHz
    state: what the person does
    voice: ``[4]`` loudness of the user's own voice, dB below full scale, a frame of the motion each
    pictures: how many to draw, one of `units.PICTURES`
    dials: strengths from now on
    style: a new `chatanyone.pipeline.Style` in a tuple, None when nothing changed
    """

    number: int
    samples: NDArray[np.float32]
    state: SessionState
    voice: NDArray[np.float32]
    pictures: int
    dials: Dials = field(default_factory=Dials)
    style: tuple[Any] | None = None


@dataclass(frozen=True)
class Made:
    """The answer to one step.

    number: of the step
    frames: uint8 ``[N, H, W, 3]``
    busy_s: time the engine worked on it; parts_s: where it went
    sound: int16 ``[6400]`` that the engine adds of its own (the stand-in's chirps), or None
    again: the step was answered before; only its pictures are new
    """

    number: int
    frames: NDArray[np.uint8]
    busy_s: float
    parts_s: dict[str, float] = field(default_factory=dict)
    sound: NDArray[np.int16] | None = None
    again: bool = False


class Engine(Protocol):
    """One portrait being drawn. All on the event loop; a dead engine is not used again, another is made.

    size: width, height; lag: see `SoundTrack`, known after `start`
    """

    size: tuple[int, int]
    lag: int

    async def start(self, on_made: Callable[[Made], None], on_lost: Callable[[str], None]) -> None:
        """Returns when steps are taken. `on_lost` is called once, with a sentence, if it dies later.

        Raises:
            ChatAnyoneError: it cannot start.
        """

    def step(self, step: Step) -> None:
        """Queues work; answers come in the same order."""

    def cut(self, unsent: int) -> None:
        """Closes the mouth, from the next picture drawn until the speech fed so far has passed.

        Pictures of steps from number `unsent` on that were drawn with an open mouth come again (`Made.again`) where the
        engine can do that quickly; nobody waits for them.
        """

    async def close(self) -> None:
        """Ends it and frees everything; may be called twice and at any time."""
