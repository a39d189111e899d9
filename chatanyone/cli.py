"""The command line: `chatanyone.commands` has the verbs, here is what surrounds them.

Exit codes: 0 done, 2 the user's mistake (one line on stderr, no traceback), 130 interrupted, 141 whoever read the output has
gone, 143 terminated.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import warnings
from collections.abc import Sequence
from importlib import import_module
from types import FrameType
from typing import Any, NoReturn

from chatanyone.commands import VERBS
from chatanyone.errors import ChatAnyoneError

USER_MISTAKE, INTERRUPTED, READER_GONE, TERMINATED = 2, 130, 141, 143

# Read by the native libraries when they are loaded. Their start-up messages are not for users; and threads that wait must
# sleep, not spin: beside other programs on two cores that made rendering ten times faster (1800 to 190 ms a frame).
_ENVIRONMENT = {"OMP_WAIT_POLICY": "PASSIVE", "GLOG_minloglevel": "2", "TF_CPP_MIN_LOG_LEVEL": "3",
                "TRANSFORMERS_VERBOSITY": "error", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one verb and returns the exit code."""
    set_environment()
    options = parser().parse_args(arguments)
    try:
        with _terminable():
            options.run(options)
            if sys.stdout is not None:  # it is where the user has closed it
                sys.stdout.flush()  # not only when Python ends: here it can still be told what went wrong
    except ChatAnyoneError as error:
        return _fail(str(error))
    except BrokenPipeError:
        _let_go_of_output()
        return READER_GONE
    except OSError as error:
        _let_go_of_output()
        return _fail(f"{error.filename or 'the system'}: {error.strerror or error}")
    except KeyboardInterrupt:
        print("\nchatanyone: interrupted", file=sys.stderr)
        return INTERRUPTED
    return 0


def set_environment() -> None:
    """What must be settled before torch and MediaPipe are imported; what the user has set stays."""
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    if not sys.warnoptions:
        warnings.simplefilter("ignore")


def _fail(message: str) -> int:
    print(f"chatanyone: error: {' '.join(message.split())}", file=sys.stderr)
    return USER_MISTAKE


def _let_go_of_output() -> None:
    """Drops what stdout did not take: Python would try once more when it ends, and complain with a traceback."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class _terminable:
    """SIGTERM unwinds like Ctrl-C does, so that unfinished files are removed."""

    def __enter__(self) -> None:
        self._before: Any = None
        try:
            self._before = signal.signal(signal.SIGTERM, self._terminate)
        except ValueError:
            pass  # not the main thread: whoever runs us handles signals

    def __exit__(self, *_: object) -> None:
        if self._before is not None:
            signal.signal(signal.SIGTERM, self._before)

    @staticmethod
    def _terminate(number: int, frame: FrameType | None) -> NoReturn:
        raise SystemExit(TERMINATED)


def parser() -> argparse.ArgumentParser:
    """All verbs and their options."""
    root = argparse.ArgumentParser(
        prog="chatanyone", description="One photo and one voice become a talking upper-body video.")
    verbs = root.add_subparsers(dest="verb", metavar="verb", required=True)
    for name in VERBS:
        import_module(f"chatanyone.commands.{name}").add(verbs)
    return root
