"""Closure: are the lips together when p, b or m is said?"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from chatanyone.evaluation import speaking
from chatanyone.evaluation.measures import Measure, Outcome, at_least, not_computed
from chatanyone.evaluation.session import Session
from chatanyone.evaluation.statistics import Curve
from chatanyone.evaluation.studio import Variant

TITLE = "Closure at p, b, m"
NEEDS = ("portraits",)
NAME = "closures made"
PART = 0.25  # of the clip's 95th percentile
REACH = 1  # frames around the instant


def closed(curve: Curve, instants_s: Sequence[float], fps: float = 30.0) -> list[bool]:
    """For each instant: the aperture is at most `PART` of the curve's 95th percentile within ±`REACH` frames."""
    limit = PART * float(np.percentile(curve, 95))
    frames = [int(instant * fps) for instant in instants_s]  # frame i shows [i / fps, (i + 1) / fps)
    kept = [frame for frame in frames if frame < len(curve)]
    return [bool(curve[max(frame - REACH, 0):frame + REACH + 1].min() <= limit) for frame in kept]


def measure(session: Session) -> Outcome:
    clips = session.some([path for path in session.inputs.clips if path in session.inputs.transcripts], 12)
    voices = session.some(session.inputs.spoken, 8)
    if not clips and not voices:
        return Outcome("closure", TITLE, [not_computed(NAME, "no transcript of any voice or clip")])
    rows = [row for variant in session.variants for row in _rows(session, variant, clips + voices)]
    if clips:
        rows.append(_real(session, clips))
    count = sum(len(speaking.instants_of(session, path)) for path in clips + voices)
    about = f"{count} instants in {len(clips)} clips and {len(voices)} recordings, aligned with the shipped speech encoder"
    return Outcome("closure", TITLE, rows, about)


def _rows(session: Session, variant: Variant, paths: list[Path]) -> list[Measure]:
    made: dict[str, float] = {}
    for path in session.progress(f"closure, {variant.name}", paths):
        found = closed(speaking.spoken(session, variant, path).aperture, speaking.instants_of(session, path))
        made |= {f"{path.stem}/{index}": 100.0 * hit for index, hit in enumerate(found)}
    return [Measure(NAME, made, "%", variant.name, must=at_least(80), aim=at_least(95))]


def _real(session: Session, clips: list[Path]) -> Measure:
    """The same instants on the speakers' own lips: what alignment and camera allow."""
    made: dict[str, float] = {}
    for path in clips:
        found = closed(speaking.real_lips(session, path).aperture, speaking.instants_of(session, path))
        made |= {f"{path.stem}/{index}": 100.0 * hit for index, hit in enumerate(found)}
    return Measure(NAME, made, "%", "the clips' own lips", note="control: errors of alignment and camera count here too")
