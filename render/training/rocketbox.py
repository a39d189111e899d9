"""Microsoft Rocketbox people (MIT): skinned, photo-textured meshes that the visual performer of the training poses.

The `.npz` of a person holds ``verts`` (cm, Y up, face +Z), ``uv``, ``tri``, ``tri_uv``, ``tri_mat``,
``materials``, ``bones``, ``parents``, ``skin`` and ``link`` (bone matrices at rest, row vectors). The third material
(hair cards, whose textures are missing) is left out.

Convention: metres, +X to the person's left, +Y up, +Z to the front. A bone's turn is axis-angle about its head in the
*rest* axes of the body, relative to its parent; a bone's shift is metres in the same axes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from render.rasterize import rasterize

CENTIMETRE = 0.01
TEXTURE_SIZES = (2048, 1024, 512, 256)
PREFIX = "Bip01 "


class Area(IntEnum):
    """What a triangle belongs to; 0 is background."""

    HEAD = 1
    EYE = 2
    MOUTH = 3  # teeth, tongue and the inside of the mouth
    BODY = 4
    HAND_LEFT = 5
    HAND_RIGHT = 6


@dataclass
class Pose:
    """Turns (axis-angle, rad) and shifts (metres) of bones by name, without the prefix; absent bones rest. expression: ARKit
    weights by name, for people whose face has shapes instead of bones."""

    turn: dict[str, np.ndarray]
    shift: dict[str, np.ndarray]
    expression: dict[str, float] = field(default_factory=dict)


class Person:
    """One Rocketbox person.

    vertices ``[V, 3]`` metres at rest; triangles ``[F, 3]``; uv ``[V, 2]``, v down; material ``[F]`` 0 body, 1 head;
    area ``[F]`` (`Area`); torso: indices of the trunk's vertices; head ``{bone: [3]}`` where each bone starts;
    textures ``[material][level] [3, S, S]`` uint8
    """

    shapes = False  # whether expressions are blend shapes

    def __init__(self, path: Path) -> None:
        with np.load(path, allow_pickle=False) as file:
            data = {key: file[key] for key in file.files}
        self.name = path.stem
        self.bones = [str(name).removeprefix(PREFIX) for name in data["bones"]]
        self._parent = {bone: str(parent).removeprefix(PREFIX) for bone, parent in zip(self.bones, data["parents"])}
        self._order = self._parents_first()
        self.head = {bone: link[3, :3].astype(np.float64) * CENTIMETRE for bone, link in zip(self.bones, data["link"])}
        self._read_mesh(data)
        materials = [str(name) for name in data["materials"][:2]]
        self._kinds = ["head" if name.endswith("head") else "body" for name in materials]
        self.textures = [_pyramid(path.parent / f"{name}_color.jpg") for name in materials]
        self.area = torch.from_numpy(self._areas())
        trunk = [i for i, bone in enumerate(self.bones) if bone.startswith(("Pelvis", "Spine"))]
        self.torso = (self.skin[:, trunk].sum(dim=1) > 0.5).nonzero().squeeze(1)

    def _parents_first(self) -> list[str]:
        order: list[str] = []
        while len(order) < len(self.bones):
            order += [bone for bone in self.bones if bone not in order
                      and (self._parent[bone] in order or self._parent[bone] not in self.bones)]
        return order

    def _read_mesh(self, data: dict[str, np.ndarray]) -> None:
        """Split vertices along texture seams, so that a vertex has one texture coordinate."""
        keep = data["tri_mat"] < 2
        corners = np.stack([data["tri"][keep].reshape(-1), data["tri_uv"][keep].reshape(-1)], axis=1)
        used, corner = np.unique(corners, axis=0, return_inverse=True)
        self.triangles = torch.from_numpy(corner.reshape(-1, 3).astype(np.int64))
        self.welded = torch.from_numpy(np.unique(used[:, 0], return_inverse=True)[1].reshape(-1))
        self.vertices = torch.from_numpy(data["verts"][used[:, 0]] * np.float32(CENTIMETRE))
        self.skin = torch.from_numpy(data["skin"][used[:, 0]])
        u, v = data["uv"][used[:, 1]].T
        self.uv = torch.from_numpy(np.stack([u, 1 - v], axis=1))
        self.material = torch.from_numpy(data["tri_mat"][keep].astype(np.int64))

    def _areas(self) -> np.ndarray:
        """Eyes and hands by their bones; the mouth's inside is what hides in a box behind the closed lips."""
        skin = self.skin.numpy()
        area = np.full(len(self.vertices), int(Area.BODY))
        on_head = np.zeros(len(area), dtype=bool)
        on_head[self.triangles[self.material == self._kinds.index("head")].unique().numpy()] = True
        area[on_head] = Area.HEAD
        x, y, z = (self.vertices.numpy() - self.head["MUpperLip"]).T
        behind = on_head & (np.abs(x) < 0.03) & (np.abs(y + 0.008) < 0.025) & (z < -0.008) & (z > -0.11)
        area[behind & ~self._seen_from_front()] = Area.MOUTH
        area[skin[:, [self.bones.index(bone) for bone in ("LEye", "REye")]].sum(axis=1) > 0.5] = Area.EYE
        for side, label in (("L", Area.HAND_LEFT), ("R", Area.HAND_RIGHT)):
            hand = [i for i, bone in enumerate(self.bones) if bone.startswith((f"{side} Hand", f"{side} Finger"))]
            area[skin[:, hand].sum(axis=1) > 0.5] = label
        return np.sort(area[self.triangles.numpy()], axis=1)[:, 1]

    def _seen_from_front(self) -> np.ndarray:
        """``[V]`` corners of the triangles that show at rest, seen from the front, around the mouth."""
        size, scale = 512, 512 / 0.12
        offset = (self.vertices - torch.from_numpy(self.head["MUpperLip"]).float()) * torch.tensor([1.0, -1.0, 1.0])
        screen = offset * scale + torch.tensor([size / 2, size / 2, 0.0])
        fragments = rasterize(screen[None], self.triangles, (size, size))
        seen = np.zeros(len(self.vertices), dtype=bool)
        seen[self.triangles[fragments.triangle[fragments.mask].unique()].unique().numpy()] = True
        return seen

    def pose(self, pose: Pose) -> tuple[Tensor, dict[str, np.ndarray]]:
        """Posed vertices ``[V, 3]`` and where each bone starts."""
        unknown = sorted((set(pose.turn) | set(pose.shift)) - set(self.bones))
        if unknown:
            raise ValueError(f"{self.name} has no bones {', '.join(unknown)}.")
        matrix = self.matrices(pose)
        stacked = torch.from_numpy(np.stack([matrix[bone] for bone in self.bones]).astype(np.float32))
        blended = (self.skin @ stacked.flatten(1)).view(-1, 3, 4)
        vertices = (blended[:, :, :3] @ self.vertices.unsqueeze(-1)).squeeze(-1) + blended[:, :, 3]
        return vertices, {bone: matrix[bone][:, :3] @ self.head[bone] + matrix[bone][:, 3] for bone in self.bones}

    def matrices(self, pose: Pose) -> dict[str, np.ndarray]:
        """``[3, 4]`` of each bone, from rest to pose."""
        result: dict[str, np.ndarray] = {}
        rest = np.eye(3, 4)
        for bone in self._order:
            parent = result.get(self._parent[bone], rest)
            if bone in pose.turn or bone in pose.shift:
                local = np.eye(3) if bone not in pose.turn else turn_matrix(pose.turn[bone])
                move = self.head[bone] - local @ self.head[bone] + pose.shift.get(bone, 0.0)
                parent = np.concatenate([parent[:, :3] @ local, (parent[:, :3] @ move + parent[:, 3])[:, None]], axis=1)
            result[bone] = parent
        return result


def turn_matrix(turn: np.ndarray) -> np.ndarray:
    """Axis-angle ``[3]`` to ``[3, 3]``."""
    angle = float(np.linalg.norm(turn))
    if angle < 1e-9:
        return np.eye(3)
    x, y, z = turn / angle
    K = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + np.sin(angle) * K + (1 - np.cos(angle)) * (K @ K)


def turn_vector(matrix: np.ndarray) -> np.ndarray:
    """``[3, 3]`` to axis-angle ``[3]`` (below half a turn)."""
    from scipy.spatial.transform import Rotation

    return Rotation.from_matrix(matrix).as_rotvec()


def _pyramid(path: Path) -> list[Tensor]:
    """The texture at several sizes, uint8 ``[3, S, S]``, so that a small figure does not sparkle."""
    with Image.open(path) as image:
        picture = image.convert("RGB")
        sizes = [picture.resize((size, size), Image.Resampling.BOX) for size in TEXTURE_SIZES]
    return [torch.from_numpy(np.array(level)).permute(2, 0, 1).contiguous() for level in sizes]
