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

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chatanyone.stream.types import Heard, LiveSession, SessionState
from chatanyone.talk.commands import SessionChanges
from chatanyone.talk.events import Event
from chatanyone.talk.parts import Parts


class Conversation:
    """Implements `SessionEvents`; every method is called on the event loop and returns at once, `close` is awaited.

    Args:
        parts: shared by all conversations.
        send: takes one event; must not block and must not raise (a closed channel swallows).
        styles: the id of a prepared reference clip → its `Style`, None when there is none; called by `session.update`.
    """

    def __init__(self, parts: Parts, send: Callable[[Event], None], *,
                 styles: Callable[[str], Any | None] = lambda style_id: None) -> None:
        self._parts, self._send, self._styles = parts, send, styles
        self._session: LiveSession | None = None

    def apply(self, changes: SessionChanges) -> None:
        """Settings of the call; before `begin` nothing is sent.

        Raises:
            CommandError: a mode that this server cannot do, an unknown style.
        """

    def begin(self, session: LiveSession) -> None:
        """The session and the channel are ready: sends `session.created`; the companion greets."""
        self._session = session

    def hear(self, samples: NDArray[np.float32]) -> None:
        """The user's microphone: 16 kHz mono in [-1, 1], any length, as it comes."""

    def receive(self, message: str | bytes) -> None:
        """One message of the data channel; what cannot be read is answered with `error`."""

    async def close(self) -> None:
        """Cancels what runs and waits for it; may be called twice. The session itself is closed by who opened it."""

    # SessionEvents

    def on_state(self, state: SessionState) -> None:
        """Passed on as `chatanyone.state`."""

    def on_heard(self, heard: Heard) -> None:
        """Captions of what is being played."""

    def on_notice(self, sentence: str) -> None:
        """Passed on as `chatanyone.notice`."""

    def on_end(self, reason: str) -> None:
        """Passed on as `chatanyone.ended`; nothing is said afterwards."""
