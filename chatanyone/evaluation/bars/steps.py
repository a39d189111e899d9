"""Few-step sampling: how much of the amplitude of many denoising steps do the few that ship keep?"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from chatanyone.evaluation import motions
from chatanyone.evaluation.lips import motion_aperture
from chatanyone.evaluation.measures import Measure, Outcome, at_least
from chatanyone.evaluation.session import Session
from chatanyone.evaluation.studio import GEOMETRY, NETWORKS, Motion, Variant
from chatanyone.media.audio import SAMPLE_RATE, read_audio
from motion.style import style_range
from motion.types import EXPRESSION_GROUPS, FaceMotion

TITLE = "Few denoising steps against many"
NEEDS: tuple[str, ...] = ("portraits", "voices")
MANY = 50
RECORDINGS, LONGEST_S, SEEDS = 8, 10.0, (0, 1, 2, 3)
STARTS = 30  # frames in which a stream leaves rest
PARTS: tuple[str, ...] = ("lips' distance", *EXPRESSION_GROUPS, "nods", "turns", "tilts")
LEAST = 0.9  # issue and docs/metrics.md: of the amplitude
_SELF = sys.modules[__name__]


def amplitudes(motion: Motion) -> dict[str, float]:
    """Standard deviation over time of each of `PARTS`: mm, weights (of a group the root mean square), radians."""
    face = FaceMotion(*(torch.from_numpy(np.ascontiguousarray(motion[name][STARTS:])) for name in motions.NAMES[:3]))
    found = style_range(face)
    assert found.expression is not None and found.pose is not None
    lips = float(motion_aperture(face.expression.numpy()).std())
    return dict(zip(PARTS, [lips, *found.expression.tolist(), *found.pose[:3].tolist()]))


def kept(few: Sequence[dict[str, float]], many: Sequence[dict[str, float]]) -> dict[str, float]:
    """Few ÷ many of each part, of root mean squares over the seeds; ``overall`` is the mean of the parts."""
    ratio = {part: _size(few, part) / max(_size(many, part), 1e-9) for part in PARTS}
    return {**ratio, "overall": float(np.mean(list(ratio.values())))}


def _size(rows: Sequence[dict[str, float]], part: str) -> float:
    return float(np.sqrt(np.mean([row[part] ** 2 for row in rows])))


def measure(session: Session) -> Outcome:
    variant = next((v for v in session.variants if v != GEOMETRY), NETWORKS)
    many = Variant(f"{MANY} steps", {**variant.changes, "motion.steps": MANY})
    voices = session.some(session.inputs.voices, RECORDINGS)
    found = {path.stem: kept(*([_amplitudes(session, engine, path, seed) for seed in SEEDS] for engine in (variant, many)))
             for path in session.progress("steps", voices)}
    rows = [Measure(f"amplitude kept, {part}", {name: ratio[part] for name, ratio in found.items()}, "", variant.name,
                    must=at_least(LEAST)) for part in ("overall", *PARTS)]
    steps = session.studio.settings(variant).motion.steps
    about = (f"{steps} steps ÷ {MANY}, one pass of the net a step; up to {LONGEST_S:g} s of each of {len(voices)} recordings, "
             f"{len(SEEDS)} seeds each, the same for both; N counts recordings; rendering nets play no part")
    return Outcome("steps", TITLE, rows, about)


def _amplitudes(session: Session, variant: Variant, path: Path, seed: int) -> dict[str, float]:
    face = session.neutral_portrait()

    def make() -> dict[str, float]:
        samples = read_audio(path)[:int(LONGEST_S * SAMPLE_RATE)]
        return amplitudes(motions.motion_of(session.studio, variant, session.studio.portrait(face), samples, seed=seed))

    return session.item("steps", f"{path.stem}-{variant.name}-{seed}", (_SELF, motions), make, files=[path], variant=variant,
                        seed=seed)
