"""Appearance features: shapes, and a vector that sees the person only."""

from __future__ import annotations

import torch

from render.appearance import AppearanceEncoder


def test_features_at_a_quarter_and_an_eighth() -> None:
    encoder, layer, plate = AppearanceEncoder(8), torch.rand(2, 4, 96, 64), torch.rand(2, 3, 96, 64)
    quarter, eighth, vector = encoder(layer, plate)
    assert quarter.shape == (2, 8, 24, 16) and eighth.shape == (2, 16, 12, 8) and vector.shape == (2, 16)


def test_the_vector_does_not_see_far_background() -> None:
    encoder = AppearanceEncoder(8)
    layer, plate = torch.zeros(1, 4, 128, 128), torch.rand(1, 3, 128, 128)
    layer[:, :, 80:] = 0.7
    other = plate.clone()
    other[:, :, :16] = 1 - other[:, :, :16]
    first, second = encoder(layer, plate), encoder(layer, other)
    assert torch.allclose(first.vector, second.vector, atol=1e-6)
    assert not torch.allclose(first.eighth, second.eighth, atol=1e-3)
