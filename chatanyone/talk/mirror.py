"""Mode `mirror`: the avatar speaks with the user's own voice, sample for sample."""

from __future__ import annotations

import asyncio
from collections import deque

import numpy as np
from numpy.typing import NDArray

from chatanyone.stream.types import LiveSession
from chatanyone.talk.microphone import Microphone
from chatanyone.timebase import SAMPLE_RATE_HZ

ONSET = SAMPLE_RATE_HZ * 64 // 1000  # samples before the detector's start that are passed on too (our choice: two windows)
MOST_BEHIND = 2 * SAMPLE_RATE_HZ  # samples that may wait for the session; more are dropped, the newest first


class Mirror:
    """One utterance at a time: `open`, `pass_on` after each piece of sound, `close`; `cut` ends it at once.

    What the detector took until it was sure is passed on in one piece, so the avatar starts with a cushion of some 150 ms:
    that much may the microphone come unevenly. `jitter_ms` asks for more.
    """

    def __init__(self, session: LiveSession, microphone: Microphone, jitter_ms: int) -> None:
        self._session, self._microphone = session, microphone
        self._jitter = jitter_ms * SAMPLE_RATE_HZ // 1000
        self._waiting: deque[NDArray[np.float32]] = deque()
        self._more = asyncio.Event()
        self._next, self._hold, self._over = 0, 0, False
        self.task: asyncio.Task[None] | None = None
        self.dropped = 0  # samples

    def open(self, at: int) -> int:
        """The utterance that began at sample `at` is spoken from now on; returns its turn."""
        self.cut()
        self._waiting, self._over = deque(), False
        self._next, self._hold = max(at, self._microphone.first), self._jitter
        turn = self._session.begin_turn()
        self.task = asyncio.ensure_future(self._pump(turn, self._waiting))
        return turn

    def pass_on(self, last: bool = False) -> None:
        """Hands over what came since the last call."""
        held_back = self._microphone.end - self._next < self._hold and not last
        if self.task is None or self._over or held_back:
            return
        self._hold = 0
        samples = self._microphone.since(self._next)
        self._next = self._microphone.end
        if sum(map(len, self._waiting)) + len(samples) <= MOST_BEHIND:
            self._waiting.append(samples)
        else:
            self.dropped += len(samples)
        self._over = last
        self._more.set()

    def cut(self) -> None:
        """Nothing more of this utterance; what the session has is the session's."""
        if self.task is not None:
            self.task.cancel()
            self.task = None

    async def _pump(self, turn: int, waiting: deque[NDArray[np.float32]]) -> None:
        try:
            while waiting or not self._over:
                if waiting:
                    await self._session.speak(waiting[0], turn)
                    waiting.popleft()
                else:
                    self._more.clear()
                    await self._more.wait()
        finally:
            self._session.end_turn(turn)
