"""Numbers of the last minute or so: percentiles over a bounded window, and counters."""

from __future__ import annotations

from collections import defaultdict, deque

import numpy as np


class Stats:
    """Counters count since the start; times keep their last `window` values (our choice: 256 units, half a minute)."""

    def __init__(self, window: int = 256) -> None:
        self.counts = dict.fromkeys(("units", "underruns", "skipped", "crashes"), 0)
        self._times: defaultdict[str, deque[float]] = defaultdict(lambda: deque(maxlen=window))

    def time(self, name: str, seconds: float) -> None:
        self._times[name].append(seconds)

    def percentile(self, name: str, percent: float, last: int | None = None) -> float | None:
        """Seconds; of the `last` values or all kept; None before the first."""
        values = list(self._times.get(name, ()))[-last if last else 0:]
        return float(np.percentile(values, percent)) if values else None

    def numbers(self) -> dict[str, float]:
        """Counters by name, times as ``<name>_ms_p50`` and ``<name>_ms_p95``."""
        times = {f"{name}_ms_p{percent}": 1000 * float(np.percentile(list(values), percent))
                 for name, values in self._times.items() for percent in (50, 95)}
        return {name: float(count) for name, count in self.counts.items()} | times
