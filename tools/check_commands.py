"""Command → re-detection: set one ARKit weight or turn the head, draw the frame, ask MediaPipe what it sees.

    python tools/check_commands.py --task-model face_landmarker_v2_with_blendshapes.task PORTRAIT... [--sheet out.png]

Prints a Markdown table: for each command the gain of MediaPipe's own score over the neutral frame, and the angle that comes
back, per portrait, with how many portraits pass the bar.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from chatanyone.driver import Driver, neutral_motion
from chatanyone.media.image import read_image
from chatanyone.portrait import prepare_portrait
from chatanyone.vision.faces import face_landmarks
from chatanyone.vision.scores import FaceScores
from motion.template.fit import fit_pose
from motion.template.head import HeadTemplate, rotation_matrix
from motion.types import ARKIT_INDEX
from render.geometry import propose

WEIGHT = 0.8
# command → (weights that are set, least gain of the mean score)
COMMANDS: dict[str, tuple[tuple[str, ...], float]] = {
    "jawOpen": (("jawOpen",), 0.3), "mouthSmile": (("mouthSmileLeft", "mouthSmileRight"), 0.3),
    "mouthPucker": (("mouthPucker",), 0.3), "eyeBlink": (("eyeBlinkLeft", "eyeBlinkRight"), 0.3),
    "browInnerUp": (("browInnerUp",), 0.15),
}
TURNS = {"pitch": 0, "yaw": 1, "roll": 2}
ANGLE_DEG, ANGLE_TOLERANCE_DEG = 10.0, 3.0


def to_uint8(frame: Tensor) -> np.ndarray:
    """``[3, H, W]`` in [0, 1] to ``[H, W, 3]`` uint8."""
    return (frame.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()


def check(path: Path, template: HeadTemplate, scores: FaceScores) -> tuple[dict[str, float], Tensor]:
    """Gain of each command's score and error of each turn (degrees), and the frames ``[N, 3, H, W]``."""
    portrait = prepare_portrait(read_image(path), size=(512, 768), face=None, cache_dir=None)
    driver = Driver(portrait, template)
    turns = [(name, axis, sign) for name, axis in TURNS.items() for sign in (1, -1)]
    face, body = neutral_motion(1 + len(COMMANDS) + len(turns))
    for row, (names, _) in enumerate(COMMANDS.values(), 1):
        face.expression[row, [ARKIT_INDEX[name] for name in names]] = WEIGHT
    for row, (_, axis, sign) in enumerate(turns, 1 + len(COMMANDS)):
        face.rotation[row, axis] = math.radians(sign * ANGLE_DEG)
    frames = propose(driver.source, driver(face, body)).frame
    found = [scores(enlarge_face(to_uint8(frame), driver.source.face_box)) for frame in frames]
    result: dict[str, float] = {}
    for row, (command, (names, _)) in enumerate(COMMANDS.items(), 1):
        index = [ARKIT_INDEX[name] for name in names]
        now, rest = found[row], found[0]
        result[command] = float((now.expression - rest.expression)[index].mean()) if now and rest else math.nan
    angles = [_rotation(template, driver, to_uint8(frame)) for frame in frames]
    for row, (name, axis, sign) in enumerate(turns, 1 + len(COMMANDS)):
        relative = angles[row] @ angles[0].T
        vector = torch.stack([relative[2, 1] - relative[1, 2], relative[0, 2] - relative[2, 0],
                              relative[1, 0] - relative[0, 1]]) / 2
        result[f"{name}{'+' if sign > 0 else '-'}"] = math.degrees(math.asin(float(vector[axis]))) - sign * ANGLE_DEG
    return result, frames


def enlarge_face(image: np.ndarray, box: tuple[int, int, int]) -> np.ndarray:
    """The face window with margin, at least 512 px, as a detector likes it."""
    import cv2

    x0, y0, side = box
    margin = side // 3
    cut = image[max(y0 - margin, 0):y0 + side + margin, max(x0 - margin, 0):x0 + side + margin]
    return np.ascontiguousarray(cv2.resize(cut, (512, 512 * cut.shape[0] // cut.shape[1]), interpolation=cv2.INTER_CUBIC))


def _rotation(template: HeadTemplate, driver: Driver, image: np.ndarray) -> Tensor:
    landmarks = face_landmarks(image, driver.portrait.face.numpy(), passes=2)
    if landmarks is None:
        return torch.full((3, 3), math.nan)
    camera = fit_pose(template, driver.fit.neutral, driver.rest, torch.from_numpy(landmarks).float())
    return rotation_matrix(camera.rotation)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("portraits", nargs="+", type=Path)
    parser.add_argument("--task-model", type=Path, required=True, help="MediaPipe face landmarker with blendshapes")
    parser.add_argument("--sheet", type=Path, help="contact sheet (PNG)")
    arguments = parser.parse_args()
    template = HeadTemplate.load()
    rows, sheets = {}, []
    with FaceScores(arguments.task_model) as scores:
        for path in arguments.portraits:
            rows[path.stem], frames = check(path, template, scores)
            sheets.append(torch.cat(list(frames), dim=2))
    commands = list(next(iter(rows.values())))
    print("| portrait | " + " | ".join(commands) + " |\n|" + "---|" * (len(commands) + 1))
    for name, row in rows.items():
        print(f"| {name} | " + " | ".join(f"{row[c]:+.2f}" if c in COMMANDS else f"{row[c]:+.1f}°" for c in commands) + " |")
    passed = [sum(_passes(c, row[c]) for row in rows.values()) for c in commands]
    print("| **pass** | " + " | ".join(f"{count}/{len(rows)}" for count in passed) + " |")
    if arguments.sheet:
        from PIL import Image

        Image.fromarray(to_uint8(torch.cat(sheets, dim=1))).save(arguments.sheet)


def _passes(command: str, value: float) -> bool:
    return value >= COMMANDS[command][1] if command in COMMANDS else abs(value) <= ANGLE_TOLERANCE_DEG


if __name__ == "__main__":
    main()
