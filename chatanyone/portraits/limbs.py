"""Forearms and hands taken off the person: a soft matte of each, and the body continued behind them.

Where an arm may be comes from its landmarks; which pixels it is, GrabCut and closed-form matting say. All widths are our
choice. Laid back where they were, the layers give the picture again: their colours are solved from it.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from chatanyone.portraits.matte import solve_alpha
from chatanyone.portraits.plate import background_plate, membrane

Image = NDArray[np.float32]  # [H, W, 3] in [0, 1]
Mask = NDArray[np.float32]  # [H, W] in [0, 1]
Bits = NDArray[np.bool_]  # [H, W]

# Along the forearm, 0 the elbow, 1 the wrist: the layer fades in, is whole; from there the body fades out behind it.
APPEAR, WHOLE, GONE = 0.0, 0.2, 0.4
CORE, REACH = 0.45, 1.5  # of the forearm's radius: surely arm, surely not
COVERED = 0.7  # of the forearm's radius between elbow and hand: the hand lies before the elbow
SURE, FRONT = 0.45, 0.4  # so much nearer to one bone: its own; of the forearm's radius: surely before the upper arm
CREASE, SEAM = 14, 4  # px at 512 wide: how far from the middle the two may meet, and how softly
RIM = 3  # px at 512 wide: parts of the layer thinner than twice this are rims of the upper arm
PAST = 2.0  # how much farther what lies past a bone's end counts as
BAND = 5  # px at 512 wide: half of the band in which alpha is solved
CREVICE = 5  # px at 512 wide: gaps in a hand narrower than twice this belong to it when the body behind is continued
MARGIN, FEATHER = 3, 1.5  # px at 512 wide: how far beyond a hand the body is made anew, and how softly that ends
BEHIND = 4  # px at 512 wide: how far a hand's colours spread; its own have been taken off already
ISLAND = 400  # px at 512 wide: smaller pieces of body, cut off by the hand, go with it
ROUNDS = 2  # of GrabCut


@dataclass(frozen=True)
class Arm:
    """One forearm with its hand, px. shoulder: where the upper arm comes from; radius: at elbow and wrist; hand: ``[H, W]``
    which pixels are the hand; other: ``[H, W]`` what is surely something else (the face, the other hand)."""

    shoulder: NDArray[np.float32]
    elbow: NDArray[np.float32]
    wrist: NDArray[np.float32]
    radius: tuple[float, float]
    hand: Bits
    other: Bits


@dataclass(frozen=True)
class Layers:
    """body: ``[H, W, 4]`` colours times alpha, and alpha, without the arms; arms: the same for each arm."""

    body: NDArray[np.float32]
    arms: list[NDArray[np.float32]]


def take_off(image: Image, matte: Mask, foreground: Image, plate: Image, arms: list[Arm]) -> Layers:
    """Layers that, laid over `plate` in order (body, arms), give `image` back."""
    bytes_ = (image * 255).round().astype(np.uint8)
    mattes = [_limb_matte(bytes_, matte, arm) for arm in arms]
    ramps = [_along(bytes_, alpha, arm) for alpha, arm in zip(mattes, arms)]
    body, picture = _body(matte, foreground, plate, mattes, ramps)
    layers = []
    for alpha, ramp in zip(mattes, ramps):
        alpha = alpha * _smooth((ramp - APPEAR) / (WHOLE - APPEAR))
        behind = (1 - alpha)[..., None]
        colour = np.clip((image - behind * picture), 0, alpha[..., None])
        layers.append(np.concatenate([colour, alpha[..., None]], 2).astype(np.float32))
        picture = colour + behind * picture
    return Layers(body, layers)


def _body(matte: Mask, foreground: Image, plate: Image, mattes: list[Mask], ramps: list[Mask]) -> tuple[Image, Image]:
    """The person without arms (premultiplied, with alpha), and what that looks like over the plate."""
    gone, unit = np.zeros_like(matte), matte.shape[1] / 512
    for alpha, ramp in zip(mattes, ramps):
        near = cv2.dilate((alpha > 0.01).astype(np.float32), _disc(round(CREVICE * unit)))
        near = cv2.erode(near, _disc(round((CREVICE - MARGIN) * unit)), borderValue=1)  # what shows between fingers goes too
        gone = np.maximum(gone, near * _smooth((ramp - WHOLE) / (GONE - WHOLE)))
    covered = gone > 0.01
    filled, alpha = _behind(foreground, matte, covered)
    gone = cv2.GaussianBlur(gone, (0, 0), FEATHER * unit)
    whole = _without_islands((1 - gone) * matte + gone * alpha, covered, ISLAND * unit ** 2)
    gone = gone[..., None]
    colour = np.minimum((1 - gone) * foreground * matte[..., None] + gone * filled * alpha[..., None], whole[..., None])
    body = np.concatenate([colour, whole[..., None]], 2).astype(np.float32)
    return body, colour + (1 - whole[..., None]) * plate


def _without_islands(alpha: Mask, covered: Bits, least: float) -> Mask:
    """Without the small pieces that a hand leaves behind: rims of it that the segmentation took for body."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats((alpha > 0.3).astype(np.uint8))
    touched = np.unique(labels[cv2.dilate(covered.astype(np.uint8), _disc(2)) > 0])
    small = [label for label in touched if label and stats[label, cv2.CC_STAT_AREA] < least]
    lost = cv2.dilate(np.isin(labels, small).astype(np.uint8), _disc(4)) > 0 if small else np.zeros(alpha.shape, np.bool_)
    return np.where(lost & ((labels == 0) | np.isin(labels, small)), 0, alpha).astype(np.float32)


def _behind(foreground: Image, matte: Mask, covered: Bits) -> tuple[Image, Mask]:
    """Colours and alpha of the body where an arm covers it: what is around it, continued."""
    known = ~covered
    alpha = membrane(np.repeat(np.where(known, matte, 0)[..., None], 3, 2).astype(np.float32), known)[..., 0]
    alpha = np.where(known, matte, _smooth((alpha - 0.4) / 0.2)).astype(np.float32)
    unknown = np.maximum(covered.astype(np.float32), (matte < 0.95).astype(np.float32))
    return background_plate(foreground, unknown, np.ones(matte.shape, np.bool_), spread=BEHIND, texture=False), alpha


def _limb_matte(picture: NDArray[np.uint8], matte: Mask, arm: Arm) -> Mask:
    """Alpha of forearm and hand, and of what looks like them beside them."""
    limb = _segment(picture, matte, arm)
    radius = max(round(BAND * matte.shape[1] / 512), 1)
    inner = cv2.erode(limb.astype(np.uint8), _disc(radius), borderValue=1) > 0
    outer = cv2.dilate(limb.astype(np.uint8), _disc(radius)) > 0
    outside = ~outer | (matte < 0.02) | arm.other
    alpha = solve_alpha(picture, limb.astype(np.float32), inner & ~outside, outside)
    return np.minimum(alpha, matte).astype(np.float32)


def _segment(picture: NDArray[np.uint8], matte: Mask, arm: Arm) -> Bits:
    """Which pixels are the arm ``[H, W]``: the capsule and the hand, corrected by colour."""
    core, capsule, reach = (_capsule(arm, matte.shape, scale) for scale in (CORE, 1.0, REACH))
    near = reach | (cv2.dilate(arm.hand.astype(np.uint8), _disc(8)) > 0)
    person = matte > 0.5
    seeds = np.where(capsule, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
    seeds[core | arm.hand] = cv2.GC_FGD
    seeds[~near | ~person | arm.other] = cv2.GC_BGD
    rows, columns = np.flatnonzero(near.any(1)), np.flatnonzero(near.any(0))
    if not ((seeds == cv2.GC_FGD).any() and (seeds == cv2.GC_BGD).any()):
        return np.asarray((capsule | arm.hand) & person & ~arm.other, dtype=np.bool_)
    part = (slice(max(rows[0] - 30, 0), rows[-1] + 30), slice(max(columns[0] - 30, 0), columns[-1] + 30))
    found = np.ascontiguousarray(seeds[part])
    cv2.setRNGSeed(0)
    cv2.grabCut(np.ascontiguousarray(picture[part]), found, None, np.zeros((1, 65)), np.zeros((1, 65)), ROUNDS,
                cv2.GC_INIT_WITH_MASK)
    limb = np.zeros(matte.shape, dtype=np.uint8)
    limb[part] = (found == cv2.GC_FGD) | (found == cv2.GC_PR_FGD)
    limb = cv2.morphologyEx(limb, cv2.MORPH_OPEN, _disc(2)) | arm.hand.astype(np.uint8)
    return np.asarray((limb > 0) & person & ~arm.other, dtype=np.bool_)


def _capsule(arm: Arm, shape: tuple[int, ...], scale: float) -> Bits:
    """Between two circles."""
    out = np.zeros(shape[:2], np.uint8)
    bone = arm.wrist - arm.elbow
    across = np.array([-bone[1], bone[0]]) / max(float(np.linalg.norm(bone)), 1.0)
    first, last = (radius * scale for radius in arm.radius)
    corners = [arm.elbow + across * first, arm.wrist + across * last, arm.wrist - across * last, arm.elbow - across * first]
    cv2.fillConvexPoly(out, np.round(np.stack(corners)).astype(np.int32), 1)
    for centre, radius in ((arm.elbow, first), (arm.wrist, last)):
        cv2.circle(out, [int(value) for value in centre], max(round(radius), 1), 1, -1)
    return out > 0


def _along(picture: NDArray[np.uint8], alpha: Mask, arm: Arm) -> Mask:
    """``[H, W]``: 0 at the elbow, 1 at the wrist, and beyond them; at least 1 on the hand, whose fingers may point back; less
    than `WHOLE` on the upper arm, which looks like the forearm but moves with the body."""
    H, W = picture.shape[:2]
    y, x = np.mgrid[:H, :W].astype(np.float32) + 0.5
    radius = max(round(BAND * W / 512), 1)
    hand = cv2.GaussianBlur(cv2.dilate(arm.hand.astype(np.float32), _disc(2 * radius)), (0, 0), radius / 2)
    if _distance(arm.hand, arm.elbow) < COVERED * arm.radius[0]:  # a forearm that points at the viewer hides the upper arm
        return np.asarray(np.maximum(_on_bone(x, y, arm.elbow, arm.wrist)[0], hand), np.float32)
    close = cv2.GaussianBlur(cv2.dilate(arm.hand.astype(np.float32), _disc(round(radius / 2))), (0, 0), radius / 4)
    along, forearm = _before_upper_arm(picture, x, y, arm)
    beside = WHOLE + forearm / (SEAM * W / 512) * (GONE - WHOLE)
    ramp = np.maximum(np.minimum(np.maximum(along, hand), beside), close)
    limb = ((alpha > 0.02) & (ramp > APPEAR)).astype(np.uint8)
    rims = (cv2.morphologyEx(limb, cv2.MORPH_OPEN, _disc(round(RIM * W / 512))) < limb) & (hand < GONE)
    return np.where(rims, APPEAR, ramp).astype(np.float32)


def _before_upper_arm(picture: NDArray[np.uint8], x: Mask, y: Mask, arm: Arm) -> tuple[Mask, Mask]:
    """Along the forearm, and px from where it meets the upper arm, positive on the forearm. Bones tell which is which away
    from there; where the border is, an edge of the picture tells, found by watershed (Meyer 1992)."""
    along, forearm = _on_bone(x, y, arm.elbow, arm.wrist)
    side = float(_on_bone(arm.shoulder[0], arm.shoulder[1], arm.elbow, arm.wrist)[1])
    radius = arm.radius[0] + np.clip(along, 0, 1) * (arm.radius[1] - arm.radius[0])
    away, upper = np.abs(forearm), np.abs(_on_bone(x, y, arm.shoulder, arm.elbow)[1]) * (radius / arm.radius[0])
    labels = np.where(away < upper, 1, 2).astype(np.int32)
    near = np.abs(upper - away) < 2 * CREASE * picture.shape[1] / 512
    labels[near & (away > SURE * upper) & (upper > SURE * away)] = 0
    labels[(away < FRONT * radius) | ((forearm * side < 0) & (along > 0) & (along < 1)) | arm.hand] = 1
    cv2.watershed(picture, labels)
    inside = (labels == 1).astype(np.uint8)
    signed = cv2.distanceTransform(inside, cv2.DIST_L2, 5) - cv2.distanceTransform(1 - inside, cv2.DIST_L2, 5)
    return along, np.asarray(cv2.GaussianBlur(signed, (0, 0), 2.0), np.float32)


def _distance(mask: Bits, point: NDArray[np.float32]) -> float:
    """Px from a point to the nearest pixel of a mask."""
    rows, columns = mask.nonzero()
    return float(np.hypot(columns + 0.5 - point[0], rows + 0.5 - point[1]).min()) if len(rows) else np.inf


def _on_bone(x: Mask, y: Mask, start: NDArray[np.float32], end: NDArray[np.float32]) -> tuple[Mask, Mask]:
    """For places: how far along a bone, 0 start, 1 end, and beyond them; and px away from it, with the sign of the side, of
    which those beyond its end count `PAST` times."""
    bone = (end - start).astype(np.float32)
    length = max(float(np.hypot(*bone)), 1.0)
    along = ((x - start[0]) * bone[0] + (y - start[1]) * bone[1]) / length
    across = ((x - start[0]) * bone[1] - (y - start[1]) * bone[0]) / length
    away = np.hypot(across, np.minimum(along, 0) + PAST * np.maximum(along - length, 0))
    return along / length, np.copysign(away, across)


def _smooth(x: Mask) -> Mask:
    t = np.clip(x, 0, 1)
    return np.asarray(t * t * (3 - 2 * t), dtype=np.float32)


def _disc(radius: int) -> NDArray[np.uint8]:
    size = 2 * max(radius, 1) + 1
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size)), dtype=np.uint8)
