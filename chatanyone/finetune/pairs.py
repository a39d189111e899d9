"""Pictures of one person → training pairs of the renderer: one frame, driven to what others show.

Of a film, the first frame is the source. No true flow is known: `seen` is 0 everywhere, so only the pictures teach. Geometry
(the driver's) is what the program itself will propose.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from chatanyone.driver import Driver
from chatanyone.errors import ChatAnyoneError, ConfigError, PortraitError
from chatanyone.finetune.clips import FPS, PersonClip
from chatanyone.media.video import VideoReader
from chatanyone.portrait import prepare_portrait
from chatanyone.portraits.framing import Frame, cut
from chatanyone.portraits.matte import Hints, person_matte
from chatanyone.reenact import Follower
from motion.template.hands import HandTemplate
from motion.template.head import HeadTemplate
from render.geometry import coarse_flow, draw
from render.training.data import RenderPair, write_pair
from render.training.rocketbox import Area
from render.types import RenderDrive

SIZE = (512, 768)  # width, height
EVERY, MOST = 4, 200  # frames between two pairs of a film, pairs of a film
# MediaPipe's landmarks around lips and eyes.
_LIPS = (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185)
_EYES = ((33, 7, 163, 144, 145, 153, 154, 155, 133, 173, 157, 158, 159, 160, 161, 246),
         (263, 249, 390, 373, 374, 380, 381, 382, 362, 398, 384, 385, 386, 387, 388, 466))
Picture = NDArray[np.uint8]
Templates = tuple[HeadTemplate, tuple[HandTemplate, HandTemplate]]


@dataclass(frozen=True)
class Look:
    """A framed picture ``[H, W, 3]``, the person's face ``[478, 3]`` px and alpha ``[H, W]`` in it."""

    picture: Picture
    face: NDArray[np.float32]
    alpha: NDArray[np.float32]


def write_pairs(clips: list[PersonClip], folder: Path, split: str, report: Callable[[str], None]) -> int:
    """All pairs of a split; a film whose pairs are there is not looked at again. Returns how many there are.

    Raises:
        ConfigError: not one pair came of the films.
    """
    folder.mkdir(parents=True, exist_ok=True)
    templates = load_templates()
    for clip in clips:
        digest = hashlib.sha256(clip.path.read_bytes() + f"{clip.first} {len(clip)}".encode()).hexdigest()[:12]
        done = folder / f"{split}_{digest}.json"
        if done.is_file():
            continue
        report(f"pairs of {clip.path.name}")
        try:
            count = _write_film(clip, templates, folder / f"{split}_{digest}")
        except ChatAnyoneError as error:
            report(f"left out: {clip.path.name}: {error}")
            count = 0
        done.write_text(json.dumps({"film": clip.path.name, "pairs": count}))
    total = len(list(folder.glob(f"{split}_*.safetensors")))
    if not total:
        raise ConfigError("no pair of pictures could be made of the films; the face must be seen in them, and be at least "
                          "48 pixels high")
    return total


def load_templates() -> Templates:
    """The shipped head and hands, left and right."""
    return HeadTemplate.load(), (HandTemplate.load("left"), HandTemplate.load("right"))


def _write_film(clip: PersonClip, templates: Templates, prefix: Path) -> int:
    """One film's pairs."""
    frames = list(islice(VideoReader(clip.path, FPS), clip.first, clip.first + len(clip), EVERY))
    driver = Driver(prepare_portrait(frames[0], SIZE), templates[0], hands=templates[1])
    count = 0
    for look, drive in islice(looks(driver, frames[1:]), MOST):
        write_pair(prefix.with_name(f"{prefix.name}_{count:03d}.safetensors"), pair_of(driver, look, drive))
        count += 1
    return count


def looks(driver: Driver, frames: list[Picture]) -> Iterator[tuple[Look, RenderDrive]]:
    """The frames in which the person is found, as the portrait frames them, and what drives the portrait there."""
    try:
        follow = Follower(driver)
    except LookupError as error:
        raise PortraitError(str(error)) from error
    for frame in frames:
        picture, real = framed(frame, driver.portrait.box, driver.portrait.size)
        drive = follow(picture)
        if drive is not None:
            alpha = person_matte(picture, real, Hints(follow.face, (), False))
            yield Look(picture, follow.face, alpha), drive


def framed(frame: Picture, box: tuple[float, float, float, float], size: tuple[int, int] = SIZE,
           ) -> tuple[Picture, NDArray[np.bool_]]:
    """The part of a film's frame that the portrait shows, resampled as the portrait was, and which pixels it really has."""
    x0, y0, x1, _ = box
    picture, real = cut(frame, Frame(x0, y0, x1 - x0, size))
    return picture.copy(), real


@torch.no_grad()
def pair_of(driver: Driver, look: Look, drive: RenderDrive) -> RenderPair:
    """Geometry's proposal beside the truth."""
    source = driver.source
    coarse = coarse_flow(source, drive)
    proposal = draw(source, drive, coarse)
    target = torch.from_numpy(look.picture).permute(2, 0, 1).float() / 255
    alpha = torch.from_numpy(look.alpha)[None, None].float()
    return RenderPair(
        foreground=source.foreground[None], matte=source.matte[None], plate=source.plate[None], target=target[None],
        target_alpha=alpha, area=areas(look, proposal.hands[0, 3])[None, None], frame=proposal.frame, alpha=proposal.alpha,
        control=proposal.face, hands=proposal.hands,
        flow_quarter=F.interpolate(proposal.flow, scale_factor=1 / 4, mode="bilinear"), coarse=coarse,
        true_flow=coarse.clone(), seen=torch.zeros_like(coarse[:, :1]), box=torch.tensor([source.face_box]),
        face_source=source.face_keypoints[None], face_drive=drive.face_keypoints,
        body_source=source.body_keypoints[None], body_drive=drive.body_keypoints)


def areas(look: Look, hands: Tensor | None = None) -> Tensor:
    """``[H, W]`` what each pixel shows (`Area`), from the landmarks, and hands ``[H, W]`` where geometry draws them (left and
    right are not told apart); without them hands count as body."""
    area = np.where(look.alpha > 0.5, int(Area.BODY), 0).astype(np.uint8)
    if hands is not None:
        area[hands.numpy() > 0.5] = int(Area.HAND_LEFT)
    points = look.face[:, :2]
    for value, outline in ((Area.HEAD, cv2.convexHull(points.astype(np.float32))[:, 0]), (Area.EYE, points[list(_EYES[0])]),
                           (Area.EYE, points[list(_EYES[1])]), (Area.MOUTH, points[list(_LIPS)])):
        cv2.fillPoly(area, [np.round(outline).astype(np.int32)], int(value))
    return torch.from_numpy(area)
