"""The user's side: when they speak, and what that does to the avatar.

Speech that begins while the avatar speaks or thinks stops it at once; `Interruption` then decides whether that was meant.
What was said and what is answered is the business of `Questions`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from chatanyone.stream.types import LiveSession
from chatanyone.talk import events
from chatanyone.talk.events import Event
from chatanyone.talk.interruption import Interruption
from chatanyone.talk.microphone import Microphone, Spoke
from chatanyone.talk.mirror import ONSET, Mirror
from chatanyone.talk.parts import Parts
from chatanyone.talk.questions import Questions
from chatanyone.talk.state import TalkState
from chatanyone.timebase import SAMPLE_RATE_HZ

STALL_S = 1.0  # no sound for so long inside an utterance: it is over (our choice; the track ended or the network did)
_TAIL = SAMPLE_RATE_HZ // 5  # samples after the last voice that the ear gets too


class Turns:
    """One conversation's; all methods on the event loop, at once.

    Args:
        state: the settings in force; `change` replaces them.
    """

    def __init__(self, parts: Parts, session: LiveSession, send: Callable[[Event], None], state: TalkState) -> None:
        self._parts, self._session, self._send, self._state = parts, session, send, state
        self._config = parts.config.turns
        self.microphone = Microphone(parts.vad, state.silence_ms, state.push_to_talk)
        self.questions = Questions(parts, session, send, state, lambda: self.microphone.start is not None, self._judged)
        self.answers = self.questions.answers
        self._mirror = Mirror(session, self.microphone, self._config.jitter_ms)
        self._doubt: Interruption | None = None
        self._item_id = events.new_id("item")
        self._begun = 0  # sample at which the utterance begins
        self._stall: asyncio.TimerHandle | None = None

    # What comes in.

    def hear(self, samples: NDArray[np.float32]) -> None:
        """The microphone, ``[n]``, 16 kHz."""
        if self._state.mode != "mirror":
            self._session.hear(samples)
        reply = self.answers.current
        sounding = reply is not None and reply.sounding and not reply.paused
        threshold = min(self._state.threshold + self._config.echo_margin * sounding, 0.95)
        for spoke in self.microphone.push(samples, threshold, self._config.echo_floor * sounding):
            self._on_spoke(spoke)
        if self._state.mode == "mirror":
            self._mirror.pass_on()
        self._watch()

    def press(self) -> None:
        """`input_audio_buffer.clear`: with push-to-talk the user begins; pressing is an interruption by itself."""
        self._drop_doubt()
        if self._state.push_to_talk:
            self.microphone.press()
            self.questions.hush("turn_detected")
            if self._state.mode == "mirror":
                self._mirror.open(self.microphone.end)
        else:
            self.microphone.reset()
        self._item_id = events.new_id("item")
        self._send(events.input_cleared())

    def release(self) -> bool:
        """`input_audio_buffer.commit`: the user's message is complete. False: there was no sound."""
        if self._state.push_to_talk and self._state.mode == "mirror":
            self._mirror.pass_on(last=True)
            self.microphone.stop()
            return True
        start = self.microphone.start if self.microphone.start is not None else self.microphone.first
        if self.microphone.end - start < SAMPLE_RATE_HZ // 10:
            return False
        self._utterance_over(self.microphone.stop(), start, answer=self._state.answer and not self._state.push_to_talk)
        self.microphone.clear()
        return True

    def respond(self, instructions: str | None = None) -> None:
        """Answers the newest message; greets when there is none."""
        self._drop_doubt()
        self._mirror.cut()
        self.questions.respond(instructions)

    def silence(self) -> None:
        """The button: whatever the avatar says or is about to say ends."""
        self._drop_doubt()
        self._mirror.cut()
        self.questions.take_back()

    def change(self, state: TalkState) -> None:
        """Takes over new settings; another mode, or another way of taking turns, ends what is going on."""
        if (state.mode, state.push_to_talk) != (self._state.mode, self._state.push_to_talk):
            self.silence()
            self.microphone.reset()
            self.microphone.by_button = state.push_to_talk
        self._state = self.questions.state = state
        self.microphone.silence_ms = state.silence_ms

    async def close(self) -> None:
        """Cancels everything and waits for it."""
        self._drop_doubt()
        self._mirror.cut()
        if self._stall is not None:
            self._stall.cancel()
        await self.questions.close()

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
        if self._state.mode == "mirror":
            self.answers.cut("turn_detected")
            self._mirror.open(spoke.at - ONSET)
        elif self.answers.current is not None:
            if self._state.interrupt:
                self._doubt_it()
        else:
            self.questions.hold_back()

    def _speech_ended(self, spoke: Spoke) -> None:
        if self._state.mode == "mirror":
            self._mirror.pass_on(last=True)
        elif self.answers.current is not None and not self._state.interrupt:
            return  # half duplex: what comes while the avatar speaks may be its own echo
        else:
            self._utterance_over(spoke, self._begun, answer=self._state.answer)

    def _doubt_it(self) -> None:
        self._drop_doubt()
        self.answers.pause()
        listen = self._listen if self._parts.ear.understands else None
        self._doubt = Interruption(self._config, listen, self._decided)

    async def _listen(self) -> str:
        return await self._parts.ear.transcribe(self.microphone.since(self._begun), self._state.language)

    def _decided(self, words: bool) -> None:
        self._doubt = None
        if words:
            self.answers.cut("turn_detected")
        else:
            self.answers.go_on()

    def _judged(self, words: bool) -> None:
        """The whole utterance was understood, or had no words."""
        if self._doubt is not None:
            self._drop_doubt()
            self._decided(words)

    def _drop_doubt(self) -> None:
        if self._doubt is not None:
            self._doubt.end()
            self._doubt = None

    def _watch(self) -> None:
        """Ends an utterance whose sound has stopped coming."""
        if self._stall is not None:
            self._stall.cancel()
            self._stall = None
        if self.microphone.start is not None and not self._state.push_to_talk:
            self._stall = asyncio.get_running_loop().call_later(STALL_S, self._stalled)

    def _stalled(self) -> None:
        if self.microphone.start is not None:
            spoke = self.microphone.stop()
            self.microphone.reset()
            self._on_spoke(spoke)

    def _utterance_over(self, spoke: Spoke, begun: int, *, answer: bool) -> None:
        """Understands what was said since `begun`, and answers."""
        if self._doubt is not None:
            self._doubt.stopped(spoke.voiced)
            if self._doubt is None and self.answers.current is not None:
                return  # a cough: the avatar goes on
        sound = self.microphone.since(begun)[:max(spoke.at + _TAIL - begun, 0)]
        self.questions.spoken(sound, spoke.voiced, self._item_id, answer=answer)


def _ms(sample: int) -> int:
    return 1000 * sample // SAMPLE_RATE_HZ
