"""Make the pairs the rendering nets train on: Rocketbox people as portraits, driven to what they do a moment later.

    python tools/make_render_pairs.py --people shared/data/avatars/rocketbox --output pairs --count 400

The last two people are held out. May run while training does; goes on where it was stopped.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from scipy.spatial.transform import Rotation
from torch import Tensor
from tqdm import tqdm

from chatanyone.driver import Driver
from chatanyone.portrait import Portrait
from chatanyone.portraits.plate import foreground_colour
from chatanyone.reenact import drive_to
from chatanyone.vision import detect_faces, face_landmarks
from motion.template.head import HeadTemplate
from motion.types import ARKIT_NAMES, BODY_KEYPOINTS
from render.geometry import coarse_flow, draw
from render.training.data import RenderPair, write_pair
from render.training.scenes import Frame, RocketboxScene, ScenePair
from render.warp import STRIDE

SIZE = (768, 512)
MOST_TURN, MOST_REACH = 0.4, 0.6  # rad of the head, shoulder widths of a wrist: further, a warped picture has no answer
WRISTS = [BODY_KEYPOINTS.index(name) for name in ("wristLeft", "wristRight")]
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


def sample_modest(scene: RocketboxScene, rng: np.random.Generator) -> ScenePair:
    """A pair whose motion is that of talk."""
    while True:
        pair = scene.sample(rng, SIZE)
        turn = Rotation.from_matrix((pair.source.head[:, :3].T @ pair.target.head[:, :3]).double().numpy()).magnitude()
        reach = (pair.target.body - pair.source.body)[WRISTS, :2].norm(dim=1).max() / pair.shoulder_px
        if turn < MOST_TURN and reach < MOST_REACH:
            return pair


def _at_nodes(scene: ScenePair, coarse: Tensor) -> tuple[Tensor, Tensor]:
    """True flow at the smooth field's nodes (which lie half a pixel before a pixel's centre), and where it holds."""
    middle = slice(STRIDE // 2, None, STRIDE)
    on_person = (scene.target.area[middle, middle] > 0)[None, None]
    return (scene.flow[:, middle, middle] - 0.5)[None], scene.visible[:, middle, middle][None] * on_person


def make(template: HeadTemplate, scene: RocketboxScene, rng: np.random.Generator) -> RenderPair:
    """The first pair in whose pictures a face is found."""
    while True:
        try:
            return render_pair(template, sample_modest(scene, rng))
        except LookupError:
            continue


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--people", type=Path, required=True, help="folder of Rocketbox people (.npz and textures)")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--count", type=int, default=400, help="training pairs")
    parser.add_argument("--held-out", type=int, default=24, help="pairs of the people held out")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    template = HeadTemplate.load()
    for split, people, count in (("held_out", HELD_OUT, arguments.held_out), ("train", TRAINING, arguments.count)):
        scene = RocketboxScene(arguments.people, find_face=find_face, people=people)
        for number in tqdm(range(count), desc=split, unit="pair"):
            path = arguments.output / f"{split}_{number:05d}.safetensors"
            if not path.exists():
                write_pair(path, make(template, scene, np.random.default_rng([number, split == "train"])))


if __name__ == "__main__":
    main()
