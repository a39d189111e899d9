"""Keeps an engine alive: one that dies or hangs is replaced, and after three deaths in a minute the session ends."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

from chatanyone.errors import ChatAnyoneError
from chatanyone.stream.engine import Engine, Made

MOST_DEATHS, DEATHS_WITHIN_S = 3, 60.0
HUNG_S = 8.0  # without an answer to a step (our choice: the slowest machine that is of use answers within 0.2 s)


class Guarded(Protocol):
    """Who uses the engine."""

    def on_made(self, made: Made) -> None: ...

    def on_engine(self, engine: Engine | None) -> None:
        """A new engine takes steps from number 0 on; None: there is none for now, what was asked of it is lost."""

    def on_notice(self, sentence: str) -> None: ...

    def on_end(self, reason: str) -> None: ...


class Supervisor:
    """Args: make: a fresh engine, not started; user: who is told."""

    def __init__(self, make: Callable[[], Engine], user: Guarded) -> None:
        self._make, self._user = make, user
        self._engine: Engine | None = None
        self._deaths: deque[float] = deque(maxlen=MOST_DEATHS)
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False

    async def start(self) -> None:
        """The first engine; what keeps it from starting is raised."""
        engine = self._engine = self._make()
        try:
            await engine.start(lambda made: self._made(engine, made), lambda reason: self.lost(engine, reason))
        except BaseException:
            await engine.close()
            raise
        if self._engine is engine and not self._closed:
            self._user.on_engine(engine)

    def lost(self, engine: Engine | None, reason: str) -> None:
        """It died, or is as good as dead."""
        if engine is None or engine is not self._engine or self._closed:
            return
        self._engine = None
        self._spawn(engine.close())
        self._user.on_engine(None)
        now = asyncio.get_running_loop().time()
        self._deaths.append(now)
        if len(self._deaths) == MOST_DEATHS and now - self._deaths[0] < DEATHS_WITHIN_S:
            self._user.on_end(f"the renderer stopped {MOST_DEATHS} times within a minute ({reason}); the session was ended")
            return
        self._user.on_notice(f"the renderer stopped ({reason}) and is being started again")
        self._spawn(self._restart())

    async def close(self) -> None:
        self._closed = True
        engine, self._engine = self._engine, None
        if engine is not None:
            await engine.close()
        while self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def _made(self, engine: Engine, made: Made) -> None:
        if engine is self._engine and not self._closed:
            self._user.on_made(made)

    async def _restart(self) -> None:
        try:
            await self.start()
        except ChatAnyoneError as error:
            self._engine = None
            if not self._closed:
                self._user.on_end(f"the renderer could not be started again: {error}")

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
