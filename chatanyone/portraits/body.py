"""The 14 body keypoints from MediaPipe's pose; what is not seen is placed by anatomy. Proportions are our choice."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from chatanyone.vision import PoseLandmarks
from motion.types import BODY_KEYPOINTS

Points = NDArray[np.float32]
_SEEN = 0.5  # visibility from which a pose landmark counts
_FOREHEAD, _CHIN = 10, 152
# In shoulder widths: neck base above the shoulder line, and places along the torso below it.
_NECK_ABOVE, _COLLAR, _CHEST, _BELLY, _HIPS = 0.16, 0.05, 0.38, 0.85, 1.35
_UPPER_ARM, _FOREARM, _HIP_HALF = 0.78, 0.68, 0.33


def body_keypoints(face: Points, pose: PoseLandmarks | None) -> tuple[Points, float]:
    """``[14, 3]`` in the order of `BODY_KEYPOINTS` (picture pixels, z larger is nearer, 0 at the neck base), and the
    shoulder width in pixels.

    face: ``[478, 3]`` landmarks in the same picture
    """
    shoulders = _shoulders(face, pose)
    width = float(np.linalg.norm(shoulders[0, :2] - shoulders[1, :2]))
    middle = shoulders.mean(axis=0)
    up = _up(face, middle)
    side = np.array([-up[1], up[0], 0], dtype=np.float32)  # to the person's left, which is the image's right
    hips = np.stack([middle + width * (-_HIPS * up + sign * _HIP_HALF * side) for sign in (1, -1)])
    hips = _seen_or(pose, (23, 24), hips)
    if not 0.7 * width < float(np.dot(middle - hips.mean(axis=0), up)) < 2.2 * width:
        hips = np.stack([middle + width * (-_HIPS * up + sign * _HIP_HALF * side) for sign in (1, -1)])
    hanging = np.stack([-_UPPER_ARM * up + sign * 0.12 * side for sign in (1, -1)])
    elbows = _seen_or(pose, (13, 14), shoulders + width * hanging)
    wrists = _seen_or(pose, (15, 16), elbows - width * _FOREARM * up)
    torso = (hips.mean(axis=0) - middle) / _HIPS
    places = {
        "neck": middle + width * _NECK_ABOVE * up, "collar": middle + _COLLAR * torso,
        "chest": middle + _CHEST * torso, "belly": middle + _BELLY * torso,
    }
    for index, name in enumerate(("Left", "Right")):
        places["shoulder" + name], places["elbow" + name] = shoulders[index], elbows[index]
        places["wrist" + name], places["hip" + name] = wrists[index], hips[index]
        places["upperArm" + name] = (shoulders[index] + elbows[index]) / 2
    points = np.stack([places[name] for name in BODY_KEYPOINTS]).astype(np.float32)
    points[:, 2] = np.clip(points[:, 2] - points[0, 2], -width, width)  # the pose's depth is only a rough guess
    return points, width


def face_height_px(face: Points) -> float:
    """Forehead to chin, pixels."""
    return float(np.linalg.norm(face[_FOREHEAD] - face[_CHIN]))


def shoulders_plausible(face: Points, pose: PoseLandmarks | None) -> bool:
    """Whether the pose's shoulders fit the face: pictures of a head alone give wild ones."""
    if pose is None or min(pose.visibility[11], pose.visibility[12]) < _SEEN:
        return False
    height = face_height_px(face)
    below = float(pose.points[[11, 12], 1].mean()) - float(face[_CHIN, 1])
    return 0.9 * height < pose.shoulder_width_px < 3.2 * height and -0.4 * height < below < 1.6 * height


def _shoulders(face: Points, pose: PoseLandmarks | None) -> Points:
    """``[2, 3]`` the person's left and right."""
    if pose is not None and shoulders_plausible(face, pose):
        return pose.points[[11, 12]].copy()
    height = face_height_px(face)
    center = face[_CHIN].astype(np.float32) + np.array([0, 0.5 * height, 0], dtype=np.float32)
    center[2] = float(face[_FOREHEAD, 2]) - 0.4 * height
    half = np.array([0.9 * height, 0, 0], dtype=np.float32)
    return np.stack([center + half, center - half])


def _up(face: Points, middle: Points) -> Points:
    """Unit vector in the image plane from the shoulders to the head, kept within 25° of upright."""
    towards = np.asarray(face[[33, 263], :2].mean(axis=0) - middle[:2], dtype=np.float64)
    angle = np.clip(np.arctan2(towards[0], max(-towards[1], 1e-6)), -0.44, 0.44) * 0.5  # half: the head tilts more
    return np.array([np.sin(angle), -np.cos(angle), 0], dtype=np.float32)


def _seen_or(pose: PoseLandmarks | None, indices: tuple[int, int], default: Points) -> Points:
    out = np.array(default, dtype=np.float32)
    for row, index in enumerate(indices):
        if pose is not None and pose.visibility[index] >= _SEEN:
            out[row] = pose.points[index]
    return out
