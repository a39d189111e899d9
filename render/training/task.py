"""Training of the renderer: all nets together, on crops, from pairs whose geometry is already computed.

The warping-field net learns from the true flow and from the picture at 1/4; the generator and the face pass from the true
picture, on one random crop and on the crop around the face. They see the picture where it truly lies, for of one that lies a
little beside the truth they would learn to blur: where the true flow puts it, or, of pairs whose drive was measured in the
target (films, photographs), just as geometry draws it; such pairs say nothing of the warping field, but teach the
reconstruction filter, and the nets after it see what it leaves.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from render.config import RenderConfig
from render.dense_motion import Motion
from render.renderer import Renderer, warp_features
from render.training.adversarial import RegionAdversaries
from render.training.data import RenderPair, pair_paths, read_pair, unpack
from render.training.discriminator import MultiScaleDiscriminator
from render.training.filtering import filter_losses, filtered
from render.training.losses import (
    EYE_WEIGHT, MOUTH_WEIGHT, equivariance, gradient_loss, psnr, region_weight, sharpness, texture_loss, weighted_l1)
from render.training.rocketbox import Area
from render.types import RenderDrive, RenderSource
from render.warp import enlarge, sample

CROP = 256  # px
GRID = 8  # px: crops start on multiples of it
HAND_CROPS, FEW_PIXELS = 0.3, 400  # part of the crops that lie around a hand; a hand smaller than this is none
EYES, MOUTH = ([0, 1, 4, 5], [2, 3, 6, 7]), list(range(13, 19))  # of the face keypoints: right eye, left eye, lips
LOST = 0.12  # mean difference of a place that geometry missed: whatever could be learned there is to blur
SQUARE, SMALLEST = 1.8, 48  # of an eye or mouth: the window an adversary sees; px
# Without a measured drive hands follow the smooth field alone: what the nets could learn there is to blur.
HANDS = {int(Area.HAND_LEFT): 0.2, int(Area.HAND_RIGHT): 0.2}
REGIONS = {int(Area.MOUTH): MOUTH_WEIGHT, int(Area.EYE): EYE_WEIGHT}


@dataclass(frozen=True)
class LossWeights:
    """What each part counts. Our choice. restraint: on the size of colour residuals; adversarial starts late and light, with
    adversaries of their own for face, eyes, mouth and hands; equivariance and prior: of the implicit body keypoints."""

    flow: float = 0.5
    warp: float = 1.0
    occlusion: float = 0.05
    gradient: float = 0.5
    texture: float = 4.0
    restraint: float = 0.05
    adversarial: float = 0.005
    adversarial_from: int = 2000
    matching: float = 0.05
    filter: float = 1.0
    equivariance: float = 0.1
    prior: float = 0.02


@dataclass
class _Scene:
    """What all crops of one pair share."""

    pair: RenderPair
    source: RenderSource
    drive: RenderDrive
    motion: Motion
    frame: Tensor  # [1, 3, H, W]: geometry's, through the filter where the drive was measured; without gradient
    flow: Tensor  # [1, 2, H, W] px: where the picture is sampled, without gradient
    quarter: Tensor
    eighth: Tensor


class RenderTask:
    """Trains a `Renderer`.

    Args:
        folder: of pairs made by ``tools/make_render_pairs.py``.
        sizes: fields of `RenderConfig`.
        held_out: how many held-out pairs a validation looks at.
        filter_only: the reconstruction filter learns, everything else stays; twenty times as many steps an hour.

    Raises:
        ValueError: the folder holds no training pairs.
    """

    kind = "render"

    def __init__(self, folder: Path, sizes: dict[str, Any] | None = None, weights: LossWeights | None = None,
                 held_out: int = 12, filter_only: bool = False) -> None:
        self.filter_only = filter_only
        self.folder, self.weights, self.held_out = folder, weights or LossWeights(), held_out
        self.config = asdict(RenderConfig(**(sizes or {})))
        if not pair_paths(folder, "train"):
            raise ValueError(f"no training pairs in {folder}; make them with tools/make_render_pairs.py")
        self.adversaries = RegionAdversaries(MultiScaleDiscriminator)

    def companions(self) -> Mapping[str, nn.Module]:
        """The adversaries, whose optimisers ride in the training state."""
        taught = not self.filter_only and (self.weights.adversarial or self.weights.matching)
        return {"adversaries": self.adversaries} if taught else {}

    def build(self) -> Renderer:
        return Renderer(**self.config)

    def batches(self, seed: int) -> Iterator[dict[str, Tensor]]:
        """One pair at a time: face windows differ in size."""
        generator = torch.Generator().manual_seed(seed)
        while True:
            paths = pair_paths(self.folder, "train")
            for index in torch.randperm(len(paths), generator=generator).tolist():
                yield read_pair(paths[index])

    def loss(self, model: nn.Module, batch: dict[str, Tensor], step: int) -> tuple[Tensor, dict[str, float]]:
        assert isinstance(model, Renderer)
        pair = unpack(batch)
        parts = filter_losses(model, pair, _teachable(pair)) if pair.measured else {}
        if not self.filter_only:
            parts |= self._net_losses(model, pair, step)
        total = sum((value * self._weight(name) for name, value in parts.items()), next(model.parameters()).sum() * 0)
        return total, {name: float(value.detach()) for name, value in parts.items()}

    def _net_losses(self, model: Renderer, pair: RenderPair, step: int) -> dict[str, Tensor]:
        """Of all nets but the filter."""
        scene = _scene(model, pair, teach=True)
        parts = {} if pair.measured else {
            "flow": self._flow_loss(scene), "warp": _warp_loss(scene), "occlusion": _occlusion_loss(scene)}
        parts |= equivariance(model.body_points, scene.pair.layer)
        rows, columns, on_hand = _random_crop(scene.pair)
        made, geometric = _generate(model, scene, rows, columns)
        parts |= _named("body", self._picture_losses(scene.pair, made, geometric, rows, columns))
        face, start, window = _refine(model, scene)
        parts |= _named("face", self._picture_losses(scene.pair, face, start, *window))
        if self.companions() and step >= self.weights.adversarial_from:
            true = scene.pair.target
            windows = _face_windows(scene.pair, face, true[:, :, window[0], window[1]])
            if on_hand:
                windows["hands"] = [(made, true[:, :, rows, columns])]
            parts |= self.adversaries.to(face.device)(windows)
        return parts

    def _weight(self, name: str) -> float:
        part, _, what = name.partition("_")
        return float(getattr(self.weights, "filter" if part == "filter" else what or name, 1.0))

    @staticmethod
    def _flow_loss(scene: _Scene) -> Tensor:
        """Distance of the smooth field from the truth where the source shows it; in units of 8 px, forgiving outliers."""
        pair = scene.pair
        error = (pair.coarse + scene.motion.flow - pair.true_flow) / 8
        return (F.smooth_l1_loss(error, torch.zeros_like(error), reduction="none", beta=0.2) * pair.seen).mean()

    @staticmethod
    def _picture_losses(pair: RenderPair, made: Tensor, start: Tensor, rows: slice, columns: slice) -> dict[str, Tensor]:
        true = pair.target[:, :, rows, columns]
        regions = REGIONS if pair.measured else {**REGIONS, **HANDS}
        weight = region_weight(pair.area[:, :, rows, columns], regions, spread=11) * _teachable(pair)[:, :, rows, columns]
        return {"l1": weighted_l1(made, true, weight), "gradient": gradient_loss(made, true, weight),
                "texture": texture_loss(made, true, weight), "restraint": (made - start).abs().mean()}

    @torch.no_grad()
    def validate(self, model: nn.Module) -> dict[str, float]:
        """dB over held-out people, geometry alone and with the nets; sharpness is 1 where as sharp as the truth."""
        assert isinstance(model, Renderer)
        rows = [_scores(model, unpack(read_pair(path))) for path in pair_paths(self.folder, "held_out")[:self.held_out]]
        return {name: sum(row[name] for row in rows) / len(rows) for name in rows[0]} if rows else {}


def draw_pair(model: Renderer, pair: RenderPair) -> Tensor:
    """The whole frame ``[1, 3, H, W]`` as the nets draw it."""
    scene = _scene(model, pair)
    H, W = pair.target.shape[-2:]
    frame, _ = _generate(model, scene, slice(0, H), slice(0, W))
    rows, columns = pair.window
    window = frame[:, :, rows, columns]
    window += model.refine(window, pair.control, scene.source, scene.drive, scene.motion.offset)
    return frame.clamp(0, 1)


def _scores(model: Renderer, pair: RenderPair) -> dict[str, float]:
    with torch.autocast(pair.frame.device.type, torch.bfloat16):
        made = draw_pair(model, pair)
        crisp = filtered(model, pair)
    person, face = (pair.target_alpha > 0.5).float(), torch.zeros_like(pair.target_alpha)
    rows, columns = pair.window
    face[:, :, rows, columns] = person[:, :, rows, columns]
    mouth = (F.max_pool2d((pair.area == Area.MOUTH).float(), 15, 1, 7) > 0).float()
    scores: dict[str, float] = {}
    for name, picture in (("geometry", pair.frame), ("filter", crisp), ("nets", made)):
        scores |= {f"{name}_person": psnr(picture, pair.target, person), f"{name}_face": psnr(picture, pair.target, face),
                   f"{name}_mouth": psnr(picture, pair.target, mouth),
                   f"{name}_sharpness": sharpness(picture, pair.target, face)}
    return scores


def _scene(model: Renderer, pair: RenderPair, teach: bool = False) -> _Scene:
    """``teach``: the picture is sampled where it truly comes from, so that what is left to learn is not to blur."""
    source, drive = pair.source(), pair.drive()
    look = model.look(source)
    motion = model.move(source, drive, pair.coarse)
    corrected = pair.coarse + (_true_correction(pair) if teach else motion.flow.detach())
    # Where a mesh decides, the flow stays the mesh's.
    moved = enlarge(corrected) - enlarge(pair.coarse)
    free = 1 - F.avg_pool2d(pair.fixed, 4)
    flow = pair.flow_quarter if pair.measured else pair.flow_quarter + F.avg_pool2d(moved, 4) * free
    frame = filtered(model, pair).detach() if pair.measured else pair.frame
    return _Scene(pair, source, drive, motion, frame, enlarge(corrected), *warp_features(look, flow, motion.occlusion))


def _teachable(pair: RenderPair) -> Tensor:
    """``[1, 1, H, W]``: 0 where the true picture would teach the wrong thing.

    An eye that the fitted motion left open but the truth has closed. Of rendered people, the inside of the mouth (they have no
    teeth to show) and the outline, where neither true flow nor matte are exact. Of measured pairs, what lies elsewhere than it
    was drawn (a hand that was not found again), and the background.
    """
    if pair.measured:
        eyes = F.max_pool2d(pair.eyes * (pair.area != Area.EYE), 9, 1, 4)
        error = (pair.frame - pair.target).abs().mean(1, keepdim=True)
        lost = F.max_pool2d((F.avg_pool2d(error, 9, 1, 4) > LOST).float(), 9, 1, 4)
        around = F.max_pool2d(torch.maximum(pair.alpha, pair.target_alpha), 17, 1, 8)
        return (1 - eyes) * (1 - lost) * around
    mouth = torch.maximum(pair.mouth, (pair.area == Area.MOUTH).float())
    eyes = F.max_pool2d(pair.eyes * (pair.area != Area.EYE), 9, 1, 4)
    alpha = F.avg_pool2d(torch.cat([pair.target_alpha, pair.alpha], 1), 8)
    outline = ((alpha > 0.02) & (alpha < 0.98)).float().amax(1, keepdim=True)
    outline = F.interpolate(F.max_pool2d(outline, 3, 1, 1), scale_factor=8)
    return (1 - mouth).clamp(0, 1) * (1 - eyes) * (1 - outline)


def _true_correction(pair: RenderPair, spread: int = 7) -> Tensor:
    """``[1, 2, H/8, W/8]`` px: the smooth field's error where the source shows the place, continued a little around it."""
    error = torch.cat([(pair.true_flow - pair.coarse) * pair.seen, pair.seen], 1)
    around = F.avg_pool2d(error, spread, 1, spread // 2)
    near = around[:, :2] / around[:, 2:].clamp(min=1 / spread ** 2)
    return torch.lerp(near, error[:, :2], pair.seen)


def _generate(model: Renderer, scene: _Scene, rows: slice, columns: slice) -> tuple[Tensor, Tensor]:
    """Generated and geometric picture of a crop (on the grid of 1/8)."""
    pair = scene.pair
    geometric, alpha = scene.frame[:, :, rows, columns], pair.alpha[:, :, rows, columns]
    if not pair.measured:
        layer = sample(pair.layer, scene.flow[:, :, rows, columns])
        picture = layer[:, :3] + (1 - layer[:, 3:]) * pair.plate[:, :, rows, columns]
        fixed = pair.fixed[:, :, rows, columns]
        geometric, alpha = torch.lerp(picture, geometric, fixed), torch.lerp(layer[:, 3:], alpha, fixed)
    quarter, eighth = (x[:, :, _shrunk(rows, n), _shrunk(columns, n)] for x, n in ((scene.quarter, 4), (scene.eighth, 8)))
    hands = pair.hands[:, :, rows, columns] if bool(pair.hands[:, 3:].any()) else None
    change = model.generator(geometric, alpha, quarter, eighth, hands)
    return geometric + change * (1 - (1 - model.mouth) * pair.mouth[:, :, rows, columns]), geometric


def _refine(model: Renderer, scene: _Scene) -> tuple[Tensor, Tensor, tuple[slice, slice]]:
    """Finished and geometric picture of the face window, and where it is."""
    H, W = scene.pair.target.shape[-2:]
    x0, y0, side = scene.source.face_box
    size = side + GRID
    left, top = min(x0 // GRID * GRID, W - size), min(y0 // GRID * GRID, H - size)
    made, geometric = _generate(model, scene, slice(top, top + size), slice(left, left + size))
    inner = slice(y0 - top, y0 - top + side), slice(x0 - left, x0 - left + side)
    window = made[:, :, inner[0], inner[1]]
    residual = model.refine(window, scene.pair.control, scene.source, scene.drive, scene.motion.offset)
    return window + residual, geometric[:, :, inner[0], inner[1]], scene.pair.window


def _warp_loss(scene: _Scene) -> Tensor:
    """The picture at 1/4 through the corrected flow against the truth, where the smooth field decides."""
    pair = scene.pair
    free = 1 - F.avg_pool2d(pair.fixed, 4)
    free = free * F.avg_pool2d(region_weight(pair.area, HANDS), 4)
    flow = enlarge((pair.coarse + scene.motion.flow) / 4, 2)
    layer = sample(F.avg_pool2d(pair.layer, 4), flow)
    made = layer[:, :3] + (1 - layer[:, 3:]) * F.avg_pool2d(pair.plate, 4)
    colour = weighted_l1(made, F.avg_pool2d(pair.target, 4), free)
    return colour + weighted_l1(layer[:, 3:], F.avg_pool2d(pair.target_alpha, 4), free)


def _occlusion_loss(scene: _Scene) -> Tensor:
    person = (F.avg_pool2d(scene.pair.target_alpha, 8) > 0.9).float()
    error = (scene.motion.occlusion - scene.pair.seen).abs()
    return (error * person).sum() / person.sum().clamp(min=1)


def _face_windows(pair: RenderPair, made: Tensor, true: Tensor) -> dict[str, list[tuple[Tensor, Tensor]]]:
    """The face window, and the squares around each eye and the mouth in it, made and true."""
    x0, y0, side = pair.box[0].tolist()
    points = pair.face_drive[0, :, :2] - pair.face_drive.new_tensor([x0, y0])
    squares = {"eyes": [_square(points[part], side) for part in EYES], "mouth": [_square(points[MOUTH], side)]}
    found = {name: [(made[:, :, y, x], true[:, :, y, x]) for y, x in places] for name, places in squares.items()}
    return {"face": [(made, true)], **found}


def _square(points: Tensor, side: int) -> tuple[slice, slice]:
    """Rows and columns of a square around points ``[N, 2]`` px, within the window."""
    low, high = points.amin(0), points.amax(0)
    size = min(max(int(float((high - low).max()) * SQUARE) // 16 * 16, SMALLEST), side)
    x, y = (min(max(int(middle) - size // 2, 0), side - size) for middle in ((low + high) / 2).tolist())
    return slice(y, y + size), slice(x, x + size)


def _random_crop(pair: RenderPair) -> tuple[slice, slice, bool]:
    """Rows and columns; now and then around a hand, and whether so."""
    H, W = pair.target.shape[-2:]
    hand = ((pair.area == Area.HAND_LEFT) | (pair.area == Area.HAND_RIGHT))[0, 0].nonzero()
    on_hand = len(hand) > FEW_PIXELS and float(torch.rand(())) < HAND_CROPS
    if on_hand:
        place = hand[int(torch.randint(0, len(hand), ()))].tolist()
        top, left = (min(max(at - CROP // 2, 0), length - CROP) // GRID * GRID for at, length in zip(place, (H, W)))
    else:
        top, left = (int(torch.randint(0, (length - CROP) // GRID + 1, ())) * GRID for length in (H, W))
    return slice(top, top + CROP), slice(left, left + CROP), on_hand


def _shrunk(part: slice, factor: int) -> slice:
    return slice(part.start // factor, part.stop // factor)


def _named(prefix: str, losses: dict[str, Tensor]) -> dict[str, Tensor]:
    return {f"{prefix}_{name}": value for name, value in losses.items()}
