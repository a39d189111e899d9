"""Hand motion: fitted at knots, relative to a reference hand, the way the driven hand applies it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from chatanyone.tracking_hands import hand_motion, knots
from motion.template.hand_fit import compose
from motion.template.hands import HandTemplate


def test_knots_are_every_third_frame_and_the_ends_of_what_is_seen() -> None:
    assert knots(np.ones(8, bool), 30.0) == [0, 3, 6, 7]
    seen = np.zeros(12, bool)
    seen[4:9] = True
    assert knots(seen, 30.0) == [4, 6, 8]
    assert knots(seen, 10.0) == [4, 5, 6, 7, 8]
    assert knots(np.zeros(5, bool), 30.0) == []


def waving(T: int, scale: float) -> tuple[np.ndarray, np.ndarray]:
    """The left template hand, palm to the viewer, turning in the image plane and moving right: ``[T, 2, 21, 3]`` px."""
    template = HandTemplate.load("left")
    points, angles = np.zeros((T, 2, 21, 3)), np.deg2rad(20) * np.sin(np.arange(T) / T * 2 * np.pi)
    for t, angle in enumerate(angles):
        world = torch.tensor([[0.0, 0.0, float(angle)]])
        placed = template.place_landmarks(*template.bones(torch.zeros(1, 15, 3), world, torch.zeros(1, 3)))
        points[t, 0] = placed[0].numpy() * [scale, -scale, scale] + [100 + 3.0 * t, 200, 0]
    return points, angles


def test_a_waving_hand_turns_and_moves_as_it_was_made() -> None:
    T, scale = 24, 800.0
    points, angles = waving(T, scale)
    seen = np.zeros((T, 2), bool)
    seen[:, 0] = True
    steps: list[int] = []
    motion, reference = hand_motion(points, seen, 30.0, scale, 300.0, lambda: steps.append(1))
    assert motion.shape == (T, 2, 51) and len(steps) == len(knots(seen[:, 0], 30.0))
    assert not motion[:, 1].any() and not reference[1].any()
    turn = motion[:, 0, 47]
    assert np.corrcoef(turn, angles)[0, 1] > 0.98
    assert np.ptp(turn) == pytest.approx(np.ptp(angles), rel=0.25)
    assert np.diff(motion[:, 0, 48]) == pytest.approx(np.diff(points[:, 0, 0, 0]) / 300, abs=1e-9)
    assert np.abs(motion[:, 0, :45]).max() < 0.35  # the fingers rest


def test_the_reference_composed_with_the_motion_is_the_absolute_rotation() -> None:
    points, _ = waving(9, 800.0)
    seen = np.zeros((9, 2), bool)
    seen[:, 0] = True
    motion, reference = hand_motion(points, seen, 9.0, 800.0, 300.0)  # a knot in each frame
    world = compose(torch.from_numpy(motion[:, 0, 45:48]), torch.from_numpy(reference[0, 45:48]).expand(9, 3))
    assert np.rad2deg(np.ptp(world[:, 2].numpy())) == pytest.approx(39, abs=12)


def test_points_that_are_no_hand_are_left_out() -> None:
    points = np.random.default_rng(0).uniform(0, 300, (3, 2, 21, 3))
    motion, _ = hand_motion(points, np.ones((3, 2), bool), 30.0, 800.0, 300.0)
    assert not motion.any()
