"""The values that pass between the stages of the motion half: names, shapes, units."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

# Apple's ARKit blend shape locations, in the order of MediaPipe's face blendshapes (without its `_neutral`), then tongueOut.
ARKIT_NAMES: tuple[str, ...] = (
    "browDownLeft", "browDownRight", "browInnerUp", "browOuterUpLeft", "browOuterUpRight",
    "cheekPuff", "cheekSquintLeft", "cheekSquintRight",
    "eyeBlinkLeft", "eyeBlinkRight", "eyeLookDownLeft", "eyeLookDownRight", "eyeLookInLeft", "eyeLookInRight",
    "eyeLookOutLeft", "eyeLookOutRight", "eyeLookUpLeft", "eyeLookUpRight", "eyeSquintLeft", "eyeSquintRight",
    "eyeWideLeft", "eyeWideRight",
    "jawForward", "jawLeft", "jawOpen", "jawRight",
    "mouthClose", "mouthDimpleLeft", "mouthDimpleRight", "mouthFrownLeft", "mouthFrownRight", "mouthFunnel",
    "mouthLeft", "mouthLowerDownLeft", "mouthLowerDownRight", "mouthPressLeft", "mouthPressRight", "mouthPucker",
    "mouthRight", "mouthRollLower", "mouthRollUpper", "mouthShrugLower", "mouthShrugUpper",
    "mouthSmileLeft", "mouthSmileRight", "mouthStretchLeft", "mouthStretchRight",
    "mouthUpperUpLeft", "mouthUpperUpRight", "noseSneerLeft", "noseSneerRight", "tongueOut",
)
ARKIT_INDEX: dict[str, int] = {name: index for index, name in enumerate(ARKIT_NAMES)}

# Groups of the blendshapes, for style ranges, intensity dials and evaluation.
EXPRESSION_GROUPS: dict[str, tuple[str, ...]] = {
    "mouth": tuple(n for n in ARKIT_NAMES if n.startswith(("mouth", "jaw", "tongue"))),
    "brows": tuple(n for n in ARKIT_NAMES if n.startswith("brow")),
    "eyes": tuple(n for n in ARKIT_NAMES if n.startswith("eye")),
    "cheeks": tuple(n for n in ARKIT_NAMES if n.startswith(("cheek", "nose"))),
}

BODY_KEYPOINTS: tuple[str, ...] = (
    "neck", "chest", "shoulderLeft", "shoulderRight", "elbowLeft", "elbowRight", "wristLeft", "wristRight",
    "hipLeft", "hipRight", "belly", "upperArmLeft", "upperArmRight", "collar",
)

# MANO's joint order: three joints a finger, from the palm outwards.
HAND_JOINTS: tuple[str, ...] = tuple(
    f"{finger}{joint}" for finger in ("index", "middle", "pinky", "ring", "thumb") for joint in (1, 2, 3)
)

EXPRESSION_DIM = len(ARKIT_NAMES)  # 52
POSE_DIM = 6  # rotation 3 (axis-angle, rad) + translation 3 (metres)
FACE_DIM = EXPRESSION_DIM + POSE_DIM  # 58
BODY_POINTS = len(BODY_KEYPOINTS)  # 14
HAND_DIM = len(HAND_JOINTS) * 3 + 3 + 3  # 51
BODY_DIM = BODY_POINTS * 3 + 2 * HAND_DIM  # 144


@dataclass
class FaceMotion:
    """Face and head over time, relative to the person's pose in the picture.

    expression: ``[..., T, 52]`` ARKit weights in [0, 1]
    rotation: ``[..., T, 3]`` axis-angle, rad, template axes
    translation: ``[..., T, 3]`` metres, template axes
    """

    expression: Tensor
    rotation: Tensor
    translation: Tensor

    def packed(self) -> Tensor:
        """The vector the diffusion model sees: ``[..., T, 58]``."""
        return torch.cat([self.expression, self.rotation, self.translation], dim=-1)

    @classmethod
    def unpack(cls, packed: Tensor) -> FaceMotion:
        """Inverse of `packed`."""
        expression, rotation, translation = packed.split([EXPRESSION_DIM, 3, 3], dim=-1)
        return cls(expression, rotation, translation)


@dataclass
class BodyMotion:
    """Upper body and hands over time.

    delta: ``[..., T, 14, 3]`` displacement of the body keypoints, shoulder widths, image axes (Eq. 1's δ)
    hands: ``[..., T, 2, 51]`` left, right: 15 × 3 joint rotations, global rotation 3, wrist translation 3
    """

    delta: Tensor
    hands: Tensor

    def packed(self) -> Tensor:
        """``[..., T, 144]``."""
        return torch.cat([self.delta.flatten(-2), self.hands.flatten(-2)], dim=-1)

    @classmethod
    def unpack(cls, packed: Tensor) -> BodyMotion:
        """Inverse of `packed`."""
        delta, hands = packed.split([BODY_POINTS * 3, 2 * HAND_DIM], dim=-1)
        return cls(delta.unflatten(-1, (BODY_POINTS, 3)), hands.unflatten(-1, (2, HAND_DIM)))


@dataclass
class StyleRange:
    """What AdaLN sees of a style: amplitude of expression and pose. Each may be absent (the learned null is used).

    expression: ``[..., 4]`` standard deviation of each of `EXPRESSION_GROUPS`, weight units
    pose: ``[..., 6]`` standard deviation of rotation (rad) and translation (metres)
    """

    expression: Tensor | None = None
    pose: Tensor | None = None
