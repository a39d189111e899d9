"""Blocks: the diffusion transformer's with AdaLN, and the plain one of the body stage."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from motion.layers.attention import Attention, KeyValue


class FeedForward(nn.Sequential):
    """Linear, GELU, linear."""

    def __init__(self, width: int, ratio: int) -> None:
        super().__init__(nn.Linear(width, ratio * width), nn.GELU(approximate="tanh"), nn.Linear(ratio * width, width))


class DiTBlock(nn.Module):
    """Self-attention, cross-attention to audio, cross-attention to previous motion, feed-forward.

    AdaLN (DiT, Peebles & Xie 2023) shifts, scales and gates the self-attention and the feed-forward. The modulation is
    one linear map of the condition for the whole net plus a learned offset for each block (PixArt-α's adaLN-single),
    which saves a quarter of the parameters. Gates start at zero, so that every block starts as the identity plus its
    cross-attentions.
    """

    def __init__(self, width: int, heads: int, ratio: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(width, elementwise_affine=index in (1, 2)) for index in range(4))
        self.self_attention = Attention(width, heads)
        self.audio_attention = Attention(width, heads)
        self.previous_attention = Attention(width, heads)
        self.feed_forward = FeedForward(width, ratio)
        self.modulation = nn.Parameter(torch.zeros(6, width))

    def forward(
        self, x: Tensor, condition: Tensor, *, reference: KeyValue | None = None, self_bias: Tensor | None = None,
        audio: KeyValue | None = None, audio_bias: Tensor | None = None,
        previous: KeyValue | None = None, previous_bias: Tensor | None = None,
    ) -> Tensor:
        """One block.

        Args:
            x: tokens `[B, T, D]`.
            condition: `[B, 6, D]` modulation shared by the blocks.
            reference: keys and values of this block's reference tokens, put in front of the tokens' own.
            self_bias: `[H, T, R + T]`.
            audio: keys and values of the audio features; None leaves the cross-attention out.
            audio_bias: `[H, T, A]`.
            previous: keys and values of the previous motion; None leaves the cross-attention out.
            previous_bias: `[H, T, P]`.
        """
        shift_a, scale_a, gate_a, shift_f, scale_f, gate_f = (condition + self.modulation)[:, :, None].unbind(1)
        h = self.norms[0](x) * (1 + scale_a) + shift_a
        x = x + gate_a * self.self_attention(h, _joined(reference, self.self_attention.project(h)), self_bias)
        if audio is not None:
            x = x + self.audio_attention(self.norms[1](x), audio, audio_bias)
        if previous is not None:
            x = x + self.previous_attention(self.norms[2](x), previous, previous_bias)
        h = self.norms[3](x) * (1 + scale_f) + shift_f
        return x + gate_f * self.feed_forward(h)

    def reference_key_value(self, x: Tensor, condition: Tensor) -> KeyValue:
        """What the tokens will see of reference tokens `x` `[B, R, D]` that enter this block."""
        shift, scale = (condition + self.modulation)[:, :2, None].unbind(1)
        return self.self_attention.project(self.norms[0](x) * (1 + scale) + shift)


class CrossBlock(nn.Module):
    """Pre-norm block of the body stage: causal self-attention, cross-attention to audio and to the source's look."""

    def __init__(self, width: int, heads: int, ratio: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(4))
        self.self_attention = Attention(width, heads)
        self.audio_attention = Attention(width, heads)
        self.appearance_attention = Attention(width, heads)
        self.feed_forward = FeedForward(width, ratio)

    def forward(
        self, x: Tensor, past: KeyValue, self_bias: Tensor, audio: KeyValue, audio_bias: Tensor, appearance: KeyValue,
    ) -> tuple[Tensor, KeyValue]:
        """Tokens `[B, T, D]` and the keys and values of earlier ones → tokens, and keys and values of all."""
        h = self.norms[0](x)
        key_value = _joined(past, self.self_attention.project(h))
        x = x + self.self_attention(h, key_value, self_bias)
        x = x + self.audio_attention(self.norms[1](x), audio, audio_bias)
        x = x + self.appearance_attention(self.norms[2](x), appearance)
        return x + self.feed_forward(self.norms[3](x)), key_value


def _joined(first: KeyValue | None, second: KeyValue) -> KeyValue:
    """Keys and values one after the other along time."""
    if first is None:
        return second
    keys, values = (torch.cat([a.to(b.dtype), b], dim=2) for a, b in zip(first, second))
    return keys, values
