"""Fit pose and expression of a known person, together, to what a landmarks detector shows of them.

`motion.template.fit` alternates between camera and weights, which never quite tells a nod from an opening mouth: each step
keeps what the other one explained wrongly. Here both are unknowns of the same least-squares problem (Gauss-Newton, with
bounds on the weights), and so are the detector's own errors: patterns that are known from faces of known expression, each
with its usual size (a Gaussian prior of full covariance, written as low rank plus white noise). Convention and units as there.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import lsq_linear
from scipy.spatial.transform import Rotation
from torch import Tensor

from motion.template.fit import FRAME_PRIOR, Camera, fit_pose
from motion.template.head import HeadTemplate

Array = NDArray[np.float64]

STEPS = 2  # Gauss-Newton; four give the same r through pictures
ASTRAY_PRIOR = 0.01  # per row, face widths: how strongly the detector's errors are held at their usual size (ours)
TURNS_TO = 0.25  # rad: about as far as it is measured how the detector's points stray
_POSE = 6  # unknowns: three of rotation, one of scale, two of shift


@dataclass(frozen=True)
class Detector:
    """How a detector's points answer, all in metres and template axes.

    seen: ``[52, 478, 3]`` their way per weight; turned: ``[3, 478, 3]`` how they stray from a head that turns, per rad of
    pitch, rad² of pitch and rad of yaw; astray: ``[M, 478, 3]`` patterns in which they err besides, each times its deviation
    """

    seen: Tensor
    turned: Tensor
    astray: Tensor


class PersonFit:
    """A person's neutral mesh before one detector.

    Args: neutral ``[V, 3]`` metres, measured in the rotation ``facing [3]`` (rad); spread ``[52]`` deviations of the weights.
    """

    def __init__(self, template: HeadTemplate, neutral: Tensor, facing: Tensor, detector: Detector, spread: Tensor) -> None:
        self._template, self._neutral = template, neutral
        self._still = (template.landmarks(neutral) - template.pivot).double().numpy()
        self._turned = detector.turned.double().numpy()
        self._facing = Rotation.from_rotvec(facing.double().numpy())
        self._basis = torch.cat([detector.seen, detector.astray]).double().numpy()
        self._weight = template.landmark_weight.double().numpy()
        rows, shapes, errors = self._still.size, len(spread), len(detector.astray)
        self._damping = np.concatenate([
            rows * (FRAME_PRIOR / spread.double().numpy()) ** 2, np.full(errors, ASTRAY_PRIOR**2), np.full(_POSE, 1e-9)])
        self._shapes, self._free = shapes, np.full(errors + _POSE, np.inf)

    def __call__(self, landmarks: Tensor, prior: Tensor, camera: Camera | None = None) -> tuple[Tensor, Camera, float]:
        """Expression ``[52]`` in [0, 1], camera and rms residual in px.

        Args: landmarks ``[478, 3]`` px; prior ``[52]`` mean of the weights' prior; camera to start from, if one is known.
        """
        start = camera or fit_pose(self._template, self._neutral, prior, landmarks)
        target = landmarks[:, :2].double().numpy() * [1.0, -1.0]
        width = float(np.ptp(target[:, 0])) or 1.0
        middle = target.mean(0)
        R, scale = start.matrix.double().numpy(), start.scale / width
        shift = (start.centre.double().numpy() * [1.0, -1.0] - middle) / width
        known = np.zeros(len(self._basis))
        known[:self._shapes] = prior.double().numpy()
        for _ in range(STEPS):
            known, step = self._step((target - middle) / width, R, scale, shift, known, prior.double().numpy())
            R, scale, shift = R @ Rotation.from_rotvec(step[:3]).as_matrix(), scale * np.exp(step[3]), shift + step[4:]
        left = (target - middle) / width - shift - scale * self._points(R, known)[0] @ R[:2].T
        centre = (shift * width + middle) * [1.0, -1.0]
        rotation = torch.from_numpy(Rotation.from_matrix(R).as_rotvec()).float()
        found = Camera(rotation, torch.from_numpy(centre).float(), float(scale * width))
        expression = torch.from_numpy(known[:self._shapes].clip(0, 1)).float()  # the solver may miss a bound by rounding
        return expression, found, float(np.sqrt(np.square(left).sum(1).mean())) * width

    def shown(self, camera: Camera, expression: Tensor) -> Tensor:
        """Where the detector would show the points of a head in that pose: ``[478, 3]`` metres, template space."""
        known = np.zeros(len(self._basis))
        known[:self._shapes] = expression.double().numpy()
        return torch.from_numpy(self._points(camera.matrix.double().numpy(), known)[0]).float() + self._template.pivot

    def _points(self, R: Array, known: Array) -> tuple[Array, Array, Array]:
        """``[478, 3]`` from the pivot, as the detector shows them on a head turned by ``R``, and their way per rad of pitch
        and of yaw that is no turn."""
        away = (self._facing.inv() * Rotation.from_matrix(R)).as_rotvec()
        away *= min(1.0, TURNS_TO / max(float(np.linalg.norm(away)), 1e-9))
        pitch, yaw, _ = away
        strayed = np.tensordot(np.array([pitch, pitch**2, yaw]), self._turned, 1)
        points = np.asarray(self._still + strayed + np.tensordot(known, self._basis, 1), np.float64)
        return points, self._turned[0] + 2 * pitch * self._turned[1], self._turned[2]

    def _step(self, target: Array, R: Array, scale: float, shift: Array, known: Array, prior: Array) -> tuple[Array, Array]:
        """New weights and errors, and what the pose changes by."""
        points, per_pitch, per_yaw = self._points(R, known)
        turns = np.cross(np.eye(3)[:, None], points[None])  # a small turn about each of the head's axes
        turns[0] += per_pitch
        turns[1] += per_yaw
        ways = np.concatenate([self._basis, turns, points[None]]) @ R[:2].T * scale
        ways = np.concatenate([ways, np.broadcast_to(np.eye(2)[:, None], (2, *target.shape))])
        A = (ways * self._weight[:, None]).reshape(len(ways), -1)
        b = ((target - shift - scale * points @ R[:2].T) * self._weight[:, None]).ravel()
        now, mean = (np.concatenate([values, np.zeros(len(ways) - len(values))]) for values in (known, prior))
        H = A @ A.T
        normal = np.linalg.cholesky(H + np.diag(self._damping))  # same minimiser as all the rows
        right = np.linalg.solve(normal, A @ b + H @ now + self._damping * mean)
        low, high = np.concatenate([np.zeros(self._shapes), -self._free]), np.concatenate([np.ones(self._shapes), self._free])
        x = lsq_linear(normal.T, right, (low, high), method="bvls", tol=1e-6).x
        return x[:-_POSE], x[-_POSE:]
