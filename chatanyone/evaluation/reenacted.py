"""Clips driven by their own track from their first frame: every frame against the true one, for several renderers at once."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image as Pillow
from torch import Tensor

from chatanyone import build, reenact
from chatanyone.driver import Driver
from chatanyone.errors import PortraitError
from chatanyone.evaluation import lips, pixels
from chatanyone.evaluation.lips import Image, Points
from chatanyone.evaluation.session import Session
from chatanyone.evaluation.studio import (
    ALL_NETWORKS, HEAD, NETWORKS, NO_FACE_REFINE, NO_HAND_INJECTION, NO_IMPLICIT_OFFSET, UPPER_BODY, Variant, available)
from chatanyone.media.video import VideoReader
from chatanyone.portrait import Portrait, prepare_portrait
from chatanyone.portraits.framing import Frame, cut
from chatanyone.vision import Hand, PoseLandmarks, detect_hands, person_mask
from render.types import RenderDrive

EVERY, COUNT = 6, 14  # of a clip's frames: every sixth, at most so many
CLIPS = 12
FIRST_FRAME = "first frame again"
TALL = 1.2  # height over width from which a clip counts as an upper body
_SURE_HAND, _SHEET_EVERY = 0.8, 4
MOUTH = (61, 291, 0, 17, 78, 308, 13, 14, 57, 287, 18, 164)
_SELF = sys.modules[__name__]
Rows = dict[str, list[dict[str, float]]]  # variant → a row of numbers a frame


def variants(session: Session) -> list[Variant]:
    """The session's, then all nets together and the ablations this version has switches for."""
    ablations = [ALL_NETWORKS, NO_HAND_INJECTION, NO_FACE_REFINE, NO_IMPLICIT_OFFSET] if NETWORKS in session.variants else []
    return [*session.variants, *(v for v in ablations if available(session.studio.config, v))]


def clips(session: Session) -> Iterator[tuple[str, Rows]]:
    """Each clip's name and its numbers; clips without a person are left out."""
    chosen = variants(session)
    dumped = bool(session.weights)
    for path in session.progress("reenactment", session.some(session.inputs.clips, CLIPS)):
        row = session.item("reenactment", path.stem, (_SELF, pixels, reenact), lambda: _clip(session, path, chosen, dumped),
                           files=[path], variant=NETWORKS, variants=[v.name for v in chosen], dumped=dumped)
        if row["rows"]:
            yield path.stem, row["rows"]


def means(rows: Rows, variant: str, name: str) -> float:
    """Mean over the frames of a clip; NaN where there is none."""
    known = [row[name] for row in rows.get(variant, []) if name in row and np.isfinite(row[name])]
    return float(np.mean(known)) if known else float("nan")


def frames_folder(session: Session, variant: str, clip: str) -> Path:
    """Where pictures lie for the metrics that need downloaded weights; they never leave the work folder."""
    return session.work.folder / "frames" / variant.replace("/", "_").replace(" ", "_") / clip


def person_psnr(made: Tensor, true: Tensor, mask: Tensor) -> float:
    """dB over a mask ``[H, W]``: 10 log10(1 / mean squared error), pictures ``[3, H, W]`` in [0, 1]."""
    error = float((made - true)[:, mask].square().mean())
    return float(-10 * np.log10(max(error, 1e-10)))


def person_ssim(made: Tensor, true: Tensor, mask: Tensor) -> float:
    """Mean over a mask of the SSIM map (Wang et al. 2004: 11 × 11 Gaussian, σ 1.5), pictures ``[3, H, W]`` in [0, 1]."""
    from torchmetrics.functional.image import structural_similarity_index_measure

    _, full = structural_similarity_index_measure(made[None], true[None], data_range=1.0, return_full_image=True)
    return float(full[0][:, mask].mean())


def _clip(session: Session, path: Path, chosen: list[Variant], dumped: bool) -> dict[str, Any]:
    """Numbers of every variant and of the first frame again."""
    opened = _open(session, path)
    if opened is None:
        return {"rows": {}}
    follow, pictures = opened
    where = build.device(session.studio.config)
    draws = {v.name: (build.renderer(session.studio.settings(v), where), replace(follow.driver.source.to(where), cache={}))
             for v in chosen}
    rows: Rows = {name: [] for name in [*draws, FIRST_FRAME]}
    strips = []
    for index, (true, drive, points, pose) in enumerate(_driven(follow, pictures)):
        scene = _True(true, points, pose)
        made = {name: _drawn(draw, own, drive) for name, (draw, own) in draws.items()}
        made[FIRST_FRAME] = (pixels.rgb(follow.driver.portrait), 0.0)
        for name, (picture, seconds) in made.items():
            rows[name].append(_short(scene.compare(picture) | {"seconds": seconds}))
        shown = {name: picture for name, (picture, _) in made.items()} | {"true": true}
        if dumped:
            for name, picture in shown.items():
                dump(frames_folder(session, name, path.stem) / f"{index:04d}.png", picture)
        if index % _SHEET_EVERY == 0:
            strips.append(np.concatenate([shown["true"], *(shown[v.name] for v in chosen)], axis=1))
    _private_sheet(session, path, strips)
    return {"rows": rows}


def _open(session: Session, path: Path) -> tuple[reenact.Follower, list[Image]] | None:
    """Who follows the person of the first frame, and the later frames; None without a person."""
    every = 1 if "i3d" in session.weights else EVERY
    with VideoReader(path) as reader:
        images = list(islice(reader, 0, every * COUNT, every))
    try:
        portrait = prepare_portrait(images[0], _size(images[0]))
        follow = reenact.Follower(Driver(portrait, build.head_template(session.studio.config)))
    except (PortraitError, LookupError):
        return None
    return follow, [framed(image, portrait) for image in images[1:]]


def _private_sheet(session: Session, path: Path, strips: list[Image]) -> None:
    """True frame, then each renderer's, for the eyes of whoever may see the clip: it stays in the work folder."""
    if strips:
        dump(session.work.folder / "clips" / f"{path.stem}.jpg", np.concatenate(strips))


def _driven(follow: reenact.Follower, pictures: list[Image],
            ) -> Iterator[tuple[Image, RenderDrive, Points, PoseLandmarks]]:
    """Each picture in which the person is found, and what drives the portrait there."""
    for picture in pictures:
        drive = follow(picture)
        if drive is not None and follow.pose is not None:
            yield picture, drive, follow.face, follow.pose


def _drawn(draw: Any, source: Any, drive: RenderDrive) -> tuple[Image, float]:
    """The frame and the seconds it took."""
    start = time.perf_counter()
    with torch.inference_mode():
        frame = draw(source, drive.to(source.matte.device))[0].cpu()
    seconds = time.perf_counter() - start
    return np.ascontiguousarray(frame.clamp(0, 1).mul(255).round().byte().permute(1, 2, 0).numpy()), seconds


class _True:
    """The true frame, measured once: person, face, mouth, hands."""

    def __init__(self, image: Image, points: Points, pose: PoseLandmarks) -> None:
        self.image, self.points, self.pose = image, points, pose
        self.tensor = _tensor(image)
        self.person = torch.from_numpy(person_mask(image) > 0.5)
        self.face = pixels.oval(image.shape[:2], points)
        self.mouth = torch.from_numpy(pixels.box(image.shape[:2], points[list(MOUTH)], 0.15))
        self.hands = _real_hands(image, pose)
        shown = [pixels.box(image.shape[:2], hand.points, 0.1) for hand in self.hands if hand is not None]
        self.hand_area = self.person & torch.from_numpy(np.logical_or.reduce(shown)) if shown else None

    def compare(self, image: Image) -> dict[str, float]:
        """All numbers of one made frame."""
        made = _tensor(image)
        face = torch.from_numpy(self.face)
        result = {"psnr": person_psnr(made, self.tensor, self.person), "ssim": person_ssim(made, self.tensor, self.person),
                  "face psnr": person_psnr(made, self.tensor, face), "mouth psnr": person_psnr(made, self.tensor, self.mouth),
                  "face sharpness": pixels.laplacian_energy(image, self.face) / pixels.laplacian_energy(self.image, self.face)}
        found = lips.face_landmarks(image, self.points)
        if found is not None:
            width = float(np.linalg.norm(self.points[234, :2] - self.points[454, :2]))
            result["face error"] = 100 * float(np.linalg.norm((found - self.points)[:, :2], axis=1).mean()) / width
        return result | self._hands(image)

    def _hands(self, image: Image) -> dict[str, float]:
        """Mean confidence of the hands the true frame shows (0 where one is lost), and the true frame's own."""
        seen = [side for side in (0, 1) if self.hands[side] is not None]
        if not seen:
            return {}
        found = detect_hands(image, self.pose)
        area = {} if self.hand_area is None or not self.hand_area.any() else {
            "hands psnr": person_psnr(_tensor(image), self.tensor, self.hand_area)}
        return {"hkc": _sure(found, seen), "true hkc": _sure(self.hands, seen), **area}


def _real_hands(image: Image, pose: PoseLandmarks) -> tuple[Hand | None, Hand | None]:
    """Hands that are surely there: confident, and mostly inside the frame."""
    H, W, _ = image.shape

    def sure(hand: Hand | None) -> Hand | None:
        if hand is None or hand.confidence < _SURE_HAND:
            return None
        inside = ((hand.points[:, :2] > 0) & (hand.points[:, :2] < (W, H))).all(axis=1)
        return hand if inside.mean() > 0.9 else None

    left, right = detect_hands(image, pose)
    return sure(left), sure(right)


def framed(image: Image, portrait: Portrait) -> Image:
    """The part of a frame that the portrait shows, resampled as the portrait was."""
    x0, y0, x1, _ = portrait.box
    return cut(image, Frame(x0, y0, x1 - x0, portrait.size))[0].copy()


def _size(image: Image) -> tuple[int, int]:
    return UPPER_BODY if image.shape[0] >= TALL * image.shape[1] else HEAD


def _tensor(image: Image) -> Tensor:
    return torch.from_numpy(image).permute(2, 0, 1).float() / 255


def _sure(hands: tuple[Hand | None, Hand | None], sides: list[int]) -> float:
    return float(np.mean([hand.confidence if (hand := hands[side]) is not None else 0.0 for side in sides]))


def dump(path: Path, image: Image) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Pillow.fromarray(image).save(path)


def _short(row: dict[str, float]) -> dict[str, float]:
    return {name: round(value, 5) for name, value in row.items()}
