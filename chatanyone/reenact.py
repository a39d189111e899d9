"""The driving state that brings a portrait to what is seen in another picture of the same person and frame.

`Follower` does it for a clip, frame by frame; `drive_to` for landmarks at hand (training, where the truth is known).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation
from torch import Tensor

from chatanyone.alignment import align
from chatanyone.driver import DISTANCE_M, Driver
from chatanyone.exact_face import ExactFace
from chatanyone.hand_rig import SIDES
from chatanyone.portraits.body import body_keypoints
from chatanyone.vision import Hand, PoseLandmarks, detect_hands, detect_pose, face_landmarks
from motion.template.fit import Camera, fit_frame
from motion.template.hand_fit import compose, fit_hand
from motion.types import ARKIT_NAMES, BODY_KEYPOINTS, BODY_POINTS, HAND_DIM, BodyMotion, FaceMotion
from render.types import RenderDrive

HAND_SEEN, WORST_HAND = 0.6, 0.12  # confidence; hand sizes of error from which a fit is no hand
LANDMARK_PASSES = 3

Image = NDArray[np.uint8]  # [H, W, 3] RGB, in the portrait's frame


@dataclass
class _Seen:
    """What is measured in one picture. face ``[478, 3]`` px; expression ``[52]``; camera of the head; body ``[14, 3]`` px;
    hands: for each rig its wrist ``[2]`` px and rotations ``[16, 3]`` (15 joints, then global), None where not found."""

    face: Tensor
    expression: Tensor
    camera: Camera
    body: Tensor
    hands: list[tuple[Tensor, Tensor] | None]


class Follower:
    """Follows the person of a portrait through pictures in the portrait's own frame.

    Everything is measured against the same measurement of the portrait itself, so that what the detectors get wrong about
    this person (a shoulder 10 px too low) is wrong in both and cancels. Then the picture itself has the last word:
    `align` moves body, hair and arms by what is left between drawn and seen; no pixel of it gets into the frame.

    face ``[478, 3]`` and pose: landmarks of the last picture in which the person was found, px.
    """

    def __init__(self, driver: Driver, steps: int = 4) -> None:
        self.driver, self.steps = driver, steps
        portrait = (driver.portrait.image.permute(1, 2, 0) * 255).round().byte().contiguous().numpy()
        self.face: NDArray[np.float32] = driver.portrait.face.numpy()
        self.pose: PoseLandmarks | None = None
        seen = self._measure(portrait)
        if seen is None:
            raise LookupError("the portrait's own person is not found in it again")
        self._reference = seen
        self._exact = ExactFace(driver, seen.face)
        self._last_turn = [torch.zeros(1, HAND_DIM) for _ in driver.hands]

    def __call__(self, picture: Image) -> RenderDrive | None:
        """What drives the portrait to the picture; None where the person is lost."""
        seen = self._measure(picture)
        if seen is None:
            return None
        drive = self.driver(self._face(seen), self._body(seen), measured=True)
        self._exact(drive, seen.face)
        return align(self.driver, drive, torch.from_numpy(picture).permute(2, 0, 1).float() / 255, self.steps)

    def _measure(self, picture: Image) -> _Seen | None:
        face = face_landmarks(picture, self.face, passes=LANDMARK_PASSES)
        pose = None if face is None else detect_pose(picture)
        if face is None or pose is None:
            return None
        self.face, self.pose = face, pose
        expression, camera = _fit(self.driver, torch.from_numpy(face))
        body = torch.from_numpy(body_keypoints(face, pose)[0])
        found = detect_hands(picture, pose) if self.driver.hands else (None, None)
        hands = [self._hand(rig.side, found[rig.side], body) for rig in self.driver.hands]
        return _Seen(torch.from_numpy(face), expression, camera, body, hands)

    def _hand(self, side: int, hand: Hand | None, body: Tensor) -> tuple[Tensor, Tensor] | None:
        rig = next(rig for rig in self.driver.hands if rig.side == side)
        if hand is None or hand.confidence < HAND_SEEN:
            return None
        wrist = torch.from_numpy(hand.points[0, :2].copy())
        if rig.fit is None:
            return wrist, torch.zeros(16, 3)
        landmarks = torch.from_numpy(hand.points) * torch.tensor([1.0, 1.0, -1.0])  # the fit takes MediaPipe's sign of z
        elbow = body[BODY_KEYPOINTS.index(f"elbow{SIDES[side].capitalize()}"), :2]
        fit = fit_hand(rig.fit.template, landmarks, scale_hint=rig.fit.scale, elbow=elbow)
        if fit.error > WORST_HAND:
            return None
        return wrist, torch.cat([fit.joint_rotations, fit.global_rotation[None]])

    def _face(self, seen: _Seen) -> FaceMotion:
        driver, reference = self.driver, self._reference
        gain = driver.fit.gain.clamp(min=0.3)
        expression = driver.fit.expression + (seen.expression - reference.expression) / gain - driver.rest
        neck = (seen.body - reference.body)[0, :2]
        rotation, translation = relative_pose_to(driver.fit.camera, reference.camera, seen.camera, neck)
        return FaceMotion(expression[None], rotation[None], translation[None])

    def _body(self, seen: _Seen) -> BodyMotion:
        width = self.driver.portrait.shoulder_width_px
        delta = (seen.body - self._reference.body)[:, :2] / width
        hands = torch.zeros(1, 2, HAND_DIM)
        for index, rig in enumerate(self.driver.hands):
            wrist = BODY_KEYPOINTS.index(f"wrist{SIDES[rig.side].capitalize()}")
            turned = self._turn(index, seen)
            hands[0, rig.side] = turned
            delta[wrist] = turned[-3:-1]
        return BodyMotion(torch.cat([delta, torch.zeros(BODY_POINTS, 1)], 1)[None], hands)

    def _turn(self, index: int, seen: _Seen) -> Tensor:
        """``[51]`` of one hand; a hand that is not found keeps its pose and goes where the pose network sees its wrist."""
        width, rest, now = self.driver.portrait.shoulder_width_px, self._reference.hands[index], seen.hands[index]
        motion = self._last_turn[index][0].clone()
        if rest is None or now is None:
            wrist = BODY_KEYPOINTS.index(f"wrist{SIDES[self.driver.hands[index].side].capitalize()}")
            motion[-3:-1] = (seen.body - self._reference.body)[wrist, :2] / width
            return motion
        motion[:-6] = compose(-rest[1][:-1], now[1][:-1]).flatten()  # in the joint's own, already posed frame
        motion[-6:-3] = compose(now[1][-1], -rest[1][-1])
        motion[-3:-1] = (now[0] - rest[0]) / width
        self._last_turn[index] = motion[None]
        return motion


def drive_to(driver: Driver, landmarks: Tensor, body: Tensor, prior: Tensor | None = None) -> RenderDrive:
    """One frame, from landmarks as they are.

    Args: landmarks ``[478, 3]`` and body ``[14, 2 or 3]`` px as seen; prior ``[52]`` mean of the expression prior.
    """
    expression, camera = _fit(driver, landmarks, prior)
    delta = (body[:, :2] - driver.portrait.body[:, :2]) / driver.portrait.shoulder_width_px
    neck = delta[0] * driver.portrait.shoulder_width_px
    rotation, translation = relative_pose(driver.fit.camera, camera, neck)
    relative = (expression / driver.fit.gain).clamp(0, 1) - driver.rest
    motion = BodyMotion(torch.cat([delta, torch.zeros(BODY_POINTS, 1)], 1)[None], torch.zeros(1, 2, HAND_DIM))
    return driver(FaceMotion(relative[None], rotation[None], translation[None]), motion, measured=True)


def relative_pose(source: Camera, target: Camera, neck: Tensor) -> tuple[Tensor, Tensor]:
    """Rotation and translation as the renderer applies them, ``camera(R_source (R v + t))``; the neck moves ``neck`` px."""
    return relative_pose_to(source, source, target, neck)


def relative_pose_to(source: Camera, reference: Camera, target: Camera, neck: Tensor) -> tuple[Tensor, Tensor]:
    """The same where the source's own pose was measured again as ``reference``, like the target."""
    basis = Rotation.from_rotvec(source.rotation.numpy())
    measured = Rotation.from_rotvec(reference.rotation.numpy())
    turn = (measured.inv() * Rotation.from_rotvec(target.rotation.numpy())).as_rotvec()
    x, y = ((target.centre - reference.centre - neck) / source.scale).tolist()
    shift = basis.inv().apply(np.array([x, -y, DISTANCE_M * (1 - reference.scale / target.scale)]))
    return torch.from_numpy(turn).float(), torch.from_numpy(shift).float()


def _fit(driver: Driver, landmarks: Tensor, prior: Tensor | None = None) -> tuple[Tensor, Camera]:
    """Expression and camera of landmarks ``[478, 3]``."""
    fit = driver.fit
    first = torch.zeros(len(ARKIT_NAMES)) if prior is None else prior
    # Once more around the first answer: a single regularised fit flattens open mouths.
    for _ in range(2):
        first, camera, _ = fit_frame(driver.template, fit.identity, landmarks, prior=first, neutral=fit.neutral)
    return first, camera
