"""Both hands of one person (MediaPipe Hands, 21 points each), each measured on its own enlarged crop."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from chatanyone.vision.geometry import Crop, Points, box_of, overlap
from chatanyone.vision.pose import HAND_POINTS, PoseLandmarks
from chatanyone.vision.solutions import Image, process

SIDES = ("left", "right")  # the person's, everywhere in this project
_CROP = 320


@dataclass(frozen=True)
class Hand:
    """points: ``[21, 3]`` picture pixels, z larger is nearer, relative to the wrist; confidence: 0 to 1.

    agrees: the network's own idea of left and right is the side this hand was assigned to.
    """

    points: Points
    confidence: float
    agrees: bool = True


def detect_hands(image: Image, pose: PoseLandmarks | None = None) -> tuple[Hand | None, Hand | None]:
    """The person's left and right hand, None where it is not seen.

    The side comes from the pose's wrists, which know whose arm it is; without a pose from the network's own label.
    """
    if pose is None:
        return _by_label(_detect(image, _whole(image)))
    found = [_near(image, pose, side) for side in (0, 1)]
    left, right = found
    if left is not None and right is not None and overlap(box_of(left.points), box_of(right.points)) > 0.6:
        # Twice the same hand: it belongs to the nearer wrist.
        keep = 0 if _reach(left, pose, 0) <= _reach(right, pose, 1) else 1
        found[1 - keep] = None
    return found[0], found[1]


def _near(image: Image, pose: PoseLandmarks, side: int) -> Hand | None:
    H, W, _ = image.shape
    center = pose.points[list(HAND_POINTS[side]), :2].mean(axis=0)
    span = max(pose.shoulder_width_px, 40.0)
    if not (-0.2 * span < center[0] < W + 0.2 * span and -0.2 * span < center[1] < H + 0.2 * span):
        return None
    for scale in (0.8, 1.15):
        crop = Crop.around((float(center[0]), float(center[1])), scale * span, _CROP)
        hands = [(hand, label) for hand, label in _detect(image, crop) if _reach(hand, pose, side) < 0.5 * span]
        if hands:
            hand, label = min(hands, key=lambda pair: _reach(pair[0], pose, side) + (pair[1] != side) * 0.3 * span)
            return Hand(hand.points, hand.confidence, label == side)
    return None


def _reach(hand: Hand, pose: PoseLandmarks, side: int) -> float:
    """Distance in pixels between the hand's wrist and palm and those the pose expects on this side."""
    expected = pose.points[list(HAND_POINTS[side]), :2]
    return float(np.linalg.norm(hand.points[[0, 17, 5, 2], :2] - expected, axis=1).mean())


def _whole(image: Image) -> Crop:
    H, W, _ = image.shape
    return Crop.around((W / 2, H / 2), max(H, W), min(max(H, W), 1024))


def _detect(image: Image, crop: Crop) -> list[tuple[Hand, int]]:
    """Hands in the crop with the side the network believes (0 left, 1 right, the person's)."""
    result = process("hands", crop.cut(image))
    out = []
    for landmarks, handedness in zip(result.multi_hand_landmarks or [], result.multi_handedness or []):
        points = np.array([(p.x, p.y, -p.z) for p in landmarks.landmark], dtype=np.float32) * crop.size
        label = handedness.classification[0]
        side = 1 if label.label == "Left" else 0  # MediaPipe assumes a mirrored selfie: its Left is the person's right
        out.append((Hand(crop.to_picture(points), float(label.score)), side))
    return out


def _by_label(hands: list[tuple[Hand, int]]) -> tuple[Hand | None, Hand | None]:
    best: list[Hand | None] = [None, None]
    for hand, side in hands:
        current = best[side]
        if current is None or hand.confidence > current.confidence:
            best[side] = hand
    return best[0], best[1]
