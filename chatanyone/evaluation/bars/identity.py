"""Identity: the same face and the same colours as in the picture."""

from __future__ import annotations

from chatanyone.evaluation.looks import looks, sheet
from chatanyone.evaluation.measures import Measure, Outcome, at_most
from chatanyone.evaluation.session import Session

TITLE = "Identity"
NEEDS: tuple[str, ...] = ("portraits", "voices")


def measure(session: Session) -> Outcome:
    rows, shown = [], []
    for variant in session.variants:
        found = list(looks(session, variant))
        shown += sheet(session, variant, found)
        rows.append(Measure("landmarks at neutral against the picture",
                            {look.name: 100 * look.neutral.get("geometry", float("nan")) for look in found},
                            "% of face width", variant.name, must=at_most(3), aim=at_most(1)))
        rows.append(Measure("still landmarks in the whole film", {look.name: 100 * look.mean("geometry") for look in found},
                            "% of face width", variant.name, note="head turns count as change"))
        rows += [Measure(f"ΔE2000 of {name}", {look.name: look.mean(name) for look in found}, "", variant.name,
                         must=at_most(3), aim=at_most(1)) for name in ("skin", "hair", "clothes")]
    return Outcome("identity", TITLE, rows, "colours: mean over a region, every 8th frame of each film", pictures=shown)
