"""Filling by patches: what is missing is put together of pieces of the rest of the picture, coarse to fine.

Wexler, Shechtman, Irani, "Space-Time Completion of Video", PAMI 2007 (votes of overlapping patches, coarse to fine); nearest
patches by PatchMatch (Barnes et al., SIGGRAPH 2009). Sizes and counts are our choice.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from scipy import ndimage

HALF = 2  # px: a patch is 5 × 5
LEVELS = 2  # of the pyramid on which patches are looked for: 1/4 and 1/2 of the picture
ROUNDS = (8, 3)  # of looking and voting, coarse to fine
LOSS = 1.3  # of confidence with every px into the unknown (Wexler et al.)
FARTHEST = 60.0  # px from where on it stays as it is
LEVEL = (1.0, 0.3)  # how much px up and px aside count as distance from the known: most edges of rooms run level
NEAR = 0.5  # cost, in squared colour a pixel, of a source as far away as the picture is wide

Image = NDArray[np.float32]  # [H, W, 3] in [0, 1]
Bits = NDArray[np.bool_]  # [H, W]
Places = NDArray[np.int64]  # flat indices
_STEPS = tuple((dy, dx) for dy in range(-HALF, HALF + 1) for dx in range(-HALF, HALF + 1))


def fill(image: Image, start: Image, known: Bits, wanted: Bits, seed: int = 0) -> Image:
    """``[H, W, 3]``: `image` where it is known, pieces of it where it is wanted, `start` elsewhere.

    start: ``[H, W, 3]`` a first guess of the unknown part
    """
    H, W = known.shape
    guess, (known, hole) = np.where(known[..., None], image, start), (_padded(known), _padded(wanted & ~known))
    picture = _padded(guess.astype(np.float32))
    levels = [_smaller(picture, known, hole, 2 ** (LEVELS - level)) for level in range(LEVELS)]
    if not all(_sources(seen).any() and missing.any() for _, seen, missing in levels):
        return guess.astype(np.float32)
    rng = np.random.default_rng(seed)
    found = _first(*levels[0][1:])
    for level, (part, seen, missing) in enumerate(levels):
        if level:
            found = _valid(_enlarged(found, levels[level - 1][2], missing), seen)
        for _ in range(ROUNDS[level]):
            part = _voted(part, seen, missing, found)
            found = _improved(part, seen, missing, found, rng)
    return _voted(picture, known, hole, _enlarged(found, levels[-1][2], hole))[:H, :W]


def _padded(plane: NDArray[Any]) -> NDArray[Any]:
    """Sides that every level of the pyramid divides; what is added is neither known nor wanted."""
    missing = [-side % 2 ** LEVELS for side in plane.shape[:2]]
    mode: Any = "constant" if plane.dtype == np.bool_ else "edge"
    return np.pad(plane, [(0, missing[0]), (0, missing[1])] + [(0, 0)] * (plane.ndim - 2), mode=mode)


def _smaller(image: Image, known: Bits, hole: Bits, scale: int) -> tuple[Image, Bits, Bits]:
    H, W = known.shape
    small = [cv2.resize(plane.astype(np.float32), (W // scale, H // scale), interpolation=cv2.INTER_AREA)
             for plane in (image, known, hole)]
    seen = small[1] > 0.99
    return small[0], seen, (small[2] > 0) & ~seen


def _sources(known: Bits) -> Bits:
    """Centres of patches that are known in whole."""
    size = 2 * HALF + 1
    inner = cv2.erode(known.astype(np.uint8), np.ones((size, size), np.uint8), borderType=cv2.BORDER_CONSTANT, borderValue=0)
    return inner > 0


def _first(known: Bits, hole: Bits) -> Places:
    """The nearest source."""
    rows, columns = ndimage.distance_transform_edt(~_sources(known), LEVEL, return_distances=False, return_indices=True)
    return np.asarray(rows[hole] * known.shape[1] + columns[hole], np.int64)


def _valid(places: Places, known: Bits) -> Places:
    """The same, but the nearest sources where they are none."""
    rows, columns = ndimage.distance_transform_edt(~_sources(known), LEVEL, return_distances=False, return_indices=True)
    return np.asarray(rows.ravel()[places] * known.shape[1] + columns.ravel()[places], np.int64)


def _enlarged(found: Places, before: Bits, hole: Bits) -> Places:
    """The coarser level's offsets on a level twice as fine."""
    h, w = before.shape
    H, W = hole.shape
    rows, columns = before.nonzero()
    offset = np.zeros((2, h, w), np.int64)
    offset[:, rows, columns] = found // w - rows, found % w - columns
    y, x = hole.nonzero()
    cell = np.minimum(y // 2, h - 1), np.minimum(x // 2, w - 1)
    rows = np.clip(y + 2 * offset[0][cell], HALF, H - 1 - HALF)
    columns = np.clip(x + 2 * offset[1][cell], HALF, W - 1 - HALF)
    return np.asarray(rows * W + columns)


def _improved(picture: Image, known: Bits, hole: Bits, found: Places, rng: np.random.Generator) -> Places:
    """One round of PatchMatch, all places at once: neighbours' offsets, then chance about the best."""
    H, W = known.shape
    padded = np.pad(picture, ((HALF, HALF), (HALF, HALF), (0, 0)), mode="edge")
    windows: NDArray[np.float32] = sliding_window_view(padded, (2 * HALF + 1, 2 * HALF + 1), (0, 1))  # type: ignore
    patches = windows.reshape(H * W, -1)  # [H·W, 3 · 25], a copy
    valid = _sources(known).ravel()
    y, x = hole.nonzero()
    mine = patches[y * W + x]
    weight = _weights(known, hole)
    near = NEAR * mine.shape[1] / 3 / W ** 2

    def cost(places: Places, which: NDArray[np.int64] | slice) -> NDArray[np.float32]:
        apart = patches[places] - mine[which]
        away = (places // W - y[which]) ** 2 + (places % W - x[which]) ** 2
        return np.asarray(np.einsum("ij,ij,ij->i", apart, apart, weight[which]) + near * away, np.float32)

    found = found.copy()
    best = cost(found, slice(None))
    number = np.full((H, W), -1, np.int64)
    number[y, x] = np.arange(len(y))

    def attempt(rows: NDArray[np.int64], columns: NDArray[np.int64], allowed: Bits) -> None:
        allowed = allowed & (rows >= 0) & (rows < H) & (columns >= 0) & (columns < W)
        places = np.clip(rows, 0, H - 1) * W + np.clip(columns, 0, W - 1)
        which = np.flatnonzero(allowed & valid[places] & (places != found))
        price = cost(places[which], which)
        better = price < best[which]
        found[which[better]], best[which[better]] = places[which[better]], price[better]

    for step in (4, 1):
        for dy, dx in ((-step, 0), (step, 0), (0, -step), (0, step)):
            rows, columns = np.clip(y + dy, 0, H - 1), np.clip(x + dx, 0, W - 1)
            other = number[rows, columns]
            theirs = found[np.maximum(other, 0)]
            attempt(theirs // W - dy, theirs % W - dx, other >= 0)
    radius = max(H, W) // 2
    while radius >= 1:
        jump = rng.integers(-radius, radius + 1, (2, len(y)))
        attempt(found // W + jump[0], found % W + jump[1], np.ones(len(y), np.bool_))
        radius //= 3
    return found


def _confidence(known: Bits) -> NDArray[np.float32]:
    """``[H, W]``: 1 where the picture is known, less the farther from there."""
    return np.asarray(LOSS ** -np.minimum(ndimage.distance_transform_edt(~known, LEVEL), FARTHEST), np.float32)


def _weights(known: Bits, hole: Bits) -> NDArray[np.float32]:
    """How much each value of a hole's patches counts ``[N, 3 · 25]``, 1 on average."""
    size = 2 * HALF + 1
    padded = np.pad(_confidence(known), HALF)
    windows = sliding_window_view(padded, (size, size))[hole].reshape(-1, size * size)
    return np.asarray(np.tile(windows / windows.mean(1, keepdims=True), 3), np.float32)


def _voted(picture: Image, known: Bits, hole: Bits, found: Places) -> Image:
    """Every place of the hole: the mean of what the patches about it say."""
    H, W = hole.shape
    out, flat = picture.copy(), picture.reshape(-1, 3)
    where = np.zeros((H + 2 * HALF, W + 2 * HALF), np.int64) - 1
    sure = np.pad(_confidence(known), HALF)
    y, x = hole.nonzero()
    where[y + HALF, x + HALF] = found
    total, count = np.zeros((len(y), 3), np.float32), np.zeros((len(y), 1), np.float32)
    for dy, dx in _STEPS:
        patch = where[y + HALF + dy, x + HALF + dx]
        counts = patch >= 0
        weight = (sure[y + HALF + dy, x + HALF + dx] * np.exp(-(dy * dy + dx * dx) / 4) * counts).astype(np.float32)[:, None]
        total += weight * flat[np.where(counts, patch - dy * W - dx, 0)]
        count += weight
    out[y, x] = total / count
    return out
