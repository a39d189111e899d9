"""Events belong to frames, come at human rates and leave the start of a stream alone."""

from __future__ import annotations

import torch

from motion.impulses import CALM_START, FACE_CONTROLS, GESTURE_CODES, eye_controls, face_controls, gesture_code, sway


def test_any_window_is_the_same() -> None:
    eyes, code = face_controls(5, 0, 900), gesture_code(5, 0, 900)
    for first, count in ((0, 1), (95, 7), (333, 100)):
        assert torch.equal(eyes[first:first + count], face_controls(5, first, count))
        assert torch.equal(code[first:first + count], gesture_code(5, first, count))
    assert not torch.equal(eyes, face_controls(6, 0, 900))
    assert face_controls(5, 3, 0).shape == (0, FACE_CONTROLS) and gesture_code(5, 3, 0).shape == (0, GESTURE_CODES)


def test_blinks_are_human() -> None:
    lids = torch.cat([eye_controls(seed, 0, 1800)[:, 0] for seed in range(8)])
    shut = (lids[1:] > 0.5) & (lids[:-1] <= 0.5)
    assert 10 <= float(shut.sum()) / 8 <= 20  # a minute
    assert lids.max() > 0.9 and lids.min() == 0
    assert 5 <= float((lids > 0.02).sum() / shut.sum()) <= 9  # frames each


def test_blinks_shut_faster_than_they_open() -> None:
    lids = eye_controls(1, 0, 1800)[:, 0]
    speed = lids.diff()
    assert speed.max() > 1.4 * speed.min().abs()


def test_streams_start_calm() -> None:
    for seed in range(20):
        eyes = eye_controls(seed, 0, CALM_START)
        assert eyes[:, 0].max() == 0 and eyes[0, 1:].abs().max() == 0


def test_codes_are_smooth_and_normal() -> None:
    code = gesture_code(2, 0, 6000)
    assert 0.6 < float(code[:, :6].std()) < 1.1
    assert code.diff(dim=0).abs().max() < 0.35
    torch.testing.assert_close(code[:, 6].square() + code[:, 7].square(), torch.ones(6000))


def test_sway_is_smooth_normal_and_independent() -> None:
    values = torch.cat([sway(seed, 0, 3000) for seed in range(4)])
    assert bool((values.std(0) > 0.7).all()) and bool((values.std(0) < 1.2).all())
    assert values[:3000].diff(dim=0).abs().max() < 0.3
    correlation = torch.corrcoef(values.T) - torch.eye(values.shape[1])
    assert correlation.abs().max() < 0.35
