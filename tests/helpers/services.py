"""An OpenAI-compatible server on this machine that behaves, or misbehaves in a named way."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
from aiohttp import web

KEY = "sk-secret-of-the-tests"
WORDS = ["Hello ", "from ", "the ", "model. "]
TRANSCRIPT = "what is this"


class OpenAIServer:
    """`fault` empty: well behaved. Records what it was asked and whether the client hung up."""

    def __init__(self, fault: str = "") -> None:
        self.fault = fault
        self.asked: list[tuple[str, dict[str, str], Any]] = []
        self.hung_up = asyncio.Event()
        self.url = ""

    async def chat(self, request: web.Request) -> web.StreamResponse:
        self.asked.append((request.path, dict(request.headers), await request.json()))
        return await self._answer(request, "text/event-stream", [event(word) for word in WORDS] + [b"data: [DONE]\n\n"])

    async def speech(self, request: web.Request) -> web.StreamResponse:
        self.asked.append((request.path, dict(request.headers), await request.json()))
        raw = pcm(0.5)
        return await self._answer(request, "audio/pcm", [raw[:1001], raw[1001:5000], raw[5000:]])

    async def transcriptions(self, request: web.Request) -> web.StreamResponse:
        form = await request.post()
        fields = {name: value.file.read() if isinstance(value, web.FileField) else value for name, value in form.items()}
        self.asked.append((request.path, dict(request.headers), fields))
        return await self._answer(request, "application/json", [json.dumps({"text": f" {TRANSCRIPT}\n"}).encode()])

    async def _answer(self, request: web.Request, kind: str, parts: list[bytes]) -> web.StreamResponse:
        if self.fault in ("status 500", "echo of the key"):
            said = request.headers.get("Authorization", "") if self.fault == "echo of the key" else "<b>out of\nmemory</b>"
            return web.Response(status=500, text=said)
        if self.fault == "redirect":
            raise web.HTTPFound(self.url + "/elsewhere")
        response = web.StreamResponse(headers={"Content-Type": kind})
        try:
            if self.fault == "hang":
                await asyncio.sleep(60)
            await response.prepare(request)
            for part in self._spoiled(parts):
                await response.write(part)
                await asyncio.sleep(0.005)
            await self._endless(response)
            if self.fault == "break off":
                assert request.transport is not None
                request.transport.abort()
            await response.write_eof()
        except (ConnectionError, asyncio.CancelledError):
            self.hung_up.set()
            raise
        return response

    def _spoiled(self, parts: list[bytes]) -> list[bytes]:
        if self.fault in ("hang in the middle", "break off"):
            return parts[:1]
        return {"garbage": [bytes(range(256))] * 4, "empty": [], "html": [b"<html><body>Hello</body></html>"],
                "broken json": [b'data: {"choices": [{"del\n\n'], "wrong shape": [b'data: {"choices": 5}\n\n'],
                "not text": [b'data: {"choices": [{"delta": {"content": 5}}]}\n\n', b'{"text": 5}'],
                "list": [b"data: [1]\n\n"], "error event": [b'data: {"error": {"message": "model not found"}}\n\n'],
                "wav file": [b"RIFF\0\0\0\0WAVEfmt "], "comments": [], "too much": []}.get(self.fault, parts)

    async def _endless(self, response: web.StreamResponse) -> None:
        while self.fault in ("too much", "comments", "hang in the middle"):
            if self.fault == "too much":
                await response.write(event("x" * 50_000))
            elif self.fault == "comments":
                await response.write(b": still here\n\n")
            await asyncio.sleep(60 if self.fault == "hang in the middle" else 0.01)


def event(words: str) -> bytes:
    """One server-sent event of a chat completion."""
    return f"data: {json.dumps({'choices': [{'delta': {'content': words}}]})}\n\n".encode()


def pcm(seconds: float) -> bytes:
    """A hum, 24 kHz."""
    return (10_000 * np.sin(2 * np.pi * 200 * np.arange(round(24_000 * seconds)) / 24_000)).astype("<i2").tobytes()


@asynccontextmanager
async def serve(fault: str = "") -> AsyncIterator[OpenAIServer]:
    """Runs on a free port; "dead": the port is closed again."""
    server = OpenAIServer(fault)
    app = web.Application(client_max_size=1 << 24)
    app.router.add_post("/v1/chat/completions", server.chat)
    app.router.add_post("/v1/audio/speech", server.speech)
    app.router.add_post("/v1/audio/transcriptions", server.transcriptions)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    server.url = f"{site.name}/v1".replace(":0/", f":{runner.addresses[0][1]}/")
    if fault == "dead":
        await runner.cleanup()
    try:
        yield server
    finally:
        await runner.cleanup()
