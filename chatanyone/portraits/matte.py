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
_FINGERS = ((0, 1, 2, 3, 4), (0, 5, 6, 7, 8), (0, 9, 10, 11, 12), (0, 13, 14, 15, 16), (0, 17, 18, 19, 20))
_PALM = (0, 1, 5, 9, 13, 17)
ARM = 0.8  # of the palm's length: thickness of an arm's core
UPPER_ARM = 0.7  # of half its length: thickness of an upper arm that the networks' mask is trusted in
_STEPS = 150  # conjugate gradient steps; the start is a guided filter's answer, so few are needed


@dataclass(frozen=True)
class Hints:
    """What the landmarks know, in frame pixels: the face's points, each hand's points, other people about; arms: middle
    of the upper arm, elbow, wrist ``[3, 2]`` of each hand whose elbow is seen."""

    face: NDArray[np.float32]  # [N, 2+]
    hands: tuple[NDArray[np.float32], ...]
    crowded: bool
    body: bool = True  # shoulders were found: without them the pose network's mask is a guess
    arms: tuple[NDArray[np.float32], ...] = ()


def person_matte(image: NDArray[np.uint8], real: NDArray[np.bool_], hints: Hints) -> Mask:
    """Alpha of the person ``[H, W]`` in [0, 1], 0 outside the picture.

    image: ``[H, W, 3]`` uint8 RGB; real: ``[H, W]`` which pixels the picture really has
    """
    person = coarse_mask(image, hints)
    sure_fg, sure_bg = trimap(person, hints)
    sure_bg |= ~real
    sure_fg &= real
    start = guided_filter(image, person.astype(np.float32), radius=5, epsilon=1e-4)
    alpha = solve_alpha(image, start, sure_fg, sure_bg)
    return np.where(real, _clean(alpha, hints), 0).astype(np.float32)


def coarse_mask(image: NDArray[np.uint8], hints: Hints) -> NDArray[np.bool_]:
    """Which pixels are the person ``[H, W]``, right to a few pixels: the networks' vote, corrected at the hands."""
    vote = _vote(image, hints)
    for points in (hints.face, *hints.hands):
        vote = np.maximum(vote, _hull(vote.shape, points))
    person = _attached(vote, hints) > 0.5
    for points in hints.hands:
        person = _trim_hand(person, points, hints.arms)
    return _without_pinholes(with_arms(person, hints), vote)


def with_arms(person: NDArray[np.bool_], hints: Hints) -> NDArray[np.bool_]:
    """The mask with the cores of the arms: the networks lose arms in shadow, whose ends the landmarks know."""
    out = person.astype(np.uint8)
    for arm in hints.arms:
        palm = min((_palm_length(points) for points in hints.hands), default=0.0)
        path = np.round((arm - 0.5) * 16).astype(np.int32)
        cv2.polylines(out, [path], False, 1, max(round(ARM * palm), 1), cv2.LINE_8, 4)
    return np.asarray(out > 0, dtype=np.bool_)


def trimap(person: NDArray[np.bool_], hints: Hints) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Sure foreground and sure background ``[H, W]``; the band between is wider round the head, where hair is."""
    H, W = person.shape
    unit = W / 512
    inner = cv2.erode(person.astype(np.uint8), _disc(round(6 * unit)), borderValue=1) > 0
    outer = cv2.dilate(person.astype(np.uint8), _disc(round(6 * unit))) > 0
    height = float(np.ptp(hints.face[:, 1]))
    rows, columns = np.mgrid[:H, :W]
    x, y = hints.face[:, 0].mean(), hints.face[:, 1].min()
    head = ((columns - x) / (0.95 * height)) ** 2 + ((rows - y - 0.3 * height) / (0.95 * height)) ** 2 < 1
    outer |= (cv2.dilate(person.astype(np.uint8), _disc(round(13 * unit))) > 0) & head
    for points in hints.hands:
        inner |= hand_silhouette((H, W), points, 0.55)
        outer |= hand_silhouette((H, W), points, 1.6)
    inner |= cv2.erode(_hull((H, W), hints.face), _disc(round(4 * unit))) > 0.5
    return inner, ~outer


def hand_silhouette(shape: tuple[int, int], points: NDArray[np.float32], thickness: float) -> NDArray[np.bool_]:
    """The hand's outline from its 21 points: fingers as thick lines, the palm as a polygon; 1 is life size."""
    out = np.zeros(shape, dtype=np.uint8)
    pixels = np.round((points[:, :2] - 0.5) * 16).astype(np.int32)  # sixteenths, OpenCV's fixed point
    radius = thickness * 0.105 * _palm_length(points)
    for chain in _FINGERS:
        for a, b in zip(chain[:-1], chain[1:]):
            cv2.line(out, pixels[a].tolist(), pixels[b].tolist(), 1, max(round(2 * radius), 1), cv2.LINE_8, 4)
    cv2.fillConvexPoly(out, cv2.convexHull(pixels[list(_PALM)]), 1, cv2.LINE_8, 4)
    return np.asarray(out > 0, dtype=np.bool_)


def _trim_hand(
    person: NDArray[np.bool_], points: NDArray[np.float32], arms: tuple[NDArray[np.float32], ...],
) -> NDArray[np.bool_]:
    """The networks see a hand as a blob; near it only the hand itself, the arms, what is behind the wrist and the torso
    stay."""
    H, W = person.shape
    length = _palm_length(points)
    hand = hand_silhouette((H, W), points, 1.0)
    zone = cv2.dilate(_hull((H, W), points), _disc(round(0.45 * length))) > 0.5
    torso = cv2.morphologyEx(person.astype(np.uint8), cv2.MORPH_OPEN, _disc(round(1.0 * length))) > 0
    rows, columns = np.mgrid[:H, :W]
    wrist, forward = points[0, :2], points[9, :2] - points[0, :2]
    behind = (columns - wrist[0]) * forward[0] + (rows - wrist[1]) * forward[1] < 0.15 * length * length
    upper = np.zeros((H, W), np.uint8)  # a hand before its own elbow would bite a piece out of the arm
    for middle, elbow, _ in arms:
        thickness = max(round(UPPER_ARM * float(np.linalg.norm(middle - elbow))), 1)
        cv2.line(upper, middle.round().astype(int).tolist(), elbow.round().astype(int).tolist(), 1, thickness)
    keep = ~zone | hand | torso | behind | (upper > 0)
    return np.asarray((person & keep) | hand, dtype=np.bool_)


def _palm_length(points: NDArray[np.float32]) -> float:
    """Wrist to the middle finger's knuckle, in depth too: a palm seen from the side is not a small hand."""
    return max(float(np.linalg.norm(points[9] - points[0])), 4.0)


def _vote(image: NDArray[np.uint8], hints: Hints) -> Mask:
    """Mean of the whole frame's mask, a closer one round the head, and the pose network's."""
    H, W, _ = image.shape
    whole = person_mask(image)
    x, y, size = float(hints.face[:, 0].mean()), float(hints.face[:, 1].mean()), float(np.ptp(hints.face[:, 1]))
    near = person_mask_in(image, (x - 1.6 * size, y - 1.4 * size, x + 1.6 * size, y + 1.8 * size))
    rows, columns = np.mgrid[:H, :W]
    radius = np.maximum(np.abs(columns - x), np.abs(rows - y)) / (1.4 * size)
    trust = np.where(np.isnan(near), 0, np.clip(4 * (1 - radius), 0, 1))  # fades out towards the square's border
    vote = whole + 0.5 * trust * (np.nan_to_num(near) - whole)
    body = pose_mask(image) if hints.body else None
    if body is None:
        return vote.astype(np.float32)
    if hints.crowded:  # the pose is one person's: it keeps the neighbours out
        return (vote * cv2.GaussianBlur(cv2.dilate(body, _disc(9)), (0, 0), 4)).astype(np.float32)
    return ((2 * vote + body) / 3).astype(np.float32)


def _without_pinholes(person: NDArray[np.bool_], vote: Mask) -> NDArray[np.bool_]:
    """Fills holes, except real ones (between arm and body), where the vote is clear."""
    labels, count = ndimage.label(~person)
    if count <= 1:
        return person
    outside = set(labels[0].tolist()) | set(labels[:, 0].tolist()) | set(labels[:, -1].tolist())
    means = ndimage.mean(vote, labels, range(1, count + 1))
    filled = [index for index, mean in enumerate(means, 1) if index not in outside and mean > 0.35]
    return np.asarray(person | np.isin(labels, filled), dtype=np.bool_)


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


def _hull(shape: tuple[int, ...], points: NDArray[np.float32]) -> Mask:
    out = np.zeros(shape[:2], dtype=np.float32)
    hull = cv2.convexHull(np.round(points[:, :2] - 0.5).astype(np.int32))
    cv2.fillConvexPoly(out, hull, 1.0)
    return out


def _disc(radius: int) -> NDArray[np.uint8]:
    size = 2 * max(radius, 1) + 1
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size)), dtype=np.uint8)
