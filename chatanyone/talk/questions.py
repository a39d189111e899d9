"""From the end of the user's speech to the answer: what was said, in which order, and whether an answer is still wanted."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chatanyone.stream.types import IDLE_TURN, LiveSession
from chatanyone.talk import events
from chatanyone.talk.answers import Answers
from chatanyone.talk.events import Event
from chatanyone.talk.history import History, Message
from chatanyone.talk.interruption import long_enough
from chatanyone.talk.parts import Parts
from chatanyone.talk.service import ServiceError
from chatanyone.talk.state import TalkState
from chatanyone.timebase import SAMPLE_RATE_HZ

_log = logging.getLogger(__name__)

_NO_EAR = "this server has no transcription service, so what you say is not understood; type instead"


class Questions:
    """What the user said is understood in the order in which it was said; the newest wish for an answer counts.

    Args:
        state: the settings in force; replaced from outside when they change.
        going_on: whether the user is speaking right now.
        verdict: told whether an utterance that stopped the avatar had words.
    """

    def __init__(self, parts: Parts, session: LiveSession, send: Callable[[Event], None], state: TalkState,
                 going_on: Callable[[], bool], verdict: Callable[[bool], None]) -> None:
        self._parts, self._session, self._send, self.state = parts, session, send, state
        self._going_on, self._verdict = going_on, verdict
        self.history = History()
        self.answers = Answers(parts, session, send, self.history)
        self._turn = IDLE_TURN  # begun for an answer that is being prepared
        self._wish = 0  # counts what takes back the wish for an answer: the button, another mode
        self._owed = False  # an answer was held back because the user went on
        self._in_order = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()
        self._told_no_ear = False

    def spoken(self, sound: NDArray[np.float32], voiced: int, item_id: str, *, answer: bool) -> None:
        """An utterance ``[n]`` is over; `voiced` samples of it are speech. The avatar thinks from now on."""
        self._send(events.committed(item_id, self.history.last_id))
        if answer and self.answers.current is None and self.state.mode != "say":
            self._turn = self._session.begin_turn()
        self._spawn(self._understand(sound, voiced, item_id, self._wish if answer else None))

    def typed(self, text: str) -> None:
        """A message without sound; `respond` asks for the answer."""
        item_id = events.new_id("item")
        before = self.history.add(Message("user", text, item_id))
        self._send(events.item_added(events.user_item(item_id, text, spoken=False), before))

    def respond(self, instructions: str | None = None) -> None:
        """Answers the newest message when everything before it is understood; greets when there is none."""
        self.hush("client_cancelled")
        self._turn = self._session.begin_turn()
        self._spawn(self._respond_in_order(self._turn, instructions))

    def hush(self, reason: events.Reason) -> None:
        """What is being said or prepared ends; what is being understood may still be answered."""
        self._stop_thinking()
        self.answers.cut(reason)

    def take_back(self) -> None:
        """The button: nothing that was asked so far is answered any more."""
        self._wish += 1
        self._turn, self._owed = IDLE_TURN, False
        if self.answers.current is None:
            self._session.interrupt()
        self.answers.cut("client_cancelled")

    def hold_back(self) -> None:
        """The user goes on before the answer has begun."""
        if self._turn != IDLE_TURN:
            self._stop_thinking()
            self._owed = True

    async def close(self) -> None:
        """Cancels everything and waits for it."""
        await self.answers.close()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _understand(self, sound: NDArray[np.float32], voiced: int, item_id: str, wish: int | None) -> None:
        """wish: as it was when the speech ended, None when no answer follows."""
        async with self._in_order:
            words = await self._words(sound, item_id)
            answer = wish == self._wish
            nobody_spoke = self.answers.current is None
            meant = bool(words) if words is not None else nobody_spoke or long_enough(voiced, self._parts.config.turns)
            if not meant:
                self._nothing_said(answer)
                return
            self._verdict(True)
            self.answers.cut("turn_detected")
            before = self.history.add(Message("user", words or "", item_id, voiced / SAMPLE_RATE_HZ))
            self._send(events.item_added(events.user_item(item_id, words, spoken=True), before))
            if answer:
                self._answer_speech()

    async def _words(self, sound: NDArray[np.float32], item_id: str) -> str | None:
        """What was said; None when nobody can tell."""
        if not self._parts.ear.understands:
            return None
        try:
            words = await self._parts.ear.transcribe(sound, self.state.language)
        except ServiceError as error:
            self._send(events.transcription_failed(item_id, str(error)))
            self._send(events.notice(str(error), "ear_failed"))
            return None
        if words:
            self._send(events.transcription_delta(item_id, words))
        self._send(events.transcription_completed(item_id, words))
        return words

    def _nothing_said(self, answer: bool) -> None:
        self._verdict(False)
        if answer and self.answers.current is None and self._owed and not self._going_on():
            self._answer()  # a cough while the avatar was about to answer
        else:
            self._stop_thinking()

    def _answer_speech(self) -> None:
        if self.state.mode == "say":
            self._stop_thinking()
        elif self._going_on():
            self._stop_thinking()
            self._owed = True  # what the user goes on to say is answered together with this
        else:
            self._answer()

    def _answer(self, instructions: str | None = None) -> None:
        newest = self.history.newest
        if self.state.mode == "chat" and newest is not None and newest.role == "user" and not newest.text:
            self._cannot_understand()
            return
        turn, self._turn, self._owed = self._turn, IDLE_TURN, False
        if turn == IDLE_TURN or turn != self._session.turn:
            turn = self._session.begin_turn()
        self.answers.begin(turn, self.state, instructions)

    async def _respond_in_order(self, turn: int, instructions: str | None) -> None:
        async with self._in_order:
            if turn == self._turn == self._session.turn:  # otherwise it was stopped, or another was asked for
                self._answer(instructions)

    def _cannot_understand(self) -> None:
        """A language model cannot answer what nobody has understood."""
        self._stop_thinking()
        if not self._told_no_ear and not self._parts.ear.understands:
            self._told_no_ear = True
            self._send(events.notice(_NO_EAR, "no_ear"))

    def _stop_thinking(self) -> None:
        if self._turn != IDLE_TURN:
            self._session.end_turn(self._turn)
            self._turn = IDLE_TURN

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._worked)

    def _worked(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("an utterance was lost", exc_info=error)
            self._stop_thinking()
