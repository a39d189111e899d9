"""How much one client may ask: token buckets on a clock that is passed in."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable

MOST_CLIENTS = 10_000  # our choice: who was not seen for longest is forgotten, which only gives them a full bucket


class TokenBuckets:
    """A bucket for each client: `burst` at once, `per_s` in the long run.

    Args:
        clock: seconds, monotonic.
    """

    def __init__(self, burst: float, per_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._burst, self._per_s, self._clock = burst, per_s, clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()  # client → tokens, when

    def take(self, client: str) -> float:
        """Seconds to wait; 0 when the request may pass (it is then counted)."""
        now_s = self._clock()
        tokens, then_s = self._buckets.pop(client, (self._burst, now_s))
        tokens = min(self._burst, tokens + (now_s - then_s) * self._per_s)
        passes = tokens >= 1
        self._buckets[client] = (tokens - passes, now_s)
        if len(self._buckets) > MOST_CLIENTS:
            self._buckets.popitem(last=False)
        return 0.0 if passes else (1 - tokens) / self._per_s
