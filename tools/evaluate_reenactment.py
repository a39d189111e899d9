"""How close the renderer comes to a real clip driven by itself from its first frame, with and without the nets.

    python tools/evaluate_reenactment.py clip.mp4 --weights render/weights/render.safetensors --sheet sheet.png

PSNR and SSIM are of the person's pixels (the first frame's matte, moved along) and of the face window.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image
from skimage.metrics import structural_similarity
from torch import Tensor
from tqdm import tqdm

from chatanyone.checkpoints import load_weights
from chatanyone.driver import Driver
from chatanyone.media.video import VideoReader
from chatanyone.portrait import prepare_portrait
from chatanyone.reenact import Follower
from motion.template.head import HeadTemplate
from render.geometry import propose
from render.renderer import Renderer
from render.training.losses import psnr, sharpness

SIZE = (512, 768)


def frames_of(path: Path, every: int, count: int) -> Iterator[np.ndarray]:
    """Every so-many-th frame."""
    with VideoReader(path) as reader:
        yield from islice(reader, 0, every * count, every)


def framed(image: np.ndarray, box: tuple[float, float, float, float]) -> np.ndarray:
    """The part of a frame that the portrait shows."""
    x0, y0, x1, y1 = box
    scale_x, scale_y = SIZE[0] / (x1 - x0), SIZE[1] / (y1 - y0)
    to_frame = np.array([[scale_x, 0, -scale_x * x0], [0, scale_y, -scale_y * y0]])
    if scale_x < 1:
        image = cv2.GaussianBlur(image, (0, 0), 0.4 / scale_x)
    return cv2.warpAffine(image, to_frame, SIZE, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def ssim(made: Tensor, true: Tensor, mask: Tensor) -> float:
    """Structural similarity, its map averaged inside ``mask [H, W]``."""
    a, b = (x.mean(0).numpy() for x in (made, true))
    full = structural_similarity(a, b, data_range=1.0, full=True)[1]
    return float(full[mask.numpy() > 0.5].mean())


def scores(made: Tensor, true: Tensor, person: Tensor, window: tuple[slice, slice]) -> dict[str, float]:
    """dB, similarity and sharpness ``[3, H, W]``."""
    face = torch.zeros_like(person)
    face[:, :, window[0], window[1]] = 1
    return {"person_psnr": psnr(made[None], true[None], person), "person_ssim": ssim(made, true, person[0, 0]),
            "face_psnr": psnr(made[None], true[None], face), "face_ssim": ssim(made, true, face[0, 0]),
            "face_sharpness": sharpness(made[None], true[None], face)}


def evaluate(path: Path, renderer: Renderer, every: int, count: int) -> tuple[dict[str, dict[str, float]], list[Tensor]]:
    """Mean scores of the first frame repeated, geometry and nets; rows for a contact sheet."""
    images = list(frames_of(path, every, count))
    portrait = prepare_portrait(images[0], SIZE)
    driver = Driver(portrait, HeadTemplate.load())
    x0, y0, side = driver.source.face_box
    window = slice(y0, y0 + side), slice(x0, x0 + side)
    rows: dict[str, list[dict[str, float]]] = {"first": [], "geometry": [], "nets": []}
    sheet = []
    pictures = [framed(image, portrait.box) for image in images[1:]]
    follow = Follower(driver)
    for picture in tqdm(pictures, desc=path.stem):
        drive = follow(picture)
        if drive is None:
            continue
        true = torch.from_numpy(picture).permute(2, 0, 1).float() / 255
        with torch.no_grad():
            proposal, made = propose(driver.source, drive), renderer(driver.source, drive)[0]
        person = (proposal.alpha > 0.5).float()
        rows["first"].append(scores(portrait.image, true, person, window))
        rows["geometry"].append(scores(proposal.frame[0], true, person, window))
        rows["nets"].append(scores(made, true, person, window))
        sheet.append(torch.cat([x[:, window[0], window[1]] for x in (proposal.frame[0], made, true)], 2))
        sheet.append(torch.cat([proposal.frame[0], made, true], 2))
    mean = {name: {key: float(np.mean([row[key] for row in found])) for key in found[0]} for name, found in rows.items()}
    return mean, sheet


def write_sheet(path: Path, sheet: list[Tensor], rows: int = 5, width: int = 1200) -> None:
    """Geometry, nets, truth: faces first, then whole frames."""
    faces, wholes = sheet[::2], sheet[1::2]
    picked = [group[i * (len(group) - 1) // max(rows - 1, 1)] for group in (faces, wholes[:2]) for i in range(rows)][:rows + 1]
    pictures = [(row.clamp(0, 1) * 255).byte().permute(1, 2, 0).numpy() for row in picked]
    scaled = [cv2.resize(p, (width, round(p.shape[0] * width / p.shape[1]))) for p in pictures]
    Image.fromarray(np.concatenate(scaled)).save(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("clips", type=Path, nargs="+")
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--every", type=int, default=8)
    parser.add_argument("--count", type=int, default=12)
    parser.add_argument("--sheet", type=Path, help="PNG; the clip's name is added")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    sizes, tensors = load_weights(arguments.weights, kind="render")
    renderer = Renderer(**sizes).eval()
    renderer.load_state_dict(tensors)
    for clip in arguments.clips:
        mean, sheet = evaluate(clip, renderer, arguments.every, arguments.count)
        for name, row in mean.items():
            print(f"{clip.stem:<14}{name:<10}" + "  ".join(f"{key} {value:.3f}" for key, value in row.items()), flush=True)
        if arguments.sheet:
            write_sheet(arguments.sheet.with_name(f"{arguments.sheet.stem}_{clip.stem}.png"), sheet)


if __name__ == "__main__":
    main()
