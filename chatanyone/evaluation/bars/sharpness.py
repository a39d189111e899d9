"""Sharpness: how much of the picture's fine detail the film keeps."""

from __future__ import annotations

from chatanyone.evaluation.looks import looks
from chatanyone.evaluation.measures import Measure, Outcome, at_least
from chatanyone.evaluation.session import Session

TITLE = "Sharpness"
NEEDS: tuple[str, ...] = ("portraits", "voices")


def measure(session: Session) -> Outcome:
    rows = []
    for variant in session.variants:
        found = list(looks(session, variant))
        for name in ("face", "clothes"):
            rows.append(Measure(f"Laplacian energy of {name} ÷ picture's",
                                {look.name: look.mean(f"{name} sharpness") for look in found}, "", variant.name,
                                must=at_least(0.75), aim=at_least(0.95)))
            rows.append(Measure(f"the same of {name}, nothing moving", {
                look.name: look.neutral.get(f"{name} sharpness", float("nan")) for look in found}, "", variant.name,
                note="what resampling does not touch"))
    return Outcome("sharpness", TITLE, rows, "frames before encoding; every 8th of each film")
