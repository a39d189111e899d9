"""Classifier-free guidance, off by default: one pass a step is the budget."""

from __future__ import annotations

from torch import Tensor


def guide(conditional: Tensor, unconditional: Tensor, scale: float) -> Tensor:
    """Ho & Salimans 2022, Eq. 6, on x_0: unconditional + scale · (conditional − unconditional); 1 is no guidance."""
    return unconditional + scale * (conditional - unconditional)
