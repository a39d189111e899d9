"""How long a call lives: until nothing comes from the client, it never comes at all, or it has had its time."""

from __future__ import annotations

from collections.abc import Callable

from chatanyone.live_config import LimitsConfig


class Life:
    """Says when a call must end, and why.

    Args:
        limits: how long each may take.
        clock: seconds, monotonic.
    """

    def __init__(self, limits: LimitsConfig, clock: Callable[[], float]) -> None:
        self.connected = False
        self._limits, self._clock = limits, clock
        self._started_s = self._seen_s = clock()
        self._bytes_received = 0.0

    @property
    def age_s(self) -> float:
        """Since it began."""
        return self._clock() - self._started_s

    def connect(self) -> None:
        """A way was found."""
        self.connected, self._seen_s = True, self._clock()

    def received(self, bytes_in_all: float) -> None:
        """So much came from the client since the start; more than before is a sign of life."""
        if bytes_in_all > self._bytes_received:
            self._bytes_received, self._seen_s = bytes_in_all, self._clock()

    def over(self) -> str | None:
        """Why the call must end now, a sentence; None while it may go on."""
        if not self.connected and self.age_s > self._limits.connect_s:
            return "No way was found between browser and server; /check shows what is missing."
        if self.connected and self._clock() - self._seen_s > self._limits.idle_s:
            return "Nothing came from the browser any more."
        if self.age_s > self._limits.session_s:
            return f"The call has reached the server's limit of {self._limits.session_s / 60:g} minutes."
        return None
