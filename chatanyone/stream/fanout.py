"""One source of units, any number of consumers, none of whom can hold up another."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator

from chatanyone.stream.types import Unit

QUEUE_UNITS = 4  # for each consumer; who is later than 533 ms loses the oldest whole units (our choice)


class _Queue:
    """Units one consumer has not taken yet; the oldest is dropped when a fifth comes."""

    def __init__(self) -> None:
        self.units: deque[Unit] = deque(maxlen=QUEUE_UNITS)
        self.wake = asyncio.Event()


class Fanout:
    """Hands every unit to every consumer. `dropped` counts units that slow consumers lost."""

    def __init__(self) -> None:
        self._queues: set[_Queue] = set()
        self._closed = False
        self.dropped = 0

    def __len__(self) -> int:
        return len(self._queues)

    @property
    def depth(self) -> int:
        """Units that wait for the slowest consumer."""
        return max((len(queue.units) for queue in self._queues), default=0)

    def put(self, unit: Unit) -> None:
        for queue in self._queues:
            self.dropped += len(queue.units) == QUEUE_UNITS
            queue.units.append(unit)
            queue.wake.set()

    def close(self) -> None:
        """Consumers get what waits for them, then their loop ends."""
        self._closed = True
        for queue in self._queues:
            queue.wake.set()

    async def subscribe(self) -> AsyncIterator[Unit]:
        """Units from the first `anext` on."""
        queue = _Queue()
        self._queues.add(queue)
        try:
            while queue.units or not self._closed:
                if not queue.units:
                    queue.wake.clear()
                    await queue.wake.wait()
                    continue
                yield queue.units.popleft()
        finally:
            self._queues.discard(queue)
