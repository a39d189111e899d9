"""Which pixels of a picture are a fitted hand: GrabCut, seeded with the fitted mesh."""

from __future__ import annotations

import numpy as np
import torch

from motion.template.hand_fit import HandFit, drive_hand
from motion.types import HAND_DIM
from render.rasterize import interpolate, rasterize

FINGER = 0.016  # metres, a finger's width: the unit of the seeds
ITERATIONS = 3


def hand_mask(picture: np.ndarray, fit: HandFit) -> np.ndarray:
    """``[H, W]`` bool; `picture` is ``[H, W, 3]`` uint8.

    Sure hand: the mesh shrunk by a quarter of a finger. Sure background: farther than half a finger from the mesh. The
    forearm belongs to neither (it may be skin or sleeve).
    """
    import cv2  # comes with mediapipe

    H, W, _ = picture.shape
    vertices = drive_hand(fit, torch.zeros(1, HAND_DIM), 1.0)
    width = FINGER * fit.scale
    low = (vertices[0, :, :2].amin(0) - 2 * width).floor().long().clamp_min(0)
    high = torch.minimum((vertices[0, :, :2].amax(0) + 2 * width).ceil().long(), torch.tensor([W, H]))
    (x0, y0), (x1, y1) = low.tolist(), high.tolist()
    result = np.zeros((H, W), dtype=bool)
    if x1 - x0 < 4 or y1 - y0 < 4:
        return result
    local = vertices - torch.tensor([x0, y0, 0.0])
    fragments = rasterize(local, fit.template.triangles, (y1 - y0, x1 - x0))
    forearm = interpolate(fragments, fit.template.triangles, fit.template.weights[None, :, -1:])[0, 0].numpy()
    mesh = fragments.mask[0].numpy().astype(np.uint8)
    seeds = np.full(mesh.shape, cv2.GC_PR_BGD, dtype=np.uint8)
    seeds[mesh > 0] = cv2.GC_PR_FGD
    seeds[cv2.erode(mesh, _disc(0.25 * width)) > 0] = cv2.GC_FGD
    seeds[(mesh > 0) & (forearm > 0.3)] = cv2.GC_PR_BGD
    seeds[cv2.dilate(mesh, _disc(0.5 * width)) == 0] = cv2.GC_BGD
    crop = np.ascontiguousarray(picture[y0:y1, x0:x1, ::-1])
    cv2.setRNGSeed(0)
    cv2.grabCut(crop, seeds, None, np.zeros((1, 65)), np.zeros((1, 65)), ITERATIONS, cv2.GC_INIT_WITH_MASK)
    result[y0:y1, x0:x1] = (seeds == cv2.GC_FGD) | (seeds == cv2.GC_PR_FGD)
    return result


def _disc(radius: float) -> np.ndarray:
    size = 2 * max(1, round(radius)) + 1
    y, x = np.mgrid[:size, :size] - size // 2
    return (x * x + y * y <= (size // 2) ** 2).astype(np.uint8)
