"""Numbers about numbers: correlation, lags, bootstrap intervals."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

Curve = NDArray[np.float64]  # [T], one value a frame
ROUNDS = 2000  # of the bootstrap


def pearson(a: Curve, b: Curve) -> float:
    """Correlation of two curves of one length; 0 where one of them is flat."""
    a, b = a - a.mean(), b - b.mean()
    size = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / size if size > 1e-12 else 0.0


def spearman(a: Sequence[float], b: Sequence[float]) -> float:
    """Correlation of the ranks; 1 when one rises whenever the other does."""
    return round(pearson(rankdata(a), rankdata(b)), 9)  # exactly 1 where the order is the same


def best_lag(curve: Curve, reference: Curve, reach: int) -> tuple[float, int]:
    """Largest r over shifts of up to `reach` frames, and that shift; positive: the curve comes late."""
    count = min(len(curve), len(reference))
    if count <= 2 * reach + 2:
        raise ValueError(f"curves of {count} frames are too short for lags of ±{reach}")
    found = []
    for lag in range(-reach, reach + 1):
        late, early = curve[max(lag, 0):count + min(lag, 0)], reference[max(-lag, 0):count - max(lag, 0)]
        found.append((pearson(late, early), lag))
    return max(found, key=lambda pair: (pair[0], -abs(pair[1])))


def _mean(values: NDArray[np.float64]) -> float:
    return float(values.mean())


def interval(values: Sequence[float], statistic: Callable[[NDArray[np.float64]], float] = _mean, seed: int = 0,
             ) -> tuple[float, float]:
    """95 % percentile bootstrap over items (Efron 1979); both ends are NaN with fewer than two items."""
    known = np.asarray(values, np.float64)
    if len(known) < 2:
        return float("nan"), float("nan")
    draws = np.random.default_rng(seed).integers(len(known), size=(ROUNDS, len(known)))
    found = [statistic(known[row]) for row in draws]
    return float(np.percentile(found, 2.5)), float(np.percentile(found, 97.5))


def cosine(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Of the angle between two vectors."""
    return float(a @ b / max(float(np.linalg.norm(a) * np.linalg.norm(b)), 1e-12))


def frechet(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Fréchet distance of Gaussians fitted to two sets of features ``[N, D]``: |μ − ν|² + tr(A + B − 2 (AB)^½)."""
    mean = a.mean(axis=0) - b.mean(axis=0)
    A, B = (np.atleast_2d(np.cov(x, rowvar=False)) for x in (a, b))
    roots = np.linalg.eigvals(A @ B)
    return float(mean @ mean + np.trace(A) + np.trace(B) - 2 * np.sqrt(np.maximum(roots.real, 0)).sum())
