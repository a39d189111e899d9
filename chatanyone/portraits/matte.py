"""A soft matte of the main person, from a coarse mask.

MediaPipe's mask says where the person roughly is (256²). From it follow sure foreground, sure background and an unknown
band, in which the alpha is solved by closed-form matting (Levin, Lischinski, Weiss, "A Closed-Form Solution to Natural
Image Matting", PAMI 2008, Eq. 12: the matting Laplacian), with the coarse mask as a weak prior (our choice, for
textures that the colour line model cannot decide).
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, sparse
from scipy.sparse.linalg import cg

from chatanyone.vision import person_mask, person_mask_in, pose_mask

Mask = NDArray[np.float32]
_EPSILON = 1e-5  # regulariser of the colour line model, colours in [0, 1]
_PRIOR = 2e-3  # weight of the coarse mask inside the unknown band
_STEPS = 150  # conjugate gradient steps; the start is a guided filter's answer, so few are needed


@dataclass(frozen=True)
class Hints:
    """What the landmarks know, in frame pixels: the face's points, each hand's points, other people about."""

    face: NDArray[np.float32]  # [N, 2+]
    hands: tuple[NDArray[np.float32], ...]
    crowded: bool


def person_matte(image: NDArray[np.uint8], real: NDArray[np.bool_], hints: Hints) -> Mask:
    """Alpha of the person ``[H, W]`` in [0, 1], 0 outside the picture.

    image: ``[H, W, 3]`` uint8 RGB; real: ``[H, W]`` which pixels the picture really has
    """
    coarse = coarse_mask(image, hints)
    sure_fg, sure_bg = trimap(coarse, hints)
    sure_bg |= ~real
    sure_fg &= real
    start = guided_filter(image, coarse, radius=6, epsilon=1e-4)
    alpha = solve_alpha(image, start, sure_fg, sure_bg)
    return np.where(real, _clean(alpha, hints), 0).astype(np.float32)


def coarse_mask(image: NDArray[np.uint8], hints: Hints) -> Mask:
    """The network's mask on the whole frame and on two closer squares, only the part that belongs to this face."""
    H, W, _ = image.shape
    whole = person_mask(image)
    layers = [whole]
    for box in _closer_squares(H, W, hints.face):
        near = person_mask_in(image, box)
        layers.append(np.where(np.isnan(near), whole, near))
    mask = np.mean(layers, axis=0, dtype=np.float32)
    if hints.crowded:
        only = pose_mask(image)
        mask = mask if only is None else mask * cv2.GaussianBlur(cv2.dilate(only, _disc(9)), (0, 0), 4)
    for points in (hints.face, *hints.hands):
        mask = np.maximum(mask, _hull(mask.shape, points))
    return _attached(mask, hints)


def trimap(coarse: Mask, hints: Hints) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Sure foreground and sure background ``[H, W]``; the band between is wider round the head, where hair is."""
    H, W = coarse.shape
    unit = W / 512
    body = coarse > 0.5
    inner = cv2.erode((coarse > 0.9).astype(np.uint8), _disc(round(7 * unit))) > 0
    outer = cv2.dilate((coarse > 0.12).astype(np.uint8), _disc(round(7 * unit))) > 0
    height = float(np.ptp(hints.face[:, 1]))
    rows, columns = np.mgrid[:H, :W]
    x, y = hints.face[:, 0].mean(), hints.face[:, 1].min()
    head = ((columns - x) / (0.95 * height)) ** 2 + ((rows - y - 0.3 * height) / (0.95 * height)) ** 2 < 1
    outer |= (cv2.dilate(body.astype(np.uint8), _disc(round(13 * unit))) > 0) & head
    for points in hints.hands:
        hull = _hull((H, W), points)
        inner |= cv2.erode(hull, _disc(round(3 * unit))) > 0.5
        near = cv2.dilate(hull, _disc(round(14 * unit))) > 0.5
        outer |= near
        inner &= ~near | (hull > 0.5)
    inner |= cv2.erode(_hull((H, W), hints.face), _disc(round(4 * unit))) > 0.5
    return inner, ~outer


def guided_filter(image: NDArray[np.uint8], mask: Mask, radius: int, epsilon: float) -> Mask:
    """He, Sun, Tang, "Guided Image Filtering", PAMI 2013, Eq. 11-13, with the picture's luminance as guide."""
    guide = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32) / 255

    def mean(value: Mask) -> Mask:
        return np.asarray(cv2.blur(value, (2 * radius + 1, 2 * radius + 1)), dtype=np.float32)

    mean_guide, mean_mask = mean(guide), mean(mask)
    slope = (mean(guide * mask) - mean_guide * mean_mask) / (mean(guide * guide) - mean_guide ** 2 + epsilon)
    offset = mean_mask - slope * mean_guide
    return np.asarray(np.clip(mean(slope) * guide + mean(offset), 0, 1), dtype=np.float32)


def solve_alpha(
    image: NDArray[np.uint8], start: Mask, sure_fg: NDArray[np.bool_], sure_bg: NDArray[np.bool_],
) -> Mask:
    """Closed-form matting on the unknown band; ``start`` is both prior and first guess."""
    alpha = np.where(sure_fg, 1, np.where(sure_bg, 0, start)).astype(np.float64)
    unknown = ~(sure_fg | sure_bg)
    if not unknown.any():
        return alpha.astype(np.float32)
    laplacian = matting_laplacian(image, unknown)
    index = np.flatnonzero(unknown)
    known = np.flatnonzero(~unknown)
    rows = laplacian[index]
    matrix = rows[:, index] + _PRIOR * sparse.identity(len(index), format="csr")
    right = _PRIOR * start.ravel()[index] - rows[:, known] @ alpha.ravel()[known]
    jacobi = sparse.diags(1 / matrix.diagonal())
    solution, _ = cg(matrix, right, x0=alpha.ravel()[index], maxiter=_STEPS, rtol=1e-4, M=jacobi)
    alpha.ravel()[index] = solution
    return np.clip(alpha, 0, 1).astype(np.float32)


def matting_laplacian(image: NDArray[np.uint8], unknown: NDArray[np.bool_]) -> sparse.csr_matrix:
    """Eq. 12 for the 3 × 3 windows that touch an unknown pixel: ``[H·W, H·W]``, rows sum to zero."""
    H, W, _ = image.shape
    touched = cv2.dilate(unknown.astype(np.uint8), np.ones((3, 3), np.uint8))[1:-1, 1:-1] > 0
    centres = np.flatnonzero(np.pad(touched, 1))
    offsets = np.array([dy * W + dx for dy in (-1, 0, 1) for dx in (-1, 0, 1)])
    windows = centres[:, None] + offsets[None, :]  # [N, 9]
    colours = (image.reshape(-1, 3).astype(np.float64) / 255)[windows]  # [N, 9, 3]
    centred = colours - colours.mean(axis=1, keepdims=True)
    covariance = np.einsum("nki,nkj->nij", centred, centred) / 9 + _EPSILON / 9 * np.eye(3)
    affinity = (1 + np.einsum("nki,nij,nlj->nkl", centred, np.linalg.inv(covariance), centred, optimize=True)) / 9
    values = np.eye(9)[None] - affinity
    rows = np.repeat(windows, 9, axis=1).ravel()
    columns = np.tile(windows, (1, 9)).ravel()
    return sparse.csr_matrix((values.ravel(), (rows, columns)), shape=(H * W, H * W))


def _clean(alpha: Mask, hints: Hints) -> Mask:
    """Drops haze: stretches the ends a little and keeps only what hangs together with the person."""
    stretched = np.clip((alpha - 0.04) / 0.92, 0, 1).astype(np.float32)
    return _attached(stretched, hints)


def _attached(mask: Mask, hints: Hints) -> Mask:
    """Only the connected parts that hold the face or a hand."""
    labels, count = ndimage.label(mask > 0.3)
    if count <= 1:
        return mask
    H, W = mask.shape
    keep = set()
    for points in (hints.face, *hints.hands):
        columns, rows = np.clip(points[:, 0], 0, W - 1).astype(int), np.clip(points[:, 1], 0, H - 1).astype(int)
        found = labels[rows, columns]
        keep |= set(found[found > 0].tolist())
    kept = np.isin(labels, list(keep)).astype(np.uint8)
    return np.where(cv2.dilate(kept, _disc(3)) > 0, mask, 0).astype(np.float32)


def _closer_squares(H: int, W: int, face: NDArray[np.float32]) -> list[tuple[float, float, float, float]]:
    """Head and shoulders, and the lower half: the network was trained on people that fill a square."""
    x, y, size = float(face[:, 0].mean()), float(face[:, 1].mean()), float(np.ptp(face[:, 1]))
    squares = [(x - 1.6 * size, y - 1.4 * size, x + 1.6 * size, y + 1.8 * size)]
    if H > 1.2 * W:
        squares.append((0.0, float(H - W), float(W), float(H)))
    return squares


def _hull(shape: tuple[int, ...], points: NDArray[np.float32]) -> Mask:
    out = np.zeros(shape[:2], dtype=np.float32)
    hull = cv2.convexHull(np.round(points[:, :2] - 0.5).astype(np.int32))
    cv2.fillConvexPoly(out, hull, 1.0)
    return out


def _disc(radius: int) -> NDArray[np.uint8]:
    size = 2 * max(radius, 1) + 1
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size)), dtype=np.uint8)
