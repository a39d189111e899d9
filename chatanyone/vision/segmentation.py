"""Where the person is, coarsely (MediaPipe's selfie segmentation and the pose network's own mask)."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from chatanyone.vision.geometry import Crop
from chatanyone.vision.solutions import Image, process

Mask = NDArray[np.float32]  # [H, W], 0 to 1


def person_mask(image: Image) -> Mask:
    """Probability of "person" per pixel, ``[H, W]``; the network sees 256², so edges are soft by some pixels."""
    return np.clip(np.asarray(process("selfie", image).segmentation_mask, dtype=np.float32), 0, 1)


def person_mask_in(image: Image, box: tuple[float, float, float, float]) -> Mask:
    """The same, from the square around ``box`` (pixels) alone: finer there. NaN outside the square."""
    H, W, _ = image.shape
    x0, y0, x1, y1 = box
    crop = Crop.around(((x0 + x1) / 2, (y0 + y1) / 2), max(x1 - x0, y1 - y0), 512)
    mask = person_mask(crop.cut(image))
    matrix = crop.matrix.copy()
    matrix[:, 2] += matrix[:, :2] @ np.full(2, 0.5) - 0.5
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(mask, matrix, (W, H), flags=flags, borderMode=cv2.BORDER_CONSTANT, borderValue=float("nan"))


def pose_mask(image: Image) -> Mask | None:
    """The mask of the one person whose pose is found, ``[H, W]``, or None: isolates the main person of several."""
    mask = process("pose_mask", image).segmentation_mask
    return None if mask is None else np.clip(np.asarray(mask, dtype=np.float32), 0, 1)
