"""Finger and wrist rotations of a clip's hands, in the layout of `motion.types.BodyMotion.hands`.

The hand fit takes some 0.1 s a hand, and fingers in conversation move slowly against a frame: it runs ten times a
second and rotations between are interpolated (our choice). Wrists are followed in every frame.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from chatanyone import smoothing
from motion.template.hand_fit import fit_hand
from motion.template.hands import HandTemplate, Side
from motion.types import HAND_DIM, HAND_JOINTS

Array = NDArray[np.float64]

KNOTS_HZ = 10.0
_WORST_FIT = 0.12  # hand sizes; a fit further off than this is no hand
SIDES: tuple[Side, Side] = ("left", "right")


def knots(seen: NDArray[np.bool_], rate_hz: float) -> list[int]:
    """The frames of ``seen`` ``[T]`` that are fitted: every third at 30 fps, always the first and last of a stretch."""
    stride = max(round(rate_hz / KNOTS_HZ), 1)
    frames = np.flatnonzero(seen)
    return [int(t) for t in frames if t % stride == 0 or t == 0 or t == len(seen) - 1 or not (seen[t - 1] and seen[t + 1])]


def hand_motion(
    points: Array, seen: NDArray[np.bool_], rate_hz: float, scale_px: float, shoulder_px: float,
    step: Callable[[], None] = lambda: None,
) -> tuple[Array, Array]:
    """``[T, 2, 51]`` relative to the reference hand of each side, and those references ``[2, 51]``.

    points: ``[T, 2, 21, 3]`` px, z larger is nearer, without gaps; seen: ``[T, 2]``; scale_px: px per metre, from the head
    The reference is the knot whose rotations are nearest to all others'; its 51 numbers are absolute: joint rotations,
    global rotation (template axes), wrist in px and 0. Zeros where a hand is never seen.
    """
    T = len(points)
    motion, reference = np.zeros((T, 2, HAND_DIM)), np.zeros((2, HAND_DIM))
    for side, name in enumerate(SIDES):
        fits = _fit(points[:, side], knots(seen[:, side], rate_hz), name, scale_px, step)
        if not fits:
            continue
        frames, rotations = np.array(sorted(fits)), np.stack([fits[frame] for frame in sorted(fits)])
        centre = _medoid(rotations)
        turns = _relative(rotations, rotations[centre])  # [N, 48]
        between = np.stack([np.interp(np.arange(T), frames, column) for column in turns.T], axis=1)
        wrist = points[:, side, 0] - points[frames[centre], side, 0]
        motion[:, side, :-3] = smoothing.smooth(between, rate_hz, smoothing.FINGERS)
        motion[:, side, -3:-1] = wrist[:, :2] / shoulder_px
        reference[side] = [*rotations[centre].ravel(), *points[frames[centre], side, 0, :2], 0]
    return motion, reference


def _fit(points: Array, frames: list[int], side: Side, scale_px: float, step: Callable[[], None]) -> dict[int, Array]:
    """Absolute rotations ``[16, 3]`` (15 joints, then global) of the frames whose fit is good."""
    if not frames:
        return {}
    template, fits = HandTemplate.load(side), {}
    for frame in frames:
        landmarks = torch.from_numpy(points[frame] * np.array([1.0, 1.0, -1.0])).float()  # the fit takes MediaPipe's z
        fit = fit_hand(template, landmarks, scale_hint=scale_px)
        if fit.error < _WORST_FIT:
            fits[frame] = torch.cat([fit.joint_rotations, fit.global_rotation[None]]).double().numpy()
        step()
    return fits


def _relative(rotations: Array, reference: Array) -> Array:
    """``[N, 48]`` as `drive_hand` applies them: joints in their own posed frame, the global one before the picture's."""
    N, J, _ = rotations.shape
    out = np.zeros((N, J, 3))
    for joint in range(J):
        now, rest = Rotation.from_rotvec(rotations[:, joint]), Rotation.from_rotvec(reference[joint])
        out[:, joint] = (now * rest.inv() if joint == len(HAND_JOINTS) else rest.inv() * now).as_rotvec()
    return out.reshape(N, J * 3)


def _medoid(rotations: Array) -> int:
    """The row with the least sum of distances to all others; distances of rotation vectors will do for that."""
    flat = rotations.reshape(len(rotations), -1)
    return int(np.linalg.norm(flat[:, None] - flat[None], axis=-1).sum(axis=1).argmin())
