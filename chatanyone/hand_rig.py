"""The hands of a portrait: fitted once, then driven; what the smooth field needs of them."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from chatanyone.portrait import Portrait
from chatanyone.vision.hand_mask import hand_mask
from motion.template.hand_fit import HandFit, drive_hand, fit_hand
from motion.template.hand_outline import refine_outline
from motion.template.hands import PALM_LANDMARKS, HandTemplate, Side
from motion.types import BODY_KEYPOINTS, HAND_DIM
from render.types import Surface

SIDES: tuple[Side, Side] = ("left", "right")
MIN_CONFIDENCE = 0.5
SEEN = 0.3  # visibility from which the pose's wrist counts
JOINED = 0.3  # shoulder widths between this hand and the other's wrist
MAX_ERROR = 0.08  # of the hand's size: a fit this far off would tear the picture's hand


CONTROL_LANDMARKS = (*PALM_LANDMARKS, 4, 8, 12, 16, 20)  # palm and finger tips: the smooth field carries the whole hand


class HandRig:
    """One seen hand: its surface on the picture, and where palm, finger tips and mesh go.

    surface: mesh with source pixels, None where the fit failed (the hand then moves as it is, by the smooth field);
    joined: it lies at the other hand, which was not found: both move as one piece of the body;
    control: ``[11, 2]`` px of `CONTROL_LANDMARKS` in the picture; mask: ``[H, W]`` which pixels it is, None where unknown.
    """

    def __init__(self, portrait: Portrait, fit: HandFit | None, mask: NDArray[np.bool_] | None = None, *, side: int) -> None:
        self.fit, self.side, self.shoulder_px, self.mask = fit, side, portrait.shoulder_width_px, mask
        self.joined = _holds_another(portrait, side)
        self.control = portrait.hands[side][list(CONTROL_LANDMARKS), :2]
        self.surface: Surface | None = None
        if self.joined:
            self.fit = fit = None
        if fit is not None:
            triangles, V = fit.template.triangles, len(fit.template.vertices)
            self.surface = Surface(triangles, fit.source, fit.template.opacity, torch.zeros(len(triangles)).long(),
                                   torch.zeros(V, 2))
            rest = drive_hand(fit, torch.zeros(1, HAND_DIM), self.shoulder_px)[0]
            self._nearest = torch.cdist(self.control, rest[:, :2]).argmin(dim=1)
            self.control = rest[self._nearest, :2]

    def drive(self, hands: Tensor) -> tuple[list[Tensor], Tensor]:
        """``[B, 2, 51]`` to the mesh ``[B, V, 3]`` (or nothing) and control points ``[B, 11, 2]``, px."""
        if self.fit is None:
            return [], self.control + hands[:, self.side, None, -3:-1] * self.shoulder_px
        vertices = drive_hand(self.fit, hands[:, self.side], self.shoulder_px)
        return [vertices], vertices[:, self._nearest, :2]


def _holds_another(portrait: Portrait, side: int) -> bool:
    """Whether the other hand is where this one is, though the detector did not find it."""
    other = BODY_KEYPOINTS.index(f"wrist{SIDES[1 - side].capitalize()}")
    if portrait.hand_seen[1 - side] or float(portrait.pose_visibility[16 - side]) < SEEN:
        return False
    away = (portrait.hands[side][:, :2] - portrait.body[other, :2]).norm(dim=1).min()
    return float(away) < JOINED * portrait.shoulder_width_px


def hand_rigs(portrait: Portrait, scale_px: float,
              templates: tuple[HandTemplate, HandTemplate] | None = None) -> list[HandRig]:
    """The hands that are seen, left before right.

    Args: scale_px pixels per metre at the head, which tells how large a hand is; templates of left and right, by default
    the shipped ones.
    """
    rigs = []
    for side, name in enumerate(SIDES):
        if float(portrait.hand_confidence[side]) < MIN_CONFIDENCE:
            continue
        elbow = portrait.body[BODY_KEYPOINTS.index(f"elbow{name.capitalize()}"), :2]
        landmarks = portrait.hands[side] * torch.tensor([1.0, 1.0, -1.0])  # fit_hand takes MediaPipe's sign of z
        template = HandTemplate.load(name) if templates is None else templates[side]
        fit = fit_hand(template, landmarks, scale_hint=scale_px, elbow=elbow)
        rigs.append(HandRig(portrait, *(_outlined(portrait, fit) if fit.error <= MAX_ERROR else (None,)), side=side))
    return rigs


def _outlined(portrait: Portrait, fit: HandFit) -> tuple[HandFit, NDArray[np.bool_] | None]:
    """The fit with its silhouette pulled onto the hand in the picture, and that hand's pixels."""
    picture = (portrait.image.permute(1, 2, 0) * 255).round().byte().numpy()
    mask = hand_mask(picture, fit)
    return (refine_outline(fit, torch.from_numpy(mask).float()), mask) if mask.any() else (fit, None)
