"""A tracked clip in the terms the face stage speaks: around rest, in the shapes it knows."""

from __future__ import annotations

from torch import Tensor

from chatanyone.driver import ABSOLUTE
from motion.types import ARKIT_INDEX, ARKIT_NAMES

_NEVER = 0.0101  # a deviation at the floor of `FaceTask.build`: the shape did not move in the net's training
_EYES = ("Left", "Right")


def taught(face: Tensor, deviation: Tensor) -> Tensor:
    """What the net is to learn from a packed motion ``[T, 58]``.

    The renderer adds most weights to the picture's own expression, so the person's usual face (the clip's median) is taken
    off them; what opens the mouth is absolute and stays. Shapes that the net has never seen move stay at rest: a fit to
    one person's landmarks uses them to describe the person, not the speech. Our choice.

    Args:
        deviation: ``[58]`` of the net's first training data (its ``motion_std``).
    """
    usual = face.median(dim=0).values
    made = face.clone()
    for index, name in enumerate(ARKIT_NAMES):
        if name not in ABSOLUTE:
            made[:, index] = (face[:, index] - usual[index]).clamp(min=0)
        if float(deviation[index]) <= _NEVER:
            made[:, index] = 0
    for positive, negative in _gazes():
        signed = face[:, positive] - face[:, negative]
        signed = signed - signed.median()
        made[:, positive], made[:, negative] = signed.clamp(min=0), (-signed).clamp(min=0)
    return made


def _gazes() -> list[tuple[int, int]]:
    """Pairs of shapes that are the two directions of one turn of an eye."""
    names = [(f"eyeLook{one}{eye}", f"eyeLook{other}{eye}") for eye in _EYES for one, other in (("Out", "In"), ("Up", "Down"))]
    return [(ARKIT_INDEX[one], ARKIT_INDEX[other]) for one, other in names]
