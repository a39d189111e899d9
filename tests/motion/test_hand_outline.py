"""The outline step on hands whose true outline is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from chatanyone.vision.hand_mask import hand_mask
from motion.template.hand_fit import HandFit, displace, drive_hand, fit_hand
from motion.template.hand_outline import refine_outline, vertex_normals
from motion.template.hands import HandTemplate
from render.rasterize import interpolate, rasterize

SIZE = (260, 240)


@pytest.fixture(scope="module")
def fit() -> HandFit:
    hand = HandTemplate.load("left")
    flip = torch.tensor([1.0, -1.0, -1.0])
    return fit_hand(hand, hand.landmarks * flip * 1100 + torch.tensor([130.0, 225.0, 0.0]))


def coverage(fit: HandFit) -> Tensor:
    """``[H, W]`` bool, where the mesh without its forearm lies."""
    triangles = fit.template.triangles
    fragments = rasterize(drive_hand(fit, torch.zeros(1, 51), 1.0), triangles, SIZE)
    return interpolate(fragments, triangles, fit.template.opacity[None, :, None])[0, 0] > 0.5


def thicker(fit: HandFit, pixels: float) -> HandFit:
    vertices = drive_hand(fit, torch.zeros(1, 51), 1.0)[0]
    return displace(fit, vertex_normals(vertices, fit.template.triangles)[:, :2] * pixels)


def overlap(a: Tensor, b: Tensor) -> float:
    return float((a & b).sum() / (a | b).sum())


@pytest.mark.parametrize("pixels", [-2.0, 0.0, 2.5], ids=["thinner", "equal", "thicker"])
def test_outline_meets_the_mask(fit: HandFit, pixels: float) -> None:
    true = coverage(thicker(fit, pixels))
    before, after = overlap(coverage(fit), true), overlap(coverage(refine_outline(fit, true)), true)
    assert after > 0.95
    assert pixels == 0 or after > before + 0.04


def test_no_colour_from_outside_the_mask(fit: HandFit) -> None:
    mask = coverage(thicker(fit, -2.0))
    refined = refine_outline(fit, mask)
    on_hand = refined.template.weights[:, -1] < 0.5
    column, row = refined.source[on_hand].floor().long().unbind(1)
    assert mask[row, column].all()


def test_empty_mask_changes_nothing(fit: HandFit) -> None:
    refined = refine_outline(fit, torch.zeros(SIZE))
    assert torch.equal(refined.source, fit.source)
    with pytest.raises(ValueError, match="mask must be"):
        refine_outline(fit, torch.zeros(1, *SIZE))


def test_hand_mask_finds_a_thicker_hand_by_its_colour(fit: HandFit) -> None:
    true = coverage(thicker(fit, 2.5)).numpy()
    rng = np.random.default_rng(0)
    picture = np.where(true[..., None], (205, 150, 125), (60, 80, 110)) + rng.normal(0, 12, (*SIZE, 3))
    mask = torch.from_numpy(hand_mask(picture.clip(0, 255).astype(np.uint8), fit))
    assert overlap(mask, torch.from_numpy(true)) > 0.95
