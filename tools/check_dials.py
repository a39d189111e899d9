"""Do the dials do on pictures what they say? Every group at 0 … 2, drawn, and read back.

    python tools/check_dials.py --motion m.npz PORTRAIT... [--frames 20]

For each portrait and group: amplitude in the pictures at each dial, its rank correlation (Spearman) with the dial, and
for mouth and eyes the share of the closures at dial 1 that are still there. Amplitudes: mouth, brows, eyes and head from
MediaPipe's landmarks (deviation over time of the lips' distance, the brows' height, the irises' place and the nose's place, in
face heights); cheeks, shoulders and hands, which no detector reads at this size, as the rms difference from the pictures
at dial 0.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import spearmanr

from chatanyone import build
from chatanyone.config import load_config
from chatanyone.media.image import read_image
from chatanyone.motionfile import MotionDocument
from chatanyone.pipeline import Scene
from chatanyone.portrait import prepare_portrait
from chatanyone.redraw import draw
from chatanyone.tracking_fit import lid_aperture, lip_aperture
from chatanyone.vision import face_landmarks
from motion.style import GROUPS, apply_dials
from motion.types import BodyMotion, FaceMotion

DIALS = (0.0, 0.5, 1.0, 1.5, 2.0)
CLOSED_LIPS, CLOSED_LIDS = 0.012, 0.45  # face heights above the calmest frame; part of the usual opening
Landmarks = NDArray[np.float32]  # [478, 3]
Pictures = list[NDArray[np.uint8]]


def _brows(face: Landmarks) -> float:
    return float(np.mean(face[[159, 386], 1]) - np.mean(face[[105, 334], 1])) / _height(face)


def _irises(face: Landmarks) -> float:
    return float((face[468, 0] - face[[33, 133], 0].mean()) + (face[473, 0] - face[[362, 263], 0].mean())) / _height(face)


def _nose(face: Landmarks) -> float:
    return float(face[1, 0]) / _height(face)


def _height(face: Landmarks) -> float:
    return float(np.linalg.norm(face[10] - face[152]))


READ: dict[str, Callable[[Landmarks], float]] = {"mouth": lip_aperture, "brows": _brows, "eyes": _irises, "head": _nose}


def drawn(scene: Scene, document: MotionDocument, group: str, dial: float, rows: list[int]) -> Pictures:
    """Pictures of some frames at one dial."""
    face, body = apply_dials(document.face_motion(), document.body_motion(), groups={group: dial})
    chosen = torch.tensor(rows)
    return list(draw(scene, FaceMotion.unpack(face.packed()[chosen]), BodyMotion.unpack(body.packed()[chosen])))


def detected(pictures: Pictures, guess: Landmarks) -> list[Landmarks]:
    """Landmarks of every picture in which the face is found."""
    return [found for picture in pictures if (found := face_landmarks(picture, guess, passes=2)) is not None]


def difference(pictures: Pictures, others: Pictures) -> float:
    """Root mean square over all pixels, 8-bit levels."""
    return float(np.sqrt(np.mean([np.square(a.astype(np.float32) - b).mean() for a, b in zip(pictures, others)])))


def closures(group: str, at_one: list[Landmarks], now: list[Landmarks]) -> float:
    """Share of the frames closed at dial 1 that are closed now; 1 where none was."""
    measure = lip_aperture if group == "mouth" else lid_aperture
    first, present = (np.array([measure(face) for face in faces]) for faces in (at_one, now))
    if len(first) != len(present):
        return float("nan")
    limit = first.min() + CLOSED_LIPS if group == "mouth" else CLOSED_LIDS * float(np.median(first))
    closed = first <= limit
    return float((present[closed] <= limit * 1.05 + 1e-3).mean()) if closed.any() else 1.0


def check(scene: Scene, guess: Landmarks, document: MotionDocument, group: str, rows: list[int]) -> tuple[list[float], float]:
    """Amplitudes at `DIALS`, and the least share of closures kept."""
    pictures = [drawn(scene, document, group, dial, rows) for dial in DIALS]
    if group not in READ:
        return [difference(now, pictures[0]) for now in pictures], 1.0
    faces = [detected(now, guess) for now in pictures]
    amplitudes = [float(np.std([READ[group](face) for face in found])) for found in faces]
    kept = [closures(group, faces[DIALS.index(1.0)], found) for found in faces] if group in ("mouth", "eyes") else [1.0]
    return amplitudes, float(np.nanmin(kept))


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("portraits", nargs="+", type=Path)
    parser.add_argument("--motion", type=Path, required=True, help="motion document of somebody who speaks")
    parser.add_argument("--frames", type=int, default=20, help="frames of it to draw, evenly spread")
    arguments = parser.parse_args()
    document, config = MotionDocument.load(arguments.motion), load_config(None, {})
    rows = np.linspace(0, len(document) - 1, arguments.frames).round().astype(int).tolist()
    make = build.scenes(config)
    print("| portrait | group | " + " | ".join(f"{dial:g}" for dial in DIALS) + " | Spearman | closures kept |")
    print("|" + "---|" * (len(DIALS) + 4))
    for path in arguments.portraits:
        portrait = prepare_portrait(read_image(path), config.media.width_height, None, None)
        scene = make(portrait)
        for group in GROUPS:
            found, kept = check(scene, portrait.face.numpy(), document, group, rows)
            rank = float(spearmanr(DIALS, found).statistic)
            print(f"| {path.stem} | {group} | " + " | ".join(f"{value:.4f}" for value in found)
                  + f" | {rank:.2f} | {100 * kept:.0f} % |", flush=True)


if __name__ == "__main__":
    main()
