"""One conversation: a live session joined with an ear, a mind and a voice.

How the server uses it, all on the event loop::

    async with Parts(config.live.talk) as parts:                       # once
        conversation = Conversation(parts, send=channel.send_json)     # a call
        conversation.apply(read_changes(body["session"]))              # optional, before the session
        session = open_session(portrait, events=conversation)          # Conversation implements SessionEvents
        conversation.begin(session)                                    # when the data channel is open
        conversation.hear(samples)                                     # the microphone, as it comes
        conversation.receive(text)                                     # a message of the data channel
        await conversation.close()
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chatanyone.errors import ChatAnyoneError
from chatanyone.stream.types import Heard, LiveSession, SessionState
from chatanyone.talk import commands, events
from chatanyone.talk.commands import CommandError, SessionChanges
from chatanyone.talk.events import Event
from chatanyone.talk.parts import Parts
from chatanyone.talk.state import TalkState, changed, first_state
from chatanyone.talk.turns import Turns


class Conversation:
    """Implements `SessionEvents`; every method is called on the event loop and returns at once, `close` is awaited.

    Args:
        parts: shared by all conversations.
        send: takes one event; must not block and must not raise (a closed channel swallows).
        styles: the id of a prepared reference clip → its `Style`, None when there is none.
        groups: the dials of groups that exist (`motion.style.GROUPS`); others are refused. None: nobody knows, all are taken.
    """

    def __init__(self, parts: Parts, send: Callable[[Event], None], *,
                 styles: Callable[[str], Any | None] = lambda style_id: None, groups: Sequence[str] | None = None) -> None:
        self._parts, self._send, self._styles = parts, send, styles
        self._groups = None if groups is None else tuple(groups)
        self._state = first_state(parts.config, parts.modes)
        self._style: Any | None = None
        self._session: LiveSession | None = None
        self._turns: Turns | None = None
        self._styling: set[asyncio.Future[None]] = set()
        self._over = False
        self.id = events.new_id("sess")

    @property
    def settings(self) -> dict[str, Any]:
        """Everything in force, as `session.created` shows it."""
        modes = {"id": self.id, "modes": list(self._parts.modes)}
        if self._session is None:
            return modes | self._state.public()
        width, height = self._session.size
        return modes | self._state.public() | {"size": [width, height], "fps": float(self._session.fps)}

    def apply(self, changes: SessionChanges) -> None:
        """Takes over settings; before `begin` those of the call, and nothing is sent.

        Raises:
            CommandError: a mode that this server cannot do, an unknown style or dial; then nothing has changed.
        """
        state = changed(self._state, changes, self._parts.modes, self._groups)
        style = self._find_style(state.style)
        before, self._state = self._state, state
        self._style = style
        if self._session is not None and self._turns is not None:
            self._take_over(before, self._session, self._turns)

    def begin(self, session: LiveSession) -> None:
        """The session and the channel are ready: sends `session.created`; companion and chat greet."""
        self._session = session
        self._turns = Turns(self._parts, session, self._tell, self._state)
        self._tell(events.session_created(self.settings))
        session.set_dials(self._state.dials)
        if self._style is not None:
            self._set_style(session)
        if self._parts.config.greet and self._state.mode in ("companion", "chat"):
            self._turns.respond()

    def hear(self, samples: NDArray[np.float32]) -> None:
        """The user's microphone: 16 kHz mono in [-1, 1], any length, as it comes."""
        if self._turns is not None and not self._over:
            self._turns.hear(np.nan_to_num(np.asarray(samples, np.float32)))

    def receive(self, message: str | bytes) -> None:
        """One message of the data channel; what cannot be read or done is answered with `error`."""
        if self._turns is None or self._over:
            return
        event_id = None
        try:
            command, event_id = commands.parse(message)
            self._do(command, self._turns)
        except CommandError as fault:
            fault.event_id = fault.event_id or event_id
            self._tell(events.error(fault))

    async def close(self) -> None:
        """Cancels what runs and waits for it; may be called twice. The session itself is closed by who opened it."""
        self._over = True
        if self._turns is not None:
            await self._turns.close()
        await asyncio.gather(*self._styling, return_exceptions=True)

    # SessionEvents

    def on_state(self, state: SessionState) -> None:
        """Passed on as `chatanyone.state`."""
        self._tell(events.state(state))

    def on_heard(self, heard: Heard) -> None:
        """Captions of what is being played."""
        if self._turns is not None and not self._over:
            self._turns.answers.on_heard(heard)

    def on_notice(self, sentence: str) -> None:
        """Passed on as `chatanyone.notice`."""
        self._tell(events.notice(sentence, "renderer"))

    def on_end(self, reason: str) -> None:
        """Passed on as `chatanyone.ended`; nothing is said afterwards."""
        self._tell(events.ended(reason))
        self._over = True

    # What the page asks for.

    def _do(self, command: commands.Command, turns: Turns) -> None:
        if isinstance(command, commands.UpdateSession):
            self.apply(command.changes)
            self._tell(events.session_updated(self.settings))
        elif isinstance(command, (commands.AddText, commands.CreateResponse)):
            self._ask(command, turns)
        elif isinstance(command, commands.CancelResponse):
            turns.silence()
        elif isinstance(command, commands.ClearInput):
            turns.press()
        elif not turns.release():
            raise CommandError("there is no sound to commit; is the microphone on?", code="input_audio_buffer_commit_empty")

    def _ask(self, command: commands.AddText | commands.CreateResponse, turns: Turns) -> None:
        if self._parts.voice is None:
            raise CommandError("this server has no voice to answer with; it can only mirror yours", code="no_voice")
        if isinstance(command, commands.AddText):
            turns.questions.typed(command.text)
        else:
            turns.respond(command.instructions)

    def _take_over(self, before: TalkState, session: LiveSession, turns: Turns) -> None:
        state = self._state
        turns.change(state)
        if state.dials != before.dials:
            session.set_dials(state.dials)
        if state.style != before.style:
            self._set_style(session)

    def _find_style(self, style_id: str) -> Any | None:
        style = self._styles(style_id) if style_id else None
        if style_id and style is None:
            raise CommandError(f"there is no style '{style_id[:60]}'; upload the clip again", code="unknown_style",
                               param="session.style")
        return style

    def _set_style(self, session: LiveSession) -> None:
        task = asyncio.ensure_future(self._put_on(session, self._style))
        self._styling.add(task)
        task.add_done_callback(self._styling.discard)

    async def _put_on(self, session: LiveSession, style: Any | None) -> None:
        try:
            await session.set_style(style)
        except ChatAnyoneError as error:
            self._tell(events.notice(str(error), "style"))

    def _tell(self, event: Event) -> None:
        if not self._over:
            self._send(event)
