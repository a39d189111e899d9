"""FLAME in place of the default head, from files the user supplies (licensed; never shipped, never unpickled).

`load_flame` gives a `HeadTemplate`: 100 of FLAME's identity components, and the 52 ARKit shapes as vertex offsets.
FLAME has no ARKit shapes, so each is a state of FLAME (100 expression coefficients, jaw, eyes; `ArkitStates`), posed
by smplx at full weight and used linearly. The states come from a file the user has (several are in circulation), or
are found here by least squares against the default head. What the second way cannot give: FLAME's expression space has
no closed lids, puffed cheeks or tongue, so eyeBlink is weak, cheekPuff and tongueOut almost nothing.

MediaPipe's landmarks: exact where the user gives the embedding published with FLAME (105 of 478 points); otherwise
the nearest points of the surface after aligning the default head, good to some millimetres.

How to make the `.npz`: `docs/licensed_models.md`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from motion.template.head import HeadTemplate, Part
from motion.template.model_file import load_arrays
from motion.types import ARKIT_INDEX, ARKIT_NAMES, EXPRESSION_DIM

JOINTS = 5  # neck base, neck, jaw, left eye, right eye
NECK, JAW, LEFT_EYE, RIGHT_EYE = 1, 2, 3, 4
SHAPES, IDENTITY, EXPRESSIONS = 300, 100, 100
KEYS: dict[str, tuple[int | None, ...]] = {
    "v_template": (None, 3), "f": (None, 3), "weights": (None, JOINTS), "J_regressor": (JOINTS, None),
    "posedirs": (None, 3, (JOINTS - 1) * 9), "shapedirs": (None, 3, SHAPES + EXPRESSIONS),
}
STATE_KEYS: dict[str, tuple[int | None, ...]] = {
    "expression": (EXPRESSION_DIM, EXPRESSIONS), "jaw": (EXPRESSION_DIM, 3), "eyes": (EXPRESSION_DIM, 6),
}
EMBEDDING_KEYS: dict[str, tuple[int | None, ...]] = {
    "landmark_indices": (None,), "lmk_face_idx": (None,), "lmk_b_coords": (None, 3),
}
RIDGE = 0.02  # of the least squares, relative to the basis; keeps coefficients within FLAME's usual few units

# Turns at full weight (axis-angle, rad; our choice): +X opens the jaw and lowers the gaze, +Y is the person's left.
JAW_TURNS = {"jawOpen": (0.35, 0.0, 0.0), "jawLeft": (0.0, 0.12, 0.0), "jawRight": (0.0, -0.12, 0.0)}
GAZE_TURNS = {"Up": (-0.4, 0.0, 0.0), "Down": (0.4, 0.0, 0.0), "In": (0.0, 0.5, 0.0), "Out": (0.0, 0.5, 0.0)}


@dataclass
class ArkitStates:
    """FLAME at weight 1 of each ARKit shape.

    expression: ``[52, 100]`` coefficients; jaw: ``[52, 3]`` axis-angle; eyes: ``[52, 6]`` axis-angle, left then right
    """

    expression: Tensor
    jaw: Tensor
    eyes: Tensor

    @classmethod
    def load(cls, path: Path | str) -> ArkitStates:
        """From a `.npz` with arrays ``expression``, ``jaw`` and ``eyes``."""
        arrays = load_arrays(path, STATE_KEYS)
        return cls(*(torch.from_numpy(arrays[name]).double() for name in STATE_KEYS))


def load_flame(
    path: Path | str,
    *,
    states: Path | str | None = None,
    embedding: Path | str | None = None,
    reference: HeadTemplate | None = None,
) -> HeadTemplate:
    """Read FLAME.

    Args:
        path: `.npz` with FLAME 2020's or 2023's arrays (`KEYS`), as numbers, ``J_regressor`` dense.
        states: `.npz` of `ArkitStates`; by default they are fitted to the reference's shapes.
        embedding: `.npz` with MediaPipe's points on FLAME: ``landmark_indices``, ``lmk_face_idx``, ``lmk_b_coords``.
        reference: the default head, by default.
    """
    flame = _Flame(path)
    reference = HeadTemplate.load() if reference is None else reference
    triangle, barycentric = _nearest_landmarks(flame, reference)
    weight = torch.ones(len(triangle))
    if embedding is not None:
        triangle, barycentric, weight = _embedded_landmarks(embedding, triangle, barycentric)
    corners = flame.triangles[triangle]
    found = ArkitStates.load(states) if states is not None else _fit_states(flame, reference, corners, barycentric)
    return HeadTemplate({
        "mean": flame.neutral, "identity": flame.identity, "expression": _expression_basis(flame, found),
        "triangles": flame.triangles, "part": flame.parts(), "head_weight": 1 - flame.weights[:, 0],
        "landmark_triangle": triangle, "landmark_barycentric": barycentric, "landmark_weight": weight,
        "arch": torch.zeros(len(flame.neutral), 2), "pivot": flame.joints[NECK],
    })


class _Flame:
    """FLAME's arrays, moved so that the origin lies between the eyes (its axes are the template's already)."""

    def __init__(self, path: Path | str) -> None:
        arrays = {name: torch.from_numpy(array) for name, array in load_arrays(path, KEYS).items()}
        self.triangles = arrays.pop("f").long()
        arrays = {name: array.double() for name, array in arrays.items()}
        self.weights, self.regressor = arrays["weights"], arrays["J_regressor"]
        self.posedirs = arrays["posedirs"].reshape(-1, (JOINTS - 1) * 9).t()
        basis = arrays["shapedirs"].permute(2, 0, 1)
        self.identity, self.expression = basis[:IDENTITY], basis[SHAPES:]
        joints = self.regressor @ arrays["v_template"]
        origin = joints[[LEFT_EYE, RIGHT_EYE]].mean(0)
        self.neutral, self.joints = arrays["v_template"] - origin, joints - origin

    def posed(self, states: ArkitStates) -> Tensor:
        """The mesh ``[52, V, 3]`` in the given states, by smplx."""
        from smplx.lbs import lbs

        B = len(states.jaw)
        pose = torch.cat([torch.zeros(B, 6, dtype=torch.float64), states.jaw, states.eyes], dim=1)
        parents = torch.tensor([-1, 0, 1, 1, 1])
        vertices, _ = lbs(states.expression, pose, self.neutral.expand(B, -1, -1), self.expression.permute(1, 2, 0),
                          self.posedirs, self.regressor, parents, self.weights)
        return vertices

    def parts(self) -> Tensor:
        """``[F]``: what turns with an eye is an eye, the rest skin (FLAME has no teeth, tongue or cavity)."""
        eye = self.weights[:, [LEFT_EYE, RIGHT_EYE]].sum(1) > 0.9
        return torch.where(eye[self.triangles].all(dim=1), int(Part.EYE), int(Part.SKIN))


def _turns() -> ArkitStates:
    """The part of the states that is known beforehand: jaw and gaze."""
    states = ArkitStates(*(torch.zeros(EXPRESSION_DIM, n, dtype=torch.float64) for n in (EXPRESSIONS, 3, 6)))
    for name, turn in JAW_TURNS.items():
        states.jaw[ARKIT_INDEX[name]] = torch.tensor(turn, dtype=torch.float64)
    for eye, side in enumerate(("Left", "Right")):
        for direction, turn in GAZE_TURNS.items():
            # The left eye looks in by turning to the person's right; the right eye, to the left.
            inward = -1.0 if (direction == "In") == (side == "Left") and direction in ("In", "Out") else 1.0
            row = states.eyes[ARKIT_INDEX[f"eyeLook{direction}{side}"]]
            row[3 * eye: 3 * eye + 3] = torch.tensor(turn, dtype=torch.float64) * inward
    return states


def _fit_states(flame: _Flame, reference: HeadTemplate, corners: Tensor, barycentric: Tensor) -> ArkitStates:
    """Least squares: expression coefficients that add to jaw and gaze what the reference's landmarks do."""
    def at_landmarks(basis: Tensor) -> Tensor:
        return (basis[:, corners] * barycentric[..., None].double()).sum(-2).flatten(1)

    states = _turns()
    index = torch.arange(len(corners))
    goal = reference.on_surface(reference.expression, index).double().flatten(1)
    goal = goal - at_landmarks(flame.posed(states) - flame.neutral)
    A = at_landmarks(flame.expression)  # [100, 478·3]
    normal = A @ A.t()
    ridge = RIDGE * normal.diagonal().mean() * torch.eye(len(A), dtype=A.dtype)
    states.expression = torch.linalg.solve(normal + ridge, A @ goal.t()).t().clamp(-4, 4).contiguous()
    gaze = [ARKIT_INDEX[name] for name in ARKIT_NAMES if name.startswith("eyeLook")]
    states.expression[gaze] = 0.0  # what lids do with the gaze is not worth the noise
    return states


def _expression_basis(flame: _Flame, states: ArkitStates) -> Tensor:
    return flame.posed(states) - flame.neutral


def _nearest_landmarks(flame: _Flame, reference: HeadTemplate) -> tuple[Tensor, Tensor]:
    """Triangles ``[478]`` and barycentrics of the surface points next to the reference's landmarks."""
    index = torch.arange(len(reference.landmark_triangle))
    points = reference.on_surface(reference.mean, index).double()
    eyes = flame.joints[[LEFT_EYE, RIGHT_EYE]]
    ours = _eye_centres(reference)
    scale = (eyes[0] - eyes[1]).norm() / (ours[0] - ours[1]).norm()
    points = (points - ours.mean(0)) * scale + eyes.mean(0)
    return closest_on_mesh(points, flame.neutral, flame.triangles)


def _eye_centres(reference: HeadTemplate) -> Tensor:
    """``[2, 3]`` left, right."""
    used = reference.triangles[reference.part == Part.EYE].unique()
    points = reference.mean[used].double()
    left = points[:, 0] > 0
    return torch.stack([points[left].mean(0), points[~left].mean(0)])


def _embedded_landmarks(path: Path | str, triangle: Tensor, barycentric: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Exact points replace the nearest ones; the others keep a weight of 0."""
    arrays = load_arrays(path, EMBEDDING_KEYS)
    index = torch.from_numpy(arrays["landmark_indices"].astype("int64"))
    triangle, barycentric, weight = triangle.clone(), barycentric.clone(), torch.zeros(len(triangle))
    triangle[index] = torch.from_numpy(arrays["lmk_face_idx"].astype("int64"))
    barycentric[index] = torch.from_numpy(arrays["lmk_b_coords"]).to(barycentric)
    weight[index] = 1.0
    return triangle, barycentric, weight


def closest_on_mesh(points: Tensor, vertices: Tensor, triangles: Tensor) -> tuple[Tensor, Tensor]:
    """Nearest surface point of each of ``[N, 3]``: triangle ``[N]`` and barycentric ``[N, 3]``.

    Looks at the triangles around the 12 nearest corners (exact for meshes of even triangles). Barycentrics that leave
    the triangle are clamped and normalised, which is the nearest point up to the triangle's skew.
    """
    corner = vertices[triangles]
    distance = torch.cdist(points, corner.mean(1))
    near = distance.topk(min(12, len(triangles)), largest=False).indices  # [N, K]
    a, b, c = corner[near].unbind(2)
    u, v, w = b - a, c - a, points[:, None] - a
    uu, uv, vv, uw, vw = ((p * q).sum(-1) for p, q in ((u, u), (u, v), (v, v), (u, w), (v, w)))
    area = (uu * vv - uv * uv).clamp_min(1e-18)
    second, third = (vv * uw - uv * vw) / area, (uu * vw - uv * uw) / area
    weight = torch.stack([1 - second - third, second, third], dim=-1).clamp_min(0)
    weight = weight / weight.sum(-1, keepdim=True)
    found = (corner[near] * weight[..., None]).sum(2)
    best = (found - points[:, None]).norm(dim=-1).argmin(dim=1)
    row = torch.arange(len(points))
    return near[row, best], weight[row, best]
