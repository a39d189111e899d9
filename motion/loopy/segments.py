"""Temporal segment module and inter-clip attention (Loopy, section 3.2): a long past at the price of a few tokens.

The paper: the frames before a clip are cut into segments whose frames stand for ever longer stretches. With stride *s* and
expand ratio *r*, segment k covers s·rᵏ frames and gives s tokens; five segments of s = 4, r = 2 turn 124 frames (5 s at
25 fps) into 20 tokens. Of the frames that a token stands for, the middle one is taken ("uniform sampling", which beat mean
pooling and a random frame in the paper's Table 3). An inter-clip layer attends from the clip to these tokens, apart from
the intra-clip layer that knows the clip alone; learned temporal embeddings tell the tokens apart. The paper's equation is
known to us from its numbers and a review only; this is the one reading that turns 124 frames into 20.

Ours: frames of motion in place of image latents; eight segments, 1 020 frames, 34 s at 30 fps; the 16 frames before the
window are seen whole as well, as by the face net; the tokens enter through a gate for each head that starts at zero
(LLaMA-Adapter, Zhang et al. 2023), so that the net begins as the face net it is built on.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from motion.layers.attention import Attention, KeyValue


def segment_span(stride: int, expand: int, segments: int) -> int:
    """Frames that the segments cover: Σ s·rᵏ."""
    return sum(stride * expand ** k for k in range(segments))


def segment_frames(stride: int, expand: int, segments: int) -> Tensor:
    """For each token the frame it shows, ``[segments · stride]``, counted backwards; 0 is the frame before the window.

    Token i of segment k = ⌊i / s⌋ begins at Σ_{j<k} s·rʲ + (i mod s)·rᵏ and ends rᵏ later; it shows ⌊(start + end) / 2⌋.
    """
    starts = [segment_span(stride, expand, k) + place * expand ** k for k in range(segments) for place in range(stride)]
    lengths = [expand ** k for k in range(segments) for _ in range(stride)]
    return torch.tensor([start + length // 2 for start, length in zip(starts, lengths)])


class TemporalSegments(nn.Module):
    """A long past → tokens.

    Args:
        channels: of a frame of motion.
        width: of a token.
        stride, expand, segments: s, r (both at least 1) and how many segments.
    """

    frames: Tensor

    def __init__(self, channels: int, width: int, stride: int, expand: int, segments: int) -> None:
        super().__init__()
        self.span = segment_span(stride, expand, segments)
        self.register_buffer("frames", segment_frames(stride, expand, segments), persistent=False)
        self.motion_in = nn.Linear(channels, width)
        self.time = nn.Parameter(torch.randn(segments * stride, width) * 0.02)
        self.null = nn.Parameter(torch.randn(width) * 0.02)

    def sampled(self, past: Tensor) -> Tensor:
        """The frames that tokens show, ``[B, L, channels]``, of the `span` frames before a window ``[B, span, channels]``."""
        return past[:, self.span - 1 - self.frames]

    def forward(self, frames: Tensor, keep: Tensor | None = None) -> Tensor:
        """Sampled frames ``[B, L, channels]`` → tokens ``[B, L, width]``; rows whose `keep` ``[B]`` is False show nothing."""
        tokens = self.motion_in(frames)
        if keep is not None:
            tokens = torch.where(keep[:, None, None], tokens, self.null.to(tokens.dtype))
        return tokens + self.time


class InterClipAttention(Attention):
    """Cross-attention to the previous motion that also looks, through a gate, at the tokens of a long past.

    Keys and values are those of the previous frames followed by those of the tokens. Both are attended to apart, each with
    its own softmax, by the same queries: y = attend(previous) + tanh(gate) · attend(tokens).

    Args:
        width, heads: as of `Attention`.
        tokens: L of the long past.
    """

    def __init__(self, width: int, heads: int, tokens: int) -> None:
        super().__init__(width, heads)
        self.tokens = tokens
        self.past = nn.Linear(width, 2 * width)
        self.gate = nn.Parameter(torch.zeros(heads))

    def joined(self, previous: KeyValue, tokens: Tensor) -> KeyValue:
        """What was projected of the previous frames, followed by the tokens ``[B, L, D]``."""
        B, L, _ = tokens.shape
        keys, values = self.past(tokens).view(B, L, 2, self.heads, -1).permute(2, 0, 3, 1, 4)
        return torch.cat([previous[0], keys], dim=2), torch.cat([previous[1], values], dim=2)

    def forward(self, x: Tensor, key_value: KeyValue, bias: Tensor | None = None) -> Tensor:
        """`x` ``[B, T, D]``; `key_value` as `joined` gives it; `bias` ``[H, T, P]`` towards the previous frames alone."""
        B, T, D = x.shape
        query = self.query(x).view(B, T, self.heads, -1).transpose(1, 2)
        (keys, far_keys), (values, far_values) = (
            part.to(query.dtype).split([part.shape[2] - self.tokens, self.tokens], dim=2) for part in key_value)
        mask = None if bias is None else bias.to(query.dtype)
        near = F.scaled_dot_product_attention(query, keys, values, attn_mask=mask)
        far = F.scaled_dot_product_attention(query, far_keys, far_values)
        attended = near + torch.tanh(self.gate)[:, None, None].to(far.dtype) * far
        return self.output(attended.transpose(1, 2).reshape(B, T, D))
