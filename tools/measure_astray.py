"""Measure in what patterns the detector's landmarks err, and write `chatanyone/vision/astray.safetensors`.

    python tools/measure_astray.py PORTRAIT... [--frames 90] [--output chatanyone/vision/astray.safetensors]

Random expressions on randomly turned heads are drawn on each portrait (a seed for each), so the truth is known: with the true
weights, as the detector answers to them (`seen_by_detector`), and the mean stray of a turned head (`astray_when_turned`) only
the camera is fitted. What the points still miss, in the head's axes, of all portraits together: the principal directions about
zero, each times its deviation. Only frames whose brows rest count: how far a raised brow goes differs between people, and must
not pass for an error of the detector. The shipped file, all synthetic, none of the ten that `check_round_trip.py` is reported
on (a seed is the place in the list; a dash: drawn for nobody): man_0056 man_0101 man_0154 man_0177 man_0398 man_1168 open_0014
- - - - woman_0048 woman_0175 woman_0269 woman_0284 woman_0588.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor

from chatanyone import build
from chatanyone.config import load_config
from chatanyone.media.image import read_image
from chatanyone.portrait import prepare_portrait
from chatanyone.redraw import draw
from chatanyone.vision import detect_faces, face_landmarks
from chatanyone.vision.response import ASTRAY, MEASURED, SKIN, astray_when_turned, seen_by_detector
from motion.template.fit import fit_head
from motion.template.head import HeadTemplate
from motion.template.person_fit import Detector, PersonFit
from motion.types import ARKIT_INDEX, BODY_DIM, EXPRESSION_DIM, EXPRESSION_GROUPS, BodyMotion, FaceMotion

DIRECTIONS = 15
HELD = 1e-3  # deviation of weights that are known
TURN_DEG = (5.0, 6.0, 4.0)  # deviation of pitch, yaw, roll
_BROWS = (("browInnerUp", "browOuterUpLeft", "browOuterUpRight"), ("browDownLeft", "browDownRight"), ("browInnerUp",),
          ("browOuterUpLeft", "browOuterUpRight"), ("browInnerUp", "browOuterUpLeft"), ("browInnerUp", "browOuterUpRight"))
_BROW_COLUMNS = [ARKIT_INDEX[name] for name in EXPRESSION_GROUPS["brows"]]
_PAIRED = sorted({name.removesuffix("Left").removesuffix("Right") for name in MEASURED})
Array = NDArray[np.float64]


def random_motion(rng: np.random.Generator, count: int) -> FaceMotion:
    """``count`` frames that have nothing to do with each other; the first is at rest."""
    weights, turns = torch.zeros(count, EXPRESSION_DIM), torch.from_numpy(rng.normal(0, np.deg2rad(TURN_DEG), (count, 3)))
    for row in weights[1:]:
        shapes = {"jawOpen": rng.uniform(0, 0.6) * rng.integers(2)}
        if rng.random() < 0.7:
            shapes |= dict.fromkeys(_BROWS[rng.integers(len(_BROWS))], rng.uniform(0.1, 0.8))
        for stem in rng.choice(_PAIRED, rng.integers(3), replace=False):
            shapes |= dict.fromkeys([name for name in MEASURED if name.startswith(stem)], rng.uniform(0.1, 0.6))
        if rng.random() < 0.15:
            shapes |= {"eyeBlinkLeft": 1.0, "eyeBlinkRight": 1.0}
        for name, value in shapes.items():
            row[ARKIT_INDEX[name]] = float(value)
    turns[0] = 0
    return FaceMotion(weights, turns.float(), torch.zeros(count, 3))


def astray(path: Path, count: int, seed: int) -> Array:
    """What the points miss on one portrait, ``[T, 468, 2]`` metres in the head's axes."""
    config = load_config(None, {})
    scene = build.scenes(config)(prepare_portrait(read_image(path), config.media.width_height, None, None))
    motion = random_motion(np.random.default_rng(seed), count)
    frames: list[NDArray[np.float32]] = []
    for image in draw(scene, motion, BodyMotion.unpack(torch.zeros(count, BODY_DIM))):
        points = face_landmarks(image, frames[-1]) if frames else None
        frames.append(detect_faces(image)[0].landmarks if points is None else points)
    rest = (motion.expression[:, _BROW_COLUMNS] == 0).all(dim=1)
    return missed(HeadTemplate.load(), [frame for frame, still in zip(frames, rest) if still], motion.expression[rest])


def missed(template: HeadTemplate, frames: list[NDArray[np.float32]], expression: Tensor) -> Array:
    """What is left of points whose expression ``[T, 52]`` is known; the first frame is the person at rest."""
    person = fit_head(template, torch.from_numpy(frames[0]))
    answers = Detector(seen_by_detector(template), astray_when_turned(), torch.zeros(0, 478, 3))
    fit = PersonFit(template, person.neutral, person.camera.rotation, answers, torch.full((EXPRESSION_DIM,), HELD))
    found = []
    for frame, weights in zip(frames[1:], (expression[1:] * person.gain).clamp(0, 1)):
        points = torch.from_numpy(frame)
        _, camera, _ = fit(points, weights)
        way = points[:, :2] - camera.project(fit.shown(camera, weights), template.pivot)[:, :2]
        found.append(camera.unproject_offset(way)[:SKIN, :2].numpy())
    return np.stack(found).astype(np.float64)


def directions(values: Array, count: int = DIRECTIONS) -> Array:
    """``[M, 468, 2]``: the principal directions of errors ``[T, 468, 2]`` about zero, each times its deviation."""
    _, sizes, rows = np.linalg.svd(values.reshape(len(values), -1), full_matrices=False)
    return np.asarray((rows[:count] * sizes[:count, None] / np.sqrt(len(values))).reshape(-1, SKIN, 2))


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("portraits", nargs="+", type=Path, help="a dash skips a seed")
    parser.add_argument("--frames", type=int, default=90, help="drawn on each portrait (90)")
    parser.add_argument("--output", type=Path, default=Path("chatanyone/vision") / ASTRAY)
    arguments = parser.parse_args()
    every = []
    for seed, path in enumerate(arguments.portraits):
        if str(path) == "-":
            continue
        found = astray(path, arguments.frames, seed)
        every.append(found)
        print(f"{path.stem}: points miss {1000 * float(np.sqrt(np.square(found).sum(2).mean())):.2f} mm rms", flush=True)
    whole = np.concatenate(every)
    patterns = directions(whole)
    print(f"{len(patterns)} patterns hold {np.square(patterns).sum() * len(whole) / np.square(whole).sum():.2f} of it")
    save_file({"astray": torch.from_numpy(patterns).half().contiguous()}, str(arguments.output))


if __name__ == "__main__":
    main()
