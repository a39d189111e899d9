"""Two eyes look one way."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from motion.types import ARKIT_INDEX

# Columns of the weights that turn the left and the right eye: towards the person's left, towards their right; up, down.
_AXES = ((("eyeLookOutLeft", "eyeLookInLeft"), ("eyeLookInRight", "eyeLookOutRight")),
         (("eyeLookUpLeft", "eyeLookDownLeft"), ("eyeLookUpRight", "eyeLookDownRight")))


def together(expression: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weights ``[F, 52]`` in which both eyes have the mean of their directions (our choice).

    A fit sees each iris against an eyeball whose place in the socket it can only guess, so it turns the eyes apart: of eight
    people who look at the camera five outwards, by up to 0.28 of weight each, and two inwards. Eyes that follow something do
    so together (Hering's law), what they converge by is too little to be seen, and a squint is a person's, not a movement.
    """
    out = expression.copy()
    for eyes in _AXES:
        columns = [(ARKIT_INDEX[there], ARKIT_INDEX[back]) for there, back in eyes]
        way = np.mean([expression[:, there] - expression[:, back] for there, back in columns], axis=0)
        for there, back in columns:
            out[:, there], out[:, back] = np.maximum(way, 0), np.maximum(-way, 0)
    return out
