from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from chatanyone.evaluation import pixels
from tests.helpers.portrait import plain_portrait

EVERYWHERE = np.ones((32, 32), bool)


def noise(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 255, (32, 32, 3)).astype(np.uint8)


def test_laplacian_energy_by_hand() -> None:
    image = np.zeros((32, 32, 3), np.uint8)
    image[16, 16] = 255
    assert pixels.laplacian_energy(image, EVERYWHERE) == pytest.approx((16 + 4) / 1024)  # -4 once, 1 four times
    assert pixels.laplacian_energy(np.full((32, 32, 3), 90, np.uint8), EVERYWHERE) == 0


def test_blur_loses_energy() -> None:
    blurred = np.asarray(cv2.GaussianBlur(noise(), (0, 0), 1.0))
    assert pixels.laplacian_energy(blurred, EVERYWHERE) < 0.1 * pixels.laplacian_energy(noise(), EVERYWHERE)


def test_change_is_in_steps_and_does_not_wrap_around() -> None:
    black, white = (np.full((32, 32, 3), value, np.uint8) for value in (0, 255))
    assert pixels.change(black, white, EVERYWHERE) == 255
    assert pixels.change(white, white, EVERYWHERE) == 0
    half = EVERYWHERE.copy()
    half[16:] = False
    white[:16] = 2
    assert pixels.change(white, black, half) == 2


def test_colour_difference_of_a_step_of_lightness() -> None:
    grey, lighter = (np.full((32, 32, 3), value, np.uint8) for value in (119, 122))
    a, b = (pixels.mean_lab(image, EVERYWHERE) for image in (grey, lighter))
    assert a[0] == pytest.approx(50, abs=0.5) and abs(a[1]) < 0.1
    assert pixels.delta_e(a, a) == 0
    assert 0.8 < pixels.delta_e(a, b) < 1.6


def test_geometry_does_not_see_a_similarity_but_a_longer_nose() -> None:
    points = np.random.default_rng(0).uniform(0, 200, (478, 3)).astype(np.float32)
    points[234, :2], points[454, :2] = (0, 100), (200, 100)
    turned = points.copy()
    turned[:, :2] = 1.3 * points[:, :2] @ np.array([[0.8, 0.6], [-0.6, 0.8]], np.float32) + 17
    assert pixels.geometry_error(turned, points) == pytest.approx(0, abs=1e-5)
    longer = points.copy()
    longer[1, 1] += 20
    assert pixels.geometry_error(longer, points, (1, 234, 454, 6, 10)) > 0.01


def test_the_background_ends_well_before_the_person() -> None:
    portrait = plain_portrait((128, 128))
    portrait.matte = torch.zeros(1, 128, 128)
    portrait.matte[0, 60:, 60:] = 1
    mask = pixels.background(portrait)
    assert mask[0, 0] and not mask[127, 127] and not mask[50, 50]
