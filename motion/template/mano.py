"""MANO hands in place of the default ones, from files the user supplies (licensed; never shipped, never unpickled).

`load_mano` gives a `HandTemplate`: same frame, joints, landmarks, fit and drive, so nothing else changes. MANO's joint
order is ours already. Shape and joints come from smplx's functions; posing equals `smplx.lbs.lbs` (tested). A rotation
in MANO's own axes becomes one in the template's by turning its axis: ``axis @ template.frame.T``.

How to make the `.npz`: `docs/licensed_models.md`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from motion.template.hand_rig import hand_frame, rig_arrays
from motion.template.hands import BONES, HandTemplate, Side, mirror
from motion.template.head import rotation_matrix
from motion.template.model_file import load_arrays

JOINTS = 16
KEYS: dict[str, tuple[int | None, ...]] = {
    "v_template": (None, 3), "f": (None, 3), "weights": (None, JOINTS), "J_regressor": (JOINTS, None),
    "posedirs": (None, 3, (JOINTS - 1) * 9), "shapedirs": (None, 3, None),
}


class ManoTemplate(HandTemplate):
    """A `HandTemplate` with MANO's pose-dependent shape. MANO ends at the wrist: it has no forearm to turn.

    frame: ``[3, 3]`` rows are the template's axes in MANO's
    posedirs: ``[135, V·3]`` metres per entry of (joint rotation - identity), MANO's axes
    """

    frame: Tensor
    posedirs: Tensor

    def corrective(self, joint_rotations: Tensor) -> Tensor:
        """``[B, V, 3]`` metres, added to the rest vertices in the given pose."""
        frame = self.frame.to(joint_rotations.dtype)
        rotation = rotation_matrix(joint_rotations @ frame)
        feature = (rotation - torch.eye(3, dtype=rotation.dtype, device=rotation.device)).flatten(1)
        return (feature @ self.posedirs.to(rotation.dtype)).unflatten(1, (-1, 3)) @ frame.t()


def load_mano(path: Path | str, side: Side, *, shape: Tensor | None = None) -> ManoTemplate:
    """Read one hand of MANO.

    Args:
        path: `.npz` with MANO_LEFT's or MANO_RIGHT's arrays (`KEYS`), as numbers, ``J_regressor`` dense.
        side: which hand the file holds (the person's).
        shape: ``[up to 10]`` MANO's betas of the person; mean hand by default.
    """
    file = load_arrays(path, KEYS)
    vertices, joints = _shaped(file, torch.zeros(1) if shape is None else shape)
    vertices, joints = vertices - joints[0], joints - joints[0]
    frame = _frame(joints, side)
    arrays = _hand_arrays(vertices @ frame.T, joints @ frame.T, file, side)
    posedirs = torch.from_numpy(file["posedirs"]).flatten(0, 1).t().contiguous()
    return ManoTemplate(arrays | {"frame": torch.from_numpy(frame), "posedirs": posedirs}, side)


def _shaped(file: dict[str, np.ndarray], shape: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Rest vertices ``[V, 3]`` and joints ``[16, 3]`` of the person, MANO's axes, metres."""
    from smplx.lbs import blend_shapes, vertices2joints

    tensors = {name: torch.from_numpy(file[name]).double() for name in ("v_template", "shapedirs", "J_regressor")}
    basis = tensors["shapedirs"][:, :, : len(shape)]
    vertices = tensors["v_template"] + blend_shapes(shape.double()[None], basis)
    return vertices[0].numpy(), vertices2joints(tensors["J_regressor"], vertices)[0].numpy()


def _frame(joints: np.ndarray, side: Side) -> np.ndarray:
    """The template's axes in MANO's; the right hand's X runs from pinky to index."""
    index, middle, pinky = (joints[BONES.index(name)] for name in ("index1", "middle1", "pinky1"))
    first, last = (index, pinky) if side == "left" else (pinky, index)
    return hand_frame(joints[0], middle, first, last)


def _hand_arrays(
    vertices: np.ndarray, joints: np.ndarray, file: dict[str, np.ndarray], side: Side
) -> dict[str, Tensor]:
    """The arrays of `HandTemplate`; they are derived for a left hand, so a right one is mirrored there and back."""
    weights = np.concatenate([file["weights"], np.zeros((len(vertices), 1))], axis=1)  # no forearm
    triangles = file["f"].astype(np.int64)
    if side == "right":
        flip = np.array([-1.0, 1.0, 1.0])
        vertices, joints, triangles = vertices * flip, joints * flip, triangles[:, [0, 2, 1]]
    arrays = {name: torch.from_numpy(array) for name, array in rig_arrays(vertices, weights, joints, triangles).items()}
    return arrays if side == "left" else mirror(arrays)
