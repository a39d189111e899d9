"""The background without the person, and the person's own colour at soft edges.

The person covers most of what is made up here; what shows is a band of some thirty pixels when head and shoulders move.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from chatanyone.portraits import patches

_COARSE = 3.0  # px at 512 wide: how far the known is averaged before it is continued smoothly
_PATCHED, _FADE = 56.0, 16.0  # px at 512 wide: how far patches continue the known, and how softly they end
_RING = 3.0  # px at 512 wide of the known that are made by patches too, to go over softly
_SPREAD = 4.0  # px at 512 wide: how far resampling and lens blur carry a person's colours
_FOCUS_LOST = 0.25  # px of blur for each px beyond the picture
_BLURS = (0, 1, 2, 4, 8, 16, 32)  # px, mixed for what lies between

Image = NDArray[np.float32]  # [H, W, 3] in [0, 1]
Mask = NDArray[np.float32]  # [H, W] in [0, 1]


def background_plate(image: Image, matte: Mask, real: NDArray[np.bool_], seed: int = 0,
                     spread: float = _SPREAD, texture: bool = True) -> Image:
    """``[H, W, 3]``: the picture where neither person nor missing pixels are, its continuation elsewhere.

    real: ``[H, W]`` which pixels the picture has; spread: px at 512 wide beyond the matte that are not trusted either;
    texture: patches of the known background continue it; deep inside, and without, a smooth membrane with the known's grain.
    """
    H, W, _ = image.shape
    reach = max(round(W / 512 * spread), 1)  # no person's colour may leak
    known = _away(matte, reach) & real
    if known.mean() < 0.005:  # a face that fills the frame: any calm colour will do
        return np.broadcast_to(np.median(image.reshape(-1, 3), axis=0), image.shape).astype(np.float32).copy()
    coarse = _blur_known(image, known, sigma=_COARSE * W / 512)
    inside = np.ix_(real.any(axis=1), real.any(axis=0))
    filled = coarse.copy()
    filled[inside] = membrane(coarse[inside], known[inside])
    filled += _grain(image, known, seed)[..., None] * ~known[..., None]
    ring = _RING * W / 512 if texture else 2.0
    if texture:
        sure = _away(matte, reach + round(ring)) & real
        filled[inside] = _patched(image[inside], filled[inside], coarse[inside], sure[inside], W / 512)
    filled = _beyond(filled, real)
    weight = np.clip(ndimage.distance_transform_edt(known) / (ring + 0.5), 0, 1)[..., None]
    return np.clip(weight * image + (1 - weight) * filled, 0, 1).astype(np.float32)


def _away(matte: Mask, reach: int) -> NDArray[np.bool_]:
    """``[H, W]``: farther than ``reach`` px from the person."""
    size = 2 * reach + 1
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))
    return np.asarray(cv2.dilate((matte > 0.02).astype(np.uint8), disc) == 0, dtype=np.bool_)


def _patched(image: Image, filled: Image, coarse: Image, known: NDArray[np.bool_], unit: float) -> Image:
    """Patches of the known about it, `filled` farther away. Edges and texture go on; a smooth rim before leaves, or stripes
    that end at it, are seen at once."""
    distance, (rows, columns) = ndimage.distance_transform_edt(~known, return_indices=True)
    wanted = ~known & (distance < _PATCHED * unit)
    made = patches.fill(image, coarse[rows, columns], known, wanted)
    share = np.clip((_PATCHED * unit - distance) / (_FADE * unit), 0, 1)[..., None]
    return (share * made + (1 - share) * filled).astype(np.float32)


def _beyond(image: Image, real: NDArray[np.bool_]) -> Image:
    """Beyond the picture the background without the person goes on mirrored, and ever more out of focus."""
    rows, columns = real.any(axis=1), real.any(axis=0)
    (ys, far_y), (xs, far_x) = _mirrored(rows), _mirrored(columns)
    mirrored = image[np.ix_(ys, xs)]
    sigma = _FOCUS_LOST * np.maximum(far_y[:, None], far_x[None])[..., None]
    out = sharper = mirrored
    for low, high in zip(_BLURS, _BLURS[1:]):
        if not (sigma > low).any():
            break
        softer = cv2.GaussianBlur(mirrored, (0, 0), high, borderType=cv2.BORDER_REFLECT)
        share = np.clip((sigma - low) / (high - low), 0, 1)
        out, sharper = np.where(sigma > low, (1 - share) * sharper + share * softer, out), softer
    return np.where(np.outer(rows, columns)[..., None], image, out).astype(np.float32)


def _mirrored(real: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """For a line of pixels: which real one each shows, and how far beyond the real ones it is."""
    first, last = np.flatnonzero(real)[[0, -1]]
    place, length = np.arange(len(real)), max(last - first, 1)
    turned = np.abs(place - first) % (2 * length)
    shown = np.minimum(first + np.minimum(turned, 2 * length - turned), last)
    return shown, np.maximum(np.maximum(first - place, place - last), 0)


def _blur_known(image: Image, known: NDArray[np.bool_], sigma: float) -> Image:
    """Gaussian blur of the known pixels alone; the unknown keep what they were."""
    weight = known.astype(np.float32)
    total = cv2.GaussianBlur(image * weight[..., None], (0, 0), sigma)
    blurred = total / np.maximum(cv2.GaussianBlur(weight, (0, 0), sigma), 1e-6)[..., None]
    return np.where(known[..., None], blurred, image).astype(np.float32)


def membrane(image: Image, known: NDArray[np.bool_], steps: int = 60) -> Image:
    """Laplace's equation in the unknown part with the known part as its border, coarse to fine.

    The smoothest continuation there is: no streaks, no repeated patterns, right for backdrops out of focus.
    """
    H, W, _ = image.shape
    if min(H, W) <= 8 or known.all():
        average = image[known].mean(axis=0) if known.any() else np.full(3, 0.5, np.float32)
        return np.where(known[..., None], image, average).astype(np.float32)
    weight = known.astype(np.float32)
    small = (W + 1) // 2, (H + 1) // 2
    share = cv2.resize(weight, small, interpolation=cv2.INTER_AREA)
    colour = cv2.resize(image * weight[..., None], small, interpolation=cv2.INTER_AREA)
    colour = colour / np.maximum(share, 1e-6)[..., None]
    coarse = membrane(colour.astype(np.float32), share > 0.25, steps)
    out = np.where(known[..., None], image, cv2.resize(coarse, (W, H), interpolation=cv2.INTER_LINEAR))
    for _ in range(steps):
        around = cv2.blur(out, (3, 3), borderType=cv2.BORDER_REPLICATE)
        out = np.where(known[..., None], image, around)
    return np.asarray(out, dtype=np.float32)


def foreground_colour(image: Image, matte: Mask, plate: Image) -> Image:
    """The person's own colour wherever alpha is not 0, so that no old background shines through at moved edges.

    Forte, "Approximate Fast Foreground Colour Estimation", ICIP 2021: blurred estimates of both layers, then a
    step towards ``C = αF + (1 − α)B``; twice, the second time fine. ``plate`` takes the place of the first B.
    """
    alpha = matte[..., None]
    foreground, background = image, plate
    for radius in (45, 6):
        foreground, background = _fuse(image, foreground, background, alpha, 2 * radius + 1)
    # Beyond the edge alpha is 0 and the estimate is an extension of the person: useful when sampling between pixels.
    return np.where(alpha > 0.995, image, foreground).astype(np.float32)


def _fuse(image: Image, foreground: Image, background: Image, alpha: Mask, size: int) -> tuple[Image, Image]:
    blurred_alpha = cv2.blur(alpha, (size, size))[..., None]
    F = cv2.blur(foreground * alpha, (size, size)) / np.maximum(blurred_alpha, 1e-4)
    B = cv2.blur(background * (1 - alpha), (size, size)) / np.maximum(1 - blurred_alpha, 1e-4)
    F = np.clip(F + alpha * (image - alpha * F - (1 - alpha) * B), 0, 1)
    return F.astype(np.float32), np.clip(B, 0, 1).astype(np.float32)


def _grain(image: Image, known: NDArray[np.bool_], seed: int) -> Mask:
    """Luminance noise ``[H, W]`` as strong as the background's own finest detail (robust: the median's)."""
    H, W, _ = image.shape
    luminance = image.mean(axis=-1)
    detail = np.abs(luminance - cv2.GaussianBlur(luminance, (0, 0), 1.0))[known]
    noise = np.random.default_rng(seed).standard_normal((H, W)).astype(np.float32)
    noise = cv2.GaussianBlur(noise, (0, 0), 0.7)
    return np.asarray(noise / noise.std() * min(1.48 * float(np.median(detail)), 0.02), dtype=np.float32)
