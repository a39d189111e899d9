"""Work ahead: one thread makes what another uses, or several make it side by side."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from queue import Empty, Full, Queue
from threading import Event, Thread
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")
_POLL_S = 0.05


def ahead(items: Iterable[T], depth: int = 8) -> Iterator[T]:
    """The items in order, made by a thread that runs at most ``depth`` ahead.

    What the maker raises is raised here, at the item's place. Leaving early (an error, Ctrl-C) stops the maker at its next
    item; no thread outlives the loop.
    """
    queue: Queue[tuple[str, T | BaseException | None]] = Queue(depth)
    stopped = Event()

    def put(kind: str, value: T | BaseException | None) -> bool:
        while not stopped.is_set():
            try:
                queue.put((kind, value), timeout=_POLL_S)
                return True
            except Full:
                continue
        return False

    def make() -> None:
        try:
            for item in items:
                if not put("item", item):
                    return
            put("end", None)
        except BaseException as error:  # handed over, whatever it is
            put("error", error)

    maker = Thread(target=make, name="ahead", daemon=True)
    maker.start()
    try:
        while True:
            try:
                kind, value = queue.get(timeout=_POLL_S)  # polling lets Ctrl-C through
            except Empty:
                continue
            if kind == "end":
                return
            if kind == "error":
                assert isinstance(value, BaseException)
                raise value
            yield value  # type: ignore[misc]
    finally:
        stopped.set()
        maker.join()


def side_by_side(make: Callable[[T], R], items: Iterable[T], count: int, name: str = "side") -> Iterator[R]:
    """``make`` of every item, in order, ``count`` at a time, so that none waits for the slowest part of another.

    What it raises is raised here, at the item's place; leaving early waits for those that were begun.
    """
    with ThreadPoolExecutor(count, name) as pool:
        begun: deque[Future[R]] = deque()
        for item in items:
            begun.append(pool.submit(make, item))
            if len(begun) == count:
                yield begun.popleft().result()
        while begun:
            yield begun.popleft().result()
