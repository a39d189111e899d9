"""Expression control: the dial changes how wide the mouth goes, not when."""

from __future__ import annotations

import numpy as np

from chatanyone.evaluation import speaking
from chatanyone.evaluation.bars.sync import score
from chatanyone.evaluation.measures import Measure, Outcome, Range, at_most, not_computed
from chatanyone.evaluation.session import Session
from chatanyone.evaluation.speaking import RealLips
from chatanyone.evaluation.statistics import Curve
from chatanyone.evaluation.studio import Variant
from chatanyone.pipeline import Strengths

TITLE = "Expression control"
NEEDS: tuple[str, ...] = ("portraits", "clips")
DIALS = (0.5, 1.0, 1.5)
USUAL = 4  # clips
SYNC_KEPT = 0.05  # our reading of "sync kept": change of r


def amplitude_ratio(curve: Curve, natural: Curve, dial: float) -> float:
    """Standard deviation of the aperture against dial 1, ÷ the dial: 1 when the dial does what it says."""
    return float(np.std(curve) / max(float(np.std(natural)), 1e-9)) / dial


def measure(session: Session) -> Outcome:
    clips = speaking.references(session, USUAL)
    if not clips:
        return Outcome("expression", TITLE, [not_computed("amplitude", "no clip whose lips follow its own sound")])
    rows = [row for variant in session.variants for row in _rows(session, variant, clips)]
    return Outcome("expression", TITLE, rows, "lip aperture in the pictures of the films that the lip sync bar makes")


def _rows(session: Session, variant: Variant, clips: list[RealLips]) -> list[Measure]:
    ratios: dict[float, dict[str, float]] = {dial: {} for dial in DIALS}
    changes: dict[float, dict[str, float]] = {dial: {} for dial in DIALS}
    for clip in session.progress(f"expression, {variant.name}", clips):
        films = {dial: speaking.spoken(session, variant, clip.path,
                                       strengths=None if dial == 1 else Strengths(expression=dial)) for dial in DIALS}
        for dial, film in films.items():
            ratios[dial][clip.path.stem] = amplitude_ratio(film.aperture, films[1.0].aperture, dial)
            changes[dial][clip.path.stem] = abs(score(film.aperture, clip.aperture)[0]
                                                - score(films[1.0].aperture, clip.aperture)[0])
    rows = []
    for dial in DIALS:
        if dial != 1:
            rows.append(Measure(f"amplitude at {dial:g} ÷ asked", ratios[dial], "", variant.name, must=Range(0.8, 1.2),
                                aim=Range(0.9, 1.1)))
            rows.append(Measure(f"change of sync r at {dial:g}", changes[dial], "", variant.name, must=at_most(SYNC_KEPT)))
    return rows
