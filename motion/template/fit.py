"""Fit the head template to MediaPipe's landmarks: a bounded least-squares problem, once for a person, then per frame.

Convention: weak perspective (docs/architecture.md): ``x = c_x + s X``, ``y = c_y − s Y``, depth ``s Z`` with X = R(v − pivot)
in metres. The fit alternates a closed-form camera (scaled orthographic, rotation by SVD) with a bounded linear
least-squares step for identity and expression; both are exact for the other's current value.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.optimize import lsq_linear
from scipy.spatial.transform import Rotation
from torch import Tensor

from motion.template.head import HeadTemplate
from motion.template.lids import BLINKS, even_blinks
from motion.types import ARKIT_INDEX, ARKIT_NAMES

ROUNDS = 6
DEPTH_ROUNDS = 12
DEPTH_WEIGHT = 0.1  # MediaPipe's z is a guess of a network; x and y are measurements
# Standard deviations of the priors are one unit of a coefficient; these weigh them against residuals in face widths (ours).
IDENTITY_PRIOR = 0.002
STILL_PRIOR = 0.008  # expression in a single picture, where identity explains most of what is seen
FRAME_PRIOR = 0.002  # expression of a known person
# In a single picture these can be told from identity; all others are held near zero there.
STILL_EXPRESSION = ("jawOpen", "mouthSmileLeft", "mouthSmileRight", "mouthPucker", "mouthFunnel", "mouthUpperUpLeft",
                    "mouthUpperUpRight", "mouthLowerDownLeft", "mouthLowerDownRight", "eyeLookInLeft", "eyeLookInRight",
                    "eyeLookOutLeft", "eyeLookOutRight", "eyeLookUpLeft", "eyeLookUpRight", "eyeLookDownLeft",
                    "eyeLookDownRight")


@dataclass
class Camera:
    """Weak-perspective camera of a head.

    rotation: ``[3]`` axis-angle (rad); centre: ``[2]`` px, where the pivot lands; scale: px per metre.
    """

    rotation: Tensor
    centre: Tensor
    scale: float

    @property
    def matrix(self) -> Tensor:
        """``[3, 3]``."""
        return torch.from_numpy(Rotation.from_rotvec(self.rotation.double().numpy()).as_matrix()).float()

    def project(self, points: Tensor, pivot: Tensor) -> Tensor:
        """Template space ``[..., N, 3]`` to pixels and depth ``[..., N, 3]``."""
        X = (points - pivot) @ self.matrix.T
        sign = torch.tensor([1.0, -1.0, 1.0])
        return X * sign * self.scale + torch.cat([self.centre, torch.zeros(1)])

    def unproject_offset(self, offset: Tensor) -> Tensor:
        """Pixel offsets ``[..., N, 2]`` to offsets in template space with no change of depth ``[..., N, 3]``."""
        flat = torch.cat([offset[..., :1], -offset[..., 1:], torch.zeros_like(offset[..., :1])], dim=-1)
        return flat / self.scale @ self.matrix


@dataclass
class HeadFit:
    """A person in one picture.

    identity: ``[I]`` standard deviations; expression: ``[52]``; camera; neutral: ``[V, 3]`` metres, the person's own
    neutral mesh, residual included, so that `vertices` lands exactly on the picture; residual_px: rms of the landmarks
    before the residual was spread; gain: ``[52]`` factors that make lids of this person close fully; closing: ``[2, V, 3]``
    metres that blinks (left, right) move beyond, so that they close evenly.
    """

    identity: Tensor
    expression: Tensor
    camera: Camera
    neutral: Tensor
    residual_px: float
    gain: Tensor
    closing: Tensor

    def deformed(self, template: HeadTemplate, expression: Tensor) -> Tensor:
        """The person's unposed mesh ``[..., V, 3]`` with an expression ``[..., 52]``."""
        mesh = template.deform(self.neutral, expression * self.gain)
        blinks = expression[..., list(BLINKS)]
        return mesh + (blinks @ self.closing.flatten(1)).unflatten(-1, mesh.shape[-2:])

    def vertices(self, template: HeadTemplate) -> Tensor:
        """The mesh in the picture: ``[V, 3]`` px and depth."""
        return self.camera.project(self.deformed(template, self.expression), template.pivot)


def fit_head(template: HeadTemplate, landmarks: Tensor, *, expression_prior: Tensor | None = None) -> HeadFit:
    """Fit identity, expression and camera to one picture, then spread what is left over the mesh.

    Args: landmarks ``[478, 3]`` MediaPipe's points in pixels (z in the same unit, larger is nearer);
    expression_prior ``[52]`` known weights (MediaPipe's scores), used as the mean of the prior.
    """
    problem = _Problem(template, landmarks)
    identity, expression, camera = problem.solve(_still_bounds(), expression_prior)
    fit = HeadFit(identity, expression, camera, template.vertices(identity, torch.zeros(52)),
                  problem.residual_px(identity, expression, camera), torch.ones(52), torch.zeros(2, len(template.mean), 3))
    offset = _spread_residual(template, fit, landmarks[:, :2])
    fit = replace(fit, neutral=fit.neutral + offset)
    gain = _lid_gain(template, fit)
    return replace(fit, gain=gain, closing=even_blinks(template, fit.neutral, gain))


def fit_frame(template: HeadTemplate, identity: Tensor, landmarks: Tensor,
              initial: tuple[Tensor, Camera] | None = None, prior: Tensor | None = None,
              neutral: Tensor | None = None) -> tuple[Tensor, Camera, float]:
    """Expression and camera of one frame of a known person, by the template's own shapes (tracking knows the detector's
    answer to them, see `motion.template.person_fit`).

    Args: identity ``[I]``; landmarks ``[478, 3]`` px; initial: expression and camera of the frame before (saves rounds);
    prior ``[52]`` mean of the expression prior; neutral ``[V, 3]`` the person's own neutral mesh (of a `HeadFit`) in place
    of the one the identity gives.
    Returns: expression ``[52]`` in [0, 1], camera, rms residual in px.
    """
    if neutral is None:
        neutral = template.vertices(identity, torch.zeros(52))
    problem = _Problem(template, landmarks, neutral=neutral)
    _, expression, camera = problem.solve(np.ones(52), prior, rounds=3 if initial else ROUNDS, initial=initial)
    return expression, camera, problem.residual_px(identity, expression, camera)


def fit_pose(template: HeadTemplate, neutral: Tensor, expression: Tensor, landmarks: Tensor) -> Camera:
    """Camera alone, of a head ``[V, 3]`` with a known expression ``[52]``."""
    problem = _Problem(template, landmarks, neutral=neutral)
    known = problem.points(np.zeros(len(problem.identity)), expression.double().numpy())
    return problem.as_camera(*problem.camera(known))


def _still_bounds() -> np.ndarray:
    upper = np.full(52, 1e-6)
    upper[[ARKIT_INDEX[name] for name in STILL_EXPRESSION]] = 1.0
    return upper


class _Problem:
    """The landmarks of one frame against the template's, in units of the face width."""

    def __init__(self, template: HeadTemplate, landmarks: Tensor, neutral: Tensor | None = None) -> None:
        if landmarks.shape != (478, 3):
            raise ValueError(f"landmarks must be [478, 3] (MediaPipe, px), got {list(landmarks.shape)}.")
        target = landmarks.double().numpy().copy()
        target[:, 1] *= -1  # to y up
        self.width = float(np.ptp(target[:, 0])) or 1.0
        self.centre = target.mean(0)
        self.target = (target - self.centre) / self.width
        self.weight = template.landmark_weight.double().numpy()
        self.mean = template.landmarks(template.mean if neutral is None else neutral).double().numpy() \
            - template.pivot.double().numpy()
        self.free_identity = neutral is None
        basis = template.landmarks(template.identity) if neutral is None else torch.zeros(len(template.identity), 478, 3)
        self.identity = basis.double().numpy()
        self.expression = template.landmarks(template.expression).double().numpy()

    def points(self, identity: np.ndarray, expression: np.ndarray) -> np.ndarray:
        return self.mean + np.tensordot(identity, self.identity, 1) + np.tensordot(expression, self.expression, 1)

    def camera(self, points: np.ndarray) -> tuple[np.ndarray, float, np.ndarray]:
        """Rotation, scale and translation (in face widths) that best carry ``points`` onto the target.

        Umeyama's closed form in 3-D, repeated with most of the target's depth replaced by the model's own: where they
        disagree, x and y decide (MediaPipe's z stays near frontal on faces whose shading did not turn with them).
        """
        target = self.target.copy()
        for _ in range(DEPTH_ROUNDS):
            R, scale, shift = self._umeyama(points, target)
            own = scale * points @ R[2] + shift[2]
            target[:, 2] = DEPTH_WEIGHT * self.target[:, 2] + (1 - DEPTH_WEIGHT) * own
        return R, scale, shift

    def _umeyama(self, points: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, float, np.ndarray]:
        w = self.weight[:, None] / self.weight.sum()
        p0, t0 = (points * w).sum(0), (target * w).sum(0)
        P, T = points - p0, target - t0
        U, _, Vt = np.linalg.svd((T * w).T @ P)
        R = U @ np.diag([1, 1, np.sign(np.linalg.det(U @ Vt))]) @ Vt
        turned = (P @ R.T)[:, :2]
        scale = float((turned * T[:, :2] * w).sum() / (turned**2 * w).sum())
        return R, scale, t0 - scale * (R @ p0)

    def solve(self, upper: np.ndarray, prior: Tensor | None, rounds: int = ROUNDS,
              initial: tuple[Tensor, Camera] | None = None) -> tuple[Tensor, Tensor, Camera]:
        """Alternate camera and coefficients; ``upper`` bounds the expression from above."""
        identity = np.zeros(len(self.identity))
        mean = np.zeros(52) if prior is None else prior.double().numpy()
        expression = mean.clip(0, upper) if initial is None else initial[0].double().numpy().clip(0, upper)
        R, scale, shift = self.camera(self.points(identity, expression))
        for _ in range(rounds):
            identity, expression = self._coefficients(R, scale, shift, upper, mean)
            R, scale, shift = self.camera(self.points(identity, expression))
        return torch.from_numpy(identity).float(), torch.from_numpy(expression).float(), self.as_camera(R, scale, shift)

    def as_camera(self, R: np.ndarray, scale: float, shift: np.ndarray) -> Camera:
        """From face widths back to pixels."""
        centre = shift[:2] * self.width + self.centre[:2]
        rotation = torch.from_numpy(Rotation.from_matrix(R).as_rotvec()).float()
        return Camera(rotation, torch.tensor([centre[0], -centre[1]]).float(), scale * self.width)

    def _coefficients(self, R: np.ndarray, scale: float, shift: np.ndarray, upper: np.ndarray,
                      mean: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        axes = np.array([1.0, 1.0, DEPTH_WEIGHT])
        row = (self.weight[:, None] * axes).ravel()
        free = np.flatnonzero(upper > 1e-3)
        basis = np.concatenate([self.identity, self.expression[free]]) if self.free_identity else self.expression[free]
        A = ((basis @ R.T) * scale).reshape(len(basis), -1).T * row[:, None]
        b = (self.target - shift - scale * self.mean @ R.T).ravel() * row
        people = len(self.identity) if self.free_identity else 0
        n, prior = np.sqrt(len(row)), STILL_PRIOR if self.free_identity else FRAME_PRIOR
        damping = n * np.concatenate([np.full(people, IDENTITY_PRIOR), np.full(len(free), prior)])
        goal = np.concatenate([np.zeros(people), mean[free]]) * damping
        low = np.concatenate([np.full(people, -4.0), np.zeros(len(free))])
        high = np.concatenate([np.full(people, 4.0), upper[free]])
        normal = np.linalg.cholesky(A.T @ A + np.diag(damping**2))  # same minimiser, far fewer rows
        right = np.linalg.solve(normal, A.T @ b + damping * goal)
        x = lsq_linear(normal.T, right, (low, high), method="bvls", tol=1e-6).x
        expression = np.zeros(52)
        expression[free] = x[people:].clip(0, 1)  # the solver may miss a bound by a rounding error
        return (x[:people] if people else np.zeros(len(self.identity))), expression

    def residual_px(self, identity: Tensor, expression: Tensor, camera: Camera) -> float:
        """Root mean square distance of the projected landmarks from the picture's, in pixels."""
        coefficient = identity.double().numpy() if self.free_identity else np.zeros(len(self.identity))
        points = self.points(coefficient, expression.double().numpy())
        projected = (points @ camera.matrix.double().numpy().T * camera.scale)[:, :2]
        target = self.target[:, :2] * self.width + self.centre[:2]
        centre = camera.centre.double().numpy() * np.array([1, -1])
        return float(np.sqrt(((projected + centre - target) ** 2).sum(1).mean()))


def _spread_residual(template: HeadTemplate, fit: HeadFit, target: Tensor, fade_m: float = 0.05) -> Tensor:
    """Offsets ``[V, 3]`` (metres) that bring every landmark onto its picture point, fading away from the face.

    Radial basis functions φ(r) = r in 3-D (the biharmonic spline), centred on the landmarks of a head with parted lips, so
    that upper and lower lip are never neighbours even when they touch in the picture.
    """
    parted = torch.zeros(52)
    parted[ARKIT_INDEX["jawOpen"]] = 0.35
    mesh = template.vertices(fit.identity, parted)
    centres = template.landmarks(mesh)
    posed = template.landmarks(template.deform(fit.neutral, fit.expression))
    residual = target - fit.camera.project(posed, template.pivot)[:, :2]
    count = 468  # the ten iris points move with gaze and are no part of the skin
    centres, residual = centres[:count].double(), residual[:count].double()
    # Points that fell on the same spot of the mesh would make the system singular: a small nugget makes it a smoother.
    K = torch.cdist(centres, centres) - 1e-3 * torch.eye(count, dtype=torch.float64)
    ones = torch.cat([torch.ones(count, 1, dtype=torch.float64), centres], dim=1)
    system = torch.cat([torch.cat([K, ones], 1), torch.cat([ones.T, torch.zeros(4, 4, dtype=torch.float64)], 1)], 0)
    solution = torch.linalg.lstsq(system, torch.cat([residual, torch.zeros(4, 2, dtype=torch.float64)])).solution
    distance = torch.cdist(mesh.double(), centres)
    offset = distance @ solution[:count] + torch.cat([torch.ones(len(mesh), 1), mesh], 1).double() @ solution[count:]
    near = distance.min(dim=1).values
    fade = torch.exp(-(near / fade_m).square()).float()
    return fit.camera.unproject_offset(offset.float()) * fade[:, None]


_LIDS = {"Left": (386, 374), "Right": (159, 145)}  # upper and lower lid, middle


def _lid_gain(template: HeadTemplate, fit: HeadFit) -> Tensor:
    """Factors ``[52]`` on the blink deltas: how much wider this person's eye opens than the template's blink can close."""
    gain = torch.ones(len(ARKIT_NAMES))
    for side, (upper, lower) in _LIDS.items():
        index = torch.tensor([upper, lower])
        k = ARKIT_INDEX[f"eyeBlink{side}"]
        opening = template.on_surface(fit.neutral, index)[:, 1]
        travel = template.on_surface(template.expression[k], index)[:, 1]
        closes = float(travel[1] - travel[0])
        gain[k] = min(max(float(opening[0] - opening[1]) / max(closes, 1e-4), 0.5), 2.0)
    return gain
