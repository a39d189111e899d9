"""Arms taken off a picture: the layers give it back, and the body goes on behind them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from chatanyone.portraits.limbs import Arm, take_off

H, W = 160, 160


def person() -> tuple[np.ndarray, np.ndarray, np.ndarray, Arm]:
    """A blue torso on white, a skin-coloured forearm across it."""
    matte, image = np.zeros((H, W), np.float32), np.ones((H, W, 3), np.float32)
    matte[40:, 30:130] = 1
    image[40:, 30:130] = (0.2, 0.3, 0.6)
    arm = np.zeros((H, W), bool)
    arm[90:106, 40:120] = True
    image[arm] = (0.8, 0.6, 0.5)
    hand = np.zeros((H, W), bool)
    hand[90:106, 96:120] = True
    return image, matte, arm, Arm(np.array([40.0, 98], np.float32), np.array([96.0, 98], np.float32), (10.0, 8.0), hand,
                                  np.zeros((H, W), bool))


def test_layers_laid_back_are_the_picture() -> None:
    image, matte, _, arm = person()
    plate = np.ones_like(image)
    layers = take_off(image, matte, image, plate, [arm])
    picture = plate
    for layer in (layers.body, *layers.arms):
        picture = layer[..., :3] + (1 - layer[..., 3:]) * picture
    assert np.abs(picture - image).mean() < 1 / 255 and np.abs(picture - image).max() < 0.1


def test_the_body_goes_on_behind_the_arm() -> None:
    image, matte, where, arm = person()
    layers = take_off(image, matte, image, np.ones_like(image), [arm])
    beyond = layers.body[98, 80:116]
    assert np.abs(beyond[:, :3] - np.array([0.2, 0.3, 0.6])).max() < 0.08 and beyond[:, 3].min() > 0.95
    assert layers.arms[0][98, 80:110, 3].min() > 0.95 and layers.arms[0][60:80, :, 3].max() < 0.05


def test_fingers_that_point_back_past_the_elbow_come_off_too() -> None:
    """A hand held before the chest hides its own forearm; its finger tips lie beyond the elbow."""
    image, matte, _, arm = person()
    image[90:106, 40:96] = (0.2, 0.3, 0.6)
    folded = replace(arm, elbow=np.array([112.0, 98], np.float32), wrist=np.array([120.0, 98], np.float32))
    layers = take_off(image, matte, image, np.ones_like(image), [folded])
    tips = layers.body[98, 98:106]
    assert np.abs(tips[:, :3] - np.array([0.2, 0.3, 0.6])).max() < 0.08
    assert layers.arms[0][98, 98:106, 3].min() > 0.95
