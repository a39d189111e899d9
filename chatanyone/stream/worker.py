"""The renderer's process. Light to import: what must be set before torch is loaded is set first.

It is told what to do over a pipe, one message at a time, and answers in order:

    open (ring, portrait's path) → ready (lag)
    step (step, slot, style or None) → made (number, slot, pictures, seconds, seconds of each part)
    cut () → made of steps whose pictures had an open mouth, in slots of its own; it looks for cuts after each step, too
    anything that fails → error (a sentence), and the process ends; a closed pipe ends it silently
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from chatanyone.stream.portable import PlainStyle, restored

if TYPE_CHECKING:
    from chatanyone.config import Config
    from chatanyone.pipeline import Stages
    from chatanyone.stream.engine import Step
    from chatanyone.stream.ring import RingShape


def main(pipe: Connection, config: Config) -> NoReturn:
    """Until the other side closes the pipe or says so."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's affair, who then closes the pipe
    code = 0
    try:
        _serve(pipe, config)
    except (EOFError, BrokenPipeError, KeyboardInterrupt):
        pass
    except BaseException as error:
        code = 1
        _tell(pipe, "error", " ".join(f"{type(error).__name__}: {error}".split())[:500])
    os._exit(code)  # nothing of ours needs unwinding, and threads of native libraries cannot hold us up


def _serve(pipe: Connection, config: Config) -> None:
    from chatanyone.cli import set_environment

    set_environment()
    from chatanyone import build

    stages = build.pipeline(build.as_in_calls(config)).stages
    pipe.send(("loaded",))
    session: _Session | None = None
    while True:
        message = pipe.recv()
        if message[0] == "close":
            return
        if message[0] == "open":
            session = _Session(stages, config, *message[1:])
            pipe.send(("ready", session.lag))
        elif session is not None:
            if message[0] == "step":
                pipe.send(session.step(*message[1:]))
            for answer in session.redrawn():
                pipe.send(answer)


class _Session:
    """What one session needs: the person, the ring."""

    def __init__(self, stages: Stages, config: Config, shape: RingShape, portrait: str) -> None:
        from chatanyone.portrait import Portrait
        from chatanyone.stream.drawer import Drawer
        from chatanyone.stream.ring import Ring

        self._ring = Ring.attach(shape)
        self._drawer = Drawer(stages, Portrait.load(Path(portrait)), config)
        self._drawer.warm_up()
        self.lag = self._drawer.lag
        self._cut_before: Callable[[], int] = lambda: self._ring.cut_before
        self._cuts = 0

    def step(self, step: Step, slot: int, style: PlainStyle | None) -> tuple[Any, ...]:
        started = time.perf_counter()
        if style is not None:
            step = replace(step, style=(restored(style),))
        parts = self._drawer.step(step, self._cut_before, self._ring.slot(slot, step.pictures))
        return "made", step.number, slot, step.pictures, time.perf_counter() - started, parts

    def redrawn(self) -> Iterator[tuple[Any, ...]]:
        """After a cut, the steps whose pictures can still be drawn again."""
        cuts, unsent = self._ring.last_cut
        if cuts == self._cuts:
            return
        self._cuts = cuts
        started = time.perf_counter()
        for number, pictures in self._drawer.redraw(unsent, self._cut_before):
            slot = self._ring.redrawn[number % len(self._ring.redrawn)]
            self._ring.slot(slot, len(pictures))[:] = pictures
            yield "made", number, slot, len(pictures), time.perf_counter() - started, {}
            started = time.perf_counter()


def exit_with_parent() -> None:
    """For processes that would wait for work for ever when their parent is killed: an initializer of process pools."""
    parent = multiprocessing.parent_process()

    def watch() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=watch, name="parent", daemon=True).start()


def _tell(pipe: Connection, *message: Any) -> None:
    try:
        pipe.send(message)
    except OSError:
        pass
