"""The warping-field net: zero before training, bounded after, and its input tells motion."""

from __future__ import annotations

import torch

from render.dense_motion import DenseMotion, motion_inputs
from render.warp import identity_flow
from tests.helpers.render_nets import awake


def test_untrained_it_leaves_flow_and_keypoints_alone() -> None:
    motion = DenseMotion(45, 12, 16)(torch.rand(2, 45, 24, 16), torch.rand(1, 16))
    assert motion.flow.shape == (2, 2, 24, 16) and motion.offset.shape == (2, 21, 3)
    assert not motion.flow.any() and not motion.offset.any() and motion.occlusion.min() > 0.8


def test_trained_it_stays_within_its_bounds() -> None:
    net = awake(DenseMotion(45, 12, 16, bound=8.0, offset_bound=0.04), scale=2.0)
    motion = net(torch.rand(2, 45, 24, 16), torch.rand(1, 16))
    assert 4 < motion.flow.abs().max() <= 8 and 0.01 < motion.offset.abs().max() <= 0.04
    assert 0 <= motion.occlusion.min() and motion.occlusion.max() <= 1


def test_at_rest_its_input_holds_no_motion() -> None:
    heat, layer = torch.rand(1, 35, 12, 8), torch.rand(1, 4, 12, 8)
    x = motion_inputs(heat, heat, identity_flow((96, 64), 8), layer)
    assert x.shape == (1, 45, 12, 8) and x[:, :37].abs().max() < 1e-6
    assert torch.allclose(x[:, 37:41], x[:, 41:], atol=1e-5)


def test_its_input_shows_the_person_where_the_flow_brings_them() -> None:
    heat, layer = torch.zeros(1, 35, 12, 8), torch.zeros(1, 4, 12, 8)
    layer[0, 3, 6, 2] = 1
    x = motion_inputs(heat, heat, identity_flow((96, 64), 8) - torch.tensor([16.0, 0.0])[:, None, None], layer)
    assert x[0, 40, 6, 4] > 0.99 and torch.allclose(x[:, 35], torch.tensor(-1.0))
