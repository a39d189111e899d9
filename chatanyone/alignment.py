"""Analysis by synthesis: control points move until the drawn person lies on the seen one.

Landmarks of the body are right to some ten pixels; the pictures themselves tell it to a fraction of one. Dense inverse
search (Kroeger et al., "Fast Optical Flow using Dense Inverse Search", ECCV 2016, OpenCV's) says what is left between
the drawn and the seen picture, and the control points take what their own field can express of it: a least-squares step,
repeated. Our own step; the paper learns its implicit body keypoints for the same end.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from chatanyone.driver import Driver
from render.geometry import Proposal, propose
from render.types import RenderDrive
from render.warp import STRIDE, identity_flow, sample

RIDGE, STIFFNESS = 0.005, 0.1  # against large steps; against a group (hair, a hand) losing its shape
COLOUR = 0.06  # difference after the flow from which it is no match
TEXTURE = 0.01  # local contrast that says where something is
LARGEST = 20.0  # px a step
LUMINANCE = torch.tensor([0.299, 0.587, 0.114])


def align(driver: Driver, drive: RenderDrive, picture: Tensor, steps: int = 4) -> RenderDrive:
    """The drive with hair, body and arms moved onto the picture ``[3, H, W]``; the face stays as its mesh says."""
    start = drive.control.clone()
    for _ in range(steps):
        proposal = propose(driver.source, drive)
        residual = _residual(proposal, picture)
        for index in range(len(driver.source.limbs)):
            _align_limb(driver, drive, index, residual, proposal)
        _align_body(driver, drive, start, residual, proposal)
    return drive


@dataclass
class _Residual:
    """flow ``[1, 2, H, W]`` px: where each drawn pixel is seen; weight ``[1, 1, H, W]``: how much that is worth."""

    flow: Tensor
    weight: Tensor


def _residual(proposal: Proposal, picture: Tensor) -> _Residual:
    drawn = proposal.frame
    search = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)  # type: ignore[attr-defined]
    found = search.calc(_grey(drawn[0]), _grey(picture), None)
    flow = torch.from_numpy(found).permute(2, 0, 1)[None]
    H, W = picture.shape[-2:]
    error = (sample(picture[None], identity_flow((H, W)) + flow) - drawn).abs().mean(1, keepdim=True)
    match = torch.exp(-(F.avg_pool2d(error, 9, 1, 4) / COLOUR).square())
    grey = drawn.mean(1, keepdim=True)
    texture = F.avg_pool2d((grey - F.avg_pool2d(grey, 9, 1, 4)).abs(), 9, 1, 4)
    return _Residual(flow, match * texture / (texture + TEXTURE) * (proposal.alpha > 0.5))


def _grey(picture: Tensor) -> np.ndarray:
    return ((picture.clamp(0, 1) * LUMINANCE[:, None, None]).sum(0) * 255).byte().numpy()


def _align_body(driver: Driver, drive: RenderDrive, start: Tensor, residual: _Residual, proposal: Proposal) -> None:
    """All control points but the face's outline; in place."""
    source, free = driver.source, driver.free_control
    matrix = source.cache["field"]
    weight = residual.weight
    for limb in proposal.limbs:
        weight = weight * (limb < 0.05)
    wanted, worth = _at_nodes(matrix @ (drive.control[0] - source.control), residual.flow, weight, source.cache["body"][:, 3:])
    A = matrix[:, free]
    scale = worth.sum() / len(free)
    stiff = driver.stiffness * STIFFNESS
    left = A.T @ (A * worth[:, None]) + scale * (RIDGE * torch.eye(len(free)) + stiff)
    right = A.T @ (wanted * worth[:, None]) - scale * stiff @ (drive.control - start)[0, free]
    drive.control[0, free] += torch.linalg.solve(left, right).clamp(-LARGEST, LARGEST)
    moved = (drive.control[0] - source.control)[-len(driver.body_control):]
    drive.body_keypoints[0, driver.body_control] = source.body_keypoints[driver.body_control] + moved


def _align_limb(driver: Driver, drive: RenderDrive, index: int, residual: _Residual, proposal: Proposal) -> None:
    """A limb moves as a whole, with its hand's mesh: its parts are where hand and elbow are seen. In place."""
    weight = residual.weight * proposal.limbs[index]
    if float(weight.sum()) < 50:
        return
    step = ((residual.flow * weight).sum((-2, -1)) / weight.sum((-2, -1))).clamp(-LARGEST, LARGEST)
    limb = driver.source.limbs[index]
    drive.limbs[index] += step
    if limb.hand is not None:
        drive.hands[limb.hand][..., :2] += step[:, None]


def _at_nodes(displacement: Tensor, flow: Tensor, weight: Tensor, alpha: Tensor) -> tuple[Tensor, Tensor]:
    """Residual ``[N, 2]`` and weight ``[N]`` where each node of the source's grid has gone."""
    H, W = flow.shape[-2:]
    place = identity_flow((H, W), STRIDE)[0].flatten(1).T + displacement
    grid = (place * torch.tensor([2 / W, 2 / H]) - 1)[None, None]
    values = F.grid_sample(torch.cat([flow, weight], 1), grid, align_corners=False)[0, :, 0]
    return values[:2].T, values[2] * F.avg_pool2d(alpha, STRIDE).flatten()
