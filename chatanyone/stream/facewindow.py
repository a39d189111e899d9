"""The face alone, drawn again into pictures that are ready, in less time than whole pictures (0.8 of it, measured).

The same scene, cut out around the face, is drawn with other motion of the mouth and laid over the picture with a soft
edge. Only for pictures by geometry and filter: the other nets see the whole picture.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from chatanyone.stages import PortraitScene
from motion.types import BodyMotion, FaceMotion
from render.types import RenderDrive, RenderSource, Surface
from render.warp import STRIDE

MARGIN = 4 * STRIDE  # px around the face window that are drawn and not shown, so that the window's own edge is right
FEATHER = 0.07  # of the window's side: over so much its edge fades

Box = tuple[int, int, int, int]  # x0, y0, x1, y1 px


class FaceWindow:
    """Args: scene: of the portrait, drawn by geometry alone."""

    def __init__(self, scene: PortraitScene) -> None:
        driver = _Cropped(scene.driver)
        self._driver, self._box = driver, driver.box
        self._scene = PortraitScene(driver, scene.renderer, scene.device, scene.batch, scene.workers)  # type: ignore[arg-type]
        self._mask = _soft(driver.source.face_box, driver.source.size)

    def __call__(self, face: FaceMotion, body: BodyMotion, pictures: NDArray[np.uint8]) -> NDArray[np.uint8] | None:
        """Pictures ``[N, H, W, 3]`` with the face as the motion ``[N, …]`` wants it, head and body where they were; None
        where a hand or an arm is before the face."""
        drawn = self._scene(face, body)
        if self._driver.covered:
            return None
        x0, y0, x1, y1 = self._box
        new = drawn.clamp(0, 1).mul(255).permute(0, 2, 3, 1).cpu().numpy()
        changed = pictures.copy()
        window = changed[:, y0:y1, x0:x1]
        window[:] = np.rint(window + self._mask * (new - window)).astype(np.uint8)
        return changed


class _Cropped:
    """A driver of the window alone; `covered`: a hand or an arm was in it when it was last asked."""

    def __init__(self, driver: Any) -> None:
        self._driver = driver
        self.box = _box(driver.source)
        self.source = _source(driver.source, self.box)
        self.covered = False

    def __call__(self, face: FaceMotion, body: BodyMotion) -> RenderDrive:
        drive = self._driver(face, body)
        x0, y0, x1, y1 = self.box
        low, high = torch.tensor([x0, y0]), torch.tensor([x1, y1])
        self.covered = any(bool(((points[..., :2] > low) & (points[..., :2] < high)).all(-1).any())
                           for points in (*drive.hands, *drive.limbs))
        deep, flat = torch.tensor([x0, y0, 0.0]), torch.tensor([float(x0), y0])
        return RenderDrive(drive.head - deep, drive.control - flat, [], drive.face_keypoints - deep,
                           drive.body_keypoints - flat)


def _box(source: RenderSource) -> Box:
    """Around the face window, on the nodes of the smooth field."""
    H, W = source.size
    x0, y0, side = source.face_box
    left, top = (max((low - MARGIN) // STRIDE * STRIDE, 0) for low in (x0, y0))
    right, bottom = (min(-(-(low + side + MARGIN) // STRIDE) * STRIDE, size // STRIDE * STRIDE)
                     for low, size in ((x0, W), (y0, H)))
    return left, top, right, bottom


def _source(source: RenderSource, box: Box) -> RenderSource:
    """The part of a picture that lies in the box, without arms and hands."""
    x0, y0, x1, y1 = box
    flat, deep = torch.tensor([float(x0), y0]), torch.tensor([x0, y0, 0.0])
    head = source.head
    cut = [layer[:, y0:y1, x0:x1].contiguous() for layer in (source.foreground, source.matte, source.plate)]
    return replace(
        source, foreground=cut[0], matte=cut[1], plate=cut[2], hands=[], limbs=[], cache={},
        head=Surface(head.triangles, head.source - flat, head.trust, head.part, head.arch), control=source.control - flat,
        face_box=(source.face_box[0] - x0, source.face_box[1] - y0, source.face_box[2]),
        face_keypoints=source.face_keypoints - deep, body_keypoints=source.body_keypoints - flat,
        body=None if source.body is None else source.body[:, y0:y1, x0:x1].contiguous(),
        teeth=None if source.teeth is None else source.teeth[:, y0:y1, x0:x1].contiguous())


def _soft(face_box: tuple[int, int, int], size: tuple[int, int]) -> NDArray[np.float32]:
    """``[h, w, 1]``: 1 inside the face window, 0 on its edge and outside."""
    x0, y0, side = face_box
    x, y = (np.arange(count, dtype=np.float32) + 0.5 - low for count, low in ((size[1], x0), (size[0], y0)))
    inside = [np.clip(np.minimum(place, side - place) / (FEATHER * side), 0, 1) for place in (y, x)]
    return (inside[0][:, None] * inside[1][None])[..., None]
