from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from chatanyone.errors import MediaError
from chatanyone.media.image import MATTE_GREY, read_image
from tests.helpers.media import gradient, png_header

H, W = 96, 80


def test_rgb_comes_back_as_it_is(tmp_path: Path) -> None:
    Image.fromarray(gradient(H, W)).save(tmp_path / "a.png")
    pixels = read_image(tmp_path / "a.png")
    assert pixels.dtype == np.uint8
    np.testing.assert_array_equal(pixels, gradient(H, W))


def test_palette_keeps_its_colours(tmp_path: Path) -> None:
    red_and_blue = np.zeros((H, W, 3), np.uint8)
    red_and_blue[:, :40, 0] = red_and_blue[:, 40:, 2] = 255
    Image.fromarray(red_and_blue).convert("P", palette=Image.Palette.ADAPTIVE, colors=8).save(tmp_path / "p.png")
    with Image.open(tmp_path / "p.png") as image:
        assert image.mode == "P"
    np.testing.assert_array_equal(read_image(tmp_path / "p.png"), red_and_blue)


def test_cmyk_jpeg(tmp_path: Path) -> None:
    Image.fromarray(gradient(H, W)).convert("CMYK").save(tmp_path / "c.jpg", quality=95)
    assert np.abs(read_image(tmp_path / "c.jpg").astype(int) - gradient(H, W)).mean() < 6


@pytest.mark.parametrize(("orientation", "expected"), [
    (3, np.rot90(gradient(H, W), 2)), (6, np.rot90(gradient(H, W), -1)), (8, np.rot90(gradient(H, W))),
], ids=["upside-down", "turned-right", "turned-left"])
def test_exif_rotation_is_undone(tmp_path: Path, orientation: int, expected: np.ndarray) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(gradient(H, W)).save(tmp_path / "r.png", exif=exif)
    np.testing.assert_array_equal(read_image(tmp_path / "r.png"), expected)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparency_shows_mid_grey(tmp_path: Path, mode: str) -> None:
    rgba = np.dstack([gradient(H, W), np.full((H, W), 255, np.uint8)])
    rgba[: H // 2, :, 3] = 0
    image = Image.fromarray(rgba, "RGBA")
    if mode == "P":
        image = image.convert("P")
        image.info["transparency"] = image.getpixel((0, 0))
    image.convert(mode).save(tmp_path / "t.png")
    pixels = read_image(tmp_path / "t.png")
    assert pixels.shape == (H, W, 3)
    assert (pixels[0, 0] == MATTE_GREY).all()
    assert (pixels[-1, -1] != MATTE_GREY).any()


def test_16_bit_grey_keeps_its_range(tmp_path: Path) -> None:
    ramp = np.linspace(0, 65535, H * W).reshape(H, W).astype(np.uint16)
    Image.fromarray(ramp).save(tmp_path / "d.png")
    pixels = read_image(tmp_path / "d.png")
    np.testing.assert_allclose(pixels[..., 0], ramp / 257, atol=0.51)
    assert (pixels[..., 0] == pixels[..., 2]).all()


@pytest.mark.parametrize("mode", ["L", "1"])
def test_grey_becomes_three_channels(tmp_path: Path, mode: str) -> None:
    Image.fromarray(gradient(H, W)).convert(mode).save(tmp_path / "g.png")
    assert read_image(tmp_path / "g.png").shape == (H, W, 3)


def test_broken_colour_profile_is_ignored(tmp_path: Path) -> None:
    Image.fromarray(gradient(H, W)).save(tmp_path / "i.png", icc_profile=b"not a profile")
    np.testing.assert_array_equal(read_image(tmp_path / "i.png"), gradient(H, W))


@pytest.mark.parametrize("side", [65_000, 8_000], ids=["bomb", "huge"])
def test_image_bomb_is_refused_by_its_header(tmp_path: Path, side: int) -> None:
    (tmp_path / "bomb.png").write_bytes(png_header(side, side))
    with pytest.raises(MediaError, match="more than 50 megapixels; scale it down"):
        read_image(tmp_path / "bomb.png")


def test_truncated_file(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (H, W, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "whole.png")
    (tmp_path / "half.png").write_bytes((tmp_path / "whole.png").read_bytes()[:8000])
    with pytest.raises(MediaError, match="damaged picture"):
        read_image(tmp_path / "half.png")


@pytest.mark.parametrize("content", [b"", b"just text\n" * 50, b"\x89PNG\r\n\x1a\n"], ids=["empty", "text", "stub"])
def test_not_a_picture(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.jpg").write_bytes(content)
    with pytest.raises(MediaError, match="not a picture this program reads"):
        read_image(tmp_path / "x.jpg")


def test_missing_folder_and_too_small(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match="there is no picture at"):
        read_image(tmp_path / "none.png")
    with pytest.raises(MediaError, match="is a folder"):
        read_image(tmp_path)
    Image.new("RGB", (20, 200)).save(tmp_path / "thin.png")
    with pytest.raises(MediaError, match="20 x 200 pixels; each side needs at least 64"):
        read_image(tmp_path / "thin.png")
