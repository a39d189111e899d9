"""Lip sync: do the portrait's lips open when the speaker's own did? Compared on pictures, by MediaPipe on both."""

from __future__ import annotations

import math

import numpy as np

from chatanyone.evaluation import pictures, speaking
from chatanyone.evaluation.measures import Measure, Outcome, Range, at_least, not_computed
from chatanyone.evaluation.session import Session
from chatanyone.evaluation.speaking import MAX_LAG, RealLips
from chatanyone.evaluation.statistics import Curve, best_lag, pearson
from chatanyone.evaluation.studio import GEOMETRY, LINEAR_HEAD, NETWORKS, Variant

TITLE = "Lip sync"
NEEDS = ("portraits", "clips")
NAME, LAG, LEAD = "r with the real lips", "lag", "r above loudness"


def score(made: Curve, real: Curve) -> tuple[float, int]:
    """Pearson r at the best lag within ±3 frames, and the lag (positive: the film is late)."""
    return best_lag(made, real, MAX_LAG)


def common_lag(made: list[Curve], real: list[Curve]) -> tuple[int, float]:
    """The one lag at which the mean r over all clips is largest, and that mean: no clip picks its own."""
    def mean(lag: int) -> float:
        rows = []
        for a, b in zip(made, real):
            count = min(len(a), len(b))
            rows.append(pearson(a[max(lag, 0):count + min(lag, 0)], b[max(-lag, 0):count - max(lag, 0)]))
        return float(np.mean(rows))

    lag = max(range(-MAX_LAG, MAX_LAG + 1), key=mean)
    return lag, mean(lag)


def measure(session: Session) -> Outcome:
    clips = speaking.references(session, 12)
    if not clips:
        return Outcome("sync", TITLE, [not_computed(NAME, "no clip whose lips follow its own sound")])
    loud = {clip.path.stem: clip.loudness_r for clip in clips}
    rows: list[Measure] = []
    for variant in (*session.variants, *([LINEAR_HEAD] if NETWORKS in session.variants else [])):
        rows += _rows(session, variant, clips, loud)
    rows.append(Measure(NAME, loud, variant="loudness alone", note="control: log RMS of the sound"))
    about = (f"{len(clips)} of {len(session.inputs.clips)} clips are references (their own lips follow their loudness with "
             f"r ≥ {speaking.REFERENCE_R}); the portrait is {session.neutral_portrait().stem}, 512 × 512")
    plot = _plot(session, session.variants[0], clips)
    return Outcome("sync", TITLE, rows, about, pictures=[plot] if plot else [])


def _plot(session: Session, variant: Variant, clips: list[RealLips]) -> str | None:
    """Curves of the film's lips against the real ones."""
    made = {clip.path.stem: speaking.spoken(session, variant, clip.path).aperture for clip in clips}
    return pictures.lip_curves(session.output / "lips.png", {
        clip.path.stem: (clip.aperture, made[clip.path.stem], clip.loudness,
                         f"{clip.path.stem}: r {score(made[clip.path.stem], clip.aperture)[0]:.2f}, loudness "
                         f"{clip.loudness_r:.2f}") for clip in clips})


def _rows(session: Session, variant: Variant, clips: list[RealLips], loud: dict[str, float]) -> list[Measure]:
    r, lags, made = {}, {}, []
    for clip in session.progress(f"sync, {variant.name}", clips):
        made.append(speaking.spoken(session, variant, clip.path).aperture)
        r[clip.path.stem], lags[clip.path.stem] = score(made[-1], clip.aperture)
    barred = variant in (NETWORKS, GEOMETRY)
    lag, mean_r = common_lag(made, [clip.aperture for clip in clips])
    return [
        Measure(NAME, r, "", variant.name, must=at_least(0.57) if barred else None, aim=at_least(0.72) if barred else None),
        Measure(LEAD, {name: r[name] - loud[name] for name in r}, "", variant.name,
                must=at_least(0.05) if barred else None),
        Measure(LAG, {name: float(value) for name, value in lags.items()}, "frames", variant.name, "mean",
                must=Range(-1, 1) if barred else None, note="of each clip's best; positive: the film is late"),
        Measure("lag common to all clips", {"all": float(lag)}, "frames", variant.name,
                note=f"mean r there {mean_r:.3f}" if math.isfinite(mean_r) else ""),
    ]
