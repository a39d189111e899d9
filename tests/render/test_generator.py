"""The generator: zero before training, bounded after; hands reach it, and no hands cost nothing."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from render.generator import Generator, masked_residual
from tests.helpers.render_nets import awake


def inputs() -> tuple[Tensor, ...]:
    return torch.rand(2, 3, 64, 48), torch.rand(2, 1, 64, 48), torch.rand(2, 4, 16, 12), torch.rand(2, 8, 8, 6)


def test_untrained_it_changes_nothing() -> None:
    residual = Generator(8, 4)(*inputs(), torch.rand(2, 4, 64, 48))
    assert residual.shape == (2, 3, 64, 48) and not residual.any()


def test_trained_it_stays_within_its_bound() -> None:
    residual = awake(Generator(8, 4, bound=0.2), scale=2.0)(*inputs())
    assert 0.1 < residual.abs().max() <= 0.2


def test_every_input_reaches_the_picture() -> None:
    net, given = awake(Generator(8, 4)), [*inputs(), torch.rand(2, 4, 64, 48)]
    base = net(*given)
    for number in range(len(given)):
        changed = [value + 1 if index == number else value for index, value in enumerate(given)]
        assert not torch.equal(net(*changed), base), number


def test_a_picture_without_hands_needs_no_injection() -> None:
    net = awake(Generator(8, 4))
    given = inputs()
    assert torch.allclose(net(*given, torch.zeros(2, 4, 64, 48)), net(*given), atol=1e-6)


def test_hands_change_the_picture_near_them_only() -> None:
    net = awake(Generator(8, 4))
    given = [torch.rand(1, c, 256 // n, 256 // n) for c, n in ((3, 1), (1, 1), (4, 4), (8, 8))]
    hands = torch.zeros(1, 4, 256, 256)
    hands[:, :, :32, :32] = 1
    change = (net(*given, hands) - net(*given)).abs().sum(1)[0]
    assert change[:32, :32].max() > 0 and change[128:, 128:].max() == 0


def test_hands_that_nothing_was_learned_of_cost_nothing_but_may_be_learned() -> None:
    net, hands = Generator(8, 4), torch.rand(2, 4, 64, 48)
    torch.nn.init.normal_(net.out.weight)
    called = []
    net.hands.first.register_forward_hook(lambda *given: called.append(1))
    net.eval()(*inputs(), hands)
    assert net.hands.silent and not called
    net.train()(*inputs(), hands).sum().backward()
    assert called and all(gain.grad is not None and gain.grad.any() for gain in net.hands.gain)


def test_the_residual_is_laid_out_like_a_pixel_shuffle() -> None:
    x = torch.randn(2, 13, 6, 4) * 0.1
    expected = F.pixel_shuffle(x[:, :-1], 2) * F.interpolate(torch.sigmoid(x[:, -1:]), scale_factor=2)
    assert torch.allclose(masked_residual(x, 10.0), expected)
