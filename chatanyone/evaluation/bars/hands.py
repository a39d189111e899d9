"""Hands: does MediaPipe still find them as surely as in the picture?"""

from __future__ import annotations

import numpy as np

from chatanyone.evaluation.looks import Look, looks
from chatanyone.evaluation.measures import Measure, Outcome, at_least
from chatanyone.evaluation.session import Session

TITLE = "Hands"
NEEDS: tuple[str, ...] = ("portraits", "voices")


def kept(confidence: list[float], source: float) -> float:
    """Mean confidence over frames (0 where the hand is not found) ÷ the picture's."""
    return float(np.mean(confidence)) / source


def measure(session: Session) -> Outcome:
    rows = []
    for variant in session.variants:
        found = {name: value for look in looks(session, variant) for name, value in _of(look).items()}
        rows.append(Measure("hand confidence ÷ picture's", found, "", variant.name, must=at_least(0.85),
                            aim=at_least(0.97)))
    return Outcome("hands", TITLE, rows, "hands that MediaPipe finds in the framed picture; N counts hands")


def _of(look: Look) -> dict[str, float]:
    return {f"{look.name}/{('left', 'right')[side]}": kept(look.closely[f"hand {side}"], source)
            for side, source in enumerate(look.hands) if source > 0}
