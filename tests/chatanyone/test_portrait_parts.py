"""The parts of a portrait on pictures whose answer is known."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from chatanyone.portraits.framing import Frame, Person, choose_frame, cut
from chatanyone.portraits import patches
from chatanyone.portraits.matte import guided_filter, hand_silhouette, matting_laplacian, solve_alpha
from chatanyone.portraits.plate import background_plate, foreground_colour, membrane
from chatanyone.vision import Face, Hand

Float = NDArray[np.float32]


def disc(height: int, width: int, radius: float, softness: float) -> Float:
    rows, columns = np.mgrid[:height, :width]
    distance = np.hypot(columns - width / 2, rows - height / 2)
    return np.clip((radius - distance) / softness + 0.5, 0, 1).astype(np.float32)


def scene(alpha: Float) -> tuple[Float, Float, Float]:
    """Foreground, background, composite: a reddish ramp before a greenish one."""
    H, W = alpha.shape
    ramp = np.linspace(0, 0.2, W, dtype=np.float32)[None, :, None]
    foreground = np.broadcast_to(np.array([0.7, 0.2, 0.2], np.float32), (H, W, 3)) + ramp
    background = np.broadcast_to(np.array([0.1, 0.6, 0.3], np.float32), (H, W, 3)) + ramp
    return foreground, background, alpha[..., None] * foreground + (1 - alpha[..., None]) * background


def test_matting_finds_a_soft_edge_from_a_hard_guess() -> None:
    alpha = disc(96, 96, 26, 9)
    image = (scene(alpha)[2] * 255).round().astype(np.uint8)
    start = disc(96, 96, 24, 1)
    found = solve_alpha(image, start, disc(96, 96, 18, 1) > 0.5, disc(96, 96, 36, 1) < 0.5)
    assert np.abs(found - alpha).mean() < 0.4 * np.abs(start - alpha).mean()
    assert np.abs(found - alpha).max() < 0.15


def test_matting_laplacian_is_blind_to_colour_lines() -> None:
    """Eq. 12: any alpha that is linear in the colours costs nothing; rows sum to zero; symmetric."""
    alpha = disc(24, 30, 8, 6)
    image = (scene(alpha)[2] * 255).round().astype(np.uint8)
    laplacian = matting_laplacian(image, np.ones(alpha.shape, bool))
    assert abs(laplacian - laplacian.T).max() < 1e-8
    assert abs(laplacian @ np.ones(24 * 30)).max() < 1e-8
    random = np.random.default_rng(0).uniform(size=alpha.size)
    assert alpha.ravel() @ (laplacian @ alpha.ravel()) < 1e-3 * (random @ (laplacian @ random))


def test_guided_filter_moves_the_mask_to_the_edge() -> None:
    image = np.zeros((40, 60, 3), np.uint8)
    image[:, 30:] = 220
    mask = np.zeros((40, 60), np.float32)
    mask[:, 33:] = 1
    out = guided_filter(image, mask, radius=6, epsilon=1e-4)
    assert out[20, 31] > out[20, 28] + 0.3


def test_membrane_continues_a_ramp_exactly() -> None:
    ramp = np.broadcast_to(np.linspace(0, 1, 64, dtype=np.float32)[None, :, None], (48, 64, 3)).copy()
    known = np.ones((48, 64), bool)
    known[10:40, 20:45] = False
    broken = np.where(known[..., None], ramp, 0).astype(np.float32)
    assert np.abs(membrane(broken, known) - ramp).max() < 0.03


def test_membrane_fills_from_one_corner_and_from_nothing() -> None:
    known = np.zeros((70, 50), bool)
    known[:12, :12] = True
    filled = membrane(np.full((70, 50, 3), 0.3, np.float32), known)
    assert filled == pytest.approx(0.3, abs=1e-4)
    assert membrane(np.zeros((30, 30, 3), np.float32), np.zeros((30, 30), bool)) == pytest.approx(0.5)


def test_plate_keeps_the_known_and_lets_no_person_through() -> None:
    alpha = disc(192, 128, 30, 6)
    _, background, image = scene(alpha)
    plate = background_plate(image, alpha, np.ones(alpha.shape, bool))
    far = disc(192, 128, 48, 1) < 0.5
    assert np.array_equal(plate[far], image[far])
    assert np.abs(plate - background).max() < 0.05


def test_beyond_the_picture_the_background_goes_on_out_of_focus_and_without_the_person() -> None:
    """A dark door beside a bright wall, a red head just below the picture's edge."""
    image = np.full((160, 128, 3), 0.8, np.float32)
    image[:, :40] = 0.2
    matte = np.zeros((160, 128), np.float32)
    matte[44:160, 70:100] = 1
    image[44:160, 70:100] = (0.9, 0.1, 0.1)
    real = np.ones((160, 128), bool)
    real[:40] = False
    plate = background_plate(image, matte, real)
    assert np.abs(plate[30, :25] - 0.2).max() < 0.05 and np.abs(plate[30, 60:] - 0.8).max() < 0.05
    assert plate[..., 0].max() - plate[..., 1].min() < 0.65  # nothing red
    steps = [float(np.abs(np.diff(plate[row, :, 0])).max()) for row in (60, 30, 4)]
    assert steps[0] > 2 * steps[1] > 2.2 * steps[2]
    assert np.abs(plate[36:44] - plate[35:43]).max() < 0.1  # no line where the picture ends


def test_foreground_is_free_of_the_old_background() -> None:
    alpha = disc(128, 128, 40, 10)
    foreground, background, image = scene(alpha)
    found = foreground_colour(image, alpha, background)
    edge = (alpha > 0.15) & (alpha < 0.9)
    assert np.abs(found - foreground)[edge].mean() < 0.03 < 0.15 < np.abs(image - foreground)[edge].mean()
    assert np.array_equal(found[alpha > 0.995], image[alpha > 0.995])
    composed = alpha[..., None] * found + (1 - alpha[..., None]) * background
    assert np.abs(composed - image)[edge].mean() < 0.02


def hand_points() -> Float:
    """An open hand, 100 px from wrist to middle knuckle, fingers up."""
    points = np.zeros((21, 3), np.float32)
    points[0] = (150, 300, 0)
    for finger, x in enumerate((60, 110, 150, 185, 215)):
        for joint in range(4):
            points[1 + 4 * finger + joint, :2] = (x, 200 - 28 * joint if finger else 250 - 20 * joint)
    return points


def test_hand_silhouette_has_fingers_and_gaps() -> None:
    mask = hand_silhouette((400, 300), hand_points(), 0.6)
    assert mask[130, 110] and mask[130, 150] and mask[240, 150]
    assert not mask[130, 130] and not mask[60, 150] and not mask[350, 150]
    thick = hand_silhouette((400, 300), hand_points(), 1.6)
    assert (mask & ~thick).sum() == 0 and thick.sum() > 1.3 * mask.sum()


def person(H: int, W: int, top: int, height: float, x: float, hands: tuple[Hand | None, Hand | None] = (None, None),
           ) -> Person:
    """A face ``height`` px high whose hair starts at row ``top``, on a body as wide as 2.4 face heights."""
    landmarks = np.zeros((478, 3), np.float32)
    landmarks[:, 0] = np.linspace(x - 0.38 * height, x + 0.38 * height, 478)
    landmarks[:, 1] = top + 0.3 * height + 0.5 * height
    landmarks[10, :2], landmarks[152, :2] = (x, top + 0.3 * height), (x, top + 1.3 * height)
    mask = np.zeros((H, W), np.float32)
    middle, axes = (round(x), round(top + 0.65 * height)), (round(0.4 * height), round(0.65 * height))
    cv2.ellipse(mask, middle, axes, 0, 0, 360, 1.0, -1)
    mask[round(top + 1.6 * height):, max(round(x - 1.2 * height), 0):round(x + 1.2 * height)] = 1
    box = np.array([x - 0.38 * height, top + 0.3 * height, x + 0.38 * height, top + 1.3 * height], np.float32)
    return Person(Face(box, 1.0, landmarks), None, hands, mask)


def at(hand: Float, x: float, y: float) -> Hand:
    return Hand(hand * 0.5 + np.array([x, y, 0], np.float32), 0.9)


def test_frame_of_a_standing_person_ends_below_the_chest() -> None:
    frame = choose_frame(person(3000, 2000, 300, 200, 900), (512, 768))
    assert frame.height == pytest.approx(1000) and frame.width == pytest.approx(2 / 3 * 1000)
    assert frame.y == pytest.approx(300 - 90, abs=3) and frame.x + frame.width / 2 == pytest.approx(900)


def test_frame_grows_for_hands_but_never_below_the_picture() -> None:
    hands = (at(hand_points(), 700, 600), at(hand_points(), 100, 600))
    frame = choose_frame(person(1024, 1024, 60, 200, 512, hands), (512, 768))
    x0, y0, x1, y1 = frame.box
    points = np.concatenate([hand.points for hand in hands if hand is not None])
    assert frame.contains(points).all()
    assert y1 == pytest.approx(1024) and y0 < 0
    assert (60 - y0) / frame.height <= 0.2 + 1e-6  # headroom


def test_frame_without_hands_stays_inside_the_picture() -> None:
    for x in (200, 256, 330):
        frame = choose_frame(person(512, 512, 50, 130, x), (512, 768))
        x0, y0, x1, y1 = frame.box
        assert x0 >= 0 and x1 <= 512 and y1 == pytest.approx(512) and y0 > -0.1 * 512


def test_a_cut_head_gets_no_made_up_room_above() -> None:
    frame = choose_frame(person(512, 512, 0, 130, 256), (512, 768))
    assert frame.y >= 0


def test_square_frame_holds_hair_and_chin() -> None:
    frame = choose_frame(person(1000, 1000, 100, 200, 480), (512, 512))
    assert frame.width == pytest.approx(460, abs=1) and frame.height == pytest.approx(frame.width)
    assert frame.y < 100 and frame.y + frame.height > 360 and frame.x + frame.width / 2 == pytest.approx(480)


@pytest.mark.parametrize("x", [256, 180])
def test_square_frame_of_a_head_shot_is_the_picture(x: int) -> None:
    """It once went on beside and below the picture, where a bust ended in the air."""
    assert choose_frame(person(512, 512, 60, 330, x), (512, 512)).box == (0, 0, 512, 512)


def test_square_frame_wider_than_the_picture_ends_at_its_bottom() -> None:
    x0, y0, x1, y1 = choose_frame(person(350, 330, 10, 300, 165), (512, 512)).box
    assert y1 == 350 and y0 < 0 and x1 - x0 == pytest.approx(1.35 * 300)


def test_cut_places_pixels_by_the_convention_and_says_what_is_real() -> None:
    image = np.zeros((60, 40, 3), np.uint8)
    image[30:, 20:] = 255
    frame = Frame(-10.0, 15.0, 40.0, (80, 120))
    pixels, real = cut(image, frame)
    assert pixels.shape == (120, 80, 3) and frame.scale == 2
    edge = frame.apply(np.array([[20.0, 30.0, 1.0]], np.float32))[0]
    assert edge.tolist() == [60.0, 30.0, 2.0]
    assert pixels[33, 56, 0] < 20 and pixels[33, 63, 0] > 235 and pixels[26, 63, 0] < 20
    assert not real[:, :20].any() and real[:80, 32:].all() and not real[92:, :].any()


def test_plate_carries_texture_into_the_band_beside_the_person() -> None:
    alpha = disc(192, 192, 50, 4)
    noise = cv2.GaussianBlur(np.random.default_rng(0).standard_normal((192, 192, 3)).astype(np.float32), (0, 0), 0.8)
    image = np.clip(0.5 + 0.1 * noise / noise.std(), 0, 1).astype(np.float32)
    image = np.where(alpha[..., None] > 0, 0.5 - 0.3 * alpha[..., None], image).astype(np.float32)
    plate = background_plate(image, alpha, np.ones(alpha.shape, bool))
    band, middle = (disc(192, 192, 48, 1) > 0.5) & (disc(192, 192, 42, 1) < 0.5), disc(192, 192, 12, 1) > 0.5
    assert plate[band].std() > 0.3 * 0.1  # grain alone stays under 0.02
    assert plate[middle].std() < 0.03  # fades out where nothing will ever show
    assert np.abs(plate[band].mean() - 0.5) < 0.03


@pytest.mark.parametrize("upright", [True, False])
def test_stripes_behind_a_person_go_on(upright: bool) -> None:
    """Unlike a membrane's, and where they belong."""
    wave = 0.5 + 0.3 * np.sign(np.sin(np.arange(192) * 2 * np.pi / 16)).astype(np.float32)
    lines = np.broadcast_to(wave[None] if upright else wave[:, None], (192, 192))
    stripes = np.repeat(cv2.GaussianBlur(lines, (0, 0), 1.0)[..., None], 3, 2)
    alpha = disc(192, 192, 40, 2)
    image = ((1 - alpha[..., None]) * stripes + alpha[..., None] * np.array([0.9, 0.1, 0.1])).astype(np.float32)
    plate = background_plate(image, alpha, np.ones(alpha.shape, bool))
    rim = (alpha > 0) & (disc(192, 192, 28, 1) < 0.5)
    assert np.abs(plate - stripes)[rim].mean() < 0.07 < 0.2 < np.abs(stripes - 0.5)[rim].mean()


def test_patches_leave_alone_what_they_know_nothing_about() -> None:
    start = np.random.default_rng(1).random((50, 37, 3)).astype(np.float32)
    known = np.zeros((50, 37), bool)
    assert np.array_equal(patches.fill(start, start, known, ~known), start)
    known[:, :30] = True
    wanted = np.zeros_like(known)
    wanted[:, 25:33] = True
    filled = patches.fill(start, np.zeros_like(start), known, wanted)
    assert np.array_equal(filled[known], start[known]) and not filled[:, 33:].any() and filled[:, 30:33].any()


def test_an_arm_in_shadow_is_part_of_the_person() -> None:
    from chatanyone.portraits.matte import Hints, with_arms

    hand = np.zeros((21, 2), np.float32)
    hand[9] = (0, 40)  # a palm of 40 px
    arm = np.array([[20, 50], [40, 50], [80, 50]], np.float32)
    mask = with_arms(np.zeros((100, 100), bool), Hints(hand, (hand,), False, arms=(arm,)))
    assert mask[50, 20:80].all() and 28 <= mask[:, 50].sum() <= 38 and not mask[:30].any()


def test_a_hand_before_its_elbow_bites_no_piece_out_of_the_arm() -> None:
    from chatanyone.portraits.matte import _trim_hand

    person = np.zeros((400, 300), bool)
    person[10:300, 110:190] = True  # an upper arm, hanging, behind a hand that points to the side
    hand = hand_points()
    hand[:, :2] = hand[:, 1::-1] * 0.5 + np.array([-10, 140], np.float32)
    arm = np.array([[150, 150], [150, 290], [hand[0, 0], hand[0, 1]]], np.float32)
    assert (person & ~_trim_hand(person, hand, ()))[150:290, 110:190].sum() > 50
    kept = _trim_hand(person, hand, (arm,))
    assert kept[150:290, 110:190].all() and not kept[:, :20].any()
