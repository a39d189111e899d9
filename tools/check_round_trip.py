"""Motion → film → tracking: do the coefficients come back?

    python tools/check_round_trip.py PORTRAIT... [--motion m.npz] [--seconds 6] [--task-model face_landmarker.task]

A seeded exercise (or a motion document) is drawn on each portrait and the pictures are tracked as a clip would be. For each
group Pearson's r between what was set and what came back, over all its shapes that move (each about its own mean): mouth,
brows, blinks, head (rotation), and the lips' distance in millimetres that the mouth's weights make. `gain` is the slope.
"""

from __future__ import annotations

import argparse
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from chatanyone import build
from chatanyone.config import load_config
from chatanyone.media.image import read_image
from chatanyone.motionfile import MotionDocument
from chatanyone.portrait import prepare_portrait
from chatanyone.redraw import draw
from chatanyone.tracking import track_frames
from chatanyone.vision import FaceScores
from motion.style import lip_gap_mm
from motion.types import ARKIT_INDEX, ARKIT_NAMES, BODY_DIM, EXPRESSION_GROUPS, BodyMotion, FaceMotion

FPS = Fraction(30)
MOVES = 0.02  # deviation above which a shape counts
_BLINKS = ("eyeBlinkLeft", "eyeBlinkRight")
Array = NDArray[np.float64]


def exercise(seconds: float, fps: Fraction = FPS) -> MotionDocument:
    """Half a second of rest, then syllables, smiles, rounded lips, brows that rise and fall, blinks, a head that turns."""
    T = round(seconds * fps)
    time = np.arange(T) / float(fps)
    weights = np.zeros((T, len(ARKIT_NAMES)))

    def put(curve: Array, *names: str) -> None:
        weights[:, [ARKIT_INDEX[name] for name in names]] = curve[:, None]

    awake = np.clip((time - 0.5) / 0.4, 0, 1)
    loud = awake * (0.5 + 0.5 * np.sin(2 * np.pi * 0.45 * time))
    put(0.5 * loud * np.sin(np.pi * 2.6 * time) ** 2, "jawOpen")
    put(0.5 * awake * np.clip(np.sin(2 * np.pi * 0.3 * time + 1), 0, 1), "mouthSmileLeft", "mouthSmileRight")
    put(0.6 * awake * np.clip(-np.sin(2 * np.pi * 0.3 * time + 1), 0, 1) * np.sin(np.pi * 1.7 * time) ** 2, "mouthPucker")
    put(0.7 * awake * np.clip(np.sin(2 * np.pi * 0.4 * time), 0, 1), "browInnerUp", "browOuterUpLeft", "browOuterUpRight")
    put(0.6 * awake * np.clip(np.sin(2 * np.pi * 0.4 * time + 3.6), 0, 1), "browDownLeft", "browDownRight")
    put(np.clip(1.4 - np.abs((time % 2.0) - 1.2) / 0.09, 0, 1), *_BLINKS)
    turns = np.deg2rad([[5.0, 8.0, 5.0]]) * np.sin(2 * np.pi * np.outer(time, [0.35, 0.22, 0.28])) * awake[:, None]
    face = FaceMotion(*(torch.from_numpy(values).float() for values in (weights, turns, np.zeros((T, 3)))))
    return MotionDocument.of(face, BodyMotion.unpack(torch.zeros(T, BODY_DIM)), fps)


def come_back(document: MotionDocument, path: Path, scores: FaceScores | None) -> MotionDocument:
    """Drawn on a portrait and tracked."""
    config = load_config(None, {})
    scene = build.scenes(config)(prepare_portrait(read_image(path), config.media.width_height, None, None))
    frames = draw(scene, document.face_motion(), document.body_motion())
    return track_frames(tqdm(frames, path.stem, len(document), leave=False), document.fps, scores=scores)


def compared(set_: MotionDocument, found: MotionDocument) -> dict[str, tuple[float, float]]:
    """Group → r and slope."""
    result = {}
    groups = {"mouth": EXPRESSION_GROUPS["mouth"], "brows": EXPRESSION_GROUPS["brows"], "blink": _BLINKS}
    for group, names in groups.items():
        columns = [ARKIT_INDEX[name] for name in names if set_.expression[:, ARKIT_INDEX[name]].std() > MOVES]
        result[group] = _agreement(set_.expression[:, columns], found.expression[:, columns])
    result["head"] = _agreement(set_.rotation, found.rotation)
    gaps = [lip_gap_mm(torch.from_numpy(document.expression)).numpy()[:, None] for document in (set_, found)]
    result["lips"] = _agreement(gaps[0], gaps[1])
    return result


def _agreement(a: NDArray[np.float32], b: NDArray[np.float32]) -> tuple[float, float]:
    """r and slope over all columns, each about its own mean."""
    x, y = ((values - values.mean(0)).ravel().astype(np.float64) for values in (a, b))
    return float(x @ y / np.sqrt((x @ x) * (y @ y) + 1e-12)), float(x @ y / (x @ x + 1e-12))


def by_shape(set_: MotionDocument, found: MotionDocument) -> str:
    """r and slope of every shape that moves, for finding out what goes wrong."""
    parts = []
    for name, column in ARKIT_INDEX.items():
        if set_.expression[:, column].std() > MOVES:
            r, gain = _agreement(set_.expression[:, column:column + 1], found.expression[:, column:column + 1])
            parts.append(f"{name} {r:.2f}/{gain:.2f}")
    for axis, name in enumerate(("pitch", "yaw", "roll")):
        r, gain = _agreement(set_.rotation[:, axis:axis + 1], found.rotation[:, axis:axis + 1])
        parts.append(f"{name} {r:.2f}/{gain:.2f}")
    return ", ".join(parts)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("portraits", nargs="+", type=Path)
    parser.add_argument("--motion", type=Path, help="motion document instead of the exercise")
    parser.add_argument("--seconds", type=float, default=6.0)
    parser.add_argument("--fps", type=Fraction, default=FPS, help="frames per second of the exercise (30)")
    parser.add_argument("--task-model", type=Path, help="MediaPipe's face landmarker with blendshapes, for the tracking")
    parser.add_argument("--shapes", action="store_true", help="also r and slope of every shape")
    arguments = parser.parse_args()
    document = MotionDocument.load(arguments.motion) if arguments.motion else exercise(arguments.seconds, arguments.fps)
    scores = FaceScores(arguments.task_model) if arguments.task_model else None
    rows: list[list[float]] = []
    names = ("mouth", "brows", "blink", "head", "lips")
    print("| portrait | " + " | ".join(f"{name} r (gain)" for name in names) + " |\n|" + "---|" * (len(names) + 1))
    for path in arguments.portraits:
        found = come_back(document, path, scores)
        result = compared(document, found)
        rows.append([result[name][0] for name in names])
        print(f"| {path.stem} | " + " | ".join(f"{result[n][0]:.2f} ({result[n][1]:.2f})" for n in names) + " |", flush=True)
        if arguments.shapes:
            print("  " + by_shape(document, found), flush=True)
    print("| **mean** | " + " | ".join(f"**{value:.2f}**" for value in np.mean(rows, axis=0)) + " |")
    if scores:
        scores.__exit__(None, None, None)


if __name__ == "__main__":
    main()
