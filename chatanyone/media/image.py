"""Pictures as people have them, as upright 8-bit RGB."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageOps

from chatanyone.errors import MediaError

MAX_PIXELS = 50_000_000  # our choice: above every phone's default, below what fills a small machine's memory
MIN_SIDE_PX = 64  # our choice: under it no face could be large enough
MATTE_GREY = 128  # our choice: what shows through transparency; mid-grey leaves neither bright nor dark fringes

# What Pillow's decoders raise on damaged files, apart from OSError.
_DAMAGE = (OSError, SyntaxError, ValueError, EOFError, IndexError, struct.error, zlib.error)


def read_image(path: str | Path) -> NDArray[np.uint8]:
    """Reads a picture as RGB ``[H, W, 3]``: upright (EXIF), sRGB, transparency over mid-grey, first frame only.

    Raises:
        MediaError: missing, not a picture, damaged, or its size is out of bounds (checked before it is decoded).
    """
    path = Path(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns about what we check ourselves
        with _open(path) as image:
            _check_size(path, *image.size)
            try:
                return _to_rgb(ImageOps.exif_transpose(image))
            except _DAMAGE as error:
                raise MediaError(f"{path} is a damaged picture ({error}); export it again") from error


def _open(path: Path) -> Image.Image:
    """Parses the header only."""
    try:
        return Image.open(path)
    except FileNotFoundError:
        raise MediaError(f"there is no picture at {path}") from None
    except IsADirectoryError:
        raise MediaError(f"{path} is a folder; give the path of a picture") from None
    except PermissionError:
        raise MediaError(f"{path} may not be read; check its permissions") from None
    except Image.DecompressionBombError:
        raise MediaError(f"{path} claims more than {MAX_PIXELS // 10**6} megapixels; scale it down") from None
    except _DAMAGE:
        raise MediaError(f"{path} is not a picture this program reads; give a JPEG, PNG, WebP, TIFF or BMP") from None


def _check_size(path: Path, width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise MediaError(
            f"{path} has {width} x {height} pixels, more than {MAX_PIXELS // 10**6} megapixels; scale it down")
    if min(width, height) < MIN_SIDE_PX:
        raise MediaError(f"{path} has {width} x {height} pixels; each side needs at least {MIN_SIDE_PX}")


def _to_rgb(image: Image.Image) -> NDArray[np.uint8]:
    if image.mode in ("F", "I") or image.mode.startswith("I;"):
        image = _to_8_bit(image)
    image = _to_srgb(image)
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        image = image.convert("RGBA")
        matte = Image.new("RGBA", image.size, (MATTE_GREY, MATTE_GREY, MATTE_GREY, 255))
        image = Image.alpha_composite(matte, image)
    return np.array(image.convert("RGB"))


def _to_8_bit(image: Image.Image) -> Image.Image:
    """16-bit grey spans 0-65535, float grey 0-1; Pillow's own conversion would clip both at 255."""
    pixels = np.asarray(image).astype(np.float64)
    full_scale = 1.0 if image.mode == "F" and pixels.max(initial=0.0) <= 1.0 else 65535.0
    return Image.fromarray((pixels / full_scale * 255.0).round().clip(0, 255).astype(np.uint8))


def _to_srgb(image: Image.Image) -> Image.Image:
    """Applies an embedded colour profile (phones write Display P3, print shops CMYK); a broken one is ignored."""
    profile = image.info.get("icc_profile")
    if not profile or image.mode not in ("RGB", "CMYK"):
        return image
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        converted = ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
    except (ImageCms.PyCMSError, OSError):
        return image
    return image if converted is None else converted
