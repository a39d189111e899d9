"""From measured landmarks to the template's coefficients: one identity and neutral face per clip, then every frame."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation
from torch import Tensor

from chatanyone.vision.gaze import together
from chatanyone.vision.response import detector
from motion.template.fit import Camera, HeadFit, fit_head
from motion.template.head import HeadTemplate
from motion.template.person_fit import PersonFit
from motion.types import ARKIT_INDEX, ARKIT_NAMES

Points = NDArray[np.float32]  # [478, 3] px

REFERENCE_FRAMES = 5  # calmest frames whose fits are averaged to the person's neutral face
DISTANCE_M = 0.8  # assumed distance of head and camera, which turns a change of scale into one of depth (our choice)
# MediaPipe points: inner lips, eyelids (upper, lower), forehead, chin.
_LIPS, _LIDS, _HEIGHT = (13, 14), ((159, 145), (386, 374)), (10, 152)  # lids: the person's right eye, then left
_CORNERS, _BROWS = (61, 291), (105, 334)  # of the mouth; middles of the person's right and left brow
_BLINKS = [ARKIT_INDEX["eyeBlinkLeft"], ARKIT_INDEX["eyeBlinkRight"]]
BLINK_FRAMES = 15
# How much rarer or smaller (brows: larger) a shape is than those that are not named: of shapes that move the landmarks alike
# (a smile, a dimple, a stretched mouth) the common one explains what is seen (ours, weighed with tools/check_round_trip.py).
_RARE = {"brow": 4.0, "tongue": 0.2, "mouthDimple": 0.3, "jawForward": 0.3, "jawLeft": 0.3, "jawRight": 0.3, "cheekPuff": 0.3,
         "mouthStretch": 0.4, "mouthPress": 0.4, "mouthRoll": 0.4, "mouthShrug": 0.4, "mouthLeft": 0.4, "mouthRight": 0.4,
         "noseSneer": 0.4, "eyeSquint": 0.4, "mouthUpperUp": 0.5, "mouthFunnel": 0.5, "cheekSquint": 0.5, "eyeWide": 0.5,
         "mouthLowerDown": 0.6, "mouthFrown": 0.6}
SPREAD = torch.tensor([next((value for start, value in _RARE.items() if name.startswith(start)), 1.0) for name in ARKIT_NAMES])
_OPEN_SLACK, _CLOSED_REST = 0.12, 0.25  # parts of the usual opening: trembling; what MediaPipe still sees of a shut eye


@dataclass
class FaceTrack:
    """Coefficients of the valid frames, F of them, before smoothing.

    expression: ``[F, 52]``; rotation: ``[F, 3]`` rad against the camera; centre: ``[F, 2]`` px; scale: ``[F]`` px per
    metre; residual_px: ``[F]``; identity: ``[I]``
    """

    expression: NDArray[np.float64]
    rotation: NDArray[np.float64]
    centre: NDArray[np.float64]
    scale: NDArray[np.float64]
    residual_px: NDArray[np.float64]
    identity: Tensor


def fit_track(
    template: HeadTemplate,
    frames: Sequence[Points],
    scores: Sequence[NDArray[np.float32] | None],
    step: Callable[[], None] = lambda: None,
) -> FaceTrack:
    """Fits every frame's landmarks ``[478, 3]``; ``scores`` are MediaPipe's 52 per frame where known, else None.

    The first pass takes the clip's calmest frames for identity and neutral face, the second keeps those fixed. Each
    frame is solved twice, the second time with the first answer as the prior's mean: a regulariser strong enough to
    keep calm frames calm would otherwise flatten the loud ones (iterated Tikhonov; our choice). ``step`` is called
    after each frame.
    """
    person = _fit_person(template, frames)
    fit = PersonFit(template, person.neutral, person.camera.rotation, detector(template), SPREAD)
    baseline = _score_baseline(frames, scores)
    blinks = measure_blinks(frames)
    rows: list[tuple[Tensor, Camera, float]] = []
    for index, (landmarks, score) in enumerate(zip(frames, scores)):
        blink = None if blinks is None else blinks[index]
        prior = torch.zeros(len(ARKIT_NAMES))
        if score is not None and baseline is not None:
            prior = torch.from_numpy(_above(score, baseline))
        points = torch.from_numpy(landmarks)
        first, camera, _ = fit(points, _with_blinks(prior, blink, person.gain))
        found, camera, residual = fit(points, _with_blinks(first, blink, person.gain), camera)
        rows.append((_document_weights(found, blink, person.gain), camera, residual))
        step()
    cameras = [row[1] for row in rows]
    return FaceTrack(
        together(np.stack([row[0].double().numpy() for row in rows])),
        np.stack([camera.rotation.double().numpy() for camera in cameras]),
        np.stack([camera.centre.double().numpy() for camera in cameras]),
        np.array([camera.scale for camera in cameras]), np.array([row[2] for row in rows]), person.identity)


def measure_blinks(frames: Sequence[Points]) -> NDArray[np.float32] | None:
    """eyeBlinkLeft and eyeBlinkRight ``[F, 2]`` from the lids alone: 0 as open as usual, 1 closed.

    Lids are few of the 478 points, so a least-squares fit hardly sees them; their opening says it directly. None for
    clips too short to know what is usual.
    """
    if len(frames) < BLINK_FRAMES:
        return None
    opening = np.array([[_distance(frame, *pair) / _distance(frame, *_HEIGHT) for pair in _LIDS] for frame in frames])
    usual = np.percentile(opening, 70, axis=0)
    closed = 1 - opening / usual
    return np.clip((closed - _OPEN_SLACK) / (1 - _CLOSED_REST - _OPEN_SLACK), 0, 1).astype(np.float32)[:, ::-1].copy()


def lip_aperture(landmarks: Points) -> float:
    """Opening between the inner lips in face heights (which turn and nod with the lips)."""
    return _in_heights(landmarks, *_LIPS)


def lid_aperture(landmarks: Points) -> float:
    """Mean opening of the eyes in face heights."""
    return sum(_distance(landmarks, *pair) for pair in _LIDS) / 2 / max(_distance(landmarks, *_HEIGHT), 1e-6)


def relative_pose(track: FaceTrack) -> tuple[NDArray[np.float64], NDArray[np.float64], dict[str, NDArray[np.float32]]]:
    """Rotation ``[F, 3]`` and translation ``[F, 3]`` against the clip's median pose, and that reference.

    As the renderer applies them: ``camera(R_ref · (R · v + t))``, see `motion.template.head.HeadTemplate.pose`.
    """
    turns = Rotation.from_rotvec(track.rotation)
    reference = turns[int(np.argmin(np.abs(track.rotation - np.median(track.rotation, axis=0)).sum(axis=1)))]
    centre, scale = np.median(track.centre, axis=0), float(np.median(track.scale))
    shift = (track.centre - centre) / scale
    depth = DISTANCE_M * (1 - scale / track.scale)
    offset = np.stack([shift[:, 0], -shift[:, 1], depth], axis=1)
    named = {
        "reference_rotation": reference.as_rotvec().astype(np.float32), "reference_centre": centre.astype(np.float32),
        "reference_scale": np.array(scale, dtype=np.float32)}
    return (reference.inv() * turns).as_rotvec(), reference.inv().apply(offset), named


def neck_translation(neck: NDArray[np.float64], reference: NDArray[np.float32]) -> NDArray[np.float64]:
    """The neck base's way ``[F, 3]`` (metres, image axes) as a head translation ``[F, 3]`` in the reference's axes.

    The renderer carries the head along with the neck, so a head's own translation is what is left without it.
    """
    moved = (neck - np.median(neck, axis=0)) * np.array([1.0, -1.0, 0.0])
    return np.asarray(Rotation.from_rotvec(reference).inv().apply(moved))


def _fit_person(template: HeadTemplate, frames: Sequence[Points]) -> HeadFit:
    """Identity, neutral face, gain and closing are means over the calmest frames, and so is the camera's rotation."""
    calm = _calmest(frames)
    fits = [fit_head(template, torch.from_numpy(frames[index])) for index in calm]
    rotation = torch.stack([fit.camera.rotation for fit in fits]).mean(dim=0)
    return replace(
        fits[0], camera=replace(fits[0].camera, rotation=rotation),
        identity=torch.stack([fit.identity for fit in fits]).mean(dim=0),
        neutral=torch.stack([fit.neutral for fit in fits]).mean(dim=0),
        gain=torch.stack([fit.gain for fit in fits]).mean(dim=0),
        closing=torch.stack([fit.closing for fit in fits]).mean(dim=0))


def _calmest(frames: Sequence[Points]) -> list[int]:
    """Frames with a closed mouth, eyes open, brows and corners of the mouth as usual, and the head straight.

    A frame of a smile with closed lips must not count as calm, or the smile would become part of the neutral face and
    every unsmiling frame a frown.
    """
    lips = np.array([lip_aperture(frame) for frame in frames])
    straight = np.array([abs(_asymmetry(frame)) for frame in frames])
    usual = [np.abs(values - np.median(values)) for values in (
        np.array([lid_aperture(frame) for frame in frames]), np.array([_in_heights(frame, *_CORNERS) for frame in frames]),
        np.array([_brow_height(frame) for frame in frames]))]
    cost = lips + 2 * (usual[0] + usual[1] + usual[2]) + 0.1 * np.abs(straight - straight.min())
    return [int(index) for index in np.argsort(cost, kind="stable")[:REFERENCE_FRAMES]]


def _score_baseline(
    frames: Sequence[Points], scores: Sequence[NDArray[np.float32] | None],
) -> NDArray[np.float32] | None:
    """MediaPipe scores a calm face above zero, differently for each person: what it says of the calmest frames."""
    known = [index for index, score in enumerate(scores) if score is not None]
    if not known:
        return None
    calm = [known[index] for index in _calmest([frames[index] for index in known])]
    values = np.stack([score for index in calm if (score := scores[index]) is not None])
    baseline = np.minimum(np.median(values, axis=0), 0.5)
    baseline[[ARKIT_INDEX["jawOpen"]]] = np.minimum(baseline[[ARKIT_INDEX["jawOpen"]]], 0.05)
    return np.asarray(baseline, dtype=np.float32)


def _above(score: NDArray[np.float32], baseline: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(np.clip((score - baseline) / (1 - baseline), 0, 1), dtype=np.float32)


def _with_blinks(expression: Tensor, blink: NDArray[np.float32] | None, gain: Tensor) -> Tensor:
    """The measured blinks as the template's own weights: a lid of gain below 1 closes before its weight reaches 1."""
    if blink is None:
        return expression
    out = expression.clone()
    out[_BLINKS] = torch.from_numpy(blink) * gain[_BLINKS].clamp(max=1.0)
    return out


def _document_weights(expression: Tensor, blink: NDArray[np.float32] | None, gain: Tensor) -> Tensor:
    """Document weights: closed is 1, whatever the person's gain; blinks as measured where they could be."""
    out = (expression / gain.clamp(max=1.0)).clamp(0, 1)
    if blink is not None:
        out[_BLINKS] = torch.from_numpy(blink)
    return out


def _in_heights(landmarks: Points, a: int, b: int) -> float:
    return _distance(landmarks, a, b) / max(_distance(landmarks, *_HEIGHT), 1e-6)


def _brow_height(landmarks: Points) -> float:
    """Of both brows' middles above the upper lids, face heights."""
    return float(np.mean([_in_heights(landmarks, brow, lid) for brow, (lid, _) in zip(_BROWS, _LIDS)]))


def _distance(landmarks: Points, a: int, b: int) -> float:
    return float(np.linalg.norm(landmarks[a] - landmarks[b]))


def _asymmetry(landmarks: Points) -> float:
    right, left, nose = landmarks[234, :2], landmarks[454, :2], landmarks[6, :2]
    across = left - right
    return float(2 * np.dot(nose - right, across) / max(float(np.dot(across, across)), 1e-6) - 1)
