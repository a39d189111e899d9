"""Working ahead changes no order, hides no error and leaves no thread."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from chatanyone.prefetch import ahead, side_by_side


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


def test_side_by_side_keeps_order_and_overlaps() -> None:
    """Two at a time: each waits until the other has begun, so one after the other would never end."""
    both = threading.Barrier(2, timeout=5)

    def make(index: int) -> int:
        both.wait()
        return 10 * index

    assert list(side_by_side(make, range(6), 2)) == [0, 10, 20, 30, 40, 50]


def test_side_by_side_takes_no_more_than_it_makes() -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for index in range(100):
            taken.append(index)
            yield index

    made = side_by_side(lambda index: index, items(), 3)
    assert next(made) == 0 and len(taken) == 3
    made.close()  # type: ignore[attr-defined]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("side")]


def test_side_by_side_raises_in_order() -> None:
    def make(index: int) -> int:
        if index == 1:
            raise ValueError("the second one is broken")
        return index

    made = side_by_side(make, range(4), 2)
    assert next(made) == 0
    with pytest.raises(ValueError, match="second one"):
        next(made)
