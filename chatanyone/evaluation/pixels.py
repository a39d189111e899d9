"""Pictures of one person compared with the picture they were made from: regions, sharpness, colour, geometry."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from chatanyone.evaluation.lips import Image, Points
from chatanyone.portrait import Portrait
from chatanyone.vision import CHEEKS

Mask = NDArray[np.bool_]  # [H, W]
OVAL = (10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377, 152, 148, 176, 149, 150, 136,
        172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109)
# Points that speech and blinks do not move: bridge and sides of the nose, outer face above the mouth, temples, forehead.
STILL = (6, 168, 197, 195, 5, 4, 1, 8, 9, 10, 151, 67, 297, 54, 284, 127, 356, 234, 454, 132, 361, 116, 345, 48, 278, 33, 263,
         133, 362)
_BACKGROUND_MARGIN_PX = 24
_HAND_MARGIN_PX = 30


@dataclass(frozen=True)
class Regions:
    """Where to look in a picture of the portrait; bool ``[H, W]``."""

    face: Mask
    skin: Mask
    hair: Mask
    clothes: Mask


def rgb(portrait: Portrait) -> Image:
    """The framed picture as uint8 ``[H, W, 3]``."""
    return np.ascontiguousarray((portrait.image * 255).round().byte().permute(1, 2, 0).numpy())


def regions(portrait: Portrait, points: Points) -> Regions:
    """Regions of a frame in which the face is at `points` ``[478, 3]`` px; clothes stay where the picture has them."""
    matte = portrait.matte[0].numpy()
    source = portrait.face.numpy()
    shift = points[10, :2] - source[10, :2]
    return Regions(oval(matte.shape, points), _cheeks(matte.shape, points),
                   _hair(_moved(matte, shift), points), _clothes(portrait, matte))


def background(portrait: Portrait) -> Mask:
    """What the person never reaches: `_BACKGROUND_MARGIN_PX` away from the matte."""
    person = (portrait.matte[0].numpy() > 0.02).astype(np.uint8)
    return cv2.dilate(person, _disc(_BACKGROUND_MARGIN_PX)) == 0


def laplacian_energy(image: Image, mask: Mask) -> float:
    """Mean square of the 3 × 3 Laplacian of luma (0 to 1) over a mask."""
    luma = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float64) / 255
    values = cv2.Laplacian(luma, cv2.CV_64F, ksize=1)[mask]
    return float(np.mean(values**2)) if len(values) else float("nan")


def mean_lab(image: Image, mask: Mask) -> NDArray[np.float64]:
    """Mean CIELAB colour ``[3]`` of a mask."""
    from skimage.color import rgb2lab

    pixels = image[mask].astype(np.float64) / 255
    return np.asarray(rgb2lab(pixels[None])[0].mean(axis=0)) if len(pixels) else np.full(3, np.nan)


def delta_e(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """CIEDE2000 between two colours."""
    from skimage.color import deltaE_ciede2000

    return float(deltaE_ciede2000(one, other)) if np.isfinite([one, other]).all() else float("nan")


def change(frame: Image, reference: Image, mask: Mask) -> float:
    """Mean absolute difference over a mask, in steps of 1/255; 0 for an empty mask."""
    difference = np.abs(frame.astype(np.int16) - reference.astype(np.int16))[mask]
    return float(difference.mean()) if len(difference) else 0.0


def geometry_error(points: Points, reference: Points, chosen: tuple[int, ...] | None = None) -> float:
    """Mean distance of landmarks after the best similarity, in face widths of the reference."""
    index = list(chosen) if chosen is not None else list(range(len(reference)))
    a, b = points[index, :2].astype(np.float64), reference[index, :2].astype(np.float64)
    width = float(np.linalg.norm(reference[234, :2] - reference[454, :2]))
    return float(np.linalg.norm(_similar(a, b) - b, axis=1).mean() / width)


def _similar(points: NDArray[np.float64], target: NDArray[np.float64]) -> NDArray[np.float64]:
    """The points, turned, scaled and shifted to the target (Umeyama 1991, in the plane as complex numbers)."""
    a, b = (x[:, 0] + 1j * x[:, 1] for x in (points, target))
    a, mean = a - a.mean(), b.mean()
    factor = np.vdot(a, b - mean) / np.vdot(a, a)
    moved = factor * a + mean
    return np.stack([moved.real, moved.imag], axis=1)


def oval(size: tuple[int, ...], points: Points) -> Mask:
    """Face outline, shrunk by a twentieth so that hair and background stay out."""
    outline = points[list(OVAL), :2]
    middle = outline.mean(axis=0)
    return _filled(size, middle + 0.95 * (outline - middle))


def box(size: tuple[int, ...], points: Points, margin: float) -> Mask:
    """The points' bounding box, wider by a part of its width on every side."""
    low, high = points[:, :2].min(axis=0), points[:, :2].max(axis=0)
    reach = margin * float(high[0] - low[0])
    (x0, y0), (x1, y1) = np.maximum(low - reach, 0).astype(int), np.maximum(high + reach, 0).astype(int)
    mask = np.zeros(size, bool)
    mask[y0:y1 + 1, x0:x1 + 1] = True
    return mask


def _cheeks(size: tuple[int, ...], points: Points) -> Mask:
    mask = np.zeros(size, np.uint8)
    radius = max(2, round(0.05 * float(np.linalg.norm(points[234, :2] - points[454, :2]))))
    for x, y in points[list(CHEEKS), :2]:
        cv2.circle(mask, (int(x), int(y)), radius, 1, -1)
    return mask > 0


def _hair(matte: NDArray[np.float32], points: Points) -> Mask:
    """A block of the person above the forehead: hair, or scalp where there is none."""
    height = float(np.linalg.norm(points[10, :2] - points[152, :2]))
    x, y = points[10, :2]
    block = np.zeros(matte.shape, bool)
    block[max(int(y - 0.30 * height), 0):max(int(y - 0.08 * height), 0),
          max(int(x - 0.25 * height), 0):int(x + 0.25 * height)] = True
    return block & _eroded(matte, 3)


def _clothes(portrait: Portrait, matte: NDArray[np.float32]) -> Mask:
    """The person from half a face height below the chin on, without the hands and what they may cover."""
    face = portrait.face.numpy()
    height = float(np.linalg.norm(face[10, :2] - face[152, :2]))
    mask = _eroded(matte, 8)
    mask[:int(face[152, 1] + 0.5 * height)] = False
    for hand, seen in zip(portrait.hands.numpy(), portrait.hand_seen):
        if seen:
            low, high = hand[:, :2].min(0) - _HAND_MARGIN_PX, hand[:, :2].max(0) + _HAND_MARGIN_PX
            mask[max(int(low[1]), 0):max(int(high[1]), 0), max(int(low[0]), 0):max(int(high[0]), 0)] = False
    return mask


def _eroded(matte: NDArray[np.float32], reach_px: int) -> Mask:
    return cv2.erode((matte > 0.95).astype(np.uint8), _disc(reach_px)) > 0


def _moved(matte: NDArray[np.float32], shift: NDArray[np.float32]) -> NDArray[np.float32]:
    matrix = np.array([[1, 0, shift[0]], [0, 1, shift[1]]], np.float64)
    return np.asarray(cv2.warpAffine(matte, matrix, matte.shape[::-1]))


def _filled(size: tuple[int, ...], outline: NDArray[np.float32]) -> Mask:
    mask = np.zeros(size, np.uint8)
    cv2.fillPoly(mask, [np.round(outline).astype(np.int32)], 1)
    return mask > 0


def _disc(radius: int) -> NDArray[np.uint8]:
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1)))
