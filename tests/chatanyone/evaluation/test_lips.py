from __future__ import annotations

import numpy as np
import pytest

from chatanyone.evaluation.lips import aperture, loudness, without_gaps


def test_aperture_is_in_face_heights() -> None:
    points = np.zeros((478, 3), np.float32)
    points[13, 1], points[14, 1], points[10, 1], points[152, 1] = 100, 110, 0, 200
    points[14, 2] = 50  # depth does not count
    assert aperture(points) == pytest.approx(0.05)
    assert np.isnan(aperture(None))


def test_gaps_become_straight_lines() -> None:
    curve, known = without_gaps(np.array([np.nan, 1.0, np.nan, 3.0]))
    assert curve.tolist() == [1, 1, 2, 3] and known == 0.5
    assert without_gaps(np.full(3, np.nan))[1] == 0


def test_loudness_is_log_rms_by_frame() -> None:
    samples = np.concatenate([np.zeros(1600), np.full(1600, 0.1)]).astype(np.float32)
    curve = loudness(samples, 8)
    assert len(curve) == 8
    assert curve[0] == pytest.approx(np.log(1e-4)) and curve[3:6] == pytest.approx(np.log(0.1001), rel=1e-3)
    assert curve[-1] == curve[0]  # the sound has ended
