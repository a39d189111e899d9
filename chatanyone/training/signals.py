"""Ending a run in good order when somebody asks."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


class StopRequest:
    """Ctrl-C and SIGTERM set `asked`; whoever sees it ends after the present step, with the state saved."""

    def __init__(self) -> None:
        self.asked = False

    @contextmanager
    def on_signal(self) -> Iterator[None]:
        """Listens inside the block. A second signal is left to whoever listened before: it ends the program at once."""
        def stop(number: int, frame: FrameType | None) -> None:
            self.asked = True
            signal.signal(number, before[number])

        before: dict[int, Any] = {}
        try:
            for number in (signal.SIGINT, signal.SIGTERM):
                before[number] = signal.signal(number, stop)
        except ValueError:  # not the main thread: leave signals alone
            before = {}
        try:
            yield
        finally:
            for each, handler in before.items():
                signal.signal(each, handler)
