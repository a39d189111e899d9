"""`chatanyone serve` as a process of its own, and the browser that looks at it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from chatanyone.demo import speech
from chatanyone.media.audio import resample, write_wav

READY_S = 120.0
CHROMIUM = Path("/usr/bin/chromium")
# What the person in front of the page says: short sentences with pauses between them.
SENTENCES = ("Good morning, my name is Robin, and I am talking to a picture.", "Please move your mouth when I do.",
             "Peter Piper picked a peck of pickled peppers.", "How much wood would a woodchuck chuck?")


@contextmanager
def served(*options: str, log: Path) -> Iterator[str]:
    """The address of a running server, which ends with the block."""
    command = [sys.executable, "-m", "chatanyone", "serve", "--port", "0", *options]
    environment = {**os.environ, "OMP_WAIT_POLICY": "PASSIVE", "PYTHONUNBUFFERED": "1"}
    with log.open("wb") as sink, subprocess.Popen(command, stdout=subprocess.PIPE, stderr=sink, text=True, bufsize=1,
                                                  env=environment) as process:
        killer = threading.Timer(READY_S, process.kill)
        killer.start()
        try:
            address = _address(process, log)
            killer.cancel()
            yield address
        finally:
            killer.cancel()
            process.terminate()
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()


def _address(process: subprocess.Popen[str], log: Path) -> str:
    assert process.stdout is not None
    said = []
    for line in process.stdout:
        said.append(line)
        found = re.search(r"https?://\S+", line)
        if found:
            return found.group()
    raise AssertionError(f"the server ended: {''.join(said)}{log.read_text()[-2000:]}")


def spoken(path: Path, sentences: Sequence[str] = SENTENCES, pause_s: float = 0.8) -> Path:
    """A wav at 48 kHz in which espeak-ng speaks, as Chromium's fake microphone takes it (it repeats it)."""
    parts: list[NDArray[np.float32]] = []
    for sentence in sentences:
        parts += [np.zeros(int(pause_s * 16_000), np.float32), speech(sentence)]
    write_wav(path, resample(np.concatenate(parts), 16_000, 48_000), 48_000)
    return path
