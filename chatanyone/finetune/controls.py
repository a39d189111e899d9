"""The controls that would have made a real person's motion: the inverse of how the performer draws from them.

The face net is given blinks, gaze and slow sway (`motion.impulses.face_controls`). For a real clip they are read off its
motion, so that the net keeps obeying them: with random ones it would learn to look away. What cannot be read (which
stresses are underlined) stays 0. Scales are those of `motion.training.performance`; our choice.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy.ndimage import gaussian_filter1d
from torch import Tensor

from motion.impulses import FACE_CONTROLS
from motion.types import ARKIT_INDEX, FaceMotion

SMOOTH = 12  # frames, standard deviation: the sway's power lies below 0.5 Hz
LIMIT = 2.5  # standard deviations: further, the performer never goes
DEGREES = np.array([1.5, 2.4, 1.4])  # of head rotation a unit of sway
METRES = np.array([0.0022, 0.0014, 0.0025])
FULL_GAZE_RAD = 0.52  # eyeLook weight 1
BROWS, FROWN = (0.05, 0.06), (0.6, 0.12)  # offset and scale


def controls_of(face: Tensor) -> Tensor:
    """Packed motion ``[T, 58]`` → controls ``[T, 13]``: lids, gaze x, gaze y, then the ten of the sway."""
    motion = FaceMotion.unpack(face)
    weights = motion.expression.numpy()

    def mean(*names: str) -> np.ndarray:
        return np.asarray(np.mean([weights[:, ARKIT_INDEX[name]] for name in names], axis=0))

    rotation, translation = motion.rotation.numpy(), motion.translation.numpy()
    right = mean("eyeLookOutLeft", "eyeLookInRight") - mean("eyeLookInLeft", "eyeLookOutRight")
    up = mean("eyeLookUpLeft", "eyeLookUpRight") - mean("eyeLookDownLeft", "eyeLookDownRight")
    controls = np.zeros((len(weights), FACE_CONTROLS))
    controls[:, 0] = _lids(mean("eyeBlinkLeft", "eyeBlinkRight"))
    controls[:, 1] = np.clip(2 * (right + rotation[:, 1] / FULL_GAZE_RAD), -1, 1)
    controls[:, 2] = np.clip(2 * (up - rotation[:, 0] / FULL_GAZE_RAD), -1, 1)
    controls[:, 3:6] = _slow(np.degrees(rotation)) / DEGREES
    controls[:, 6:9] = _slow(translation) / METRES
    controls[:, 9] = (_slow(mean("browInnerUp", "browOuterUpLeft", "browOuterUpRight")) - BROWS[0]) / BROWS[1]
    frown = _slow(mean("browDownLeft", "browDownRight"))
    controls[:, 10] = np.where(frown > 0.01, FROWN[0] + frown / FROWN[1], 0)
    controls[:, 3:] = controls[:, 3:].clip(-LIMIT, LIMIT)
    return torch.from_numpy(controls).float()


def _lids(blink: np.ndarray) -> np.ndarray:
    """Closure above the person's usual lids: squinting is no blink."""
    usual = np.median(blink)
    return np.asarray(((blink - usual) / max(1 - usual, 0.2)).clip(0, 1))


def _slow(curve: np.ndarray) -> np.ndarray:
    return np.asarray(gaussian_filter1d(curve, SMOOTH, axis=0, mode="nearest"))
