"""The face pass: zero before training, nothing at the window's edge, every input heard."""

from __future__ import annotations

import torch

from render.face_refine import FaceRefine, window_mask
from tests.helpers.render_nets import awake


def inputs(side: int = 64) -> list[torch.Tensor]:
    return [torch.rand(2, 3, side, side), torch.rand(1, 3, side, side), torch.rand(2, 8, side, side),
            torch.rand(2, 21, side // 8, side // 8), torch.rand(1, 16)]


def test_untrained_it_changes_nothing() -> None:
    residual = FaceRefine(8, appearance=16)(*inputs())
    assert residual.shape == (2, 3, 64, 64) and not residual.any()


def test_it_fades_out_towards_the_windows_edge() -> None:
    residual = awake(FaceRefine(8, appearance=16), scale=0.5)(*inputs())
    border = torch.ones(64, 64, dtype=torch.bool)
    border[1:-1, 1:-1] = False
    assert residual[..., border].abs().max() == 0 and residual[..., 16:48, 16:48].abs().max() > 0.05


def test_every_input_is_heard() -> None:
    net, given = awake(FaceRefine(8, appearance=16)), inputs()
    base = net(*given)
    for number in range(len(given)):
        changed = [value + 1 if index == number else value for index, value in enumerate(given)]
        assert not torch.equal(net(*changed), base), number


def test_the_window_is_whole_in_the_middle() -> None:
    mask = window_mask(208)[0, 0]
    assert (mask[26:-26, 26:-26] == 1).all() and mask[0].max() == 0 and torch.equal(mask, mask.T)
