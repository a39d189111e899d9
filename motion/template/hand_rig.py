"""What a hand template derives from joints and skin: its frame, finger tips, joint axes, how landmarks move vertices.

Shared by the tool that builds the default hand and by the MANO adapter. numpy, metres.
"""

from __future__ import annotations

import numpy as np

from motion.template.hands import BONES, LANDMARK_BONES, PALM_LANDMARKS
from motion.types import HAND_JOINTS

FINGERS = ("thumb", "index", "middle", "ring", "pinky")
TIP_DEPTH = 0.004  # metres inside the finger's end, as MediaPipe marks it
FOREARM = BONES.index("forearm")


def unit(vector: np.ndarray) -> np.ndarray:
    """Vectors ``[..., 3]`` of length one."""
    return vector / np.linalg.norm(vector, axis=-1, keepdims=True)


def hand_frame(wrist: np.ndarray, middle: np.ndarray, index: np.ndarray, pinky: np.ndarray) -> np.ndarray:
    """Rows X, Y, Z of the left hand's frame from wrist and knuckles: Y to the middle one, X from index to pinky."""
    up = unit(middle - wrist)
    across = pinky - index
    right = unit(across - up * (across @ up))
    return np.stack([right, up, np.cross(right, up)])


def finger_tips(vertices: np.ndarray, weights: np.ndarray, joints: np.ndarray) -> dict[str, np.ndarray]:
    """Tip of each finger, a little inside the farthest vertices of its last bone."""
    tips = {}
    for finger in FINGERS:
        bone = BONES.index(f"{finger}3")
        own = vertices[weights[:, bone] > 0.5] - joints[bone]
        length = np.linalg.norm(own, axis=1)
        direction = unit(own[length >= np.quantile(length, 0.8)].mean(axis=0))
        tips[finger] = joints[bone] + direction * ((own @ direction).max() - TIP_DEPTH)
    return tips


def place_landmarks(joints: np.ndarray, tips: dict[str, np.ndarray]) -> np.ndarray:
    """MediaPipe's points ``[21, 3]`` at rest: the joints, and each finger's tip after its last joint."""
    points = [joints[BONES.index(name)] for name in LANDMARK_BONES]
    for row, name in enumerate(LANDMARK_BONES):
        if row > 0 and row % 4 == 0:
            points[row] = tips[name[:-1]]
    return np.stack(points)


def joint_axes(landmarks: np.ndarray) -> np.ndarray:
    """Flexion, abduction and twist axes of the 15 joints ``[15, 3, 3]``: twist along the bone.

    Fingers bend about the hand's X made orthogonal to the bone; the thumb about the normal of the plane it lies in.
    """
    first = LANDMARK_BONES.index("thumb1")
    chain = unit(np.diff(landmarks[first:first + 4], axis=0))
    thumb = unit(np.cross(chain[0], chain[2]))
    axes = []
    for name in HAND_JOINTS:
        row = LANDMARK_BONES.index(name)
        twist = unit(landmarks[row + 1] - landmarks[row])
        bend = thumb if name.startswith("thumb") else np.array([1.0, 0.0, 0.0])
        flexion = unit(bend - twist * (bend @ twist))
        axes.append(np.stack([flexion, np.cross(twist, flexion), twist]))
    return np.stack(axes)


def landmark_spread(vertices: np.ndarray, weights: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """``[V, 21]``, rows sum to one: along a finger linear between its landmarks, on the palm by inverse distance."""
    result = np.zeros((len(vertices), len(landmarks)))
    for row, name in enumerate(LANDMARK_BONES[:-1]):
        if row == 0 or row % 4 == 0:
            continue
        bone = landmarks[row + 1] - landmarks[row]
        along = np.clip((vertices - landmarks[row]) @ bone / (bone @ bone), 0, 1)
        share = weights[:, BONES.index(name)]
        result[:, row] += share * (1 - along)
        result[:, row + 1] += share * along
    palm = list(PALM_LANDMARKS)
    inverse = 1 / (np.linalg.norm(vertices[:, None] - landmarks[palm], axis=2) ** 2 + 1e-5)
    result[:, palm] += weights[:, :1] * inverse / inverse.sum(axis=1, keepdims=True)
    result[:, 0] += weights[:, FOREARM]
    return result


def rig_arrays(vertices: np.ndarray, weights: np.ndarray, joints: np.ndarray, triangles: np.ndarray
               ) -> dict[str, np.ndarray]:
    """All arrays of `HandTemplate` from a left hand in its frame: ``[V, 3]``, ``[V, 17]``, ``[16, 3]``, ``[F, 3]``."""
    landmarks = place_landmarks(joints, finger_tips(vertices, weights, joints))
    floats = {"vertices": vertices, "weights": weights, "joints": joints, "landmarks": landmarks,
              "axes": joint_axes(landmarks), "spread": landmark_spread(vertices, weights, landmarks)}
    bones = np.array([BONES.index(name) for name in LANDMARK_BONES])
    arrays = {name: array.astype(np.float32) for name, array in floats.items()}
    return arrays | {"triangles": triangles.astype(np.int32), "landmark_bone": bones.astype(np.int32)}
