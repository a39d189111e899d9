"""What the avatar answers: a language model over HTTP, or just what was typed. The scripted one is in `companion.py`."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import aclosing
from typing import Any, Protocol

from chatanyone.talk.history import Message
from chatanyone.talk.service import Service, ServiceError
from chatanyone.talk.sse import EventStream

MOST_CHARS = 4_000  # of one answer; the rest is left unsaid (our choice: about four minutes)
JOINED = "(The user has just joined the video chat. Greet them in one short sentence.)"
CUT_OFF = "…"  # ends what the user interrupted, so that the model knows


class Mind(Protocol):
    """Holds no state of a conversation: everything is in the history."""

    def reply(self, history: Iterable[Message], instructions: str) -> AsyncIterator[str]:
        """The answer to the newest message as it is made, in pieces of any length; an empty history asks for a greeting.

        Raises:
            ServiceError: the mind failed, with the sentence that says how.
        """


class EchoMind:
    """Modes `say` and `mirror`: the avatar speaks what was typed."""

    async def reply(self, history: Iterable[Message], instructions: str) -> AsyncIterator[str]:
        said = [message.text for message in history if message.role == "user"]
        if said:
            yield said[-1]


class OpenAIMind:
    """`/v1/chat/completions`, streaming: vLLM, Ollama, LocalAI, llama.cpp and others.

    Args:
        service: with the path ``/chat/completions``.
        model: the server's name for it.
    """

    def __init__(self, service: Service, model: str, max_tokens: int) -> None:
        self._service, self._model, self._max_tokens = service, model, max_tokens

    async def reply(self, history: Iterable[Message], instructions: str) -> AsyncIterator[str]:
        body = {"model": self._model, "messages": messages(history, instructions), "stream": True,
                "max_tokens": self._max_tokens}
        spoken, hidden = 0, _Thoughts()
        async with aclosing(self._deltas(body)) as deltas:  # type: ignore[type-var]
            async for delta in deltas:
                text = hidden.push(delta)[:MOST_CHARS - spoken]
                spoken += len(text)
                if text:
                    yield text
                if spoken >= MOST_CHARS:
                    return
        if rest := hidden.flush():
            yield rest

    async def _deltas(self, body: Mapping[str, Any]) -> AsyncIterator[str]:
        events, seen = EventStream(), False
        try:
            async with aclosing(self._service.stream(json=body)) as chunks:  # type: ignore[type-var]
                async for chunk in chunks:
                    for data in events.push(chunk):
                        if data.strip() == "[DONE]":
                            return
                        seen = True
                        yield self._delta(data)
            for data in events.flush():
                seen = True
                if data.strip() != "[DONE]":
                    yield self._delta(data)
        except ValueError:
            raise ServiceError(f"{self._service.name} sent what is no event stream") from None
        if not seen:
            raise ServiceError(f"{self._service.name} answered without an event stream; check its URL")

    def _delta(self, data: str) -> str:
        """The words in one event; servers also send roles, token counts and reasons to stop."""
        try:
            event = json.loads(data)
            if event.get("error"):
                raise ServiceError(f"{self._service.name} reports an error: {_short(event['error'])}")
            choices = event.get("choices") or [{}]
            text = (choices[0].get("delta") or {}).get("content") or ""
        except (ValueError, AttributeError, LookupError, TypeError, RecursionError):
            raise ServiceError(f"{self._service.name} sent an event that cannot be read") from None
        if not isinstance(text, str):
            raise ServiceError(f"{self._service.name} sent an event that cannot be read")
        return text.encode("utf-8", "replace").decode()


class _Thoughts:
    """Takes ``<think>…</think>`` out of a stream: some servers send a model's reasoning as if it were the answer."""

    def __init__(self) -> None:
        self._rest, self._inside = "", False

    def push(self, text: str) -> str:
        self._rest += text
        shown = ""
        while (mark := "</think>" if self._inside else "<think>") in self._rest:
            before, self._rest = self._rest.split(mark, 1)
            shown += "" if self._inside else before
            self._inside = not self._inside
        kept = next((n for n in range(len(mark) - 1, 0, -1) if self._rest.endswith(mark[:n])), 0)  # a mark may be cut in two
        out, self._rest = self._rest[:len(self._rest) - kept], self._rest[len(self._rest) - kept:]
        return shown + ("" if self._inside else out)

    def flush(self) -> str:
        return "" if self._inside else self._rest


def messages(history: Iterable[Message], instructions: str) -> list[dict[str, str]]:
    """The conversation as the service takes it; consecutive messages of one side are joined, as many templates demand."""
    joined: list[dict[str, str]] = []
    for message in history:
        text = message.text + (f" {CUT_OFF}" if message.cut else "")
        if not message.text:
            continue
        if joined and joined[-1]["role"] == message.role:
            joined[-1]["content"] += "\n" + text
        else:
            joined.append({"role": message.role, "content": text})
    if not joined or joined[0]["role"] != "user":
        joined.insert(0, {"role": "user", "content": JOINED})
    return ([{"role": "system", "content": instructions}] if instructions else []) + joined


def _short(error: object) -> str:
    """What an error object says, in a line."""
    said = error.get("message") if isinstance(error, dict) else error
    return " ".join(str(said).split())[:200]
