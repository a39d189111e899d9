"""The user's side: when they speak, what they said, and what follows from it.

Speech that begins while the avatar speaks or thinks stops it at once; `Interruption` then decides whether that was meant.
What was said is understood in the order in which it was said; the avatar thinks from the end of the user's speech on.
"""

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
from chatanyone.talk.interruption import Interruption, long_enough
from chatanyone.talk.microphone import Microphone, Spoke
from chatanyone.talk.mirror import ONSET, Mirror
from chatanyone.talk.parts import Parts
from chatanyone.talk.service import ServiceError
from chatanyone.talk.state import TalkState
from chatanyone.timebase import SAMPLE_RATE_HZ

_log = logging.getLogger(__name__)

STALL_S = 1.0  # no sound for so long inside an utterance: it is over (our choice; the track ended or the network did)
_TAIL = SAMPLE_RATE_HZ // 5  # samples after the last voice that the ear gets too
_NO_EAR = "this server has no transcription service, so what you say is not understood; type instead"


class Turns:
    """One conversation's; all methods on the event loop, at once.

    Args:
        state: the settings in force; replaced from outside when they change.
    """

    def __init__(self, parts: Parts, session: LiveSession, send: Callable[[Event], None], state: TalkState) -> None:
        self._parts, self._session, self._send, self.state = parts, session, send, state
        self._config = parts.config.turns
        self.history = History()
        self.answers = Answers(parts, session, send, self.history)
        self.microphone = Microphone(parts.vad, state.silence_ms, state.push_to_talk)
        self._mirror = Mirror(session, self.microphone, self._config.jitter_ms)
        self._doubt: Interruption | None = None
        self._item_id = events.new_id("item")
        self._turn = IDLE_TURN  # begun for an answer that is being prepared
        self._in_order = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()
        self._stall: asyncio.TimerHandle | None = None
        self._told_no_ear = False
        self._begun = 0  # sample at which the utterance begins
        self._wish = 0  # counts what takes back the wish for an answer: the button, another mode
        self._owed = False  # an answer was held back because the user went on

    # What comes in.

    def hear(self, samples: NDArray[np.float32]) -> None:
        """The microphone, ``[n]``, 16 kHz."""
        if self.state.mode != "mirror":
            self._session.hear(samples)
        reply = self.answers.current
        sounding = reply is not None and reply.sounding and not reply.paused
        threshold = min(self.state.threshold + self._config.echo_margin * sounding, 0.95)
        for spoke in self.microphone.push(samples, threshold, self._config.echo_floor * sounding):
            self._on_spoke(spoke)
        if self.state.mode == "mirror":
            self._mirror.pass_on()
        self._watch()

    def press(self) -> None:
        """`input_audio_buffer.clear`: with push-to-talk the user begins; pressing is an interruption by itself."""
        self._drop_doubt()
        if self.state.push_to_talk:
            self.microphone.press()
            self._silence("turn_detected")
            if self.state.mode == "mirror":
                self._mirror.open(self.microphone.end)
        else:
            self.microphone.reset()
        self._item_id = events.new_id("item")
        self._send(events.input_cleared())

    def release(self) -> bool:
        """`input_audio_buffer.commit`: the user's message is complete. False: there was no sound."""
        if self.state.push_to_talk and self.state.mode == "mirror":
            self._mirror.pass_on(last=True)
            self.microphone.stop()
            return True
        start = self.microphone.start if self.microphone.start is not None else self.microphone.first
        if self.microphone.end - start < SAMPLE_RATE_HZ // 10:
            return False
        self._utterance_over(self.microphone.stop(), start, answer=self.state.answer and not self.state.push_to_talk)
        self.microphone.clear()
        return True

    def type(self, text: str) -> None:
        """A message without sound; `respond` asks for the answer."""
        item_id = events.new_id("item")
        before = self.history.add(Message("user", text, item_id))
        self._send(events.item_added(events.user_item(item_id, text, spoken=False), before))

    def respond(self, instructions: str | None = None) -> None:
        """Answers the newest message when everything before it is understood; greets when there is none."""
        self._drop_doubt()
        self._silence("client_cancelled")
        self._mirror.cut()
        self._turn = self._session.begin_turn()
        self._spawn(self._respond_in_order(self._turn, instructions))

    def silence(self) -> None:
        """The button: whatever the avatar says or is about to say ends."""
        self._drop_doubt()
        self._mirror.cut()
        self._wish += 1
        self._turn, self._owed = IDLE_TURN, False
        if self.answers.current is None:
            self._session.interrupt()
        self.answers.cut("client_cancelled")

    def change_mode(self, push_to_talk: bool) -> None:
        """Before the state changes to another mode or another way of taking turns."""
        self.silence()
        self.microphone.reset()
        self.microphone.by_button = push_to_talk

    async def close(self) -> None:
        """Cancels everything and waits for it."""
        self._drop_doubt()
        self._mirror.cut()
        if self._stall is not None:
            self._stall.cancel()
        await self.answers.close()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # The voice detector.

    def _on_spoke(self, spoke: Spoke) -> None:
        if spoke.kind == "start":
            self._item_id = events.new_id("item")
            self._send(events.speech_started(self._item_id, _ms(spoke.at)))
            self._speech_began(spoke)
        elif spoke.kind == "on":
            if self._doubt is not None:
                self._doubt.progress(spoke.voiced)
        else:
            self._send(events.speech_stopped(self._item_id, _ms(spoke.at)))
            self._speech_ended(spoke)

    def _speech_began(self, spoke: Spoke) -> None:
        self._begun = self.microphone.start or 0
        if self.state.mode == "mirror":
            self.answers.cut("turn_detected")
            self._mirror.open(spoke.at - ONSET)
        elif self.answers.current is not None:
            if self.state.interrupt:
                self._doubt_it()
        elif self._turn != IDLE_TURN:  # thinking, nothing to say yet: the user goes on
            self._stop_thinking()
            self._owed = True

    def _speech_ended(self, spoke: Spoke) -> None:
        if self.state.mode == "mirror":
            self._mirror.pass_on(last=True)
        elif self.answers.current is not None and not self.state.interrupt:
            return  # half duplex: what comes while the avatar speaks may be its own echo
        else:
            self._utterance_over(spoke, self._begun, answer=self.state.answer)

    def _doubt_it(self) -> None:
        self._drop_doubt()
        self.answers.pause()
        listen = self._listen if self._parts.ear.understands else None
        self._doubt = Interruption(self._config, listen, self._decided)

    async def _listen(self) -> str:
        return await self._parts.ear.transcribe(self.microphone.since(self._begun), self.state.language)

    def _decided(self, words: bool) -> None:
        self._doubt = None
        if words:
            self.answers.cut("turn_detected")
        else:
            self.answers.go_on()

    def _drop_doubt(self) -> None:
        if self._doubt is not None:
            self._doubt.end()
            self._doubt = None

    def _watch(self) -> None:
        """Ends an utterance whose sound has stopped coming."""
        if self._stall is not None:
            self._stall.cancel()
            self._stall = None
        if self.microphone.start is not None and not self.state.push_to_talk:
            self._stall = asyncio.get_running_loop().call_later(STALL_S, self._stalled)

    def _stalled(self) -> None:
        if self.microphone.start is not None:
            spoke = self.microphone.stop()
            self.microphone.reset()
            self._on_spoke(spoke)

    # What was said.

    def _utterance_over(self, spoke: Spoke, begun: int, *, answer: bool) -> None:
        """Understands what was said since `begun`, and answers."""
        if self._doubt is not None:
            self._doubt.stopped(spoke.voiced)
            if self._doubt is None and self.answers.current is not None:
                return  # a cough: the avatar goes on
        sound = self.microphone.since(begun)[:max(spoke.at + _TAIL - begun, 0)]
        self._send(events.committed(self._item_id, self.history.last_id))
        if answer and self.answers.current is None and self.state.mode != "say":
            self._turn = self._session.begin_turn()
        self._spawn(self._understand(sound, spoke.voiced, self._item_id, self._wish if answer else None))

    async def _understand(self, sound: NDArray[np.float32], voiced: int, item_id: str, wish: int | None) -> None:
        """wish: as it was when the speech ended, None when no answer follows."""
        async with self._in_order:
            words = await self._words(sound, item_id)
            answer = wish == self._wish
            meant = bool(words) if words is not None else self.answers.current is None or long_enough(voiced, self._config)
            if not meant:
                self._nothing_said(answer)
                return
            self._drop_doubt()
            self.answers.cut("turn_detected")
            before = self.history.add(Message("user", words or "", item_id, len(sound) / SAMPLE_RATE_HZ))
            self._send(events.item_added(events.user_item(item_id, words, spoken=True), before))
            if answer:
                self._answer_speech(words)

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
        if self._doubt is not None:
            self._doubt.end()
            self._decided(False)
        elif answer and self.answers.current is None and self._owed and self.microphone.start is None:
            self._answer()  # a cough while the avatar was about to answer
        else:
            self._stop_thinking()

    def _answer_speech(self, words: str | None) -> None:
        if self.state.mode == "say":
            self._stop_thinking()
        elif self.microphone.start is not None:
            self._stop_thinking()
            self._owed = True  # what the user goes on to say is answered together with this
        elif words is None and self.state.mode == "chat":
            self._stop_thinking()
            if not self._told_no_ear and not self._parts.ear.understands:
                self._told_no_ear = True
                self._send(events.notice(_NO_EAR, "no_ear"))
        else:
            self._answer()

    # What follows.

    def _answer(self, instructions: str | None = None) -> None:
        turn, self._turn, self._owed = self._turn, IDLE_TURN, False
        if turn == IDLE_TURN or turn != self._session.turn:
            turn = self._session.begin_turn()
        self.answers.begin(turn, self.state, instructions)

    async def _respond_in_order(self, turn: int, instructions: str | None) -> None:
        async with self._in_order:
            if turn == self._turn == self._session.turn:  # otherwise it was stopped, or another was asked for
                self._answer(instructions)

    def _stop_thinking(self) -> None:
        if self._turn != IDLE_TURN:
            self._session.end_turn(self._turn)
            self._turn = IDLE_TURN

    def _silence(self, reason: events.Reason) -> None:
        self._stop_thinking()
        self.answers.cut(reason)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._worked)

    def _worked(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("an utterance was lost", exc_info=error)
            self._stop_thinking()


def _ms(sample: int) -> int:
    return 1000 * sample // SAMPLE_RATE_HZ
