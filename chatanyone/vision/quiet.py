"""Keeps MediaPipe's C++ log lines (TensorFlow Lite, absl) out of the user's terminal."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Iterator

# One lock for every MediaPipe call: the graphs are not thread-safe, and neither is a swapped stderr.
LOCK = threading.RLock()


@contextlib.contextmanager
def quiet_stderr() -> Iterator[None]:
    """Sends file descriptor 2 to the null device; Python-level redirection does not reach C++ code."""
    with LOCK:
        sys.stderr.flush()
        try:
            saved = os.dup(2)
        except OSError:  # no stderr at all (a service without terminal): nothing to keep quiet
            yield
            return
        sink = os.open(os.devnull, os.O_WRONLY)
        os.dup2(sink, 2)
        try:
            yield
        finally:
            os.dup2(saved, 2)
            os.close(saved)
            os.close(sink)
