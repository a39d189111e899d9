"""Logs: one line an event, as text or as a JSON object; what came as `extra` are fields."""

from __future__ import annotations

import json
import logging
import sys
import time

_STANDARD = set(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
# Libraries that say at INFO what only their authors want to know.
_QUIET = ("aioice", "aiortc", "aiohttp.access", "aiohttp.server", "asyncio", "libav")


class JsonLines(logging.Formatter):
    """``{"time", "level", "logger", "message", …fields}``; time is UTC, ISO 8601 with milliseconds."""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z"
        entry: dict[str, object] = {"time": stamp, "level": record.levelname.lower(),
                                    "logger": record.name, "message": record.getMessage()} | fields(record)
        if record.exc_info:
            entry["trace"] = self.formatException(record.exc_info)
        return json.dumps(entry, ensure_ascii=False, default=str)


class TextLines(logging.Formatter):
    """``12:00:00 info message key=value``"""

    def format(self, record: logging.LogRecord) -> str:
        """One line, and the trace of an exception."""
        stamp = time.strftime("%H:%M:%S", time.localtime(record.created))
        pairs = "".join(f" {name}={value}" for name, value in fields(record).items())
        trace = "\n" + self.formatException(record.exc_info) if record.exc_info else ""
        return f"{stamp} {record.levelname.lower()} {record.getMessage()}{pairs}{trace}"


def fields(record: logging.LogRecord) -> dict[str, object]:
    """What was given as `extra`."""
    return {name: value for name, value in vars(record).items() if name not in _STANDARD and value is not None}


def set_up(as_json: bool) -> None:
    """The process' logs to stderr."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines() if as_json else TextLines())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
