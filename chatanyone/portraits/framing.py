"""Where the picture is cut: 2:3 upper body or 1:1 head. All proportions here are our choice.

Convention: pixel coordinates as in docs/architecture.md; a frame may reach beyond the picture, the missing part is
filled from the background (`portraits.plate`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PilImage

from chatanyone.vision import Face, Hand, PoseLandmarks

_HEADROOM = 0.09  # of the frame's height, above the hair
_MOST_HEADROOM = 0.20  # when the hands ask for a frame wider, and so taller, than the picture
_UPPER_BODY = (5.0, 6.6)  # frame height in face heights: usual, largest
_HEAD_ONLY, _WHOLE_HEAD = 2.3, 1.35  # side of a square frame in face heights: usual; at least (or face widths)
_EDGE = 5  # pixels


@dataclass(frozen=True)
class Frame:
    """A rectangle of the picture that becomes ``size`` = (width, height) pixels: ``p_frame = (p - origin) · scale``."""

    x: float
    y: float
    width: float
    size: tuple[int, int]

    @property
    def scale(self) -> float:
        """Frame pixels per picture pixel."""
        return self.size[0] / self.width

    @property
    def height(self) -> float:
        """In picture pixels."""
        return self.size[1] / self.scale

    @property
    def box(self) -> tuple[float, float, float, float]:
        """x0, y0, x1, y1 in picture pixels."""
        return self.x, self.y, self.x + self.width, self.y + self.height

    def apply(self, points: NDArray[np.float32]) -> NDArray[np.float32]:
        """Picture pixels ``[..., 2 or 3]`` to frame pixels."""
        out = np.array(points, dtype=np.float32)
        out[..., :2] -= np.array([self.x, self.y], dtype=np.float32)
        return np.asarray(out * np.float32(self.scale), dtype=np.float32)

    def contains(self, points: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Which of the picture points ``[..., 2+]`` lie inside."""
        x0, y0, x1, y1 = self.box
        inside = (points[..., 0] >= x0) & (points[..., 0] < x1) & (points[..., 1] >= y0) & (points[..., 1] < y1)
        return np.asarray(inside, dtype=np.bool_)


@dataclass(frozen=True)
class Person:
    """What framing needs to know: landmarks and coarse mask, all in picture pixels."""

    face: Face
    pose: PoseLandmarks | None
    hands: tuple[Hand | None, Hand | None]
    mask: NDArray[np.float32]  # [H, W]

    @property
    def head_top(self) -> float:
        """The highest row of hair above the face, from the mask; at least the forehead's landmark."""
        x0, y0, x1, y1 = self.face.box
        fh = self.face.height_px
        forehead = float(y0)
        columns = self.mask[:max(int(y1), 1), max(int(x0), 0):max(int(x1), 1)]
        rows = np.flatnonzero((columns > 0.5).mean(axis=1) > 0.06)
        lowest_row = forehead - 0.9 * fh  # hats and buns, but not a second person above
        rows = rows[rows >= lowest_row]
        return min(float(rows[0]) if len(rows) else forehead - 0.3 * fh, forehead)


def choose_frame(person: Person, size: tuple[int, int]) -> Frame:
    """The frame for ``size`` = (width, height): square asks for the head, anything taller for the upper body."""
    return _head(person, size) if size[0] == size[1] else _upper_body(person, size)


def cut(image: NDArray[np.uint8], frame: Frame) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """The frame's pixels ``[h, w, 3]`` (Lanczos) and which of them the picture really has ``[h, w]``."""
    H, W, _ = image.shape
    x0, y0, x1, y1 = frame.box
    left, top = math.ceil(max(-x0, 0)), math.ceil(max(-y0, 0))
    pads = (top, math.ceil(max(y1 - H, 0))), (left, math.ceil(max(x1 - W, 0))), (0, 0)
    ax, ay = max(int(x0) - 16, 0), max(int(y0) - 16, 0)  # only the part needed: pictures may be large
    part = image[ay:int(min(y1, H)) + 16, ax:int(min(x1, W)) + 16]
    pads = tuple((p[0], p[1]) for p in pads)  # type: ignore[assignment]
    padded = np.pad(part, pads, mode="edge")
    box = (x0 - ax + left, y0 - ay + top, x1 - ax + left, y1 - ay + top)
    out = PilImage.fromarray(padded).resize(frame.size, PilImage.Resampling.LANCZOS, box=box)
    w, h = frame.size
    column, row = x0 + (np.arange(w) + 0.5) / frame.scale, y0 + (np.arange(h) + 0.5) / frame.scale
    real = _real(row, H)[:, None] & _real(column, W)[None, :]
    return np.asarray(out), real


def _real(places: NDArray[np.float64], length: int) -> NDArray[np.bool_]:
    """Rows or columns the picture has; where the frame leaves it, less a margin: edges often carry a dark line."""
    low = _EDGE if places[0] < 0 else 0
    high = length - (_EDGE if places[-1] > length else 0)
    return np.asarray((places >= low) & (places <= high), dtype=np.bool_)


def _head(person: Person, size: tuple[int, int]) -> Frame:
    H, W = person.mask.shape
    top, chin = person.head_top, float(person.face.landmarks[152, 1])
    side = max(_HEAD_ONLY * person.face.height_px, 1.5 * (chin - top))
    least = _WHOLE_HEAD * max(person.face.height_px, float(person.face.box[2] - person.face.box[0]))
    side = min(side, max(min(H, W), least))
    x, y = person.face.center[0] - side / 2, top - 0.13 * side
    return Frame(_inside(x, side, W), _inside(y, side, H) if side <= H else H - side, side, size)  # never below the picture


def _upper_body(person: Person, size: tuple[int, int]) -> Frame:
    H, W = person.mask.shape
    aspect = size[0] / size[1]
    fh, top = person.face.height_px, person.head_top
    span = _hands_span(person)
    wanted = _UPPER_BODY[0] * fh
    if span is not None:
        wanted = min(max(wanted, (span[1] - span[0]) / aspect, (span[2] - top) / (1 - _HEADROOM)), _UPPER_BODY[1] * fh)
    height = min(wanted, _tallest(person, span is not None))
    if height * aspect > W and _touches_side(person):  # an arm cut by the picture's edge cannot be continued
        height = W / aspect
    height = max(height, 1.35 * float(person.face.box[2] - person.face.box[0]) / aspect)
    y = _inside(top - _HEADROOM * height, height, H) if height <= H else H - height
    return Frame(_place(person, span, height * aspect), y, height * aspect, size)


def _tallest(person: Person, for_hands: bool) -> float:
    """From the picture's bottom to the headroom: never below the bottom, where clothes would have to be made up."""
    H, _ = person.mask.shape
    top = person.head_top
    if top <= max(2, 0.06 * person.face.height_px):  # the head is cut by the picture's edge: nothing to add above it
        return float(H)
    return max(float(H), (H - top) / (1 - (_MOST_HEADROOM if for_hands else _HEADROOM)))


def _hands_span(person: Person) -> tuple[float, float, float] | None:
    """x0, x1, lowest y of the hands the picture shows (and the face), with a margin; None without hands."""
    seen = [hand.points for hand in person.hands if hand is not None]
    if not seen:
        return None
    fh = person.face.height_px
    points = np.concatenate(seen)
    x0 = min(float(points[:, 0].min()) - 0.15 * fh, float(person.face.box[0]))
    x1 = max(float(points[:, 0].max()) + 0.15 * fh, float(person.face.box[2]))
    W = person.mask.shape[1]
    return max(x0, 0.0), min(x1, float(W)), float(points[:, 1].max()) + 0.1 * fh


def _touches_side(person: Person) -> bool:
    rows = person.mask[int(person.head_top):]
    return bool(max(float((rows[:, :2] > 0.5).mean()), float((rows[:, -2:] > 0.5).mean())) > 0.03)


def _place(person: Person, span: tuple[float, float, float] | None, width: float) -> float:
    """Left edge: centred on the face, moved as far as the hands and the picture's edges need."""
    W = person.mask.shape[1]
    x = person.face.center[0] - width / 2
    if span is not None and span[1] - span[0] <= width:
        x = min(max(x, span[1] - width), span[0])
    elif span is not None:
        x = (span[0] + span[1] - width) / 2
        face0, face1 = float(person.face.box[0]), float(person.face.box[2])
        x = min(max(x, face1 + 0.1 * width - width), face0 - 0.1 * width)
    return _inside(x, width, W)


def _inside(start: float, length: float, limit: int) -> float:
    """Moves [start, start + length] into [0, limit]; centred on it when longer."""
    if length >= limit:
        return (limit - length) / 2
    return min(max(start, 0.0), limit - length)
