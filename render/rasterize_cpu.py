"""`visible_attributes` on a CPU where no gradient is asked for: the same arithmetic in NumPy, whose calls cost less than
torch's, with attributes as planes over a triangle instead of weights of its corners."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

_EMPTY = np.iinfo(np.int64).min
_LOW = 0xFFFFFFFF
CHUNK_PIXELS = 1 << 20  # bounds memory when triangles are large


@np.errstate(all="ignore")  # vertices that are not finite, or hardly so, are left out
def visible_attributes(vertices: NDArray[np.float32], triangles: Integers, attributes: NDArray[np.float32],
                       size: tuple[int, int], subpixel: int, tie: float) -> tuple[Integers, NDArray[np.float32]]:
    """The nearest triangle that faces the viewer in each pixel, and what it shows there.

    Args: vertices ``[B, V, 3]`` px and depth; triangles ``[F, 3]``; attributes ``[V, C]``; size H, W; subpixel: snap grid per
    pixel; tie: px by which a centre on an edge is inside.
    Returns: ``[B, H, W]``, -1 where empty; ``[C + 1, B, H, W]``, attributes and depth, 0 where empty.
    """
    (B, V, _), F, C, (H, W) = vertices.shape, len(triangles), attributes.shape[1], size
    corners = triangles.T.copy()
    index = (corners[:, None] + (np.arange(B) * V)[:, None]).reshape(3, B * F)
    place = vertices.reshape(B * V, 3).T.astype(np.float64)
    snapped = np.rint(place[:2] * subpixel) / subpixel + (place - place).sum(0)  # nan where one is not finite
    x, y = (row.take(index) for row in snapped)
    kept = _kept(x, y, size)
    winner = np.full(B * H * W, -1)
    image = np.zeros((C + 1, B * H * W), np.float32)
    if len(kept):
        frame = np.repeat(np.arange(B), F).take(kept)
        triangle = kept - frame * F
        x, y, index, corner = (np.stack([row.take(k) for row in rows])
                               for rows, k in ((x, kept), (y, kept), (index, kept), (corners, triangle)))
        depths = place[2].take(index)
        keys = _drawn(x, y, _Planes(x, y)(depths), frame * (H * W), size, tie, B)
        planes = _Planes(place[0].take(index), place[1].take(index))  # visibility alone goes by the snapped corners
        pixel = np.flatnonzero(keys != _EMPTY)
        item = len(kept) - 1 - (keys.take(pixel) & _LOW)
        winner[pixel] = triangle.take(item)
        line = pixel // W
        right, down = (pixel - line * W).astype(np.float64), (line - frame.take(item) * H).astype(np.float64)
        values = attributes.T.astype(np.float64)
        for row, shown in zip(image, (*(value.take(corner) for value in values), depths)):
            zero, across, along = planes(shown)
            found = across.take(item)
            found *= right
            found += zero.take(item)
            found += along.take(item) * down
            row[pixel] = found
    return winner.reshape(B, H, W), image.reshape(C + 1, B, H, W)


def _kept(x: Floats, y: Floats, size: tuple[int, int]) -> Integers:
    """Which triangles, by corners ``[3, N]`` px, face the viewer and can cover a pixel's centre."""
    keep = (x[1] - x[0]) * (y[2] - y[0]) < (y[1] - y[0]) * (x[2] - x[0])
    for place, end in ((x, size[1]), (y, size[0])):
        low, high = (np.ceil(fold(fold(place[0], place[1]), place[2]) - 0.5) for fold in (np.minimum, np.maximum))
        keep &= np.minimum(high, end) > np.maximum(low, 0)  # false for nan
    return np.flatnonzero(keep)


class _Planes:
    """Values at the centre of pixel (0, 0), per pixel right and down, of triangles by corners ``[3, N]`` px."""

    def __init__(self, x: Floats, y: Floats) -> None:
        self.ux, self.vx, self.uy, self.vy = x[1] - x[0], x[2] - x[0], y[1] - y[0], y[2] - y[0]
        area = self.ux * self.vy - self.uy * self.vx
        self.share = 1 / np.where(area == 0, 1.0, area)
        self.x, self.y = 0.5 - x[0], 0.5 - y[0]

    def __call__(self, value: Floats) -> tuple[Floats, Floats, Floats]:
        """Of corners' values ``[3, N]``."""
        p, q = value[1] - value[0], value[2] - value[0]
        right, down = (p * self.vy - q * self.uy) * self.share, (q * self.ux - p * self.vx) * self.share
        return value[0] + right * self.x + down * self.y, right, down


def _drawn(x: Floats, y: Floats, depth: tuple[Floats, Floats, Floats], base: Integers, size: tuple[int, int], tie: float,
           B: int) -> Integers:
    """Keys of the nearest triangles, ``[B·H·W]``: integers in the order of depths, then of triangles. Each triangle is cut at
    the height of its middle corner; base: each triangle's first pixel."""
    H, W = size
    (x0, x1, x2), (y0, y1, y2) = x, y
    x0, y0, x1, y1 = _in_order(x0, y0, x1, y1)
    x1, y1, x2, y2 = _in_order(x1, y1, x2, y2)
    x0, y0, x1, y1 = _in_order(x0, y0, x1, y1)
    bulges = (x1 - x0) * (y2 - y0) > (x2 - x0) * (y1 - y0)  # to the right
    lines = [_line(*ends, tie) for ends in ((x0, y0, x2, y2), (x0, y0, x1, y1), (x1, y1, x2, y2))]
    start, step = (np.concatenate([long, upper, lower]) for long, upper, lower in zip(*lines))
    top, middle, bottom = (np.clip(np.ceil(place - 0.5), 0, H).astype(np.int64) for place in (y0, y1, y2))
    first, count = np.concatenate([top, middle]), np.concatenate([middle - top, bottom - middle])
    half = np.repeat(np.arange(len(count)), count)
    row = np.arange(len(half)) + (first - count.cumsum() + count).take(half)
    N = len(x0)
    item = np.where(half < N, half, half - N)
    short, right = half + N, bulges.take(item)
    down = row.astype(np.float64)
    one, other = (np.clip(np.ceil(start.take(line) + step.take(line) * down), 0, W) for line in (item, short))
    left, end = np.where(right, one, other), np.where(right, other, one)
    length = np.maximum(end - left, 0).astype(np.int64)
    along = depth[1].take(item)
    far = depth[0].take(item) + depth[2].take(item) * down + along * left
    pixel = base.take(item) + row * W + left.astype(np.int64)
    return _nearest(length, pixel, far.astype(np.float32), along.astype(np.float32), N - 1 - item, B * H * W)


def _in_order(xa: Floats, ya: Floats, xb: Floats, yb: Floats) -> tuple[Floats, Floats, Floats, Floats]:
    """The upper one of two points first."""
    swap = ya > yb
    return np.where(swap, xb, xa), np.minimum(ya, yb), np.where(swap, xa, xb), np.maximum(ya, yb)


def _line(xa: Floats, ya: Floats, xb: Floats, yb: Floats, tie: float) -> tuple[Floats, Floats]:
    """a and b of edges from their upper to their lower end: ``ceil(a + b · row)`` is the first column not before one."""
    step = (xb - xa) / np.where(yb > ya, yb - ya, 1.0)
    return xa + step * (0.5 - ya) - (0.5 + tie), step


def _nearest(length: Integers, pixel: Integers, depth: NDArray[np.float32], along: NDArray[np.float32], rank: Integers,
             pixels: int) -> Integers:
    """Walk along rows of triangles from their first pixel, its depth and its change, and keep the nearest."""
    keys = np.full(pixels, _EMPTY)
    ends = length.cumsum()
    cuts = [0, *np.searchsorted(ends, np.arange(CHUNK_PIXELS, ends[-1] if len(ends) else 0, CHUNK_PIXELS)), len(length)]
    for first, last in zip(cuts, cuts[1:]):
        part = length[first:last]
        span = np.repeat(np.arange(first, last), part)
        column = np.arange(len(span)) - np.repeat(part.cumsum() - part, part)
        bits = (depth.take(span) + along.take(span) * column.astype(np.float32)).view(np.int32)
        ordered = (bits ^ ((bits >> 31) & 0x7FFFFFFF)).astype(np.int64)  # integers in the order of the floats
        np.maximum.at(keys, pixel.take(span) + column, (ordered << 32) | rank.take(span))
    return keys
