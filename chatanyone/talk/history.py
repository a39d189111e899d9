"""What was said by both, as it was heard: the memory that a mind answers from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

MOST_MESSAGES = 40  # older ones are forgotten (our choice: some ten minutes of talk)


@dataclass
class Message:
    """One turn.

    text: of the user, what was typed or understood, empty when nobody understood it; of the avatar, what was heard of it
    speech_s: how long the user spoke, None when it was typed
    cut: the avatar was interrupted
    """

    role: Literal["user", "assistant"]
    text: str
    item_id: str = ""
    speech_s: float | None = None
    cut: bool = False


class History:
    """Bounded; one per conversation."""

    def __init__(self) -> None:
        self._messages: list[Message] = []

    def add(self, message: Message) -> str | None:
        """Appends; returns the id of the message before."""
        before = self.last_id
        self._messages = (self._messages + [message])[-MOST_MESSAGES:]
        return before

    def remove(self, message: Message) -> None:
        """Takes back an answer of which nothing was heard."""
        self._messages = [kept for kept in self._messages if kept is not message]

    @property
    def newest(self) -> Message | None:
        """The last word."""
        return self._messages[-1] if self._messages else None

    @property
    def last_id(self) -> str | None:
        """Of the newest message."""
        return self._messages[-1].item_id if self._messages else None

    def __iter__(self) -> Iterator[Message]:
        return iter(list(self._messages))

    def __len__(self) -> int:
        return len(self._messages)
