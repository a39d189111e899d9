"""Body landmarks of one person (MediaPipe Pose, 33 points)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from chatanyone.vision.geometry import Crop, Points
from chatanyone.vision.solutions import Image, process

_CROP = 512  # pixels; the networks see 224² and 256² of it
NOSE, LEFT_SHOULDER, RIGHT_SHOULDER = 0, 11, 12
HAND_POINTS = ((15, 17, 19, 21), (16, 18, 20, 22))  # wrist, pinky, index, thumb of the person's left and right hand


@dataclass(frozen=True)
class PoseLandmarks:
    """points: ``[33, 3]`` picture pixels, z larger is nearer; visibility: ``[33]`` 0 to 1."""

    points: Points
    visibility: NDArray[np.float32]

    @property
    def shoulder_width_px(self) -> float:
        """Distance of the two shoulders in the picture."""
        return float(np.linalg.norm(self.points[LEFT_SHOULDER, :2] - self.points[RIGHT_SHOULDER, :2]))


def detect_pose(image: Image, region: tuple[float, float, float, float] | None = None) -> PoseLandmarks | None:
    """The body of the most prominent person, or None.

    image: ``[H, W, 3]`` uint8 RGB
    region: x0, y0, x1, y1 in pixels to look in (around a chosen face); the whole picture without it
    """
    H, W, _ = image.shape
    x0, y0, x1, y1 = region if region is not None else (0.0, 0.0, float(W), float(H))
    side = max(x1 - x0, y1 - y0)
    crop = Crop.around(((x0 + x1) / 2, (y0 + y1) / 2), side, _CROP)
    result = process("pose", crop.cut(image)).pose_landmarks
    if result is None:
        return None
    points = np.array([(p.x, p.y, -p.z) for p in result.landmark], dtype=np.float32) * crop.size
    visibility = np.array([p.visibility for p in result.landmark], dtype=np.float32)
    return PoseLandmarks(crop.to_picture(points), visibility)
