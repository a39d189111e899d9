"""Which size and rate this machine can draw live: tried out, from the largest to the smallest."""

from __future__ import annotations

import asyncio
import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chatanyone.config import Config
from chatanyone.errors import ChatAnyoneError
from chatanyone.stream.types import UNIT_S, SessionState
from chatanyone.stream.units import rate, speech_before
from chatanyone.stream.worker import exit_with_parent

Candidate = tuple[tuple[int, int], int]  # width and height, pictures in a unit

# By pixels a second; fewer than 15 pictures a second only where nothing else is left (our choice).
CANDIDATES: tuple[Candidate, ...] = (
    ((512, 768), 4), ((384, 576), 4), ((512, 768), 2), ((384, 576), 2), ((256, 384), 4), ((256, 384), 2), ((256, 384), 1))
MOST_SHARE = 0.75  # of a unit's time may be spent on it, the rest is for everything else (our choice)
_WARM_STEPS, _STEPS = 2, 6


@dataclass(frozen=True)
class Choice:
    """What fits.

    size: width, height; pictures: in a unit; share: of a unit's time that its work takes; above `MOST_SHARE` nothing fits
    tried: every candidate that was measured, with its share
    """

    size: tuple[int, int]
    pictures: int
    share: float
    tried: tuple[tuple[Candidate, float], ...] = ()

    @property
    def fps(self) -> Fraction:
        return rate(self.pictures)

    def __str__(self) -> str:
        width, height = self.size
        what = f"{width} × {height} pixels at {float(self.fps):g} pictures a second"
        if self.share <= MOST_SHARE:
            return f"This machine draws {what} live, in {self.share:.0%} of the time."
        return f"This machine is too slow to be live: {what} take {self.share:.0%} of the time there is."


def choose(measure: Callable[[Candidate], float], candidates: Sequence[Candidate] = CANDIDATES) -> Choice:
    """The first that fits, or else the last.

    Args:
        measure: seconds one unit takes.
        candidates: from the best to the least; at least one.
    """
    tried = []
    for candidate in candidates:
        share = measure(candidate) / float(UNIT_S)
        tried.append((candidate, share))
        if share <= MOST_SHARE:
            break
    (size, pictures), share = tried[-1]
    return Choice(size, pictures, share, tuple(tried))


async def choose_here(config: Config, picture: NDArray[np.uint8], candidates: Sequence[Candidate] = CANDIDATES) -> Choice:
    """`choose` with the real renderer and a picture of a person, in a process that ends with it.

    Raises:
        ChatAnyoneError: the picture or the weights cannot be used, or the trial died.
    """
    from chatanyone.cli import set_environment

    set_environment()  # the child inherits it, before it imports anything
    loop, context = asyncio.get_running_loop(), multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context, initializer=exit_with_parent) as pool:
        try:
            return await loop.run_in_executor(pool, _try_all, config, picture, tuple(candidates))
        except BrokenProcessPool:
            raise ChatAnyoneError("trying out what this machine can draw ended in a crash; give the size yourself") from None


def _try_all(config: Config, picture: NDArray[np.uint8], candidates: Sequence[Candidate]) -> Choice:
    from chatanyone import build

    drawn = build.as_in_calls(replace(config, media=replace(config.media, fps="30")))
    trial = _Trial(build.pipeline(drawn).stages, config, picture)
    return choose(trial, candidates)


class _Trial:
    """Draws a few units of noise; keeps the person of each size."""

    def __init__(self, stages: Any, config: Config, picture: NDArray[np.uint8]) -> None:
        self._stages, self._config, self._picture = stages, config, picture
        self._drawers: dict[tuple[int, int], Any] = {}

    def __call__(self, candidate: Candidate) -> float:
        """Seconds a unit takes, the third slowest of `_STEPS`; the first ones, which fill caches, do not count."""
        (width, height), pictures = candidate
        drawer, out = self._drawer((width, height)), np.zeros((pictures, height, width, 3), np.uint8)
        times = [sum(drawer.step(_noise(number, pictures), lambda: 0, out).values())
                 for number in range(_WARM_STEPS + _STEPS)]
        return sorted(times[_WARM_STEPS:])[-3]

    def _drawer(self, size: tuple[int, int]) -> Any:
        from chatanyone.portrait import prepare_portrait
        from chatanyone.stream.drawer import Drawer

        if size not in self._drawers:
            self._drawers[size] = Drawer(self._stages, prepare_portrait(self._picture, size), self._config)
            self._drawers[size].warm_up()
        return self._drawers[size]


def _noise(number: int, pictures: int) -> Any:
    from chatanyone.stream.engine import Step

    count = speech_before(number + 1) - speech_before(number)
    samples = 0.1 * np.random.default_rng(number).standard_normal(count).astype(np.float32)
    return Step(number, samples, SessionState.SPEAKING, np.full(4, -100, np.float32), pictures)
