"""The background without the person, and the person's own colour at soft edges.

The person covers most of what is made up here; what shows is a band of some thirty pixels when head and shoulders move.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

_COARSE = 3.0  # px at 512 wide: what is finer than this is texture, mirrored; the rest is continued smoothly
_DETAIL_REACH = 34.0  # px at 512 wide
_SPREAD = 8.0  # px at 512 wide: how far resampling and lens blur carry a person's colours
_FOCUS_LOST = 0.15  # px of blur for each px beyond the picture

Image = NDArray[np.float32]  # [H, W, 3] in [0, 1]
Mask = NDArray[np.float32]  # [H, W] in [0, 1]


def background_plate(image: Image, matte: Mask, real: NDArray[np.bool_], seed: int = 0,
                     spread: float = _SPREAD, texture: bool = True) -> Image:
    """``[H, W, 3]``: the picture where neither person nor missing pixels are, a smooth continuation elsewhere.

    real: ``[H, W]`` which pixels the picture has; spread: px at 512 wide beyond the matte that are not trusted either;
    texture: mirror the finest detail into the unknown part. The continuation carries the grain of the known background.
    """
    H, W, _ = image.shape
    reach = max(round(W / 512 * spread), 1)  # no person's colour may leak
    size = 2 * reach + 1
    person = cv2.dilate((matte > 0.02).astype(np.uint8), cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))) > 0
    known = ~person & real
    if known.mean() < 0.005:  # a face that fills the frame: any calm colour will do
        return np.broadcast_to(np.median(image.reshape(-1, 3), axis=0), image.shape).astype(np.float32).copy()
    coarse = _blur_known(image, known, sigma=_COARSE * W / 512)
    inside = np.ix_(real.any(axis=1), real.any(axis=0))
    filled = coarse.copy()
    filled[inside] = membrane(coarse[inside], known[inside])
    _continue_beyond(filled, real)
    detail, share = (_mirrored_detail(image - coarse, known, reach=_DETAIL_REACH * W / 512) if texture
                     else (np.zeros_like(image), np.zeros((H, W), np.float32)))
    filled += detail + _grain(image, known, seed)[..., None] * np.where(known, 0, 1 - share)[..., None]
    weight = cv2.GaussianBlur(known.astype(np.float32), (0, 0), 2.0)
    weight = np.where(known, np.clip(2 * weight - 1, 0, 1), 0)[..., None]
    return np.clip(weight * image + (1 - weight) * filled, 0, 1).astype(np.float32)


def _continue_beyond(image: Image, real: NDArray[np.bool_]) -> None:
    """Beyond the picture its edge goes on, ever more out of focus: a door stays a door, and no head is mirrored. In place."""
    for picture, rows in ((image, real.any(axis=1)), (image.transpose(1, 0, 2), real.any(axis=0))):
        inside = np.flatnonzero(rows)
        for edge, outwards in ((inside[0], range(inside[0] - 1, -1, -1)), (inside[-1], range(inside[-1] + 1, len(rows)))):
            line = picture[edge][None]
            for place in outwards:
                sigma = _FOCUS_LOST * abs(place - edge) + 0.5
                picture[place] = cv2.GaussianBlur(line, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE)[0]


def _blur_known(image: Image, known: NDArray[np.bool_], sigma: float) -> Image:
    """Gaussian blur of the known pixels alone; the unknown keep what they were."""
    weight = known.astype(np.float32)
    total = cv2.GaussianBlur(image * weight[..., None], (0, 0), sigma)
    blurred = total / np.maximum(cv2.GaussianBlur(weight, (0, 0), sigma), 1e-6)[..., None]
    return np.where(known[..., None], blurred, image).astype(np.float32)


def _mirrored_detail(detail: Image, known: NDArray[np.bool_], reach: float) -> tuple[Image, Mask]:
    """Texture of the unknown part: the known detail mirrored at the nearest known pixel, fading out after ``reach`` px.

    The membrane alone is smooth, and a smooth rim round a person before leaves or bricks is seen at once.
    Returns the detail ``[H, W, 3]`` and how much of it was used ``[H, W]``.
    """
    H, W = known.shape
    distance, (rows, columns) = ndimage.distance_transform_edt(~known, return_indices=True)
    y, x = np.mgrid[:H, :W]
    offset = 2 * np.stack([columns - x, rows - y], axis=-1).astype(np.float32)
    # The nearest pixel jumps along a rough outline, which would give fur; smoothed, the mirror follows its general run.
    offset = cv2.GaussianBlur(offset, (0, 0), reach / 5)
    sharp = np.where(known[..., None], detail, 0).astype(np.float32)
    map_x, map_y = x.astype(np.float32) + offset[..., 0], y.astype(np.float32) + offset[..., 1]
    mirrored = cv2.remap(sharp, map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=0)
    usable = cv2.remap(known.astype(np.float32), map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
    share = np.exp(-(distance / reach) ** 2).astype(np.float32) * cv2.blur(usable, (5, 5))
    return (mirrored * share[..., None]).astype(np.float32), share.astype(np.float32)


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
