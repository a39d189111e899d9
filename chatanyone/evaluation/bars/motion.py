"""Lips of the motion itself, without pictures: sync, closures and silence in seconds, to compare weights while training."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np

from chatanyone.evaluation import motions, speaking
from chatanyone.evaluation.bars.closure import closed
from chatanyone.evaluation.bars.silence import ratio
from chatanyone.evaluation.bars.sync import score
from chatanyone.evaluation.lips import motion_aperture
from chatanyone.evaluation.looks import SPEECH_S, sound
from chatanyone.evaluation.measures import Measure, Outcome
from chatanyone.evaluation.session import Session
from chatanyone.evaluation.statistics import Curve
from chatanyone.evaluation.studio import (
    DENOISER, GEOMETRY, LINEAR_HEAD, LIVE_SPEECH, LIVE_SPEECH_ALONE, MANIFOLD, Variant)
from chatanyone.media.audio import read_audio

TITLE = "Lips of the motion, without pictures"
NEEDS: tuple[str, ...] = ("portraits", "voices")
_SELF = sys.modules[__name__]


def measure(session: Session) -> Outcome:
    variants = [variant for variant in session.variants if variant != GEOMETRY] + [
        LINEAR_HEAD, DENOISER, LIVE_SPEECH, LIVE_SPEECH_ALONE, MANIFOLD]
    rows = [row for variant in variants for row in _rows(session, variant)]
    clips = speaking.references(session, 12)
    rows.append(Measure("r with the real lips", {clip.path.stem: clip.loudness_r for clip in clips},
                        variant="loudness alone", note="control"))
    return Outcome("motion", TITLE, rows, "no bar: what the pictures make of it is in the bars of lip sync, closure, silence")


def _rows(session: Session, variant: Variant) -> list[Measure]:
    clips, voices = speaking.references(session, 12), session.some(session.inputs.spoken, 4)
    r = {clip.path.stem: score(_aperture(session, variant, clip.path), clip.aperture)[0]
         for clip in session.progress(f"motion, {variant.name}", clips)}
    told = [path for path in session.inputs.clips if path in session.inputs.transcripts] + voices
    hits = {f"{path.stem}/{index}": 100.0 * hit for path in told for index, hit in enumerate(
        closed(_aperture(session, variant, path), speaking.instants_of(session, path)))}
    rest = {path.stem: ratio(_aperture(session, variant, path, rest=True), int(SPEECH_S * 30)) for path in voices[:4]}
    return [Measure("r with the real lips", r, "", variant.name), Measure("closures made", hits, "%", variant.name),
            Measure("aperture deviation, silence ÷ speech", rest, "", variant.name)]


def _aperture(session: Session, variant: Variant, path: Path, rest: bool = False) -> Curve:
    """Of a clip's or recording's whole sound, or (`rest`) of its start and silence."""
    face = session.neutral_portrait()

    def make() -> dict[str, Any]:
        samples = sound(path) if rest else read_audio(path)
        moved = motions.motion_of(session.studio, variant, session.studio.portrait(face), samples)
        return {"aperture": speaking.rounded(motion_aperture(moved["expression"]))}

    row = session.item("motion", f"{path.stem}-{variant.name}{'-rest' if rest else ''}", (_SELF, motions), make,
                       files=[path], variant=variant, rest=rest)
    return np.array(row["aperture"])
