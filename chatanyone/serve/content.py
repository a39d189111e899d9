"""What a file is, by its first bytes and its header; names and MIME types are what the client says and are not asked."""

from __future__ import annotations

import io
from pathlib import Path

import av
from PIL import Image

from chatanyone.errors import MediaError
from chatanyone.media.image import read_image

THUMBNAIL_PX = 320  # longest side
_PICTURES = {"JPEG": b"\xff\xd8\xff", "PNG": b"\x89PNG\r\n\x1a\n", "WEBP": b"RIFF"}
_ONLY = "choose a JPEG, PNG or WebP picture"


def check_picture(path: Path, most_pixels: int) -> None:
    """Type by content, then size by header; nothing is decoded.

    Raises:
        MediaError: one sentence.
    """
    head = path.read_bytes()[:16]
    kinds = [kind for kind, magic in _PICTURES.items() if head.startswith(magic)]
    if not kinds or (kinds == ["WEBP"] and head[8:12] != b"WEBP"):
        raise MediaError(f"this file is not a picture that can be used here; {_ONLY}")
    try:
        with Image.open(path, formats=kinds) as image:
            width, height = image.size
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        raise MediaError(f"this picture is damaged; {_ONLY}") from None
    if width * height > most_pixels:
        raise MediaError(f"this picture has {width} x {height} pixels, more than {most_pixels / 1e6:g} megapixels; "
                         "scale it down")


def check_clip(path: Path, most_s: float) -> None:
    """Whether it is a film, and how long.

    Raises:
        MediaError: one sentence.
    """
    try:
        with av.open(str(path)) as container:
            video = next(iter(container.streams.video), None)
            duration_s = (container.duration or 0) / av.time_base
            if video is not None and not duration_s and video.duration and video.time_base:
                duration_s = float(video.duration * video.time_base)
    except (av.FFmpegError, OSError, ValueError):
        raise MediaError("this file is not a film that can be used here; choose an MP4, MOV or WebM clip") from None
    if video is None or duration_s <= 0:
        raise MediaError("this file has no moving picture; choose an MP4, MOV or WebM clip of one person")
    if duration_s > most_s + 0.5:
        raise MediaError(f"this clip lasts {duration_s:.0f} s, at most {most_s:g} s are taken; cut it")


def thumbnail(path: Path) -> bytes:
    """A small JPEG without the picture's metadata.

    Raises:
        MediaError: the picture cannot be read.
    """
    image = Image.fromarray(read_image(path))
    image.thumbnail((THUMBNAIL_PX, THUMBNAIL_PX))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=85)
    return buffer.getvalue()
