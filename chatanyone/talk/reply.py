"""One answer of the avatar, from the mind's first word to the last sound: a task that can be stopped at any point."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from chatanyone.stream.types import LiveSession
from chatanyone.talk.clauses import Clauses
from chatanyone.talk.events import new_id
from chatanyone.talk.service import ServiceError
from chatanyone.talk.transcript import Transcript


class Speaker(Protocol):
    """A voice with its language and name chosen."""

    def __call__(self, text: str) -> AsyncIterator[NDArray[np.float32]]: ...


class Reply:
    """Text is made, cut into pieces, spoken and handed to the session at the same time.

    The text runs ahead of the voice (it is bounded by the mind), the voice ahead of the sound as far as
    `LiveSession.speak` lets it.

    Args:
        session: that plays it.
        turn: from `LiveSession.begin_turn`.
        text: the mind's stream; closed in any case.
        speak: one piece of text as sound.
        failed: told at once when mind or voice break: ``mind_failed`` or ``voice_failed``, and the sentence.
        sorry: said when the mind breaks.

    Attributes:
        fault: the sentence, after `failed` was told.
        sounding: the session plays it; paused: it waits for `go_on`.
        heard: samples played so far; shown: words that were announced as captions.
    """

    def __init__(self, session: LiveSession, turn: int, text: AsyncIterator[str], speak: Speaker, *,
                 failed: Callable[[str, str], None], sorry: str = "") -> None:
        self.id, self.item_id, self.turn = new_id("resp"), new_id("item"), turn
        self.transcript = Transcript()
        self.fault: str | None = None
        self.heard, self.shown = 0, ""
        self.sounding = self.paused = False
        self._session, self._text, self._speak = session, text, speak
        self._failed, self._sorry = failed, sorry
        self._may_speak = asyncio.Event()
        self._may_speak.set()
        self._pieces: asyncio.Queue[str | None] = asyncio.Queue()
        self.task = asyncio.ensure_future(self._run())

    def pause(self) -> None:
        """Nothing more is handed to the session until `go_on`; mind and voice are kept waiting, not ended."""
        self.paused = True
        self._may_speak.clear()

    def go_on(self) -> None:
        """After `pause`."""
        self.paused = False
        self._may_speak.set()

    def cancel(self) -> None:
        """Hangs up on mind and voice; `task` ends within a step of the event loop or two."""
        self.task.cancel()

    def words(self, samples: int) -> str:
        """The captions that are new when `samples` have been played; also remembers how far that is."""
        self.heard = max(self.heard, samples)
        heard = self.transcript.heard(self.heard)
        # The layout of an unfinished piece can shrink when its true length is known; captions are never taken back.
        new = heard[len(self.shown):]
        self.shown += new
        return new

    async def _run(self) -> None:
        thinking = asyncio.ensure_future(self._think())
        try:
            while (piece := await self._pieces.get()) is not None:
                await self._say(piece)
        except ServiceError as error:
            self._break("voice_failed", error)
        finally:
            thinking.cancel()
            await asyncio.gather(thinking, return_exceptions=True)
            self._session.end_turn(self.turn)

    async def _think(self) -> None:
        clauses, sorry = Clauses(), ""
        try:
            async with aclosing(self._text) as text:  # type: ignore[type-var]
                async for words in text:
                    for piece in clauses.push(words):
                        self._pieces.put_nowait(piece)
        except ServiceError as error:
            self._break("mind_failed", error)
            sorry = self._sorry
        for piece in clauses.flush() + [sorry] * bool(sorry):
            self._pieces.put_nowait(piece)
        self._pieces.put_nowait(None)

    def _break(self, code: str, error: ServiceError) -> None:
        self.fault = str(error)
        self._failed(code, self.fault)

    async def _say(self, piece: str) -> None:
        self.transcript.begin(piece)
        async with aclosing(self._speak(piece)) as sounds:  # type: ignore[type-var]
            async for samples in sounds:
                await self._may_speak.wait()
                self.transcript.add(len(samples))
                await self._session.speak(samples, self.turn)
        self.transcript.finish()
