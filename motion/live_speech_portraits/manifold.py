"""Manifold projection (Live Speech Portraits, section 3.1): speech of anybody → speech as the bank's speakers would say it.

A feature h becomes an affine combination of its K nearest features f_k of a bank, found by locally linear embedding:
min ‖h − Σ w_k f_k‖² with Σ w_k = 1, K = 10 in the paper. Weights may be negative: affine, not convex. A ridge keeps the
system solvable where neighbours coincide, a blend p mixes ĥ and h; distances are taken in units of each channel's
deviation. Ridge and units are our choice, p is the authors' (their setting `LLE_percent`).

The bank holds features of this project's speech encoder, where the paper's come from an encoder of its own (a recurrent
net trained to foretell the spectrum, APC).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

NEIGHBOURS = 10  # K, the paper's
RIDGE = 1e-3  # of the mean squared distance between neighbours; our choice


def affine_weights(point: Tensor, neighbours: Tensor, ridge: float = RIDGE) -> Tensor:
    """Weights ``[K]`` with sum 1 of neighbours ``[K, C]`` that come nearest to a point ``[C]``.

    With f_1 as origin the constraint is gone: (A Aᵀ + λ I) w = A (h − f_1), rows of A being f_k − f_1, w_1 = 1 − Σ w.
    """
    origin = neighbours[0]
    offsets = neighbours[1:] - origin
    gram = offsets @ offsets.T
    size = gram.diagonal().mean().clamp(min=1e-12)
    rest = torch.linalg.solve(gram + ridge * size * torch.eye(len(gram), device=gram.device), offsets @ (point - origin))
    return torch.cat([1 - rest.sum(0, keepdim=True), rest])


class Manifold:
    """Projects features onto a bank.

    Args:
        bank: features ``[N, C]``.
        std: deviation of each channel ``[C]``, for distances.
        blend: p, 0…1: how much of the projection; 0 leaves features alone.
        speaking: channel that holds the probability of speech, which p is multiplied by: silence and a room's noise are
            nobody's manner of speaking and stay as they are (our choice). None: p counts everywhere.
    """

    def __init__(self, bank: Tensor, std: Tensor, blend: float = 1.0, speaking: int | None = None,
                 neighbours: int = NEIGHBOURS, ridge: float = RIDGE) -> None:
        if len(bank) < neighbours:
            raise ValueError(f"Expected a bank of at least {neighbours} features, got {len(bank)}; train with more speech.")
        self.bank, self.std, self.blend, self.speaking = bank, std, blend, speaking
        self.neighbours, self.ridge = neighbours, ridge
        self._scaled = (bank / std).contiguous()
        self._squares = self._scaled.square().sum(1)

    def __call__(self, features: Tensor) -> Tensor:
        """``[T, C]`` → ``[T, C]``, row by row, so that no chunking of a stream changes a bit."""
        return torch.stack([self.row(row) for row in features]) if len(features) else features

    def row(self, feature: Tensor) -> Tensor:
        """One feature ``[C]``."""
        point = feature / self.std
        distance = self._squares - 2 * (self._scaled @ point)  # + ‖point‖², the same for all
        nearest = distance.topk(self.neighbours, largest=False).indices
        weights = affine_weights(point, self._scaled[nearest], self.ridge)
        share = self.blend if self.speaking is None else self.blend * float(feature[self.speaking].clamp(0, 1))
        return torch.lerp(feature, weights @ self.bank[nearest], share)


class ProjectedSampler:
    """A motion sampler that hears projected features; everything else is its own."""

    def __init__(self, sampler: Any, manifold: Manifold) -> None:
        self.sampler, self.manifold = sampler, manifold

    @property
    def latency_frames(self) -> int:
        return int(self.sampler.latency_frames)

    def init_state(self, *arguments: Any, **named: Any) -> Any:
        return self.sampler.init_state(*arguments, **named)

    def step(self, features: Tensor, state: Any) -> Any:
        return self.sampler.step(self.manifold(features.to(self.manifold.bank)), state)

    def flush(self, state: Any) -> Any:
        return self.sampler.flush(state)


def farthest_points(features: Tensor, count: int) -> Tensor:
    """Indices of `count` of the features ``[N, C]`` that cover them best: each is the one farthest from those before it.

    Greedy, starting at the one nearest to the mean (Gonzalez 1985); all indices where there are no more than `count`.
    """
    if len(features) <= count:
        return torch.arange(len(features))
    chosen = [int((features - features.mean(0)).square().sum(1).argmin())]
    distance = (features - features[chosen[0]]).square().sum(1)
    while len(chosen) < count:
        chosen.append(int(distance.argmax()))
        distance = torch.minimum(distance, (features - features[chosen[-1]]).square().sum(1))
    return torch.tensor(chosen)
