"""The arms of a portrait whose hands are seen: taken off the body once, then moved by forearm and hand.

Our own step: the papers leave arms to one warping field.
"""

from __future__ import annotations

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from chatanyone.hand_rig import SIDES, HandRig
from chatanyone.portrait import Portrait
from chatanyone.portraits.limbs import Arm, take_off
from chatanyone.portraits.matte import hand_silhouette
from motion.types import BODY_KEYPOINTS
from render.types import Limb

# In shoulder widths: the forearm's half width at elbow and wrist; a bone shorter than this has no direction in the picture.
ELBOW_RADIUS, WRIST_RADIUS, SHORTEST = 0.15, 0.10, 0.22
PLACES = (0.0, 0.5, 1.0)  # along the forearm, where its two edges are control points
_OVAL = (10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377, 152, 148, 176, 149, 150, 136,
         172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109)


class ArmRig:
    """One forearm. control: ``[6 + 11, 2]`` px in the picture: the forearm's edges, then the hand's control points."""

    def __init__(self, portrait: Portrait, hand: HandRig) -> None:
        self.hand, self.size = hand, portrait.shoulder_width_px
        self.elbow_index = BODY_KEYPOINTS.index(f"elbow{SIDES[hand.side].capitalize()}")
        self.elbow, self.wrist = portrait.body[self.elbow_index, :2], hand.control[0]
        self.shoulder = portrait.body[BODY_KEYPOINTS.index(f"shoulder{SIDES[hand.side].capitalize()}"), :2]
        self.control = torch.cat([self._edges(self.elbow[None], self.wrist[None])[0], hand.control])

    def drive(self, body: Tensor, points: Tensor) -> Tensor:
        """Body keypoints ``[B, 14, 2]`` and the hand's driven control points ``[B, 11, 2]`` to ``[B, 17, 2]``, px."""
        return torch.cat([self._edges(body[:, self.elbow_index], points[:, 0]), points], 1)

    def _edges(self, elbow: Tensor, wrist: Tensor) -> Tensor:
        """``[B, 6, 2]``: the edges turn with the bone, but do not get wider or narrower with its length."""
        bone, rest = wrist - elbow, self.wrist - self.elbow
        length = torch.minimum(bone.norm(dim=-1), rest.norm()) / (SHORTEST * self.size)
        share = ((length - 1) * 2).clamp(0, 1)[:, None]
        direction = torch.nn.functional.normalize(share * _unit(bone) + (1 - share) * _unit(rest), dim=-1)
        across = torch.stack([-direction[:, 1], direction[:, 0]], -1)
        edges = []
        for place in PLACES:
            radius = self.size * (ELBOW_RADIUS + place * (WRIST_RADIUS - ELBOW_RADIUS))
            edges += [elbow + place * bone + sign * radius * across for sign in (1, -1)]
        return torch.stack(edges, 1)

    def describe(self, portrait: Portrait, other: NDArray[np.bool_]) -> Arm:
        """What the picture is cut by."""
        points = portrait.hands[self.hand.side].numpy()
        W, H = portrait.size
        hand = self.hand.mask if self.hand.mask is not None else hand_silhouette((H, W), points, 0.9)
        radius = self.size * ELBOW_RADIUS, self.size * WRIST_RADIUS
        return Arm(self.shoulder.numpy(), self.elbow.numpy(), self.wrist.numpy(), radius, hand & ~other, other)


def arm_layers(portrait: Portrait, hands: list[HandRig]) -> tuple[list[ArmRig], list[Limb], Tensor | None]:
    """Rigs and layers of the arms whose hands are rigged, and the body without them ``[4, H, W]`` (None without arms)."""
    rigs = [ArmRig(portrait, hand) for hand in hands if not hand.joined]
    if not rigs:
        return [], [], None
    described = [rig.describe(portrait, _not_arm(portrait, rig.hand.side)) for rig in rigs]
    picture, foreground, plate = (x.permute(1, 2, 0).contiguous().numpy() for x in (
        portrait.image, portrait.foreground, portrait.plate))
    layers = take_off(picture, portrait.matte[0].numpy(), foreground, plate, described)
    drawn = [hand for hand in hands if hand.surface is not None]
    limbs = [Limb(_planes(layer), rig.control, drawn.index(rig.hand) if rig.hand in drawn else None, float(index))
             for index, (layer, rig) in enumerate(zip(layers.arms, rigs))]
    return rigs, limbs, _planes(layers.body)


def _not_arm(portrait: Portrait, side: int) -> NDArray[np.bool_]:
    """``[H, W]``: the face, and what lies nearer to the other hand."""
    W, H = portrait.size
    face = np.zeros((H, W), np.uint8)
    cv2.fillConvexPoly(face, cv2.convexHull(portrait.face[list(_OVAL), :2].numpy().round().astype(np.int32)), 1)
    if not portrait.hand_seen[1 - side]:
        return face > 0
    away = [_distance(hand_silhouette((H, W), portrait.hands[s].numpy(), 1.0)) for s in (side, 1 - side)]
    return np.asarray((face > 0) | ((away[1] < away[0]) & (away[1] < 12)), dtype=np.bool_)


def _distance(mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    return np.asarray(cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, 5), dtype=np.float32)


def _planes(layer: NDArray[np.float32]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(layer.transpose(2, 0, 1)))


def _unit(vector: Tensor) -> Tensor:
    return torch.nn.functional.normalize(vector, dim=-1)
