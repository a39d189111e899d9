"""Silence: does the mouth rest when nobody speaks?"""

from __future__ import annotations

import numpy as np

from chatanyone.evaluation.looks import looks
from chatanyone.evaluation.measures import Measure, Outcome, at_most
from chatanyone.evaluation.session import Session
from chatanyone.evaluation.statistics import Curve

TITLE = "Silence"
NEEDS: tuple[str, ...] = ("portraits", "voices")
SETTLE = 10  # frames the mouth may take to close


def ratio(aperture: Curve, speech_frames: int) -> float:
    """Standard deviation of the aperture in silence over that in speech."""
    speech, silence = aperture[:speech_frames], aperture[speech_frames + SETTLE:]
    return float(np.std(silence) / max(float(np.std(speech)), 1e-9))


def measure(session: Session) -> Outcome:
    rows = []
    for variant in session.variants:
        found = {look.name: ratio(look.aperture, look.speech_frames) for look in looks(session, variant)}
        rows.append(Measure("aperture deviation, silence ÷ speech", found, "", variant.name, must=at_most(0.10),
                            aim=at_most(0.03)))
    about = "films of 3 s of speech and 3 s of silence, the second half of it with a room's noise of -60 dB"
    return Outcome("silence", TITLE, rows, about)
