"""A fit that turns the eyes apart comes out as one direction."""

from __future__ import annotations

import numpy as np
import pytest

from chatanyone.vision.gaze import together
from motion.types import ARKIT_INDEX

OUT_LEFT, IN_LEFT, OUT_RIGHT, IN_RIGHT = (
    ARKIT_INDEX[f"eyeLook{way}{side}"] for side in ("Left", "Right") for way in ("Out", "In"))
UP_LEFT, DOWN_LEFT, UP_RIGHT, DOWN_RIGHT = (
    ARKIT_INDEX[f"eyeLook{way}{side}"] for side in ("Left", "Right") for way in ("Up", "Down"))


def test_eyes_that_are_read_apart_look_one_way() -> None:
    weights = np.zeros((3, 52))
    weights[:, OUT_LEFT], weights[:, OUT_RIGHT] = 0.3, (0.3, 0.1, 0.5)  # apart: ahead, left, right
    weights[:, UP_LEFT], weights[:, DOWN_RIGHT] = 0.2, 0.1
    seen = together(weights)
    assert seen[:, OUT_LEFT] == pytest.approx([0, 0.1, 0]) and seen[:, OUT_RIGHT] == pytest.approx([0, 0, 0.1])
    np.testing.assert_allclose(seen[:, IN_RIGHT], seen[:, OUT_LEFT])
    np.testing.assert_allclose(seen[:, IN_LEFT], seen[:, OUT_RIGHT])
    np.testing.assert_allclose(seen[:, [UP_LEFT, UP_RIGHT]], 0.05)
    assert not seen[:, [DOWN_LEFT, DOWN_RIGHT]].any() and weights[0, OUT_LEFT] == 0.3


def test_eyes_that_agree_and_all_other_weights_stay() -> None:
    weights = np.random.default_rng(0).uniform(size=(4, 52))
    weights[:, [IN_LEFT, OUT_RIGHT, DOWN_LEFT, DOWN_RIGHT]] = 0
    weights[:, IN_RIGHT], weights[:, UP_RIGHT] = weights[:, OUT_LEFT], weights[:, UP_LEFT]
    np.testing.assert_allclose(together(weights), weights)
