"""Crops that remember where they came from.

Convention: pixel coordinates are continuous, the centre of the top-left pixel is (0.5, 0.5) (docs/architecture.md);
OpenCV counts from pixel centres, hence the half-pixel shifts in `Crop.cut`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float32]


@dataclass(frozen=True)
class Crop:
    """A turned square of a picture, resampled to ``size`` × ``size``: ``p_crop = matrix · [p_picture, 1]``."""

    matrix: NDArray[np.float64]
    size: int

    @classmethod
    def around(cls, center: tuple[float, float], side_px: float, size: int, angle_rad: float = 0.0) -> Crop:
        """``angle_rad``: the direction of the crop's x axis in the picture (positive turns towards +y, clockwise)."""
        scale = size / side_px
        cos, sin = scale * math.cos(angle_rad), scale * math.sin(angle_rad)
        turn = np.array([[cos, sin], [-sin, cos]])
        shift: NDArray[np.float64] = np.full(2, size / 2) - turn @ np.asarray(center, dtype=np.float64)
        return cls(np.concatenate([turn, shift[:, None]], axis=1), size)

    @property
    def scale(self) -> float:
        """Crop pixels per picture pixel."""
        return float(math.hypot(self.matrix[0, 0], self.matrix[1, 0]))

    def cut(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The crop's pixels; outside the picture its edge is repeated."""
        fine = max(1, round(1 / self.scale))  # shrinking: sample finely first, then average, against aliasing
        matrix = self.matrix * fine
        matrix[:, 2] += matrix[:, :2] @ np.full(2, 0.5) - 0.5
        side = self.size * fine
        out = cv2.warpAffine(image, matrix, (side, side), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        return out if fine == 1 else cv2.resize(out, (self.size, self.size), interpolation=cv2.INTER_AREA)

    def to_picture(self, points: Points) -> Points:
        """Crop pixels ``[..., 2 or 3]`` back to picture pixels; a third coordinate (depth) is only scaled."""
        inverse = np.linalg.inv(self.matrix[:, :2])
        out = np.array(points, dtype=np.float64)
        out[..., :2] = (out[..., :2] - self.matrix[:, 2]) @ inverse.T
        out[..., 2:] /= self.scale
        return out.astype(np.float32)


def box_of(points: Points) -> NDArray[np.float32]:
    """``[N, 2+]`` points to ``[x0, y0, x1, y1]``."""
    return np.concatenate([points[:, :2].min(axis=0), points[:, :2].max(axis=0)]).astype(np.float32)


def overlap(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    """Intersection over the smaller box: a face found inside another face is the same face."""
    low, high = np.maximum(a[:2], b[:2]), np.minimum(a[2:], b[2:])
    shared = float(np.prod(np.clip(high - low, 0, None)))
    area = min(float(np.prod(a[2:] - a[:2])), float(np.prod(b[2:] - b[:2])))
    return shared / max(area, 1e-6)
