"""Photographs as their own targets: pairs for the rendering nets in which the truth is a real picture.

    python tools/make_photo_pairs.py --portraits photos/ --voices speech/ --output pairs --each 8

Geometry moves a photograph to where speech would take it, at twice the size, so that hardly any sharpness is lost. What
comes out is a picture of the same person at another moment: it becomes the source, prepared as any user's picture, and the
photograph what its person does next. `chatanyone.reenact.Follower` finds the way back, so geometry's proposal lies on the
photograph, and what is left between them is what nets can learn: seams, folds, torn sleeves, lips, lost sharpness. Of every
second moment the reverse pair is kept as well (photograph → moved picture), so that the nets also see mouths and eyes as
speech leaves them.

Every seventh photograph is held out. May run while training does; goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from chatanyone.config import Config
from chatanyone.driver import Driver
from chatanyone.errors import ChatAnyoneError
from chatanyone.evaluation.motions import motion_of
from chatanyone.evaluation.studio import GEOMETRY, Motion, Studio
from chatanyone.finetune.pairs import SIZE, Picture, Templates, load_templates, looks, pair_of
from chatanyone.media.audio import read_audio
from chatanyone.media.image import read_image
from chatanyone.portrait import Portrait, prepare_portrait
from motion.types import BodyMotion, FaceMotion
from render.geometry import propose
from render.training.data import RenderPair, write_pair

PICTURES, SOUNDS = {".jpg", ".jpeg", ".png", ".webp"}, {".wav", ".flac", ".mp3", ".ogg", ".m4a"}
LARGE = (2 * SIZE[0], 2 * SIZE[1])
HELD_OUT = 7  # every seventh photograph
VOICES, SECONDS = 6, 10.0
# Stronger and weaker than speech: the nets should know what comes of an exaggerated turn, too.
EXPRESSION, TURN, BODY = (0.6, 1.5), (0.5, 2.0), (0.3, 1.1)


def moments(portrait: Portrait, voices: list[Path]) -> Motion:
    """What speech would make of a person, frame by frame: the arrays of `motion_of`."""
    studio = Studio(Config())
    made = [motion_of(studio, GEOMETRY, portrait, read_audio(path)[:int(SECONDS * 16000)], seed=seed)
            for seed, path in enumerate(voices)]
    return {name: np.concatenate([motion[name] for motion in made]) for name in made[0]}


def draw_moment(pool: Motion, rng: np.random.Generator) -> tuple[FaceMotion, BodyMotion]:
    """One frame of the pool, more or less of it."""
    expression, rotation, translation, body, hands = (
        torch.from_numpy(pool[name][[frame]]) for frame in [rng.integers(len(pool["expression"]))]
        for name in ("expression", "rotation", "translation", "body", "hands"))
    turn, reach = rng.uniform(*TURN), rng.uniform(*BODY)
    return (FaceMotion(expression * rng.uniform(*EXPRESSION), rotation * turn, translation * turn),
            BodyMotion(body * reach, hands * reach))


def pairs_of(photo: Picture, pool: Motion, templates: Templates, seed: int, each: int) -> Iterator[RenderPair]:
    """Up to `each` moments of one photograph; those in which the person is lost are left out."""
    head, hands = templates
    large = prepare_portrait(photo, LARGE)
    mover, rest = Driver(large, head, hands=hands), _bytes(large.image)
    still: Driver | None = None
    for number in range(each):
        face, body = draw_moment(pool, np.random.default_rng([seed, number]))
        with torch.no_grad():
            moved = _bytes(propose(mover.source, mover(face, body)).frame[0])
        try:
            driver = Driver(prepare_portrait(moved, SIZE), head, hands=hands)
            for look, drive in looks(driver, [rest]):
                yield pair_of(driver, look, drive)
            if number % 2:
                still = still or Driver(prepare_portrait(rest, SIZE), head, hands=hands)
                for look, drive in looks(still, [moved]):
                    yield pair_of(still, look, drive)
        except ChatAnyoneError:
            continue


def _bytes(picture: torch.Tensor) -> Picture:
    """``[3, H, W]`` in [0, 1] → ``[H, W, 3]`` uint8."""
    return picture.clamp(0, 1).mul(255).round().byte().permute(1, 2, 0).contiguous().numpy()


def _files(folders: list[Path], kinds: set[str]) -> list[Path]:
    return sorted(path for folder in folders for path in folder.rglob("*") if path.suffix.lower() in kinds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--portraits", type=Path, nargs="+", required=True, help="folders of photographs of people")
    parser.add_argument("--voices", type=Path, nargs="+", required=True, help="folders of speech")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--each", type=int, default=8, help="moments of a photograph")
    parser.add_argument("--part", default="0/1", metavar="I/N", help="photographs I, I + N, ... only: for N processes")
    arguments = parser.parse_args()
    photos, voices = _files(arguments.portraits, PICTURES), _files(arguments.voices, SOUNDS)
    if not photos or not voices:
        sys.exit(f"make_photo_pairs: found {len(photos)} photographs and {len(voices)} sounds; both are needed")
    torch.set_num_threads(1)
    try:
        first, step = (int(value) for value in arguments.part.split("/"))
    except ValueError:
        first = step = 0
    if not 0 <= first < step:
        sys.exit(f"make_photo_pairs: --part must be I/N with I below N, such as 0/2, not {arguments.part}")
    arguments.output.mkdir(parents=True, exist_ok=True)
    templates = load_templates()
    chosen = voices[::max(len(voices) // VOICES, 1)][:VOICES]
    try:
        pool = moments(prepare_portrait(read_image(photos[0]), SIZE), chosen)
    except ChatAnyoneError as error:
        sys.exit(f"make_photo_pairs: {photos[0].name}, whose person acts for all: {error}")
    for index in tqdm(range(first, len(photos), step), unit="photo"):
        split = "held_out" if index % HELD_OUT == HELD_OUT - 1 else "train"
        done = arguments.output / f"{split}_{photos[index].stem}.done"
        if done.exists():
            continue
        try:
            for number, pair in enumerate(pairs_of(read_image(photos[index]), pool, templates, index, arguments.each)):
                write_pair(arguments.output / f"{split}_{photos[index].stem}_{number:02d}.safetensors", pair)
        except ChatAnyoneError as error:
            print(f"left out: {photos[index].name}: {error}", file=sys.stderr)
        done.touch()


if __name__ == "__main__":
    main()
