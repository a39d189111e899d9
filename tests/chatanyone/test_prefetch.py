"""Working ahead changes no order, hides no error and leaves no thread."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from chatanyone.prefetch import ahead


def test_order_is_kept() -> None:
    assert list(ahead(range(100), depth=3)) == list(range(100))


def test_errors_arrive_at_their_place() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise ValueError("the second one is broken")

    made = ahead(items())
    assert next(made) == 1
    with pytest.raises(ValueError, match="second one"):
        next(made)


def test_it_runs_no_further_ahead_than_asked() -> None:
    made: list[int] = []

    def items() -> Iterator[int]:
        for index in range(1000):
            made.append(index)
            yield index

    stream = ahead(items(), depth=2)
    assert next(stream) == 0
    stream.close()  # type: ignore[attr-defined]
    assert len(made) <= 5  # one used, two queued, one waiting, one begun


def test_leaving_early_stops_the_maker() -> None:
    before = threading.active_count()
    for index in ahead(iter(int, 1), depth=1):  # endless zeros
        assert index == 0
        break
    assert threading.active_count() == before
