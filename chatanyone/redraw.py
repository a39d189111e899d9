"""Motion that is there already, put on a portrait: a motion document, or what a driving clip's person did.

Convention: motion is relative to the picture's pose, and the driver adds weights to the expression that the picture shows
(but for the mouth's openers, which it sets outright, see `chatanyone.driver.ABSOLUTE`). What is computed here may
therefore hold negative weights: they take something of the picture's own expression away.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from scipy.spatial.transform import Rotation
from torch import Tensor

from chatanyone.motionfile import MotionDocument
from chatanyone.pipeline import Frame, Scene, drawn
from motion.style import lip_gap_mm
from motion.types import ARKIT_INDEX, BodyMotion, FaceMotion

MODES = ("relative", "absolute")
_BATCH = 8  # frames drawn in one call
_BLINKS = [ARKIT_INDEX["eyeBlinkLeft"], ARKIT_INDEX["eyeBlinkRight"]]


def relative_motion(document: MotionDocument) -> FaceMotion:
    """Motion against the clip's own calm frame: the portrait keeps its expression and pose, and moves as the clip does.

    Mouth openers and blinks are left as they are: a mouth that shuts in the clip shuts here, whatever the calm frame shows.
    """
    face, calm = document.face_motion(), calm_frame(document)
    kept = face.expression.clone()
    expression = face.expression - face.expression[calm]
    openers = [ARKIT_INDEX[name] for name in (*_absolute(), "eyeBlinkLeft", "eyeBlinkRight")]
    expression[:, openers] = kept[:, openers]
    turns = Rotation.from_rotvec(face.rotation.double().numpy())
    rotation = torch.from_numpy((turns[calm].inv() * turns).as_rotvec()).float()
    return FaceMotion(expression, rotation, face.translation - face.translation[calm])


def absolute_motion(document: MotionDocument, rest: Tensor, turned: Tensor) -> FaceMotion:
    """The clip's expression and head turn as they are, whatever the picture shows.

    Args:
        rest: `[52]` weights the driver adds of the picture's own (`Driver.rest`).
        turned: `[3]` rotation of the head in the picture against the camera, rad (`Driver.fit.camera.rotation`).
    """
    face = document.face_motion()
    if document.measured is None:
        return FaceMotion(face.expression - rest, face.rotation, face.translation)
    reference = Rotation.from_rotvec(document.measured.reference_rotation.astype(np.float64))
    whole = reference * Rotation.from_rotvec(face.rotation.double().numpy())
    rotation = Rotation.from_rotvec(turned.double().numpy()).inv() * whole
    return FaceMotion(face.expression - rest, torch.from_numpy(rotation.as_rotvec()).float(), face.translation)


def calm_frame(document: MotionDocument) -> int:
    """The frame nearest to rest: lips together, eyes open, little expression, head near the clip's median."""
    face = document.face_motion()
    cost = lip_gap_mm(face.expression).abs() / 5 + face.expression[:, _BLINKS].mean(1) * 2 + face.expression.mean(1)
    cost = cost + face.rotation.norm(dim=1) * 2 + torch.from_numpy(~document.valid).float() * 100
    return int(cost.argmin())


@torch.inference_mode()
def draw(scene: Scene, face: FaceMotion, body: BodyMotion, batch: int = _BATCH) -> Iterator[Frame]:
    """Pictures of motion ``[T, …]``, one after the other: uint8 RGB ``[H, W, 3]``."""
    for faces, bodies in zip(face.packed().split(batch), body.packed().split(batch)):
        yield from drawn(scene, FaceMotion.unpack(faces), BodyMotion.unpack(bodies))


def _absolute() -> tuple[str, ...]:
    from chatanyone.driver import ABSOLUTE

    return ABSOLUTE
