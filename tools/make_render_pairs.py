"""Make the pairs the rendering nets train on: rendered people as portraits, driven to what they do a moment later.

    python tools/make_render_pairs.py --people rocketbox --rocketbox shared/data/avatars/rocketbox --output pairs --count 400
    python tools/make_render_pairs.py --people anny --wardrobe makehuman_hair_clothes.zip --follow --output pairs --count 400

Two kinds of people: Rocketbox's (MIT; a folder), and as many as wanted of Anny (needs the `train` extra) in MakeHuman's hair
and clothes (CC0; a zip). Without --follow the pairs know everything: matte, background, true flow. With --follow the source is
prepared as a user's picture is and the target followed as a clip is (`chatanyone.reenact.Follower`), so that geometry's
proposal lies on the target, and what is left between them is what nets can learn; true flow is then left out
(`RenderPair.measured`).

Two of Rocketbox's people and every seventh of Anny's are held out. May run while training does; goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import replace
from itertools import count, islice, product
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from chatanyone.driver import Driver
from chatanyone.errors import ChatAnyoneError
from chatanyone.finetune.pairs import Picture, Templates, load_templates, looks, pair_of
from chatanyone.portrait import Portrait, prepare_portrait
from chatanyone.portraits.plate import foreground_colour
from chatanyone.reenact import drive_to
from chatanyone.vision import detect_faces, face_landmarks
from motion.template.head import HeadTemplate
from motion.types import ARKIT_NAMES
from render.geometry import coarse_flow, draw
from render.training.anny_scenes import AnnyScene
from render.training.data import RenderPair, write_pair
from render.training.scenes import Frame, RocketboxScene, Scene, ScenePair
from render.warp import STRIDE

SIZE = (768, 512)
ANNY_HELD_OUT = 7  # every seventh person
HELD_OUT = ("Female_Adult_12", "Male_Adult_09")
TRAINING = ("Female_Adult_01", "Female_Adult_03", "Female_Adult_05", "Female_Adult_09", "Male_Adult_01", "Male_Adult_04",
            "Male_Adult_06")


def find_face(image: np.ndarray) -> np.ndarray | None:
    """The largest face's landmarks."""
    faces = detect_faces(image)
    return faces[0].landmarks if faces else None


def look_at(frame: Frame) -> Tensor:
    """MediaPipe's landmarks ``[478, 3]`` as a user's picture would give them. (The scene's own stick to the skin: where lips
    touch at rest, both lips' points lie on the same one.)"""
    if frame.face is None:
        raise ValueError("pairs need face landmarks; give the scene a face finder")
    picture = (frame.rgb * 255).round().byte().permute(1, 2, 0).contiguous().numpy()
    found = face_landmarks(picture, frame.face.numpy(), passes=2)
    if found is None:
        raise LookupError(f"no face found in a picture of {picture.shape}")
    return torch.from_numpy(found)


def portrait_of(frame: Frame, background: Tensor, shoulder_px: float) -> Portrait:
    """The known truth in place of what `prepare_portrait` would estimate. Hands are left to the smooth field."""
    picture, alpha, plate = (x.permute(1, 2, 0).contiguous().numpy() for x in (frame.rgb, frame.alpha, background))
    foreground = torch.from_numpy(foreground_colour(picture, alpha[..., 0], plate)).permute(2, 0, 1).clamp(0, 1)
    return Portrait(
        frame.rgb, frame.alpha, background, foreground, look_at(frame), torch.zeros(33, 3), torch.zeros(33),
        torch.zeros(2, 21, 3), torch.zeros(2), frame.body, shoulder_px, (0.0, 0.0, float(SIZE[1]), float(SIZE[0])))


def render_pair(template: HeadTemplate, scene: ScenePair) -> RenderPair:
    """Geometry's proposal beside the truth."""
    driver = Driver(portrait_of(scene.source, scene.background, scene.shoulder_px), template)
    prior = torch.tensor([scene.target.expression.get(name, 0.0) for name in ARKIT_NAMES]).clamp(0, 1)
    source, drive = driver.source, drive_to(driver, look_at(scene.target), scene.target.body, prior)
    coarse = coarse_flow(source, drive)
    proposal = draw(source, drive, coarse)
    true_flow, seen = _at_nodes(scene, coarse)
    return RenderPair(
        source.foreground[None], source.matte[None], source.plate[None], scene.target.rgb[None], scene.target.alpha[None],
        scene.target.area[None, None], proposal.frame, proposal.alpha, proposal.face, proposal.hands,
        torch.nn.functional.interpolate(proposal.flow, scale_factor=1 / 4, mode="bilinear"), coarse, true_flow, seen,
        torch.tensor([source.face_box]), source.face_keypoints[None], drive.face_keypoints, source.body_keypoints[None],
        drive.body_keypoints)


def _at_nodes(scene: ScenePair, coarse: Tensor) -> tuple[Tensor, Tensor]:
    """True flow at the smooth field's nodes (which lie half a pixel before a pixel's centre), and where it holds."""
    middle = slice(STRIDE // 2, None, STRIDE)
    on_person = (scene.target.area[middle, middle] > 0)[None, None]
    return (scene.flow[:, middle, middle] - 0.5)[None], scene.visible[:, middle, middle][None] * on_person


def make(template: HeadTemplate, scene: Scene, rng: np.random.Generator) -> RenderPair:
    """The first pair in whose pictures a face is found."""
    while True:
        try:
            return render_pair(template, scene.sample(rng, SIZE, modest=True))
        except LookupError:
            continue


def followed_pairs(scene: Scene, index: int, templates: Templates, seed: int, each: int) -> Iterator[RenderPair]:
    """Up to `each` moments of one film; those in which the person is lost are left out. Matte and areas are the true ones.

    Raises:
        PortraitError: the source is no portrait.
    """
    source, targets = scene.film(index, np.random.default_rng([seed, index]), SIZE, each)
    with torch.no_grad():
        driver = Driver(prepare_portrait(_bytes(source.rgb), (SIZE[1], SIZE[0])), templates[0], hands=templates[1])
        for target in targets:
            for look, drive in looks(driver, [_bytes(target.rgb)]):
                alpha, area = framed_labels(target, driver.portrait.box)
                pair = pair_of(driver, replace(look, alpha=alpha), drive)
                yield replace(pair, area=torch.from_numpy(area)[None, None])


def framed_labels(frame: Frame, box: tuple[float, float, float, float]) -> tuple[np.ndarray, np.ndarray]:
    """Alpha ``[H, W]`` and `Area` ``[H, W]`` as the portrait's box shows them; nobody beyond the picture."""
    (H, W), (x0, y0, x1, y1) = SIZE, box
    across, down = W / (x1 - x0), H / (y1 - y0)
    matrix = np.array([[across, 0, across * (0.5 - x0) - 0.5], [0, down, down * (0.5 - y0) - 0.5]])
    alpha = cv2.warpAffine(frame.alpha[0].numpy(), matrix, (W, H), flags=cv2.INTER_LINEAR)
    area = cv2.warpAffine(frame.area.numpy().astype(np.uint8), matrix, (W, H), flags=cv2.INTER_NEAREST)
    return alpha.clip(0, 1), area


def _bytes(picture: Tensor) -> Picture:
    """``[3, H, W]`` in [0, 1] to ``[H, W, 3]`` uint8."""
    return picture.clamp(0, 1).mul(255).round().byte().permute(1, 2, 0).contiguous().numpy()


def open_scene(kind: str, split: str, arguments: argparse.Namespace, films: int) -> Scene:
    """The people of a split; of Anny's as many as there are films."""
    finder = None if arguments.follow else find_face
    if kind == "rocketbox":
        return RocketboxScene(arguments.rocketbox, find_face=finder, people=HELD_OUT if split == "held_out" else TRAINING)
    numbers = (n for n in count() if (n % ANNY_HELD_OUT == ANNY_HELD_OUT - 1) == (split == "held_out"))
    return AnnyScene(arguments.wardrobe, people=list(islice(numbers, films)), find_face=finder)


def write_exact(scene: Scene, split: str, prefix: str, pairs: int, arguments: argparse.Namespace) -> None:
    """Pairs that know everything."""
    template = HeadTemplate.load()
    for number in tqdm(range(pairs)[arguments.part], desc=prefix, unit="pair"):
        path = arguments.output / f"{prefix}_{number:05d}.safetensors"
        if not path.exists():
            write_pair(path, make(template, scene, np.random.default_rng([number, split == "train"])))


def write_followed(scene: Scene, split: str, prefix: str, films: int, arguments: argparse.Namespace) -> None:
    """Films of `each` moments; of every film its pairs."""
    templates = load_templates()
    for film in tqdm(range(films)[arguments.part], desc=prefix, unit="film"):
        done = arguments.output / f"{prefix}_{film:05d}.done"
        if done.exists():
            continue
        try:
            seed = film + (split == "train") * 1_000_000
            made = followed_pairs(scene, film % len(scene.people), templates, seed, arguments.each)
            for number, pair in enumerate(made):
                write_pair(done.with_name(f"{done.stem}_{number:02d}.safetensors"), pair)
        except ChatAnyoneError as error:
            print(f"left out: {done.stem}: {error}", file=sys.stderr)
        done.touch()


def read_part(text: str) -> slice:
    """``I/N``: every N-th from I."""
    try:
        first, step = (int(value) for value in text.split("/"))
    except ValueError:
        first = step = 0
    if not 0 <= first < step:
        sys.exit(f"make_render_pairs: --part must be I/N with I below N, such as 0/2, not {text}")
    return slice(first, None, step)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--people", choices=("rocketbox", "anny", "both"), default="rocketbox")
    parser.add_argument("--rocketbox", type=Path, help="folder of Rocketbox people (.npz and textures)")
    parser.add_argument("--wardrobe", type=Path, help="zip of MakeHuman's hair, clothes and teeth, for Anny people")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--count", type=int, default=400, help="training pairs of each kind of people")
    parser.add_argument("--held-out", type=int, default=24, help="pairs of the people held out")
    parser.add_argument("--follow", action="store_true", help="sources prepared, targets followed as in use")
    parser.add_argument("--each", type=int, default=5, help="with --follow: moments of a film")
    parser.add_argument("--part", type=read_part, default="0/1", metavar="I/N", help="every N-th from I: for N processes")
    arguments = parser.parse_args()
    kinds = ("rocketbox", "anny") if arguments.people == "both" else (arguments.people,)
    for kind, needed in (("rocketbox", "rocketbox"), ("anny", "wardrobe")):
        if kind in kinds and getattr(arguments, needed) is None:
            sys.exit(f"make_render_pairs: --people {arguments.people} needs --{needed}")
    torch.set_num_threads(1)
    arguments.output.mkdir(parents=True, exist_ok=True)
    for kind, (split, pairs) in product(kinds, (("held_out", arguments.held_out), ("train", arguments.count))):
        films = -(-pairs // arguments.each) if arguments.follow else pairs
        prefix = split if kind == "rocketbox" and not arguments.follow else f"{split}_{kind}"
        write = write_followed if arguments.follow else write_exact
        try:
            write(open_scene(kind, split, arguments, films), split, prefix, films, arguments)
        except (ValueError, ModuleNotFoundError) as error:
            sys.exit(f"make_render_pairs: {error}")


if __name__ == "__main__":
    main()
