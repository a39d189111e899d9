"""Steadiness: nothing moves that nobody moved."""

from __future__ import annotations

from chatanyone.evaluation.looks import looks
from chatanyone.evaluation.measures import Measure, Outcome, at_most
from chatanyone.evaluation.session import Session

TITLE = "Steadiness"
NEEDS: tuple[str, ...] = ("portraits", "voices")


def measure(session: Session) -> Outcome:
    rows = []
    for variant in session.variants:
        found = list(looks(session, variant))
        rows.append(Measure("background, largest change", {look.name: max(look.closely["background"]) for look in found},
                            "/255", variant.name, "largest", must=at_most(1), aim=at_most(0)))
        for name in ("nose", "shoulders"):
            rows.append(Measure(f"jitter of {name} with zero motion", {look.name: look.jitter[name] for look in found}, "px",
                                variant.name, must=at_most(0.2), aim=at_most(0.05)))
    return Outcome("steadiness", TITLE, rows, "background: against the film's first frame, 24 px and more from the person")
