"""Styles in proportion."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from chatanyone.styles.style import REFERENCE_FRAMES, NamedStyle
from motion.correction import mixed_corrections
from motion.style import LIVELY


def mixed(parts: Sequence[tuple[NamedStyle, float]]) -> NamedStyle:
    """One style out of several, weights normalised to 1 (our choice throughout):

    * ranges, resting faces and corrections are weighted means; who has no range of their own counts as the default speaker;
    * references follow one another, each with a share of `REFERENCE_FRAMES` that is its weight, taken from its middle.
      Weighing two clips' frames instead would move neither person's way: where one raises the brows the other rests.
    """
    total = sum(weight for _, weight in parts)
    if len(parts) == 1:
        return parts[0][0]
    shares = [(style, weight / total) for style, weight in parts]
    assert LIVELY.expression is not None and LIVELY.pose is not None
    name = ",".join(f"{style.name}:{share:g}" for style, share in shares)
    return NamedStyle(
        name, "mixed", _mean([(style.expression, share) for style, share in shares], LIVELY.expression),
        _mean([(style.pose, share) for style, share in shares], LIVELY.pose), _joined(shares),
        _mean([(style.rest, share) for style, share in shares], torch.zeros(58)),
        mixed_corrections([(style.correction, share) for style, share in shares]))


def _mean(parts: list[tuple[Tensor | None, float]], otherwise: Tensor) -> Tensor | None:
    if all(tensor is None for tensor, _ in parts):
        return None
    return torch.stack([(otherwise if tensor is None else tensor) * share for tensor, share in parts]).sum(0)


def _joined(parts: list[tuple[NamedStyle, float]]) -> Tensor | None:
    pieces = [_middle(style.reference, round(REFERENCE_FRAMES * share)) for style, share in parts
              if style.reference is not None]
    return torch.cat(pieces) if pieces and sum(map(len, pieces)) else None


def _middle(reference: Tensor, count: int) -> Tensor:
    first = max((len(reference) - count) // 2, 0)
    return reference[first:first + count]
