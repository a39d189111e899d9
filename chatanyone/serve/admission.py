"""Who may call: so many at a time, the others queue. A refusal is better than a call that stutters."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable

from chatanyone.serve.refusals import Refused

MOST_WAITING = 100  # our choice


class Admission:
    """Slots and a queue without open connections: a refused client is told its place and when to ask again; it keeps the
    place while it comes back in time.

    Args:
        slots: calls at a time.
        retry_s: for each place in the queue.
        clock: seconds, monotonic.
    """

    def __init__(self, slots: int, retry_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.slots = slots
        self.draining = False
        self._retry_s, self._clock = retry_s, clock
        self._taken = 0
        self._waiting: OrderedDict[str, float] = OrderedDict()  # client → when its place is given up

    @property
    def taken(self) -> int:
        """Calls that run."""
        return self._taken

    @property
    def waiting(self) -> int:
        """Clients in the queue."""
        self._expire()
        return len(self._waiting)

    def enter(self, client: str) -> None:
        """Takes a slot.

        Raises:
            Refused: 503 with the place in the queue.
        """
        if self.draining:
            raise Refused(503, "draining", "This server is about to stop; try again in a minute.", 60.0)
        self._expire()
        if self._place(client) <= self.slots - self._taken:
            self._waiting.pop(client, None)
            self._taken += 1
            return
        raise self._refused(client)

    def leave(self) -> None:
        """Gives a slot back."""
        self._taken -= 1

    def _place(self, client: str) -> int:
        """1 is next; who is not in the queue stands behind all."""
        return list(self._waiting).index(client) + 1 if client in self._waiting else len(self._waiting) + 1

    def _refused(self, client: str) -> Refused:
        position = self._place(client)
        if client not in self._waiting and len(self._waiting) >= MOST_WAITING:
            return Refused(503, "full", "The server is full, and so is its queue; try again later.", 60.0)
        wait_s = self._retry_s * min(position, 6)
        self._waiting[client] = self._clock() + 2 * wait_s
        free = "one conversation" if self.slots == 1 else f"{self.slots} conversations"
        return Refused(503, "full", f"This server holds {free} at a time and is full; you are number {position} in the "
                                    "queue.", wait_s, position)

    def _expire(self) -> None:
        now_s = self._clock()
        for client in [client for client, until_s in self._waiting.items() if until_s < now_s]:
            del self._waiting[client]
