from __future__ import annotations

import json

from chatanyone.stream.stats import Stats


def test_asking_for_what_was_never_timed_leaves_no_trace() -> None:
    stats = Stats()
    assert stats.percentile("step", 95) is None
    assert set(stats.numbers()) == {"units", "underruns", "skipped", "crashes"}


def test_percentiles_of_the_last_values_in_milliseconds() -> None:
    stats = Stats(window=4)
    for seconds in (9.0, 0.01, 0.02, 0.03, 0.04):
        stats.time("step", seconds)
    assert stats.percentile("step", 100) == 0.04 and stats.percentile("step", 0, last=2) == 0.03
    numbers = stats.numbers()
    assert abs(numbers["step_ms_p50"] - 25) < 1e-9 and abs(numbers["step_ms_p95"] - 38.5) < 1e-9
    json.dumps(numbers, allow_nan=False)
