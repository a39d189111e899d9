"""Smoothing keeps blinks, drops tremble, comes on time."""

from __future__ import annotations

import numpy as np
import pytest

from chatanyone import smoothing
from motion.types import ARKIT_INDEX


def test_a_blink_survives_in_height_and_time() -> None:
    blink = np.zeros(60)
    blink[28:33] = [0.35, 0.9, 1.0, 0.8, 0.3]
    out = smoothing.smooth(blink, 30.0, smoothing.FAST)
    assert out.max() > 0.9 and int(out.argmax()) == 30
    assert np.abs(out[:24]).max() < 0.05 and np.abs(out[40:]).max() < 0.05


def test_a_resting_head_stops_trembling_and_a_turn_stays() -> None:
    noise = 0.005 * np.random.default_rng(0).standard_normal((300, 3))
    assert smoothing.smooth(noise, 30.0, smoothing.ROTATION).std() < 0.5 * noise.std()
    turn = np.repeat(0.3 * np.sin(np.arange(300) / 30 * 2 * np.pi)[:, None], 3, axis=1)  # one nod a second, 17 degrees
    out = smoothing.smooth(turn, 30.0, smoothing.ROTATION)
    assert out.std() > 0.9 * turn.std()
    assert np.corrcoef(out[:, 0], turn[:, 0])[0, 1] > 0.995


def test_zero_phase_means_reversal_commutes() -> None:
    track = np.cumsum(np.random.default_rng(1).standard_normal((50, 2)), axis=0) * 0.1
    forward = smoothing.smooth(track, 25.0, smoothing.SLOW)
    assert np.allclose(smoothing.smooth(track[::-1], 25.0, smoothing.SLOW)[::-1], forward)


@pytest.mark.parametrize("length", [1, 2, 5])
def test_constants_stay_exactly(length: int) -> None:
    track = np.full((length, 4), 0.7)
    assert np.array_equal(smoothing.smooth(track, 30.0, smoothing.GAZE), track)


def test_slower_rates_smooth_less_per_frame() -> None:
    step = np.r_[np.zeros(20), np.full(20, 0.1)]
    fast, slow = (smoothing.smooth(step, rate, smoothing.SLOW) for rate in (60.0, 15.0))
    assert abs(slow[20] - 0.1) < abs(fast[20] - 0.1)


def test_channels_have_their_own_settings_and_stay_in_range() -> None:
    assert smoothing.expression_setting("eyeBlinkLeft") == smoothing.FAST
    assert smoothing.expression_setting("jawOpen") == smoothing.FAST
    assert smoothing.expression_setting("eyeLookUpLeft") == smoothing.GAZE
    assert smoothing.expression_setting("browInnerUp") == smoothing.BROWS
    assert smoothing.expression_setting("cheekPuff") == smoothing.SLOW
    track = np.random.default_rng(0).uniform(0, 1, (40, 52))
    out = smoothing.smooth_expression(track, 30.0)
    assert out.min() >= 0 and out.max() <= 1
    kept = out.std(axis=0) / track.std(axis=0)
    jaw, brow = (kept[ARKIT_INDEX[name]] for name in ("jawOpen", "browInnerUp"))
    assert brow < jaw


def test_gaps_are_bridged_by_straight_lines() -> None:
    track = np.array([[9.0], [1.0], [9.0], [9.0], [4.0], [9.0]])
    valid = np.array([False, True, False, False, True, False])
    assert smoothing.fill_gaps(track, valid)[:, 0].tolist() == [1, 1, 2, 3, 4, 4]
    with pytest.raises(ValueError, match="no valid frame"):
        smoothing.fill_gaps(track, np.zeros(6, bool))
