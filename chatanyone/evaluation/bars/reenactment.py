"""Reenactment: a real clip from its own first frame and its own motion; the true pictures are known."""

from __future__ import annotations

import numpy as np

from chatanyone.evaluation import reenacted
from chatanyone.evaluation.measures import Measure, Outcome, at_least, not_computed
from chatanyone.evaluation.reenacted import FIRST_FRAME, Rows
from chatanyone.evaluation.session import Session

TITLE = "Reenactment"
NEEDS: tuple[str, ...] = ("clips",)


def measure(session: Session) -> Outcome:
    clips = dict(reenacted.clips(session))
    if not clips:
        return Outcome("reenactment", TITLE, [not_computed("PSNR over the person", "no clip shows a person")])
    rows = [row for variant in session.variants for row in _rows(clips, variant.name)]
    rows += [Measure("PSNR over the person", _by_clip(clips, FIRST_FRAME, "psnr"), "dB", FIRST_FRAME, note="control"),
             Measure("SSIM over the person", _by_clip(clips, FIRST_FRAME, "ssim"), "", FIRST_FRAME, note="control")]
    frames = sum(len(rows[FIRST_FRAME]) for rows in clips.values())
    about = (f"{len(clips)} clips, {frames} frames (every {reenacted.EVERY}th); upper bodies 512 × 768, others 512 × 512; "
             "the person is MediaPipe's mask of the true frame")
    return Outcome("reenactment", TITLE, rows, about)


def _rows(clips: dict[str, Rows], variant: str) -> list[Measure]:
    psnr, still = _by_clip(clips, variant, "psnr"), _by_clip(clips, FIRST_FRAME, "psnr")
    return [
        Measure("PSNR over the person", psnr, "dB", variant, must=at_least(23), aim=at_least(25)),
        Measure("SSIM over the person", _by_clip(clips, variant, "ssim"), "", variant, must=at_least(0.78),
                aim=at_least(0.83)),
        Measure("PSNR above repeating the first frame", {name: psnr[name] - still[name] for name in psnr}, "dB", variant,
                must=at_least(2)),
        *[Measure(f"{part} PSNR", _by_clip(clips, variant, f"{part} psnr"), "dB", variant)
          for part in ("face", "mouth", "hands")],
    ]


def _by_clip(clips: dict[str, Rows], variant: str, name: str) -> dict[str, float]:
    return {clip: round(float(np.float64(reenacted.means(rows, variant, name))), 4) for clip, rows in clips.items()}
