"""Films in which a portrait says what a clip or a recording says: lip curves, made once for all bars that read them."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chatanyone.evaluation import instants, lips
from chatanyone.evaluation.session import Session
from chatanyone.evaluation.statistics import Curve, best_lag
from chatanyone.evaluation.studio import HEAD, Variant
from chatanyone.media.audio import SAMPLE_RATE, read_audio
from chatanyone.media.video import VideoReader
from chatanyone.pipeline import Strengths

FPS = Fraction(30)
LONGEST = 300  # frames of a clip or recording
MAX_LAG = 3  # frames
REFERENCE_R = 0.2  # a clip whose lips follow its loudness less than this is no reference for lip sync
_SELF = sys.modules[__name__]


@dataclass(frozen=True)
class RealLips:
    """A clip's own lips and sound: aperture ``[T]`` in face heights, loudness ``[T]``, r between the two."""

    path: Path
    aperture: Curve
    loudness: Curve
    loudness_r: float
    loudness_lag: int
    found: float

    @property
    def is_reference(self) -> bool:
        return self.found > 0.9 and self.loudness_r >= REFERENCE_R


@dataclass(frozen=True)
class Spoken:
    """A film of a portrait: aperture ``[T]`` of its pictures (face heights), lips ``[T]`` of its motion (mm), part of frames
    with a face."""

    aperture: Curve
    lips: Curve
    found: float


def real_lips(session: Session, path: Path) -> RealLips:
    """Measured once a clip; no engine is involved."""
    def make() -> dict[str, Any]:
        with VideoReader(path, FPS) as reader:
            curve, found = lips.aperture_curve(islice(reader, LONGEST), passes=2)
        heard = lips.loudness(read_audio(path), len(curve), FPS)
        r, lag = best_lag(heard, curve, MAX_LAG) if len(curve) > 4 * MAX_LAG else (0.0, 0)
        return {"aperture": rounded(curve), "loudness": rounded(heard), "r": r, "lag": lag, "found": found}

    row = session.item("real_lips", path.stem, (_SELF, lips), make, files=[path])
    return RealLips(path, np.array(row["aperture"]), np.array(row["loudness"]), row["r"], row["lag"], row["found"])


def references(session: Session, usual: int) -> list[RealLips]:
    """Clips whose lips follow their sound."""
    found = [real_lips(session, path) for path in session.progress("real lips", session.inputs.clips)]
    return session.some([clip for clip in found if clip.is_reference], usual)


def spoken(session: Session, variant: Variant, path: Path, *, strengths: Strengths | None = None) -> Spoken:
    """The neutral portrait, head only, says what is said in `path`."""
    face = session.neutral_portrait()

    def make() -> dict[str, Any]:
        portrait, samples = session.studio.portrait(face, HEAD), read_audio(path)[:int(LONGEST * SAMPLE_RATE / FPS)]
        motion: dict[str, NDArray[Any]] = {}
        film = session.studio.film(variant, portrait, samples, strengths=strengths, motion=motion)
        curve, found = lips.aperture_curve(film)
        return {"aperture": rounded(curve), "found": found,
                "lips": rounded(lips.motion_aperture(motion["expression"]))}

    row = session.item("spoken", f"{path.stem}-{variant.name}", (_SELF, lips), make, files=[face, path], variant=variant,
                       strengths=None if strengths is None else vars(strengths))
    return Spoken(np.array(row["aperture"]), np.array(row["lips"]), row["found"])


def instants_of(session: Session, path: Path) -> list[float]:
    """Seconds of p, b, m in a clip or recording whose words are known."""
    text = session.inputs.transcripts[path]

    def make() -> dict[str, Any]:
        return {"instants_s": instants.closure_instants(read_audio(path), text)}

    return list(session.item("instants", path.stem, instants, make, files=[path], text=text)["instants_s"])


def rounded(curve: NDArray[Any]) -> list[float]:
    """For JSON."""
    return [round(float(value), 6) for value in curve]
