"""espeak-ng from the event loop: one worker process for all conversations, started when first needed.

The program that runs in it is `motion.training.espeak` (espeak-ng is GPL-3: only text and samples cross the pipe). Requests
wait for one another; one takes some 20 ms. A worker that dies or hangs is ended, and the next request gets a new one.
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chatanyone.errors import ConfigError
from chatanyone.talk.service import ServiceError
from motion.training.espeak import SpeakRequest, request_line

_TIMEOUT_S = 10.0
_MOST_SAMPLES = 22_050 * 120  # of one request
_PROGRAM = (sys.executable, "-m", "motion.training.espeak")


class NoSuchVoice(ServiceError):
    """espeak-ng knows no voice of that name."""


class EspeakProcess:
    """Args: program: what is run; another one in tests.

    Raises:
        ConfigError: the package `espeakng-loader` is not installed.
    """

    def __init__(self, program: tuple[str, ...] = _PROGRAM, timeout_s: float = _TIMEOUT_S) -> None:
        if program is _PROGRAM and importlib.util.find_spec("espeakng_loader") is None:
            raise ConfigError("the voice espeak needs the package espeakng-loader; install it, or set "
                              "live.talk.voice.engine to none")
        self._program, self._timeout_s = program, timeout_s
        self._worker: asyncio.subprocess.Process | None = None
        self._turn = asyncio.Lock()
        self._warming: asyncio.Future[tuple[NDArray[np.int16], int]] | None = None

    async def speak(self, text: str, voice: str, *, rate: int, pitch_range: int) -> tuple[NDArray[np.int16], int]:
        """Samples ``[n]`` and their rate.

        Raises:
            NoSuchVoice: it is unknown. ServiceError: the worker died or hung.
        """
        line = request_line(SpeakRequest(text, voice, rate=rate, range=pitch_range))
        # Shielded: an answer that nobody waits for any more must still be read before the next one.
        answer = asyncio.ensure_future(self._ask(line))
        answer.add_done_callback(lambda done: done.cancelled() or done.exception())
        return await asyncio.shield(answer)

    def warm(self) -> None:
        """Starts the worker in the background, so that the first words need not wait for it (half a second and more)."""
        self._warming = asyncio.ensure_future(self._ask(request_line(SpeakRequest("a", "en-us"))))
        self._warming.add_done_callback(lambda done: done.cancelled() or done.exception())

    async def close(self) -> None:
        """Ends the worker; may be called twice."""
        if self._warming is not None:
            self._warming.cancel()
        async with self._turn:
            await self._end()

    async def _ask(self, line: bytes) -> tuple[NDArray[np.int16], int]:
        async with self._turn:
            try:
                header, data = await asyncio.wait_for(self._exchange(line), self._timeout_s)
            except (OSError, EOFError, ValueError, LookupError, TypeError, asyncio.TimeoutError) as error:
                await self._end()
                how = "hung" if isinstance(error, (asyncio.TimeoutError, TimeoutError)) else "broke off"
                raise ServiceError(f"the voice {how}; it starts again with the next words") from None
            except asyncio.CancelledError:
                await self._end()
                raise
        if "error" in header:
            raise NoSuchVoice(str(header["error"])[:200])
        return np.frombuffer(data, "<i2"), int(header["rate_hz"])

    async def _exchange(self, line: bytes) -> tuple[dict[str, Any], bytes]:
        worker = await self._running()
        assert worker.stdin is not None and worker.stdout is not None
        worker.stdin.write(line)
        await worker.stdin.drain()
        header = json.loads(await worker.stdout.readline())
        if "error" in header:
            return header, b""
        count = int(header["samples"])
        if not 0 <= count <= _MOST_SAMPLES:
            raise ValueError("too much sound")
        return header, await worker.stdout.readexactly(2 * count)

    async def _running(self) -> asyncio.subprocess.Process:
        if self._worker is None or self._worker.returncode is not None:
            self._worker = await asyncio.create_subprocess_exec(
                *self._program, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL, limit=1 << 20)
        return self._worker

    async def _end(self) -> None:
        worker, self._worker = self._worker, None
        if worker is not None:
            if worker.returncode is None:
                worker.kill()
            await worker.communicate()  # waits, and closes the pipes
