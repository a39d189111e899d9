"""MediaPipe 0.10's classic solutions: their models lie inside the wheel, so nothing is ever downloaded."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chatanyone.vision.quiet import quiet_stderr

Image = NDArray[np.uint8]  # [H, W, 3] RGB


@lru_cache(maxsize=None)
def _solution(name: str) -> Any:
    with quiet_stderr():
        import mediapipe as mp  # a second of import time, so only where it is used

        solutions = mp.solutions
        if name == "face_detection":  # 1: the full-range model, for small faces
            return solutions.face_detection.FaceDetection(model_selection=1, min_detection_confidence=0.3)
        if name == "face_mesh":
            return solutions.face_mesh.FaceMesh(
                static_image_mode=True, refine_landmarks=True, min_detection_confidence=0.3)
        if name in ("pose", "pose_mask"):  # complexity 1 is the only one whose model ships inside the wheel
            return solutions.pose.Pose(
                static_image_mode=True, model_complexity=1, enable_segmentation=name == "pose_mask",
                min_detection_confidence=0.3)
        if name == "hands":
            return solutions.hands.Hands(
                static_image_mode=True, max_num_hands=2, model_complexity=1, min_detection_confidence=0.3)
        if name == "selfie":
            return solutions.selfie_segmentation.SelfieSegmentation(model_selection=0)
    raise ValueError(f"no MediaPipe solution named {name!r}")


def process(name: str, image: Image) -> Any:
    """Runs the solution ``name`` on one RGB picture.

    image: ``[H, W, 3]`` uint8 RGB
    """
    with quiet_stderr():
        return _solution(name).process(np.ascontiguousarray(image))
