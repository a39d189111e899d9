"""Measure how the landmarks detector answers to each weight, and write `chatanyone/vision/response.safetensors`.

    python tools/measure_response.py PORTRAIT... [--output chatanyone/vision/response.safetensors]

Every weight of mouth, jaw, cheeks and brows is drawn alone at 0, 0.4 and 0.8 on each portrait; the points' way per weight
(least squares through 0), turned back into template axes and divided by the head's scale; the median over the portraits. The
shipped file: man_0010 man_0055 man_0252 woman_0035 woman_0163 woman_0430 open_0047 open_0205, all synthetic. Of brows only the
strength along the template's own pattern is printed (`chatanyone.vision.response.STRENGTH`).
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file

from chatanyone import build
from chatanyone.config import load_config
from chatanyone.media.image import read_image
from chatanyone.portrait import prepare_portrait
from chatanyone.redraw import draw
from chatanyone.vision import detect_faces, face_landmarks
from chatanyone.vision.response import MEASURED, SKIN, STRENGTH
from motion.template.head import HeadTemplate
from motion.types import ARKIT_INDEX, BODY_DIM, EXPRESSION_DIM, BodyMotion, FaceMotion

LEVELS = (0.0, 0.4, 0.8)
DRAWN = (*MEASURED, *STRENGTH)


def measure(path: Path) -> NDArray[np.float64]:
    """``[S, 468, 3]`` metres per weight on one portrait, S the shapes of `DRAWN`; depth is 0 before the head's own turn."""
    config = load_config(None, {})
    scene = build.scenes(config)(prepare_portrait(read_image(path), config.media.width_height, None, None))
    weights = torch.zeros(len(DRAWN), len(LEVELS), EXPRESSION_DIM)
    for row, name in enumerate(DRAWN):
        weights[row, :, ARKIT_INDEX[name]] = torch.tensor(LEVELS)
    flat = weights.flatten(0, 1)
    still = torch.zeros(len(flat), 3)
    found: list[NDArray[np.float32]] = []
    last: NDArray[np.float32] | None = None
    for image in draw(scene, FaceMotion(flat, still, still), BodyMotion.unpack(torch.zeros(len(flat), BODY_DIM))):
        seen = face_landmarks(image, last) if last is not None else None
        last = detect_faces(image)[0].landmarks if seen is None else seen
        found.append(last[:SKIN, :2])
    points = np.stack(found).reshape(len(DRAWN), len(LEVELS), SKIN, 2).astype(np.float64)
    levels = np.array(LEVELS[1:])
    way = np.einsum("l,slpd->spd", levels, points[:, 1:] - points[:, :1]) / np.square(levels).sum()
    camera = scene.driver.fit.camera
    return np.asarray(camera.unproject_offset(torch.from_numpy(way).float()).numpy(), np.float64)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("portraits", nargs="+", type=Path)
    parser.add_argument("--output", type=Path, default=Path("chatanyone/vision/response.safetensors"))
    arguments = parser.parse_args()
    every = []
    for path in arguments.portraits:
        every.append(measure(path))
        print(path.stem, flush=True)
    response = torch.from_numpy(np.median(np.stack(every), axis=0)[..., :2])
    save_file({"response": response[:len(MEASURED)].half().contiguous()}, str(arguments.output))
    template = HeadTemplate.load()
    own = template.landmarks(template.expression)[:, :SKIN, :2].double()
    for name, seen in zip(STRENGTH, response[len(MEASURED):]):
        pattern = own[ARKIT_INDEX[name]]
        print(f"{name}: {float((seen * pattern).sum() / pattern.square().sum()):.2f} of the template's way")


if __name__ == "__main__":
    main()
