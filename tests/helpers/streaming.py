"""Running a streaming sampler over pieces of a clip."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor


def streamed(engine: Any, chunks: Iterable[Tensor], seed: int) -> Tensor:
    """Packed motion ``[T, 58]`` of features ``[t, C]`` that come in chunks: `step` for each, then `flush`."""
    state, parts = engine.init_state(seed), []
    for chunk in chunks:
        motion, state = engine.step(chunk, state)
        parts.append(motion.packed())
    motion, _ = engine.flush(state)
    return torch.cat([*parts, motion.packed()])
