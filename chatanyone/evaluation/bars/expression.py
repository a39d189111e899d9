"""Expression control: the dial changes how wide the mouth goes, not when."""

from __future__ import annotations

import numpy as np

from chatanyone.evaluation import speaking
from chatanyone.evaluation.bars.sync import score
from chatanyone.evaluation.measures import Measure, Outcome, Range, at_most, not_computed
from chatanyone.evaluation.session import Session
from chatanyone.evaluation.speaking import RealLips, Spoken
from chatanyone.evaluation.statistics import Curve
from chatanyone.evaluation.studio import Variant
from chatanyone.pipeline import Strengths

TITLE = "Expression control"
NEEDS: tuple[str, ...] = ("portraits", "clips")
DIALS = (0.5, 1.0, 1.5)
STILL_DIAL = 0.5  # which is also seen with the head still
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
    return Outcome("expression", TITLE, rows, "lip aperture in the pictures of the films that the lip sync bar makes; beside "
                   "it what the dial changes in the motion itself, and in films whose head is still")


def _rows(session: Session, variant: Variant, clips: list[RealLips]) -> list[Measure]:
    seen: dict[float, dict[str, Spoken]] = {dial: {} for dial in DIALS}
    still: dict[float, dict[str, Spoken]] = {1.0: {}, STILL_DIAL: {}}
    for clip in session.progress(f"expression, {variant.name}", clips):
        for dial in DIALS:
            seen[dial][clip.path.stem] = speaking.spoken(
                session, variant, clip.path, strengths=None if dial == 1 else Strengths(expression=dial))
        for dial in still:
            still[dial][clip.path.stem] = speaking.spoken(
                session, variant, clip.path, strengths=Strengths(expression=dial, pose=0.0, gesture=0.0))
    real = {clip.path.stem: clip.aperture for clip in clips}
    rows = []
    for dial in (dial for dial in DIALS if dial != 1):
        ratios = {name: amplitude_ratio(film.aperture, seen[1.0][name].aperture, dial) for name, film in seen[dial].items()}
        rows.append(Measure(f"amplitude at {dial:g} ÷ asked", ratios, "", variant.name, must=Range(0.8, 1.2),
                            aim=Range(0.9, 1.1)))
        name = f"change of sync r at {dial:g}"
        rows.append(Measure(name, sync_change(seen[dial], seen[1.0], real), "", variant.name, must=at_most(SYNC_KEPT),
                            note="as the detector sees lips"))
        rows.append(Measure(f"{name}, of the motion", sync_change(seen[dial], seen[1.0], real, "lips"), "", variant.name,
                            note="no pictures, no detector"))
        if dial in still:
            rows.append(Measure(f"{name}, head still", sync_change(still[dial], still[1.0], real), "", variant.name,
                                note="both films without head and body"))
    return rows


def sync_change(films: dict[str, Spoken], natural: dict[str, Spoken], real: dict[str, Curve], of: str = "aperture",
                ) -> dict[str, float]:
    """Clip → how far r with the real lips is from that of dial 1, up or down; of: "aperture" (pictures) or "lips" (motion)."""
    return {name: abs(score(getattr(film, of), real[name])[0] - score(getattr(natural[name], of), real[name])[0])
            for name, film in films.items()}
