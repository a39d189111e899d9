"""The denoiser: shapes, gradients, and conditions that are absent exactly when they are dropped."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from motion.face import FaceDenoiser
from motion.impulses import FACE_CONTROLS
from motion.types import StyleRange

B, T, P, A, C, R = 2, 5, 6, 9, 7, 4


def tiny(**changes: Any) -> FaceDenoiser:
    net = FaceDenoiser(**(dict(audio_dim=C, width=16, depth=2, heads=2, ratio=2, audio_past=4, previous=P) | changes))
    with torch.no_grad():  # adaLN-Zero starts shut; open it so that everything matters
        for parameter in net.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return net


def inputs() -> tuple[torch.Tensor, ...]:
    return (torch.randn(B, T, 58), torch.tensor([10, 900]), torch.randn(B, A, C), torch.randn(B, P, 58))


def style() -> StyleRange:
    return StyleRange(torch.rand(B, 4) * 0.1, torch.rand(B, 6) * 0.05)


def test_every_parameter_gets_a_gradient() -> None:
    net = tiny()
    keep = {name: torch.tensor([True, False]) for name in ("audio", "previous", "controls", "expression", "pose")}
    out = net(*inputs(), audio_first=-4, controls=torch.randn(B, T, FACE_CONTROLS), style=style(),
              reference=torch.rand(B, R, 52), keep=keep)
    assert out.shape == (B, T, 58) and out.isfinite().all()
    out.square().sum().backward()
    without = [name for name, p in net.named_parameters() if p.grad is None or p.grad.abs().max() == 0]
    assert without == []


@pytest.mark.parametrize("name", ["expression", "pose"])
def test_style_null_equals_dropped(name: str) -> None:
    net, given, full = tiny(), inputs(), style()
    dropped = net(*given, audio_first=-4, style=full, keep={name: torch.tensor([False, False])})
    absent = StyleRange(None if name == "expression" else full.expression, None if name == "pose" else full.pose)
    assert torch.equal(dropped, net(*given, audio_first=-4, style=absent))
    assert not torch.equal(dropped, net(*given, audio_first=-4, style=full))


def test_no_style_equals_both_dropped() -> None:
    net, given = tiny(), inputs()
    gone = torch.tensor([False, False])
    dropped = net(*given, audio_first=-4, style=style(), keep={"expression": gone, "pose": gone})
    assert torch.equal(dropped, net(*given, audio_first=-4))


@pytest.mark.parametrize("name, index", [("audio", 2), ("previous", 3)])
def test_dropped_condition_no_longer_matters(name: str, index: int) -> None:
    net, given = tiny(), list(inputs())
    keep = {name: torch.tensor([False, True])}
    before = net(*given, audio_first=-4, keep=keep)
    given[index] = given[index] + 1
    after = net(*given, audio_first=-4, keep=keep)
    assert torch.equal(before[0], after[0]) and not torch.equal(before[1], after[1])


def test_tokens_hear_only_their_neighbourhood() -> None:
    """Audio further back than `audio_past` or further ahead than `audio_future` has no gradient."""
    net = tiny(audio_past=2, audio_future=1, depth=1)
    noisy, t, audio, previous = inputs()
    audio.requires_grad_()
    for block in net.blocks:  # without self-attention, tokens do not pass on what they hear
        torch.nn.init.zeros_(block.self_attention.output.weight)  # type: ignore[union-attr, arg-type]
    net(noisy, t, audio, previous, audio_first=-4)[:, 2].sum().backward()
    assert audio.grad is not None
    heard = audio.grad.abs().sum((0, 2)) > 0
    assert heard.tolist() == [index - 4 in range(0, 4) for index in range(A)]


def test_reference_once_equals_reference_each_time() -> None:
    net, given, reference = tiny(), inputs(), torch.rand(B, R, 52)
    once = net.encode_reference(reference)
    context = net.encode(given[2], given[3], frames=T, audio_first=-4, reference=once)
    whole = net(*given, audio_first=-4, reference=reference)
    assert torch.equal(net.denoise(given[0], given[1], context), whole)
    assert not torch.equal(whole, net(*given, audio_first=-4))


def test_normalise_round_trip() -> None:
    net = tiny()
    net.motion_mean.uniform_(0, 0.2)
    net.motion_std.uniform_(0.05, 0.2)
    motion = torch.rand(3, 58)
    torch.testing.assert_close(net.denormalise(net.normalise(motion)).packed(), motion)
