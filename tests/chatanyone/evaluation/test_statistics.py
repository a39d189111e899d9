from __future__ import annotations

import math

import numpy as np
import pytest

from chatanyone.evaluation.statistics import Curve, best_lag, cosine, frechet, interval, pearson, spearman


def test_pearson_by_hand() -> None:
    a: Curve = np.array([1.0, 2.0, 3.0])
    assert pearson(a, 2 * a + 5) == pytest.approx(1)
    assert pearson(a, -a) == pytest.approx(-1)
    assert pearson(a, np.array([1.0, 3.0, 2.0])) == pytest.approx(0.5)
    assert pearson(a, np.full(3, 7.0)) == 0  # a flat curve follows nothing


def test_spearman_asks_for_order_alone() -> None:
    assert spearman([0, 0.5, 1, 2], [0, 1, 10, 11]) == pytest.approx(1)
    assert spearman([0, 0.5, 1, 2], [0, 10, 1, 11]) < 1


@pytest.mark.parametrize("late", [-3, -1, 0, 2])
def test_best_lag_is_positive_when_the_curve_comes_late(late: int) -> None:
    curve = np.random.default_rng(0).standard_normal(80)
    r, lag = best_lag(np.roll(curve, late)[5:-5], curve[5:-5], 3)
    assert lag == late
    assert r == pytest.approx(1)


def test_best_lag_refuses_curves_shorter_than_its_reach() -> None:
    with pytest.raises(ValueError, match="5 frames are too short for lags of ±3"):
        best_lag(np.arange(5.0), np.arange(5.0), 3)


def test_interval_holds_the_mean_and_shrinks_with_more_items() -> None:
    rng = np.random.default_rng(1)
    few, many = (list(rng.normal(10, 1, count)) for count in (8, 200))
    low, high = interval(few)
    assert low < np.mean(few) < high
    narrow = interval(many)
    assert narrow[1] - narrow[0] < high - low
    assert interval(few) == (low, high)  # seeded
    assert all(math.isnan(end) for end in interval([3.0]))


def test_frechet_distance_of_gaussians_by_hand() -> None:
    rng = np.random.default_rng(0)
    one = rng.standard_normal((20000, 2))
    assert frechet(one, one) == pytest.approx(0, abs=1e-6)
    assert frechet(one, one + [3, 4]) == pytest.approx(25, rel=1e-6)  # the means alone
    assert frechet(one, 3 * one) == pytest.approx(2 * (1 - 3) ** 2, rel=0.05)  # tr (A^½ - B^½)²


def test_cosine() -> None:
    assert cosine(np.array([1.0, 0]), np.array([2.0, 2])) == pytest.approx(math.sqrt(0.5))
