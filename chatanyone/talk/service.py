"""OpenAI-compatible HTTP services: one place for keys, time limits, size limits, and the sentence that says what failed.

The key is read from the environment variable that the settings name, sent in one header and put nowhere else; redirects
are not followed, so that it goes nowhere else either. Whatever a server does, the caller gets `ServiceError` with one
sentence, or is cancelled; never an exception of the HTTP library.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

import aiohttp

from chatanyone.errors import ChatAnyoneError, ConfigError

_SAID = 2000  # bytes of a refusal that are read
_WHOLE = 8  # an answer may take so many times the time limit in all: a server that trickles is given up (our choice)


class ServiceError(ChatAnyoneError):
    """A mind, an ear or a voice failed; the sentence may be shown to the user."""


class Service:
    """One server and what it is called in sentences.

    Args:
        client: shared; closed by who made it.
        name: "the language model"
        url: up to and with ``/v1``; path: ``/chat/completions``
        key_env: name of the environment variable with the key, or None.
        timeout_s: to connect, to the first byte and between bytes.
        limit_bytes: of one answer; more is refused.

    Raises:
        ConfigError: `key_env` is not set.
    """

    def __init__(self, client: aiohttp.ClientSession, name: str, url: str, path: str, *, key_env: str | None,
                 timeout_s: float, limit_bytes: int) -> None:
        self._client, self.name, self._url = client, name, url.rstrip("/") + path
        self._timeout_s, self._limit = timeout_s, limit_bytes
        self._headers = {"Authorization": f"Bearer {read_key(name, key_env)}"} if key_env else {}

    async def stream(self, **body: Any) -> AsyncIterator[bytes]:
        """POSTs (`json` or `data`) and yields the answer's body as it comes; close it to hang up.

        Raises:
            ServiceError: no connection, too late, a refusal, an answer that is too long or breaks off.
        """
        async with self._guard(), self._open(body) as answer:
            received, loop = 0, asyncio.get_running_loop()
            begun = loop.time()
            while chunk := await asyncio.wait_for(answer.content.readany(), self._timeout_s):
                received += len(chunk)
                if received > self._limit:
                    raise ServiceError(f"{self.name} sent more than {self._limit} bytes; it was cut off")
                if loop.time() - begun > _WHOLE * self._timeout_s:
                    raise ServiceError(f"{self.name} had not finished after {_WHOLE * self._timeout_s:g} s; it was cut off")
                yield chunk

    async def whole(self, **body: Any) -> bytes:
        """The whole answer; `timeout_s` holds for all of it together."""
        async with self._guard():
            return await asyncio.wait_for(self._collect(body), self._timeout_s)

    async def _collect(self, body: dict[str, Any]) -> bytes:
        async with aclosing(self.stream(**body)) as chunks:  # type: ignore[type-var]
            return b"".join([chunk async for chunk in chunks])

    @asynccontextmanager
    async def _open(self, body: dict[str, Any]) -> AsyncIterator[aiohttp.ClientResponse]:
        # aiohttp's own total limit would cut a long answer that streams well.
        limits = aiohttp.ClientTimeout(total=None, sock_connect=self._timeout_s)
        request = self._client.post(self._url, headers=self._headers, timeout=limits, allow_redirects=False, **body)
        answer = await asyncio.wait_for(request, self._timeout_s)
        try:
            if answer.status != 200:
                raise ServiceError(f"{self.name} refused with status {answer.status}{await self._reason(answer)}")
            yield answer
        finally:
            answer.close()  # hangs up: the server sees that nobody wants the rest

    async def _reason(self, answer: aiohttp.ClientResponse) -> str:
        """What the server says about its refusal, in a line; it may echo nothing of the key."""
        try:
            said = (await asyncio.wait_for(answer.content.read(_SAID), self._timeout_s)).decode("utf-8", "replace")
        except (aiohttp.ClientError, asyncio.TimeoutError, OSError):
            return ""
        said = " ".join(said.split())[:200]
        for secret in self._headers.values():
            said = said.replace(secret.removeprefix("Bearer "), "…")
        return f": {said}" if said else ""

    @asynccontextmanager
    async def _guard(self) -> AsyncIterator[None]:
        try:
            yield
        except (asyncio.TimeoutError, TimeoutError):
            raise ServiceError(f"{self.name} did not answer within {self._timeout_s:g} s") from None
        except aiohttp.ClientConnectorError:
            raise ServiceError(f"{self.name} cannot be reached; check that its server runs") from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise ServiceError(f"{self.name} broke off its answer ({type(error).__name__})") from None


def read_key(name: str, key_env: str) -> str:
    """The key of a service.

    Raises:
        ConfigError: the variable is not set, or could not stand in a header.
    """
    key = os.environ.get(key_env, "").strip()
    if not key or not key.isascii() or not key.isprintable():
        raise ConfigError(f"{name} needs its key in the environment variable {key_env}; set it, or set key_env to null")
    return key
