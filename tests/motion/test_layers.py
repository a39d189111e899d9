"""Attention against torch's own, the bias's window, states as values."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

from motion.layers.attention import Attention, RelativeBias
from motion.layers.embed import OptionalEmbedding, TimestepEmbedding, sinusoid
from motion.layers.state import StreamState
from motion.layers.transformer import DiTBlock


def test_attention_equals_torch() -> None:
    ours, theirs = Attention(8, 2), nn.MultiheadAttention(8, 2, batch_first=True)
    with torch.no_grad():
        theirs.in_proj_weight.copy_(torch.cat([ours.query.weight, ours.key_value.weight]))
        theirs.in_proj_bias.copy_(torch.cat([ours.query.bias, ours.key_value.bias]))
        theirs.out_proj.load_state_dict(ours.output.state_dict())
    x, context = torch.randn(2, 3, 8), torch.randn(2, 5, 8)
    expected, _ = theirs(x, context, context)
    torch.testing.assert_close(ours(x, ours.project(context)), expected)


def test_attention_refuses_heads_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match="a width that 3 heads divide, got 8"):
        Attention(8, 3)


def test_relative_bias_window_and_slopes() -> None:
    bias = RelativeBias(2, past=2, future=1)(torch.tensor([10, 11]), torch.arange(7, 13))
    inf = float("inf")
    expected = torch.tensor([[-inf, -4.0, -2.0, 0.0, -2.0, -inf], [-inf, -inf, -4.0, -2.0, 0.0, -2.0]])
    assert torch.equal(bias[0], expected)  # slope 2 for the first head
    assert torch.equal(bias[1], expected / 2)


def test_sinusoid_by_hand() -> None:
    values = sinusoid(torch.tensor([0.0, 2.0]), 4)
    torch.testing.assert_close(values[0], torch.tensor([1.0, 1.0, 0.0, 0.0]))
    torch.testing.assert_close(values[1], torch.tensor([2.0, 0.02, 2.0, 0.02]).cos().where(
        torch.tensor([True, True, False, False]), torch.tensor([2.0, 0.02, 2.0, 0.02]).sin()))
    assert TimestepEmbedding(8)(torch.tensor([0, 999])).shape == (2, 8)


def test_optional_embedding_drops_rows() -> None:
    embed = OptionalEmbedding(3, 4)
    values = torch.randn(2, 3)
    null = embed(None, None, 2)
    assert torch.equal(embed(values, torch.tensor([False, False]), 2), null)
    mixed = embed(values, torch.tensor([True, False]), 2)
    assert torch.equal(mixed[1], null[1]) and torch.equal(mixed[0], embed(values, None, 2)[0])


def test_block_starts_as_identity_plus_cross_attention() -> None:
    block, x = DiTBlock(8, 2, 2), torch.randn(1, 3, 8)
    condition = torch.zeros(1, 6, 8)
    assert torch.equal(block(x, condition), x)  # gates are zero
    audio = block.audio_attention.project(torch.randn(1, 4, 8))
    assert not torch.equal(block(x, condition, audio=audio), x)


def test_zeroed_cross_attention_equals_none() -> None:
    block, x, condition = DiTBlock(8, 2, 2), torch.randn(1, 3, 8), torch.randn(1, 6, 8)
    context = torch.randn(1, 4, 8)
    for attention in (block.audio_attention, block.previous_attention):
        nn.init.zeros_(attention.output.weight)
        nn.init.zeros_(attention.output.bias)
    with_both = block(x, condition, audio=block.audio_attention.project(context),
                      previous=block.previous_attention.project(context))
    assert torch.equal(with_both, block(x, condition))


@dataclass
class Example(StreamState):
    rows: Tensor
    parts: list[Tensor]
    count: int
    dial: float
    closed: bool
    extra: Tensor | None = None


def example() -> Example:
    return Example(torch.ones(2, 3), [torch.zeros(1), torch.ones(2)], 7, 0.1, True)


def test_state_round_trip_and_clone() -> None:
    state = example()
    fresh = Example(torch.zeros(0), [torch.zeros(0), torch.zeros(0)], 0, 0.0, False)
    restored = fresh.restored(state.tensors())
    assert restored.count == 7 and restored.dial == 0.1 and restored.closed is True and restored.extra is None
    assert torch.equal(restored.rows, state.rows) and torch.equal(restored.parts[1], state.parts[1])
    copy = state.clone()
    copy.rows.zero_()
    assert state.rows.sum() == 6


def test_state_refuses_missing_and_foreign_names() -> None:
    tensors = example().tensors()
    with pytest.raises(ValueError, match="which has no .*'other'"):
        example().restored({**tensors, "other": torch.zeros(1)})
    del tensors["count"]
    with pytest.raises(ValueError, match="with 'count' in it"):
        example().restored(tensors)
