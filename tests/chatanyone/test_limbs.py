"""Arms taken off a picture: the layers give it back, and the body goes on behind them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from chatanyone.portraits.limbs import WHOLE, Arm, _along, take_off

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
    shoulder, elbow, wrist = (np.array(place, np.float32) for place in ((40.0, 44), (40.0, 98), (96.0, 98)))
    return image, matte, arm, Arm(shoulder, elbow, wrist, (10.0, 8.0), hand, np.zeros((H, W), bool))


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


def test_what_shows_in_a_wide_gap_of_the_hand_stays_as_it_is() -> None:
    """Between thumb and fingers one sees the clothes; made anew they would be a patch beside the hand."""
    image, matte, _, arm = person()
    image[70:126, 84:104] = (0.2, 0.3, 0.6)
    image[70:126, 92:97] = (0.9, 0.9, 0.2)  # a stripe of the clothes, seen in a gap 20 px wide
    hand = arm.hand.copy()
    hand[:, 84:104] = False
    hand[72:124, 104:120] = hand[72:124, 76:84] = True
    image[hand] = (0.8, 0.6, 0.5)
    other = replace(arm, hand=hand, wrist=np.array([76.0, 98], np.float32))
    layers = take_off(image, matte, image, np.ones_like(image), [other])
    assert np.abs(layers.body[74:86, 92:97, :3] - np.array([0.9, 0.9, 0.2])).max() < 0.1


def test_no_piece_of_a_hand_is_left_behind() -> None:
    """A rim that the segmentation took for body stays where it is when the hand leaves."""
    image, matte, _, arm = person()
    image[40:, 100:130], matte[40:, 100:130] = 1, 0
    image[90:106, 100:120], matte[90:106, 100:120] = (0.8, 0.6, 0.5), 1
    image[108:112, 108:114], matte[108:112, 108:114] = (0.7, 0.5, 0.4), 1
    layers = take_off(image, matte, image, np.ones_like(image), [arm])
    assert layers.body[107:120, 106:118, 3].max() < 0.1 and layers.body[60, 60, 3] > 0.99


def test_the_upper_arm_stays_with_the_body() -> None:
    """Bare arms are one colour: taken along with the hand, the upper arm would tear off its sleeve."""
    image, matte, _, arm = person()
    image[40:, 30:130] = (0.2, 0.3, 0.6)
    skin = np.array([0.8, 0.6, 0.5])
    image[60:136, 44:76] = skin  # the upper arm, hanging
    for row in range(70, 136):  # the forearm before it, from the elbow at the bottom up to the right
        left = 58 + (136 - row) * 2 // 5
        image[row, left:left + 26] = skin
    hand = np.zeros((H, W), bool)
    hand[52:74, 82:114] = True
    image[hand] = skin
    shoulder, elbow, wrist = (np.array(place, np.float32) for place in ((56, 20), (66, 130), (92, 74)))
    bent = replace(arm, shoulder=shoulder, elbow=elbow, wrist=wrist, radius=(16.0, 13.0), hand=hand)
    layers = take_off(image, matte, image, np.ones_like(image), [bent])
    assert layers.arms[0][64:100, 46:66, 3].max() < 0.05 and layers.arms[0][78:90, 84:100, 3].min() > 0.95
    assert np.abs(layers.body[64:100, 48:66, :3] - skin).max() < 0.03


def test_a_rim_of_the_upper_arm_is_no_limb() -> None:
    """A thin line along another edge, taken with the forearm, would be drawn across the sleeve."""
    _, _, where, arm = person()
    alpha = where.astype(np.float32)
    alpha[66:92, 74:76] = 1
    ramp = _along(np.full((H, W, 3), 128, np.uint8), alpha, arm)
    assert ramp[68:86, 74:76].max() <= 0 and ramp[94:102, 70:110].min() > WHOLE
