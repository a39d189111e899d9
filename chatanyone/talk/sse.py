"""Server-sent events: bytes as they come → the data of each event (WHATWG HTML, section 9.2; names and ids are unused)."""

from __future__ import annotations

from collections.abc import Iterator

MOST_BYTES = 1 << 18  # of one event; more is no event stream


class EventStream:
    """Feed bytes with `push`; any cutting gives the same events.

    Raises (from `push`):
        ValueError: one event is longer than `MOST_BYTES`.
    """

    def __init__(self) -> None:
        self._rest = b""
        self._data: list[bytes] = []

    def push(self, chunk: bytes) -> Iterator[str]:
        """The data of events that are complete now."""
        lines = (self._rest + chunk).replace(b"\r\n", b"\n").split(b"\n")
        self._rest = lines.pop()
        if len(self._rest) + sum(map(len, self._data)) > MOST_BYTES:
            raise ValueError("an event is too long")
        for line in lines:
            yield from self._line(line.rstrip(b"\r"))

    def flush(self) -> Iterator[str]:
        """The stream ended; servers that leave out the last empty line are forgiven."""
        yield from self.push(b"\n\n")

    def _line(self, line: bytes) -> Iterator[str]:
        if line.startswith(b"data:"):
            self._data.append(line[5:].removeprefix(b" "))
        elif not line and self._data:
            data, self._data = b"\n".join(self._data), []
            yield data.decode("utf-8", "replace")
