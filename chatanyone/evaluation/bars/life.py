"""Life: blinks, a head and shoulders that move in speech and in silence, and no loop."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from chatanyone.evaluation import motions
from chatanyone.evaluation.measures import Measure, Outcome, Range, at_least, at_most
from chatanyone.evaluation.session import Session
from chatanyone.evaluation.statistics import Curve
from chatanyone.evaluation.studio import NETWORKS
from chatanyone.media.audio import SAMPLE_RATE, read_audio
from motion.types import ARKIT_INDEX, BODY_KEYPOINTS

TITLE = "Life"
NEEDS: tuple[str, ...] = ("portraits", "voices")
SECONDS = 300.0
SPEECH_S = 150.0  # of them at most
WINDOW_S, HOP_S = 10.0, 5.0  # a loop is a window that comes again
SHUT = 0.5  # eyeBlink above which an eye counts as shut
_SELF = sys.modules[__name__]


def blinks(weight: Curve) -> int:
    """Times the lids' weight rises through `SHUT`."""
    shut = weight > SHUT
    return int((shut[1:] & ~shut[:-1]).sum())


def repetition(track: NDArray[np.float64], window: int, hop: int) -> float:
    """Largest r between a window of ``[T, D]`` and any other that does not overlap it; 1 is a loop.

    Channels are brought to one deviation, windows are centred: what is compared is the movement.
    """
    scaled = track / np.maximum(track.std(axis=0), 1e-9)
    views = sliding_window_view(scaled, window, axis=0)  # [T', D, W]
    centred_sizes = np.sqrt(np.maximum((views.var(axis=2) * window).sum(axis=1), 1e-12))
    best = -1.0
    for start in range(0, len(views), hop):
        piece = views[start] - views[start].mean(axis=1, keepdims=True)
        products = np.zeros(len(views))
        for channel, values in enumerate(piece):
            products += np.correlate(scaled[:, channel], values, mode="valid")
        r = products / (centred_sizes * centred_sizes[start])
        r[max(start - window + 1, 0):start + window] = -1
        best = max(best, float(r.max()))
    return best


def measure(session: Session) -> Outcome:
    variant = session.variants[0]
    face = session.neutral_portrait()
    voices = session.inputs.spoken or session.inputs.voices

    def make() -> dict[str, Any]:
        samples, spoken = motions.speech_and_silence(_enough([read_audio(path) for path in voices]), SECONDS)
        moved = motions.motion_of(session.studio, variant, session.studio.portrait(face), samples)
        return {name: {"all": value} for name, value in numbers(moved, spoken).items()}

    row = session.item("life", face.stem, (_SELF, motions), make, files=[face, *voices], variant=variant)
    musts = {"blinks a minute": (Range(8, 30), ""), "head in speech": (at_least(0.3), "°"),
             "head in silence": (at_least(0.2), "°"), "shoulders in speech": (at_least(0.1), "% of shoulder width"),
             "shoulders in silence": (at_least(0.1), "% of shoulder width"), "likest two 10 s windows, r": (at_most(0.95), "")}
    rows = [Measure(name, row[name], unit, NETWORKS.name, must=must) for name, (must, unit) in musts.items()]
    about = (f"{SECONDS / 60:g} minutes of motion, half speech with pauses and half silence; head and shoulders: standard "
             "deviation of the axis that moves most; rendering nets play no part; our thresholds but for the blinks")
    return Outcome("life", TITLE, rows, about)


def numbers(moved: motions.Motion, spoken: NDArray[np.bool_]) -> dict[str, float]:
    """All numbers of this bar, of one motion and which frames of it are speech."""
    spoken = spoken[:len(moved["rotation"])]
    head = np.degrees(moved["rotation"].astype(np.float64))
    shoulder = 100 * moved["body"][:, BODY_KEYPOINTS.index("shoulderLeft"), :2].astype(np.float64)
    whole = np.concatenate([head, moved["translation"], shoulder], axis=1)
    lids = moved["expression"][:, ARKIT_INDEX["eyeBlinkLeft"]]
    return {
        "blinks a minute": blinks(lids) / (len(lids) / 30 / 60),
        "head in speech": float(head[spoken].std(0).max()), "head in silence": float(head[~spoken].std(0).max()),
        "shoulders in speech": float(shoulder[spoken].std(0).max()),
        "shoulders in silence": float(shoulder[~spoken].std(0).max()),
        "likest two 10 s windows, r": repetition(whole, int(WINDOW_S * 30), int(HOP_S * 30)),
    }


def _enough(recordings: list[NDArray[np.float32]]) -> list[NDArray[np.float32]]:
    """Recordings up to `SPEECH_S`."""
    total, kept = 0, []
    for samples in recordings:
        if total >= SPEECH_S * SAMPLE_RATE:
            break
        kept.append(samples)
        total += len(samples)
    return kept
