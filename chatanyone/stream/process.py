"""The renderer in a process of its own, seen from ours: nothing it does can hold up sound or the event loop."""

from __future__ import annotations

import asyncio
import multiprocessing
import threading
from collections.abc import Callable
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from chatanyone.cli import set_environment
from chatanyone.config import Config
from chatanyone.errors import ChatAnyoneError
from chatanyone.stream import worker
from chatanyone.stream.engine import Made, Step
from chatanyone.stream.gate import Hold
from chatanyone.stream.portable import plain
from chatanyone.stream.ring import REDRAWN, Ring

START_S = 180.0  # to load nets and portrait on a busy machine
_SLOTS = 3  # two units ahead and one being copied
_END_S = 2.0


class ProcessEngine:
    """`chatanyone.stream.engine.Engine` by the real renderer. One use: start, steps, close.

    Args:
        portrait: a prepared portrait, as `Portrait.save` writes it; size: its width and height.
        config: of the nets; motion is always made at 30 fps.
        serve: what runs in the process.
    """

    def __init__(self, portrait: Path, size: tuple[int, int], config: Config,
                 serve: Callable[[Connection, Config], None] = worker.main) -> None:
        self.size, self.lag, self._serve = size, 0, serve
        self._portrait, self._config = portrait, replace(config, media=replace(config.media, fps="30"))
        self._process: Any = None
        self._pipe: Connection | None = None
        self._reader: threading.Thread | None = None
        self._ring: Ring | None = None
        self._free = list(range(_SLOTS))
        self._steps, self._hold = 0, Hold(0)
        self._closed = False

    async def start(self, on_made: Callable[[Made], None], on_lost: Callable[[str], None]) -> None:
        """See `Engine.start`."""
        self._loop, self._on_made, self._on_lost = asyncio.get_running_loop(), on_made, on_lost
        self._ready: asyncio.Future[int] = self._loop.create_future()
        try:
            self._launch()
        except OSError as error:
            raise ChatAnyoneError(f"the renderer could not be launched: {error.strerror or error}") from None
        try:
            self.lag = await asyncio.wait_for(asyncio.shield(self._ready), START_S)
            self._hold = Hold(self.lag)
        except asyncio.TimeoutError:
            raise ChatAnyoneError(f"the renderer did not start within {START_S:g} s") from None

    def step(self, step: Step) -> None:
        """See `Engine.step`."""
        if self._ring is not None:
            self._hold.feed(self._steps, step.samples)
            self._ring.cut_before = self._hold.before
        self._steps += 1
        style = None if step.style is None else plain(step.style[0])
        self._send("step", replace(step, style=None), self._free.pop(), style)

    def cut(self, unsent: int) -> None:
        """See `Engine.cut`."""
        if self._ring is not None:
            self._hold.cut(self._steps)
            self._ring.cut(self._hold.before, unsent)
            self._send("cut")

    async def close(self) -> None:
        """See `Engine.close`."""
        if self._closed:
            return
        self._closed = True
        self._send("close")
        await asyncio.get_running_loop().run_in_executor(None, self._free_all)

    @property
    def pid(self) -> int | None:
        """Of the renderer, once it is launched."""
        return None if self._process is None else self._process.pid

    def _launch(self) -> None:
        set_environment()  # the child inherits it, before it imports anything
        self._ring = Ring.create(self.size, _SLOTS + REDRAWN)
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=self._serve, args=(theirs, self._config), name="renderer", daemon=True)
        self._process.start()
        theirs.close()
        self._send("open", self._ring.shape, str(self._portrait))
        self._reader = threading.Thread(target=self._read, name="renderer", daemon=True)
        self._reader.start()

    def _send(self, *message: Any) -> None:
        """Small messages, at most two steps unanswered, so the pipe never fills; a dead process is seen by the reader."""
        try:
            if self._pipe is not None:
                self._pipe.send(message)
        except OSError:
            pass

    def _read(self) -> None:
        """In a thread: answers, until the process is gone."""
        reason = None
        try:
            while self._pipe is not None:
                kind, *rest = self._pipe.recv()
                if kind == "error":
                    reason = rest[0]
                elif kind == "ready":
                    self._call(self._started, rest[0])
                elif kind == "made":
                    self._copy(*rest)
        except (EOFError, OSError):
            pass
        how = self._reaped()
        self._call(self._gone, reason or how)

    def _reaped(self) -> str:
        """How the process ended; one that lingers is ended. Only the reader waits for it, so nobody else reaps it."""
        self._process.join(_END_S)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        return f"it ended with code {self._process.exitcode}"

    def _copy(self, number: int, slot: int, pictures: int, busy_s: float, parts_s: dict[str, float]) -> None:
        """Out of shared memory, still in the thread."""
        if self._ring is None:
            return
        again = slot in self._ring.redrawn
        frames = self._ring.slot(slot, pictures).copy()
        frames.setflags(write=False)
        self._call(self._answered, Made(number, frames, busy_s, parts_s, again=again), slot)

    def _call(self, function: Callable[..., None], *arguments: Any) -> None:
        try:
            self._loop.call_soon_threadsafe(function, *arguments)
        except RuntimeError:
            pass  # the loop is gone, and so is everybody who wanted to know

    def _started(self, lag: int) -> None:
        if not self._ready.done():
            self._ready.set_result(lag)

    def _answered(self, made: Made, slot: int) -> None:
        if not made.again:
            self._free.append(slot)
        if not self._closed:
            self._on_made(made)

    def _gone(self, reason: str) -> None:
        if not self._ready.done():
            self._ready.set_exception(ChatAnyoneError(f"the renderer did not start: {reason}"))
            self._ready.exception()  # whoever waits gets it; nobody waiting is no fault
        elif not self._closed:
            self._on_lost(reason)

    def _free_all(self) -> None:
        """Blocks for a moment: process, thread, pipe, memory, in this order; some may never have come to be."""
        if self._reader is not None:
            self._reader.join(_END_S)
            if self._reader.is_alive():
                self._process.kill()
                self._reader.join()
        if self._pipe is not None:
            self._pipe.close()
            self._pipe = None
        if self._ring is not None:
            self._ring.close(unlink=True)
            self._ring = None
        if self._process is not None and self._process.pid is not None:
            self._process.close()
