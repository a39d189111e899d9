"""Whether media works, not merely whether the process answers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np

from chatanyone.serve.calls import Calls
from chatanyone.serve.encode import SoundEncoder, VideoEncoder
from chatanyone.stream.types import UNIT_SAMPLES

CODE_EVERY_S = 30.0  # our choice: a test picture is coded so often at most
_SIZE = (64, 96)


class Health:
    """Healthy: pictures and sound can be coded, and each running call's last unit is fresh. Draining is not.

    Args:
        calls: all of them.
        clock: seconds, monotonic.
    """

    def __init__(self, calls: Calls, clock: Callable[[], float] = time.monotonic) -> None:
        self._calls, self._clock = calls, clock
        self._coded_s: float | None = None
        self._fault: str | None = None

    async def report(self) -> dict[str, Any]:
        """``{"ok", "coding", "stale_calls", "calls", "draining"}``"""
        if self._coded_s is None or self._clock() - self._coded_s > CODE_EVERY_S:
            self._coded_s = self._clock()
            self._fault = await asyncio.to_thread(coding_fault)
        stale = sum(not call.fresh for call in self._calls.running.values() if call.reason is None)
        draining = self._calls.admission.draining
        return {"ok": self._fault is None and not stale and not draining, "coding": self._fault or "works",
                "calls": len(self._calls.running), "stale_calls": stale, "draining": draining}


def coding_fault() -> str | None:
    """Codes a picture and a unit of sound; what went wrong."""
    try:
        frame = np.zeros((_SIZE[1], _SIZE[0], 3), np.uint8)
        picture = VideoEncoder("h264", _SIZE, Fraction(30), 100, 1.0).encode(frame, 0, 0, key=True)
        sound = SoundEncoder(32).encode(np.zeros(UNIT_SAMPLES, np.int16), 0)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return None if picture.key and picture.data and sound else "the coders gave nothing"
