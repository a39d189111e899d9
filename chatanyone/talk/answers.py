"""The avatar's side: one answer at a time, its captions, its end, and what of it is remembered."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from chatanyone.stream.types import Heard, LiveSession
from chatanyone.talk import events
from chatanyone.talk.companion import LANGUAGE as SCRIPT_LANGUAGE
from chatanyone.talk.events import Event, Reason
from chatanyone.talk.history import History, Message
from chatanyone.talk.parts import Parts
from chatanyone.talk.reply import Reply
from chatanyone.talk.state import TalkState
from chatanyone.timebase import SAMPLE_RATE_HZ

_log = logging.getLogger(__name__)

SORRY = {"en": "Sorry, I lost my train of thought.", "de": "Entschuldigung, ich habe den Faden verloren.",
         "fr": "Pardon, j'ai perdu le fil.", "es": "Perdón, he perdido el hilo.", "zh": "抱歉，我走神了。"}


class Answers:
    """Args: parts: shared; session: that plays; send: takes an event; history: of this conversation."""

    def __init__(self, parts: Parts, session: LiveSession, send: Callable[[Event], None], history: History) -> None:
        self._parts, self._session, self._send, self._history = parts, session, send, history
        self._message: Message | None = None
        self._ending: set[asyncio.Task[None]] = set()
        self.current: Reply | None = None

    def begin(self, turn: int, state: TalkState, instructions: str | None) -> None:
        """The mind answers the newest message in `turn`; what was said before is cut."""
        self.cut("client_cancelled")
        past = list(self._history)
        text = self._parts.mind(state.mode).reply(past, instructions or state.instructions or self._parts.instructions)
        language = SCRIPT_LANGUAGE if state.mode == "companion" else state.language
        voice = self._parts.voice
        assert voice is not None  # a conversation refuses to ask otherwise
        self.current = reply = Reply(self._session, turn, text, lambda piece: voice.speak(piece, language, state.voice),
                                     failed=self._failed, sorry=SORRY.get(language.split("-")[0].lower(), ""))
        self._ending.add(reply.task)
        reply.task.add_done_callback(self._ended)
        # In its place from the start: what the user types meanwhile comes after it.
        self._message = Message("assistant", "", reply.item_id)
        self._history.add(self._message)
        self._send(events.response_created(reply.id))

    def on_heard(self, heard: Heard) -> None:
        """Captions of what is being played; the end."""
        reply = self.current
        if reply is None or heard.turn != reply.turn:
            return
        if heard.samples and not reply.sounding:
            reply.sounding = True
            self._send(events.output_started(reply.id))
        self._caption(reply, heard.samples)
        if heard.finished and not heard.interrupted:
            self._finish(reply)

    def pause(self) -> None:
        """Somebody speaks: silence, but everything is kept for `go_on`."""
        reply = self.current
        if reply is not None:
            reply.pause()
            self._played(reply, self._session.interrupt())
            self._send(events.paused(reply.id))

    def go_on(self) -> None:
        """It was a false alarm."""
        reply = self.current
        if reply is None or not reply.paused:
            return
        if not self._session.resume(reply.turn):
            self.cut("turn_detected")
            return
        self._send(events.resumed(reply.id))
        if reply.sounding:
            self._send(events.output_started(reply.id))
        reply.go_on()

    def cut(self, reason: Reason) -> None:
        """The answer ends here: mind and voice are hung up on, the history keeps what was heard."""
        reply, self.current = self.current, None
        if reply is None:
            return
        reply.cancel()
        if not reply.paused:
            self._played(reply, self._session.interrupt())
        self._remember(reply, cut=True)
        if reply.sounding:
            self._send(events.item_truncated(reply.item_id, 1000 * reply.heard // SAMPLE_RATE_HZ))
            self._send(events.output_cleared(reply.id))
        self._done(reply, "cancelled", reason)

    async def close(self) -> None:
        """Hangs up, silently, and waits for it."""
        reply, self.current = self.current, None
        if reply is not None:
            reply.cancel()
        await asyncio.gather(*self._ending, return_exceptions=True)

    def _played(self, reply: Reply, heard: Heard | None) -> None:
        if heard is not None and heard.turn == reply.turn:
            self._caption(reply, heard.samples)

    def _caption(self, reply: Reply, samples: int) -> None:
        if words := reply.words(samples):
            self._send(events.transcript_delta(reply.id, reply.item_id, words))

    def _finish(self, reply: Reply) -> None:
        self.current = None
        self._remember(reply, cut=False)
        self._send(events.transcript_done(reply.id, reply.item_id, reply.shown.strip()))
        if reply.sounding:
            self._send(events.output_stopped(reply.id))
        if reply.fault is not None:
            self._done(reply, "failed", "service_failed")
        else:
            self._done(reply, "completed", None)

    def _remember(self, reply: Reply, *, cut: bool) -> None:
        if self._message is not None:
            self._message.text, self._message.cut = reply.shown.strip(), cut
            if not self._message.text:
                self._history.remove(self._message)
        self._message = None

    def _done(self, reply: Reply, status: events.Status, reason: Reason | None) -> None:
        said = reply.shown.strip()
        output = [events.avatar_item(reply.item_id, said, whole=status == "completed")] if said else []
        self._send(events.response_done(events.response(reply.id, status, reason=reason, message=reply.fault, output=output)))

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._ending.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("an answer broke", exc_info=error)
            self._failed("broken", "the answer broke because of a fault in this program; the server's log has more")

    def _failed(self, code: str, sentence: str) -> None:
        self._send(events.notice(sentence, code))
