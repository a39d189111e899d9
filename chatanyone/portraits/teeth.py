"""The teeth that a picture shows, continued under its lips: whoever smiles in a picture speaks with those teeth.

Whether there are any, and where, is decided by colour within the inner lips. All sizes are our choice.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from chatanyone.vision import CHEEKS

INNER_LIPS = (78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308, 324, 318, 402, 317, 14, 87, 178, 88, 95)  # MediaPipe's points
OUTER_LIPS = (61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291, 375, 321, 405, 314, 17, 84, 181, 91, 146)
LEAST_OPEN, LEAST_HEIGHT = 0.12, 6.0  # mean height of the opening ÷ its width, and in px: less shows no more than a glint
LEAST_SHARE = 0.12  # of the opening that is teeth
BRIGHT, LIT = 0.6, 0.8  # of the cheeks' luminance: a pixel of a tooth, and half of them; in the lips' shade teeth are no model
ONE_COLOUR = 1.0  # of CIE Lab: what chroma strays by in a black and white JPEG (0.7); in twenty coloured faces at least 1.7
REACH = 0.12  # of the mouth's width: how far colours are continued


@dataclass(frozen=True)
class PicturedTeeth:
    """colours ``[4, H, W]``: of the teeth, continued beyond what is seen of them, and how surely they are theirs (0 … 1);
    covered ``[H, W]`` bool: where teeth are seen, their rims included; lips ``[H, W]`` bool: red of the lips."""

    colours: Tensor
    covered: NDArray[np.bool_]
    lips: NDArray[np.bool_]

    def lips_instead(self, places: Tensor) -> Tensor:
        """Places ``[N, 2]`` px at which skin finds its colour: those on teeth (landmarks are seldom right to the pixel) move
        to the nearest of the lips."""
        x, y = places.long().T.numpy()
        H, W = self.covered.shape
        astray = torch.from_numpy(self.covered[y.clip(0, H - 1), x.clip(0, W - 1)])
        target = torch.from_numpy(np.argwhere(self.lips)[:, ::-1] + 0.5).to(places)
        moved = places.clone()
        if astray.any() and len(target):
            moved[astray] = target[torch.cdist(places[astray], target).argmin(1)]
        return moved


def pictured_teeth(image: Tensor, face: Tensor) -> PicturedTeeth | None:
    """None where the mouth is (nearly) closed, small, or dark inside. image ``[3, H, W]``; face ``[478, 3]`` px."""
    picture = np.ascontiguousarray(image.permute(1, 2, 0).numpy(), dtype=np.float32)
    inner, outer = (face[list(points), :2].numpy() for points in (INNER_LIPS, OUTER_LIPS))
    width, size = float(np.ptp(inner[:, 0])), (picture.shape[0], picture.shape[1])
    opening = _filled(inner, size)
    if opening.sum() < max(LEAST_OPEN * width, LEAST_HEIGHT) * width:
        return None
    mouth = _filled(outer, size)
    x, y = face[list(CHEEKS), :2].long().T.numpy().clip(0, [[size[1] - 1], [size[0] - 1]])
    bright = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    bright /= max(float(bright[y, x].mean()), 0.05)
    red = (picture[..., 0] - picture[..., 1]) / np.maximum(picture.sum(-1), 0.05)
    teeth = _enamel(bright, red, opening, mouth & ~opening, float(red[y, x].mean()))
    if teeth.sum() < LEAST_SHARE * opening.sum() or float(np.median(bright[teeth])) < LIT:
        return None
    colour, sure = _continued(picture, teeth, REACH * width)
    covered = cv2.dilate(teeth.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    colours = torch.from_numpy(np.concatenate([colour, sure[..., None]], -1)).permute(2, 0, 1).contiguous()
    return PicturedTeeth(colours, covered, mouth & ~opening & ~covered)


def one_colour(image: Tensor, face: Tensor) -> bool:
    """Whether the face is black and white, or of one tint: its chroma follows from its lightness. Arguments as above."""
    picture = np.ascontiguousarray(image.permute(1, 2, 0).numpy(), dtype=np.float32)
    outline = cv2.convexHull(np.ascontiguousarray(face[:, :2].numpy()))[:, 0]
    skin = picture[_filled(outline, (picture.shape[0], picture.shape[1]))]
    if not len(skin):
        return False
    lightness, chroma = np.split(cv2.cvtColor(skin[None], cv2.COLOR_RGB2LAB)[0], [1], axis=1)
    basis = np.concatenate([np.ones_like(lightness), lightness, lightness ** 2], 1)
    rest = chroma - basis @ np.linalg.lstsq(basis, chroma, rcond=None)[0]
    return bool(rest.std(axis=0).max() < ONE_COLOUR)


def _filled(points: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.bool_]:
    mask = np.zeros(size, np.uint8)
    cv2.fillPoly(mask, [np.round((points - 0.5) * 16).astype(np.int32)], 1, shift=4)
    return mask > 0


def _enamel(bright: NDArray[np.float32], red: NDArray[np.float32], opening: NDArray[np.bool_], lips: NDArray[np.bool_],
            cheeks: float) -> NDArray[np.bool_]:
    """Inside the lips, less red than they and the cheeks are, and bright."""
    between = 0.5 * (float(np.median(red[lips])) + float(np.percentile(red[opening], 5)))
    whiter = red < min(between, cheeks)
    found = (opening & whiter & (bright > BRIGHT)).astype(np.uint8)
    return cv2.morphologyEx(found, cv2.MORPH_OPEN, np.ones((2, 2), np.uint8)) > 0


def _continued(picture: NDArray[np.float32], teeth: NDArray[np.bool_], reach: float,
               ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Each place near the teeth has the colour of the nearest tooth, softly, and is as sure as it is near."""
    core = cv2.erode(teeth.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0  # rims are half lip
    core = core if core.any() else teeth
    distance, label = cv2.distanceTransformWithLabels((~core).astype(np.uint8), cv2.DIST_L2, 5,
                                                      labelType=cv2.DIST_LABEL_PIXEL)
    order = np.zeros(int(label.max()) + 1, np.int64)
    order[label[core]] = np.flatnonzero(core)
    nearest = picture.reshape(-1, 3)[order[label]]
    soft = cv2.GaussianBlur(nearest, (0, 0), 1.5)
    far = np.clip(distance / 3, 0, 1)[..., None]
    return nearest + far * (soft - nearest), np.clip(1.5 - distance / reach, 0, 1)
