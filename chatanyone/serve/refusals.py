"""Refusals over HTTP: a status, a type for programs and one sentence for people, in one shape everywhere."""

from __future__ import annotations

import math
from typing import Any

from aiohttp import web

from chatanyone.errors import ChatAnyoneError


class Refused(ChatAnyoneError):
    """A request is refused.

    kind: of the error, for programs, also counted by the metrics
    retry_s: when to come back; position: in the queue, 1 is next
    """

    def __init__(self, status: int, kind: str, sentence: str, retry_s: float | None = None,
                 position: int | None = None) -> None:
        super().__init__(sentence)
        self.status, self.kind, self.retry_s, self.position = status, kind, retry_s, position

    def response(self) -> web.Response:
        """``{"error": {"type", "message", "position"?}}`` with `Retry-After` where it helps."""
        error: dict[str, Any] = {"type": self.kind, "message": sentence(self)}
        if self.position is not None:
            error["position"] = self.position
        headers = {} if self.retry_s is None else {"Retry-After": str(max(1, math.ceil(self.retry_s)))}
        if self.status == 401:
            headers["WWW-Authenticate"] = "Bearer"
        return web.json_response({"error": error}, status=self.status, headers=headers)


def sentence(text: object) -> str:
    """Our errors begin small and have no full stop, for the command line; on a page they are whole sentences."""
    words = str(text)
    return words[:1].upper() + words[1:] + ("" if words.endswith((".", "!", "?")) else ".")


def not_found(what: str) -> Refused:
    """404."""
    return Refused(404, "not_found", f"This server has no such {what} (any more).")


def bad_request(sentence: str) -> Refused:
    """400."""
    return Refused(400, "invalid_request_error", sentence)
