"""The driving state that brings a portrait to what is seen in another picture of the same person and frame.

For training and evaluation, where the true picture is known; hands are left to the smooth field.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy.spatial.transform import Rotation
from torch import Tensor

from chatanyone.driver import POSE_GAIN, Driver
from motion.template.fit import Camera, fit_frame
from motion.types import BODY_POINTS, HAND_DIM, BodyMotion, FaceMotion
from render.types import RenderDrive


def drive_to(driver: Driver, landmarks: Tensor, body: Tensor, prior: Tensor | None = None) -> RenderDrive:
    """One frame.

    Args: landmarks ``[478, 3]`` and body ``[14, 2 or 3]`` px as seen; prior ``[52]`` mean of the expression prior.
    """
    fit, portrait = driver.fit, driver.portrait
    first, _, _ = fit_frame(driver.template, fit.identity, landmarks, prior=prior, neutral=fit.neutral)
    # Once more around the first answer: a single regularised fit flattens open mouths.
    expression, camera, _ = fit_frame(driver.template, fit.identity, landmarks, prior=first, neutral=fit.neutral)
    delta = (body[:, :2] - portrait.body[:, :2]) / portrait.shoulder_width_px
    rotation, translation = relative_pose(fit.camera, camera, delta[0] * portrait.shoulder_width_px)
    rotation = rotation / rotation.new_tensor(POSE_GAIN)  # a measured turn, to be drawn as it is
    relative = (expression / fit.gain).clamp(0, 1) - driver.rest
    motion = BodyMotion(torch.cat([delta, torch.zeros(BODY_POINTS, 1)], 1)[None], torch.zeros(1, 2, HAND_DIM))
    drive = driver(FaceMotion(relative[None], rotation[None], translation[None]), motion)
    # The driver calms arms whose hands it does not see; here it is known where they are.
    drive.body_keypoints = body[None, :, :2].clone()
    start = len(driver.source.control) - sum(len(rig.control) for rig in driver.hands) - BODY_POINTS
    drive.control[:, start:start + BODY_POINTS] = drive.body_keypoints
    return drive


def relative_pose(source: Camera, target: Camera, neck: Tensor) -> tuple[Tensor, Tensor]:
    """Rotation and translation as the renderer applies them, ``camera(R_source (R v + t))``; the neck moves ``neck`` px."""
    basis = Rotation.from_rotvec(source.rotation.numpy())
    turn = (basis.inv() * Rotation.from_rotvec(target.rotation.numpy())).as_rotvec()
    x, y = ((target.centre - source.centre - neck) / source.scale).tolist()
    shift = basis.inv().apply(np.array([x, -y, 0.0]))
    return torch.from_numpy(turn).float(), torch.from_numpy(shift).float()
