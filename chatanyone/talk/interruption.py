"""Somebody speaks while the avatar does: is it an interruption or a cough?

The avatar stops at once; this decides what follows. With an ear, words decide: it is asked while the speech goes on. An ear
that has not said anything when the time is over, and no ear at all, leave it to the length of the speech.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from chatanyone.talk.service import ServiceError
from chatanyone.talk.settings import TurnConfig
from chatanyone.timebase import SAMPLE_RATE_HZ

_PER_MS = SAMPLE_RATE_HZ // 1000
_ASK_EVERY = 400 * _PER_MS  # voiced samples between two questions to the ear (our choice)


class Interruption:
    """One candidate; calls `decided(True)` (words) or `decided(False)` (false alarm) exactly once, unless it is ended.

    Args:
        config: the times.
        listen: the ear on what was said so far; None when there is no ear.
        decided: what follows.
    """

    def __init__(self, config: TurnConfig, listen: Callable[[], Awaitable[str]] | None,
                 decided: Callable[[bool], None]) -> None:
        self._config, self._listen, self._decided = config, listen, decided
        self._voiced = self._asked = 0
        self._told = False  # the ear answered at least once
        self._asking: asyncio.Future[None] | None = None
        self._timer = asyncio.get_running_loop().call_later(config.confirm_s, self._late)
        self.open = True

    def progress(self, voiced: int) -> None:
        """So many samples of speech by now."""
        self._voiced = voiced
        if self._listen is None:
            if self._long:
                self._decide(True)
        elif self._asking is None and voiced - self._asked >= _ASK_EVERY:
            self._asked = voiced
            self._asking = asyncio.ensure_future(self._ask(self._listen))

    def stopped(self, voiced: int) -> None:
        """The speech ended. Without an ear that decides; with one, the whole utterance is understood elsewhere."""
        self._voiced = voiced
        if self._listen is None:
            self._decide(self._long)

    def end(self) -> None:
        """No longer in question."""
        self.open = False
        self._timer.cancel()
        if self._asking is not None:
            self._asking.cancel()

    @property
    def _long(self) -> bool:
        return long_enough(self._voiced, self._config)

    def _late(self) -> None:
        self._decide(self._long and not self._told)

    async def _ask(self, listen: Callable[[], Awaitable[str]]) -> None:
        try:
            words = await listen()
            self._told = True
        except ServiceError:
            words = ""  # said again, and loudly, when the whole utterance is not understood
        self._asking = None
        if words:
            self._decide(True)

    def _decide(self, words: bool) -> None:
        if self.open:
            self.end()
            self._decided(words)


def long_enough(voiced: int, config: TurnConfig) -> bool:
    """Whether speech of so many samples is more than a cough."""
    return voiced >= config.confirm_ms * _PER_MS
