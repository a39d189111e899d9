"""Faces in pictures of any size: find them in tiles, then measure each on its own enlarged, upright crop."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from chatanyone.vision.geometry import Crop, Points, box_of, overlap
from chatanyone.vision.solutions import Image, process

_MESH_CROP = 384  # pixels; the mesh network itself looks at 192² of it
_LARGEST = 3072  # pixels; bigger pictures are shrunk for the search only
_DETECTABLE = 1 / 14  # smallest face the full-range detector finds, as a part of the picture it is given
_SMALLEST_PX = 16  # well below what a portrait needs, so that "too small" can be said of a face instead of "none"
_OVERLOOKED_PX = 512  # a picture is shrunk to this when nothing but faces that fill it is left to find
CHEEKS = (50, 280, 205, 425)  # points of the mesh whose colour is the skin's
_RIGHT_EYE, _LEFT_EYE = (33, 133), (362, 263)  # outer and inner corners; the person's right eye is left in the picture


@dataclass(frozen=True, eq=False)
class Face:
    """One face, in pixels of the picture it was found in.

    box: ``[4]`` x0, y0, x1, y1 of the landmarks
    score: the detector's, 0 to 1
    landmarks: ``[478, 3]`` MediaPipe's mesh with irises; z in pixels, larger is nearer (docs/architecture.md)
    """

    box: NDArray[np.float32]
    score: float
    landmarks: Points

    @property
    def height_px(self) -> float:
        """From forehead (point 10) to chin (point 152), whichever way the head is turned."""
        return float(np.linalg.norm(self.landmarks[10] - self.landmarks[152]))

    @property
    def center(self) -> tuple[float, float]:
        """Middle of the box."""
        return float(self.box[0] + self.box[2]) / 2, float(self.box[1] + self.box[3]) / 2


@dataclass(frozen=True)
class _Candidate:
    box: NDArray[np.float32]
    score: float
    angle_rad: float

    @property
    def side_px(self) -> float:
        return float(max(self.box[2] - self.box[0], self.box[3] - self.box[1]))


def detect_faces(image: Image) -> list[Face]:
    """Every face of the picture, largest first; an empty list when there is none.

    image: ``[H, W, 3]`` uint8 RGB. Faces much smaller than the largest (bystanders, posters) are not searched for.
    """
    faces: list[Face] = []
    for candidate in sorted(_candidates(image) or _candidates_with_room(image), key=lambda c: -c.side_px):
        if any(overlap(candidate.box, face.box) > 0.5 for face in faces):
            continue
        face = _measure(image, candidate)
        if face is not None and not any(overlap(face.box, other.box) > 0.5 for other in faces):
            faces.append(face)
    return sorted(faces, key=lambda face: -face.height_px)


def face_landmarks(image: Image, guess: Points, passes: int = 1) -> Points | None:
    """The mesh measured on an upright crop around ``guess``: a previous frame's landmarks, or a first estimate.

    Each pass cuts the crop anew at a slightly different size, and the passes are averaged, which removes most of the
    network's jitter. Returns ``[478, 3]`` picture pixels, or None where no face is seen there any more.
    """
    found = []
    for index in range(passes):
        side = 1.55 * _extent(guess) * (1 + 0.06 * (index - (passes - 1) / 2))
        points = _mesh(image, Crop.around(_middle(guess), side, _MESH_CROP, _roll(guess)))
        if points is not None:
            found.append(points)
    return np.mean(found, axis=0).astype(np.float32) if found else None


def yaw_asymmetry(landmarks: Points) -> float:
    """0 for a frontal face, ±1 and beyond in profile: how far the nose bridge lies off the middle of the cheeks.

    Positive when the person turns to the image's right.
    """
    right, left, nose = (landmarks[index, :2].astype(np.float64) for index in (234, 454, 6))
    across = left - right
    along = float(np.dot(nose - right, across) / max(float(np.dot(across, across)), 1e-6))
    return 2 * along - 1


def _measure(image: Image, candidate: _Candidate) -> Face | None:
    x0, y0, x1, y1 = (float(value) for value in candidate.box)
    crop = Crop.around(((x0 + x1) / 2, (y0 + y1) / 2), 1.9 * candidate.side_px, _MESH_CROP, candidate.angle_rad)
    first = _mesh(image, crop)
    if first is None or overlap(box_of(first), candidate.box) < 0.3:
        return None
    landmarks = face_landmarks(image, first, passes=3)
    return None if landmarks is None else Face(box_of(landmarks), candidate.score, landmarks)


def _mesh(image: Image, crop: Crop) -> Points | None:
    result = process("face_mesh", crop.cut(image)).multi_face_landmarks
    if not result:
        return None
    points = np.array([(p.x, p.y, -p.z) for p in result[0].landmark], dtype=np.float32) * crop.size
    return crop.to_picture(points)


def _candidates(image: Image) -> list[_Candidate]:
    H, W, _ = image.shape
    shrink = min(1.0, _LARGEST / max(H, W))
    small = image if shrink == 1 else cv2.resize(image, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA)
    found: list[_Candidate] = []
    tile = float(max(small.shape[:2]))
    # Halve the tiles until faces could be neither a quarter of the largest found, nor large enough to be used.
    while tile * _DETECTABLE > max(_SMALLEST_PX, 0.125 * max([c.side_px for c in found], default=0)):
        for x, y, cut in _tiles(small, int(tile)):
            found += _detect(cut, x, y)
        tile /= 2
    found = [_Candidate(c.box / shrink, c.score, c.angle_rad) for c in found]
    return _distinct(found)


def _candidates_with_room(image: Image) -> list[_Candidate]:
    """Faces that fill the picture, which the detector overlooks but sees in the middle of one three times as wide."""
    shrink = min(1.0, _OVERLOOKED_PX / max(image.shape[:2]))
    small = cv2.resize(image, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA)
    rim = max(small.shape[:2])
    found = _detect(cv2.copyMakeBorder(small, rim, rim, rim, rim, cv2.BORDER_REPLICATE), -rim, -rim)
    return _distinct([_Candidate(c.box / shrink, c.score, c.angle_rad) for c in found])


def _tiles(image: Image, tile: int) -> Iterator[tuple[int, int, Image]]:
    """Overlapping squares (by a third) that cover the picture, with their origins."""
    H, W, _ = image.shape
    for y in _starts(H, tile):
        for x in _starts(W, tile):
            yield x, y, image[y:y + tile, x:x + tile]


def _starts(length: int, tile: int) -> list[int]:
    if tile >= length:
        return [0]
    count = math.ceil((length - tile) / (tile * 2 / 3)) + 1
    return [round(start) for start in np.linspace(0, length - tile, count)]


def _detect(cut: Image, x: int, y: int) -> list[_Candidate]:
    H, W, _ = cut.shape
    out = []
    for detection in process("face_detection", cut).detections or []:
        box = detection.location_data.relative_bounding_box
        eyes = [(p.x * W, p.y * H) for p in detection.location_data.relative_keypoints[:2]]  # the person's right, left
        corners = [x + box.xmin * W, y + box.ymin * H, x + (box.xmin + box.width) * W, y + (box.ymin + box.height) * H]
        angle = math.atan2(eyes[1][1] - eyes[0][1], eyes[1][0] - eyes[0][0])
        out.append(_Candidate(np.array(corners, dtype=np.float32), float(detection.score[0]), angle))
    return out


def _distinct(candidates: list[_Candidate]) -> list[_Candidate]:
    kept: list[_Candidate] = []
    for candidate in sorted(candidates, key=lambda c: -c.score):
        if all(overlap(candidate.box, other.box) < 0.5 for other in kept):
            kept.append(candidate)
    return kept


def _middle(landmarks: Points) -> tuple[float, float]:
    x0, y0, x1, y1 = box_of(landmarks)
    return float(x0 + x1) / 2, float(y0 + y1) / 2


def _extent(landmarks: Points) -> float:
    """Diagonal-free size of the face: the larger of its extents along and across the eye line."""
    angle = _roll(landmarks)
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    turned = (landmarks[:, :2] - landmarks[:, :2].mean(axis=0)) @ turn
    return float(np.ptp(turned, axis=0).max())


def _roll(landmarks: Points) -> float:
    right = landmarks[list(_RIGHT_EYE), :2].mean(axis=0)
    left = landmarks[list(_LEFT_EYE), :2].mean(axis=0)
    return math.atan2(float(left[1] - right[1]), float(left[0] - right[0]))
