"""A second synthesiser for training speech: CMU Flite, whose voices are statistics of people rather than formants.

Flite is a program of its own (Debian's package `flite`, BSD-like licence); it is called where it is installed, and tells
the end of every phone. English only.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np

from motion.training.force import phones
from motion.training.speech import SAMPLE_RATE, Speech, resample, join, silence, trim
from motion.training.text import random_sentence

VOICES: tuple[tuple[str, float], ...] = (("slt", 175.0), ("rms", 100.0), ("awb", 125.0))  # name, usual pitch in Hz
LANGUAGE = "en-us"


def available() -> bool:
    """Whether the program is there."""
    return shutil.which("flite") is not None


def say(text: str, voice: str = "slt", stretch: float = 1.0, pitch_hz: float | None = None) -> Speech:
    """Speak one text.

    Args:
        text: English.
        voice: of `VOICES`.
        stretch: 1 is the voice's own tempo, larger is slower.
        pitch_hz: mean pitch; None is the voice's own.

    Raises:
        ValueError: flite is not installed or refuses the text.
    """
    settings = ["--setf", f"duration_stretch={stretch:.3f}"]
    if pitch_hz is not None:
        settings += ["--setf", f"int_f0_target_mean={pitch_hz:.1f}"]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "speech.wav"
        try:
            done = subprocess.run(["flite", *settings, "-voice", voice, "-psdur", "-t", text, "-o", str(path)],
                                  capture_output=True, text=True, timeout=60, check=True)
        except FileNotFoundError:
            raise ValueError("flite is not installed; install Debian's package flite, or leave its voices out") from None
        except subprocess.CalledProcessError as error:
            raise ValueError(f"flite could not say '{text}': {error.stderr.strip()}") from None
        samples = _read_wave(path)
    return Speech(samples, phones(_ends(done.stdout), len(samples) / SAMPLE_RATE), f"flite-{voice}", LANGUAGE, text)


def _ends(printed: str) -> list[tuple[str, float, float]]:
    """``name:end`` pairs as `(name, start_s, end_s)`; every utterance of a text counts from 0."""
    result: list[tuple[str, float, float]] = []
    clock = offset = 0.0
    for item in printed.split():
        name, _, end = item.rpartition(":")
        if offset + float(end) < clock - 1e-6:
            offset = clock
        result.append((name, clock, offset + float(end)))
        clock = offset + float(end)
    return result


def _read_wave(path: Path) -> np.ndarray:
    import wave

    with wave.open(str(path), "rb") as file:
        data, rate_hz = file.readframes(file.getnframes()), file.getframerate()
    return resample(np.frombuffer(data, "<i2").astype(np.float32) / 32768, rate_hz)


def random_speech(rng: np.random.Generator, duration_s: float) -> Speech:
    """One of the voices for exactly `duration_s`, with pauses, as `motion.training.speech.random_speech`."""
    voice, pitch_hz = VOICES[int(rng.integers(len(VOICES)))]
    stretch, pitch_hz = float(np.exp(rng.normal(0, 0.15))), pitch_hz * float(np.exp(rng.normal(0, 0.12)))
    parts = [silence(float(rng.choice([0.1, 0.4, rng.uniform(0.1, 1.5)])))]
    while sum(part.duration_s for part in parts) < duration_s:
        parts.append(say(random_sentence(LANGUAGE, rng), voice, stretch, pitch_hz * float(rng.uniform(0.95, 1.05))))
        parts.append(silence(float(rng.choice([0.0, 0.1, 0.3, rng.exponential(0.5)]))))
    return trim(join(parts), duration_s)
