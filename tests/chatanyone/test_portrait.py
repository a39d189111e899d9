"""From a picture to a portrait, on the astronaut photograph (public domain) and on synthetic edges."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from chatanyone import portrait as module
from chatanyone.errors import PortraitError
from chatanyone.portrait import Portrait, prepare_portrait
from chatanyone.portraits import store
from chatanyone.portraits.body import body_keypoints
from chatanyone.vision import Face
from motion.types import BODY_KEYPOINTS

Image = NDArray[np.uint8]
K = {name: index for index, name in enumerate(BODY_KEYPOINTS)}


@pytest.fixture(scope="module")
def astronaut() -> Image:
    from skimage import data

    return np.asarray(data.astronaut())


@pytest.fixture(scope="module")
def portrait(astronaut: Image) -> Portrait:
    return prepare_portrait(astronaut)


def test_shapes_ranges_and_types(portrait: Portrait) -> None:
    assert portrait.size == (512, 768)
    for name, channels in (("image", 3), ("matte", 1), ("plate", 3), ("foreground", 3)):
        picture = getattr(portrait, name)
        assert picture.shape == (channels, 768, 512) and picture.dtype == torch.float32, name
        assert picture.min() >= 0 and picture.max() <= 1, name
    assert portrait.face.shape == (478, 3) and portrait.pose.shape == (33, 3) and portrait.body.shape == (14, 3)
    assert portrait.hands.shape == (2, 21, 3) and portrait.hand_seen == (False, False)


def test_the_head_is_in_the_upper_part_with_room_above(portrait: Portrait) -> None:
    face = portrait.face
    assert 0.10 * 768 < face[:, 1].min() and face[:, 1].max() < 0.6 * 768
    assert abs(float(face[:, 0].mean()) - 256) < 50


def test_box_says_where_the_pixels_came_from(portrait: Portrait, astronaut: Image) -> None:
    x0, y0, x1, y1 = portrait.box
    assert (x1 - x0) / (y1 - y0) == pytest.approx(2 / 3, rel=1e-3)
    iris = portrait.face[468, :2].numpy() * (x1 - x0) / 512 + np.array([x0, y0])
    assert iris == pytest.approx([204, 102], abs=4)
    W = 512 / (x1 - x0)
    matrix = np.array([[W, 0, (0.5 - x0) * W - 0.5], [0, W, (0.5 - y0) * W - 0.5]])
    expected = cv2.warpAffine(astronaut, matrix, (512, 768), flags=cv2.INTER_CUBIC)
    inside = slice(200, 700)
    difference = np.abs(expected[inside] / 255.0 - portrait.image.permute(1, 2, 0).numpy()[inside]).mean()
    assert difference < 0.01


def test_matte_holds_the_person_and_not_the_shuttle(portrait: Portrait) -> None:
    x, y = portrait.face[:, 0].long(), portrait.face[:, 1].long()
    assert (portrait.matte[0, y, x] > 0.95).float().mean() > 0.98
    neck = portrait.body[K["neck"]].long()
    assert portrait.matte[0, neck[1], neck[0]] > 0.95
    assert portrait.matte[0, 60:300, :60].mean() < 0.03
    soft = ((portrait.matte > 0.02) & (portrait.matte < 0.98)).float().mean()
    assert 0.002 < soft < 0.06  # soft at the edge only


def test_the_parts_compose_to_the_picture(portrait: Portrait) -> None:
    composed = portrait.matte * portrait.foreground + (1 - portrait.matte) * portrait.plate
    error = (composed - portrait.image).abs().mean(dim=0)
    assert error.mean() < 0.01
    assert error[portrait.matte[0] > 0.995].max() < 0.02
    assert float(torch.quantile(error.flatten()[::7], 0.99)) < 0.12


def test_no_orange_suit_is_left_in_the_plate(portrait: Portrait) -> None:
    red, _, blue = portrait.plate
    suit_red, _, suit_blue = portrait.image[:, 560:700, 200:300].mean(dim=(1, 2))
    assert suit_red - suit_blue > 0.3
    orange = (red - blue) > 0.25
    assert orange[240:, 60:450].float().mean() < 0.01


def test_body_keypoints_stand_where_anatomy_says(portrait: Portrait) -> None:
    body = portrait.body
    assert body[K["shoulderLeft"], 0] > body[K["neck"], 0] > body[K["shoulderRight"], 0]
    assert body[K["neck"], 1] < body[K["collar"], 1] < body[K["chest"], 1] < body[K["belly"], 1]
    assert body[K["belly"], 1] < body[K["hipLeft"], 1] and body[K["elbowLeft"], 1] > body[K["shoulderLeft"], 1]
    assert body[K["neck"], 1] > portrait.face[152, 1] - 10
    canonical = portrait.body_canonical()
    assert canonical[0].abs().max() == 0
    between = (canonical[K["shoulderLeft"]] - canonical[K["shoulderRight"]])[:2].norm()
    assert between == pytest.approx(1.0, abs=1e-4)


def test_square_frame_shows_the_head_large(astronaut: Image) -> None:
    head = prepare_portrait(astronaut, (256, 256))
    assert head.size == (256, 256)
    height = float(head.face[152, 1] - head.face[10, 1])
    assert 0.35 * 256 < height < 0.6 * 256
    assert head.face[:, 1].min() > 15 and head.face[:, 1].max() < 240


def test_save_and_load_lose_nothing(portrait: Portrait, tmp_path: Path) -> None:
    portrait.save(tmp_path / "p.safetensors")
    again = Portrait.load(tmp_path / "p.safetensors")
    for name in ("image", "matte", "plate", "foreground", "face", "pose", "pose_visibility", "hands", "body"):
        assert torch.equal(getattr(portrait, name), getattr(again, name)), name
    assert again.shoulder_width_px == portrait.shoulder_width_px
    assert again.box == portrait.box and again.warnings == portrait.warnings
    assert [entry.name for entry in tmp_path.iterdir()] == ["p.safetensors"]


def test_the_cache_is_asked_by_content(
    astronaut: Image, portrait: Portrait, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = []

    def prepare(image: Image, size: tuple[int, int], face: int | None) -> Portrait:
        made.append((size, face))
        return portrait

    monkeypatch.setattr(module, "_prepare", prepare)
    for _ in range(3):
        found = prepare_portrait(astronaut, cache_dir=tmp_path)
    assert len(made) == 1 and torch.equal(found.matte, portrait.matte)
    prepare_portrait(astronaut, (512, 512), cache_dir=tmp_path)
    prepare_portrait(astronaut, face=1, cache_dir=tmp_path)
    changed = astronaut.copy()
    changed[0, 0, 0] ^= 1
    prepare_portrait(changed, cache_dir=tmp_path)
    assert len(made) == 4 and len(list(tmp_path.iterdir())) == 4


def test_a_damaged_cache_entry_is_made_again(
    astronaut: Image, portrait: Portrait, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_prepare", lambda image, size, face: portrait)
    prepare_portrait(astronaut, cache_dir=tmp_path)
    entry = next(tmp_path.iterdir())
    entry.write_bytes(entry.read_bytes()[:1000])
    assert torch.equal(prepare_portrait(astronaut, cache_dir=tmp_path).face, portrait.face)
    assert Portrait.load(entry).size == (512, 768)


def test_bad_portrait_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(PortraitError, match="no such file"):
        Portrait.load(tmp_path / "none.safetensors")
    (tmp_path / "text.safetensors").write_text("hello, this is not a portrait")
    with pytest.raises(PortraitError, match="damaged"):
        Portrait.load(tmp_path / "text.safetensors")
    store.write(tmp_path / "empty.safetensors", {"face": torch.zeros(1)}, {})
    with pytest.raises(PortraitError, match="expected body, foreground"):
        Portrait.load(tmp_path / "empty.safetensors")


def test_a_failed_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(store, "save_file", full)
    with pytest.raises(OSError, match="No space"):
        store.write(tmp_path / "p.safetensors", {"face": torch.zeros(1)}, {})
    assert list(tmp_path.iterdir()) == []


def test_no_face_says_so() -> None:
    with pytest.raises(PortraitError, match="found none in 400 × 300 pixels"):
        prepare_portrait(np.full((300, 400, 3), 90, np.uint8))


def test_a_face_too_small_says_its_size(astronaut: Image) -> None:
    tiny = cv2.resize(astronaut, (150, 150), interpolation=cv2.INTER_AREA)
    picture = np.full((480, 640, 3), 128, np.uint8)
    picture[200:350, 300:450] = tiny
    with pytest.raises(PortraitError, match=r"at least 48 pixels high, found one of 3\d pixels"):
        prepare_portrait(picture)


def test_several_faces_take_the_largest_or_the_one_asked_for(astronaut: Image) -> None:
    large = cv2.resize(astronaut, (600, 600))
    picture = np.full((600, 1000, 3), 200, np.uint8)
    picture[88:, :400] = astronaut[:, 40:440]
    picture[:, 400:] = large
    portrait = prepare_portrait(picture, (256, 384))
    assert any("found 2 faces and took the largest, number 2 from the left" in text for text in portrait.warnings)
    assert portrait.box[0] > 330
    left = prepare_portrait(picture, (256, 384), face=1)
    assert left.box[2] < 480 and not any("faces" in text for text in left.warnings)
    with pytest.raises(PortraitError, match="face number from 1 to 2 .* got 3"):
        prepare_portrait(picture, face=3)
    with pytest.raises(PortraitError, match="got 0"):
        prepare_portrait(picture, face=0)


def test_a_profile_is_refused_and_a_turned_face_warned_of(astronaut: Image) -> None:
    points = module.detect_faces(astronaut)[0].landmarks
    warnings: list[str] = []
    for nose, refused in ((0.95, False), (1.3, True)):
        turned = points.copy()
        turned[6, :2] = points[234, :2] + nose * (points[454, :2] - points[234, :2])
        face = Face(np.zeros(4, np.float32), 1.0, turned)
        if refused:
            with pytest.raises(PortraitError, match="profile"):
                module._check_face(face, (512, 512), [])
        else:
            module._check_face(face, (512, 512), warnings)
    assert len(warnings) == 1 and "turned far to the side" in warnings[0]


def test_half_a_face_is_refused(astronaut: Image) -> None:
    with pytest.raises(PortraitError, match=r"\d\d% lies beyond the picture's edge"):
        prepare_portrait(np.ascontiguousarray(astronaut[:, 200:]))


@pytest.mark.parametrize("image", [
    np.zeros((10, 10), np.uint8), np.zeros((10, 10, 4), np.uint8), np.zeros((10, 10, 3), np.float32)])
def test_wrong_arrays_are_programming_errors(image: Image) -> None:
    with pytest.raises(ValueError, match="uint8 picture"):
        prepare_portrait(image)


def test_wrong_sizes_are_programming_errors(astronaut: Image) -> None:
    with pytest.raises(ValueError, match="not wider than high"):
        prepare_portrait(astronaut, (768, 512))


def test_unseen_body_is_placed_below_the_face(portrait: Portrait) -> None:
    body, width = body_keypoints(portrait.face.numpy(), None)
    height = float((portrait.face[10] - portrait.face[152]).norm())
    assert width == pytest.approx(1.8 * height, rel=0.01)
    assert body[K["neck"], 1] > float(portrait.face[152, 1])
    assert np.isfinite(body).all() and abs(float(body[K["neck"], 2])) == 0


def test_half_bodies_keep_both_hands_in_the_frame(shared_data: Path) -> None:
    from chatanyone.media.image import read_image

    for name in ("man_0025", "woman_0048"):
        portrait = prepare_portrait(read_image(shared_data / "portraits" / "halfbody" / f"{name}.jpg"))
        assert portrait.hand_seen == (True, True) and not portrait.warnings
        points = portrait.hands[..., :2].reshape(-1, 2)
        assert points.min() > 0 and points[:, 0].max() < 512 and points[:, 1].max() < 768
        x, y = points[:, 0].long(), points[:, 1].long()
        assert portrait.matte[0, y, x].mean() > 0.9
        wrists = portrait.body[[K["wristLeft"], K["wristRight"]], :2]
        assert (wrists - portrait.hands[:, 0, :2]).norm(dim=1).max() < 0.3 * portrait.shoulder_width_px


def test_hands_cut_by_the_pictures_edge_are_warned_of(shared_data: Path) -> None:
    from chatanyone.media.image import read_image

    image = read_image(shared_data / "portraits" / "halfbody" / "man_0025.jpg")
    portrait = prepare_portrait(np.ascontiguousarray(image[:, :820]))
    assert any("left hand is cut off by the picture's edge" in text for text in portrait.warnings)
    assert not any("right hand" in text for text in portrait.warnings)
