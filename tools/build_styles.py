"""Build the styles that ship, `chatanyone/styles/data/*.safetensors`, from the project's own performer.

    python tools/build_styles.py [--output chatanyone/styles/data]

Each style is a performer with fixed liveliness that says the same seeded sentences (espeak-ng): its ranges are measured
on all of them, its reference is the three seconds that move most like the whole, its correction what the face net lacks
of them. The resting faces are our choice. Everything is seeded, so the files come out the same; run it again when the
performer or the nets change.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from chatanyone.motionfile import MotionDocument
from chatanyone.config import Config
from chatanyone.styles import NamedStyle, save_style
from chatanyone.styles.calibration import Calibration
from chatanyone.styles.clips import document_style
from motion.style import check_rest, whole_brows
from motion.training.articulation import MouthStyle, mouth_curves
from motion.training.gestures import perform_body
from motion.training.performance import PerformanceStyle, perform_face, prosody
from motion.training.speech import Espeak, Speech, random_speech
from motion.types import ARKIT_INDEX, EXPRESSION_DIM, FACE_DIM, FaceMotion

SENTENCES, SECONDS, SEED = 6, 10.0, 11


@dataclass(frozen=True)
class Recipe:
    """A performer, and what the face shows at rest: weights (both sides where there are two) and a nod, degrees."""

    description: str
    performance: PerformanceStyle
    mouth: MouthStyle
    rest: dict[str, float] = field(default_factory=dict)
    nod_deg: float = 0.0


RECIPES: dict[str, Recipe] = {
    "calm": Recipe(
        "Speaks quietly: small mouth, few brows, a head that hardly moves.",
        PerformanceStyle(brows=0.45, pose=0.5, gaze=0.7, smile=0.15), MouthStyle(expression=0.75)),
    "lively": Recipe(
        "Talks with the whole face: wide mouth, brows on every other stress, a head that swings.",
        PerformanceStyle(brows=1.2, pose=1.5, gaze=1.2, smile=0.4), MouthStyle(expression=1.3, smile=0.08)),
    "cheerful": Recipe(
        "Smiles while speaking, cheeks and brows a little raised.",
        PerformanceStyle(brows=1.15, pose=1.15, gaze=1.1, smile=1.0, smile_beats=0.08, brow_rest=0.06, squint=0.06),
        MouthStyle(expression=1.1, smile=0.1),
        {"mouthSmile": 0.2, "cheekSquint": 0.1, "browOuterUp": 0.05}),
    "grave": Recipe(
        "Speaks with weight: lowered brows, corners of the mouth down, slow small movements of the head.",
        PerformanceStyle(brows=0.6, pose=0.55, gaze=0.6, smile=0.0, brow_rest=-0.22, squint=0.08),
        MouthStyle(expression=0.9, smile=-0.1),
        {"browDown": 0.08, "mouthFrown": 0.12, "eyeSquint": 0.05}, nod_deg=1.5),
    "newsreader": Recipe(
        "Articulates clearly and keeps still: eyes on the viewer, short nods, brows for stress only.",
        PerformanceStyle(brows=0.9, pose=0.35, gaze=0.35, smile=0.1), MouthStyle(expression=1.2, lips=1.1)),
}


def sentences(client: Espeak) -> list[Speech]:
    """The same for every style."""
    return [random_speech(client, np.random.default_rng(SEED + number), SECONDS) for number in range(SENTENCES)]


def perform(recipe: Recipe, said: list[Speech]) -> MotionDocument:
    """All sentences, one after the other."""
    rows = []
    for number, speech in enumerate(said):
        mouth = mouth_curves(speech, 30, recipe.mouth, np.random.default_rng(SEED + number)).astype(np.float64)
        rows.append(perform_face(prosody(speech, len(mouth)), mouth, SEED + number, recipe.performance))
    face = FaceMotion.unpack(torch.from_numpy(np.concatenate(rows)))
    body = perform_body(prosody(said[0], len(face.expression)), face, SEED)
    return MotionDocument.of(face, body, Fraction(30))


def resting(recipe: Recipe) -> Tensor | None:
    """``[58]``, checked to keep closures."""
    rest = torch.zeros(FACE_DIM)
    for name, value in recipe.rest.items():
        for found in (name, f"{name}Left", f"{name}Right"):
            if found in ARKIT_INDEX:
                rest[ARKIT_INDEX[found]] = value
    rest[EXPRESSION_DIM] = np.deg2rad(recipe.nod_deg)
    check_rest(rest)
    return rest if bool(rest.any()) else None


def build(name: str, recipe: Recipe, said: list[Speech], calibration: Calibration) -> NamedStyle:
    """One style. The net is shown the performer as it knows him; what comes out is brought to whole brows (`whole_brows`)."""
    sound = np.concatenate([speech.samples for speech in said]).astype(np.float32)
    document = perform(recipe, said)
    wanted = document.face_motion()
    wanted = replace(wanted, expression=whole_brows(wanted.expression))
    style = calibration.corrected(document_style(document, name, recipe.description), wanted, sound)
    return replace(style, rest=resting(recipe))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path("chatanyone/styles/data"))
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    with Espeak() as client:
        said = sentences(client)
    calibration = Calibration.of(Config())
    for name, recipe in RECIPES.items():
        style = build(name, recipe, said, calibration)
        save_style(style, arguments.output / f"{name}.safetensors")
        print(style.summary())


if __name__ == "__main__":
    main()
