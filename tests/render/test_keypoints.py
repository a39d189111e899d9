"""Eq. 1, Eq. 2 and heat maps against numbers worked out by hand."""

from __future__ import annotations

import math

import torch

from render.keypoints import BodyKeypointFinder, body_keypoints, face_keypoints, heat_maps


def test_eq_1_scales_what_is_turned_and_moved() -> None:
    canonical, delta = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 0.5]])
    quarter_turn = torch.tensor([[0.0, 1.0], [-1.0, 0.0]])  # x_c R: row vectors
    found = body_keypoints(canonical, quarter_turn, delta, torch.tensor([[100.0]]), torch.tensor([[10.0, 20.0]]))
    assert torch.allclose(found, torch.tensor([[10.0, 170.0]]))


def test_eq_2_adds_the_implicit_offset() -> None:
    assert torch.equal(face_keypoints(torch.ones(2, 21, 3), torch.full((2, 21, 3), 0.5)), torch.full((2, 21, 3), 1.5))


def test_a_heat_map_is_a_gaussian_around_its_keypoint() -> None:
    maps = heat_maps(torch.tensor([[[20.0, 44.0]]]), (96, 64), stride=8, sigma=10.0)
    assert maps.shape == (1, 1, 12, 8)
    assert maps[0, 0, 5, 2] == 1  # the node at (20, 44)
    assert math.isclose(float(maps[0, 0, 5, 3]), math.exp(-0.5 * 0.64), rel_tol=1e-5)
    assert math.isclose(float(maps[0, 0, 7, 2]), math.exp(-0.5 * 2.56), rel_tol=1e-5)


def test_the_finder_starts_at_zero_and_stays_within_its_bound() -> None:
    finder, layer = BodyKeypointFinder(bound=0.04), torch.rand(1, 4, 384, 256)
    assert finder(layer).shape == (1, 14, 2) and not finder(layer).any()
    torch.nn.init.normal_(finder.head.weight, std=100.0)
    offset = finder(layer).abs()
    assert offset.max() <= 0.04 * 384 / 8 and offset.max() > 0.5


def test_the_finders_norms_do_not_learn_from_a_batch() -> None:
    finder = BodyKeypointFinder().train()
    before = {name: value.clone() for name, value in finder.named_buffers()}
    finder(torch.rand(2, 4, 192, 128))
    assert before and all(torch.equal(value, before[name]) for name, value in finder.named_buffers())
