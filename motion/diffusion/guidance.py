"""Classifier-free guidance, off by default: one pass a step is the budget."""

from __future__ import annotations

from torch import Tensor


def guide(conditional: Tensor, unconditional: Tensor, scale: float) -> Tensor:
    """Ho & Salimans 2022, Eq. 6, on x_0: unconditional + scale · (conditional − unconditional); 1 is no guidance."""
    return unconditional + scale * (conditional - unconditional)


def guide_twice(full: Tensor, without_audio: Tensor, without_both: Tensor, audio: float, style: float) -> Tensor:
    """Strengths of their own for audio and style, on x_0 of three passes.

    Loopy (arXiv 2409.02634) guides audio and reference in three passes; ChatAnyone's paper names no guidance. Nested as
    ``without_both + style · (without_audio − without_both) + audio · (full − without_audio)``; with both 1 it is
    `full`, which then is the only pass anybody needs.
    """
    return without_both + style * (without_audio - without_both) + audio * (full - without_audio)
