"""Attention with a learned bias over distance, which also bounds how far it looks.

Positions are absolute frame indices, so the same weights serve a window of five frames and a clip of a thousand.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

KeyValue = tuple[Tensor, Tensor]  # each [B, H, S, D / H]


class Attention(nn.Module):
    """Multi-head attention whose keys and values are projected apart, so that they can be kept.

    Args:
        width: channels of the queries and of the output; a multiple of `heads`.
        heads: number of heads.
        context_width: channels of what is attended to; `width` if not given.
    """

    def __init__(self, width: int, heads: int, context_width: int | None = None) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"Expected a width that {heads} heads divide, got {width}.")
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(context_width or width, 2 * width)
        self.output = nn.Linear(width, width)

    def project(self, context: Tensor) -> KeyValue:
        """Keys and values of a context `[B, S, C]`."""
        B, S, _ = context.shape
        keys, values = self.key_value(context).view(B, S, 2, self.heads, -1).permute(2, 0, 3, 1, 4)
        return keys, values

    def forward(self, x: Tensor, key_value: KeyValue, bias: Tensor | None = None) -> Tensor:
        """`x` `[B, T, D]` looks at `key_value`; `bias` is `[H, T, S]` or `[B, H, T, S]`, −inf where it may not look."""
        B, T, D = x.shape
        query = self.query(x).view(B, T, self.heads, -1).transpose(1, 2)
        keys, values = key_value
        mask = None if bias is None else bias.to(query.dtype)
        attended = F.scaled_dot_product_attention(query, keys.to(query.dtype), values.to(query.dtype), attn_mask=mask)
        return self.output(attended.transpose(1, 2).reshape(B, T, D))


class RelativeBias(nn.Module):
    """Bias by distance `key − query` in frames, −inf outside `[−past, future]`.

    It starts as −slope·|distance| with a slope for each head (ALiBi, Press et al. 2022), so that from the first step on
    some heads look straight at the frame's own moment: this is what makes sync easy to learn.
    """

    def __init__(self, heads: int, *, past: int, future: int) -> None:
        super().__init__()
        self.past, self.future = past, future
        distance = torch.arange(-past, future + 1).abs()
        slopes = 2.0 ** (1 - torch.arange(heads))  # 2, 1, 1/2, ...
        self.table = nn.Parameter(-slopes[:, None] * distance)

    def forward(self, queries: Tensor, keys: Tensor) -> Tensor:
        """Positions `[T]` and `[S]` (frames) → bias `[H, T, S]`."""
        distance = keys[None, :] - queries[:, None]
        inside = (distance >= -self.past) & (distance <= self.future)
        bias = self.table[:, (distance + self.past).clamp(0, self.past + self.future)]
        return bias.masked_fill(~inside, float("-inf"))
