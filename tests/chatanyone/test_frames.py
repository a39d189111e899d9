"""Drawn pictures as bytes."""

from __future__ import annotations

import numpy as np
import torch

from chatanyone.media.frames import as_bytes


def test_bytes_are_rounded_and_cut_as_torch_does(generator: torch.Generator) -> None:
    pictures = torch.rand(2, 3, 12, 16, generator=generator) * 1.4 - 0.2
    made = as_bytes(pictures)
    assert made.shape == (2, 12, 16, 3) and made.dtype == np.uint8
    expected = pictures.clamp(0, 1).mul(255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    np.testing.assert_array_equal(made, expected)
    np.testing.assert_array_equal(as_bytes(pictures.double()), expected)
