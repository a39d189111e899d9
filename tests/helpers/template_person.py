"""A portrait whose face is the template itself, projected: every coefficient of it is known."""

from __future__ import annotations

import torch
from torch import Tensor

from chatanyone.portrait import Portrait
from motion.template.fit import Camera
from motion.template.head import HeadTemplate
from motion.types import BODY_KEYPOINTS

BODY_PX = {
    "neck": (128, 210), "chest": (128, 270), "shoulderLeft": (188, 225), "shoulderRight": (68, 225), "elbowLeft": (210, 300),
    "elbowRight": (46, 300), "wristLeft": (190, 350), "wristRight": (66, 350), "hipLeft": (170, 380), "hipRight": (86, 380),
    "belly": (128, 330), "upperArmLeft": (200, 262), "upperArmRight": (56, 262), "collar": (128, 225),
}


def camera(scale: float = 700.0, centre: tuple[float, float] = (128.0, 130.0)) -> Camera:
    """Frontal."""
    return Camera(torch.zeros(3), torch.tensor(centre), scale)


def face_px(template: HeadTemplate, expression: Tensor, view: Camera) -> Tensor:
    """``[478, 3]`` px."""
    return view.project(template.landmarks(template.vertices(torch.zeros(len(template.identity)), expression)), template.pivot)


def template_portrait(template: HeadTemplate, size: tuple[int, int] = (256, 384)) -> Portrait:
    """A smooth colourful picture, the upper part of it person; width, height."""
    W, H = size
    y, x = torch.meshgrid(torch.linspace(0, 1, H), torch.linspace(0, 1, W), indexing="ij")
    image = torch.stack([0.3 + 0.4 * x, 0.3 + 0.4 * y, 0.5 + 0.2 * torch.sin(9 * x) * torch.cos(7 * y)])
    matte = (((x - 0.5) / 0.35).square() + ((y - 0.6) / 0.58).square() < 1).float()[None]
    body = torch.tensor([(*BODY_PX[name], 0.0) for name in BODY_KEYPOINTS])
    return Portrait(
        image=image, matte=matte, plate=image, foreground=image, face=face_px(template, torch.zeros(52), camera()),
        pose=torch.zeros(33, 3), pose_visibility=torch.zeros(33), hands=torch.zeros(2, 21, 3),
        hand_confidence=torch.zeros(2), body=body, shoulder_width_px=120.0, box=(0.0, 0.0, float(W), float(H)))
