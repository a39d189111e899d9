"""Films as a user gets them, by the command line's own path: all frames there, sound as long as picture, face in sight."""

from __future__ import annotations

import sys
import tempfile
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from chatanyone import timebase
from chatanyone.animate import Request, animate
from chatanyone.evaluation import lips
from chatanyone.evaluation.lips import Image
from chatanyone.evaluation.measures import Measure, Outcome, Range, at_least, at_most
from chatanyone.evaluation.session import Session
from chatanyone.evaluation.studio import Variant
from chatanyone.media.audio import SAMPLE_RATE, read_audio, write_wav

TITLE = "Films"
NEEDS: tuple[str, ...] = ("portraits", "voices")
USUAL, SECONDS = 3, 3.0
_SELF = sys.modules[__name__]


def measure(session: Session) -> Outcome:
    voices = session.inputs.spoken or session.inputs.voices
    rows = []
    variant = session.variants[0]
    found = {path.stem: _film(session, variant, path, voices[0])
             for path in session.progress("films as files", session.some(session.inputs.portraits, USUAL))}
    for name, unit, must in (("frames missing", "", Range(0, 0)), ("sound longer than picture", "ms", Range(-33, 33)),
                             ("frames with a face", "%", at_least(99)), ("seconds per second of film", "", None)):
        rows.append(Measure(name, {path: row[name] for path, row in found.items()}, unit, variant.name, must=must))
    rows.append(Measure("background, largest change after encoding", {path: row["background"] for path, row in found.items()},
                        "/255", variant.name, "largest", must=at_most(1)))
    return Outcome("films", TITLE, rows, f"{SECONDS:g} s each, written as MP4 and read again")


def read_film(path: Path) -> tuple[list[Image], float]:
    """Frames, and how much longer the sound is than the picture, s."""
    with av.open(str(path)) as film:
        frames = [frame.to_ndarray(format="rgb24") for frame in film.decode(video=0)]
        rate = float(film.streams.video[0].average_rate or 30)
    with av.open(str(path)) as film:
        stream = film.streams.audio[0]
        if stream.duration and stream.time_base:
            seconds = float(stream.duration * stream.time_base)
        else:
            seconds = sum(frame.samples for frame in film.decode(audio=0)) / float(stream.rate or SAMPLE_RATE)
    return frames, seconds - len(frames) / rate


def _film(session: Session, variant: Variant, path: Path, voice: Path) -> dict[str, Any]:
    def make() -> dict[str, Any]:
        samples = read_audio(voice)[:int(SECONDS * SAMPLE_RATE)]
        with tempfile.TemporaryDirectory() as folder:
            sound, output = Path(folder) / "voice.wav", Path(folder) / "film.mp4"
            write_wav(sound, samples)
            timings = animate(Request(image=path, audio=sound, output=output), session.studio.settings(variant))
            frames, longer_s = read_film(output)
        return {**_seen(session, path, frames, samples), "sound longer than picture": 1000 * longer_s,
                "seconds per second of film": timings.real_time_factor}

    return session.item("films", path.stem, (_SELF, lips), make, files=[path, voice], variant=variant)


def _seen(session: Session, path: Path, frames: list[Image], samples: NDArray[np.float32]) -> dict[str, float]:
    from chatanyone.evaluation import pixels

    rate = session.studio.config.media.rate
    missing = timebase.frames_for_samples(len(samples), Fraction(rate)) - len(frames)
    _, found = lips.aperture_curve(frames)
    mask = pixels.background(session.studio.portrait(path, session.studio.config.media.width_height))
    return {"frames missing": float(missing), "frames with a face": 100 * found,
            "background": max(pixels.change(frame, frames[0], mask) for frame in frames[::8])}
