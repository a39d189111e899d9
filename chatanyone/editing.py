"""Changing motion over a span of time: a blend shape, a group of movement, an angle of the head. Pure functions.

A change holds in full from `start_s` to `end_s` and fades in and out over `ramp_s` on both sides, as a raised cosine.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from chatanyone.errors import MediaError
from chatanyone.motionfile import MotionDocument
from motion.style import GROUPS, apply_dials, check_groups
from motion.types import ARKIT_INDEX, BodyMotion, FaceMotion

KINDS = ("set", "add", "scale")
RAMP_S = 0.2
LARGEST = 1_000_000  # our choice: beyond anything that is meant, and float32 still holds what comes of it
ANGLES = ("pitch", "yaw", "roll")  # of the head, degrees: nod down, turn to the image's right, tilt to the image's left
_FORM = re.compile(r"([A-Za-z]+)=([^@]+)(?:@([^-]*)-(.*))?")


@dataclass(frozen=True)
class Change:
    """One change.

    kind: set, add or scale
    target: an ARKit shape, one without its Left or Right for both sides, `pitch`, `yaw` or `roll` of the head (degrees), or
        (scale only) a group of `motion.style.GROUPS`
    start_s, end_s: None is the clip's own start or end
    """

    kind: str
    target: str
    value: float
    start_s: float | None = None
    end_s: float | None = None
    ramp_s: float = RAMP_S


def parse_change(kind: str, text: str, ramp_s: float = RAMP_S) -> Change:
    """``NAME=VALUE`` or ``NAME=VALUE@START-END``; seconds, either of which may be left out.

    Raises:
        MediaError: another form, an unknown name, or a value that does not fit.
    """
    found = _FORM.fullmatch(text.strip())
    if not found:
        raise MediaError(f"'{text}' is no change; write NAME=VALUE@START-END, such as mouthSmileLeft=0.4@1.0-2.5")
    start, end = (_seconds(part, text) for part in found.groups()[2:])
    change = Change(kind, found[1], _float(found[2], text), start, end, ramp_s)
    check_change(change)
    return change


def check_change(change: Change) -> None:
    """Refuses (`MediaError`) what cannot be done."""
    if change.kind not in KINDS:
        raise MediaError(f"a change is one of {', '.join(KINDS)}, not '{change.kind}'")
    if change.start_s is not None and change.end_s is not None and change.end_s < change.start_s:
        raise MediaError(f"the change of {change.target} ends ({change.end_s:g} s) before it starts ({change.start_s:g} s)")
    if not 0 <= change.ramp_s <= LARGEST:
        raise MediaError(f"the ramp of a change must be 0 s or longer, not {change.ramp_s:g}")
    if change.target in GROUPS:
        _check_group(change)
    elif change.target not in ANGLES and not shapes(change.target):
        raise MediaError(f"'{change.target}' is neither an ARKit shape (jawOpen, mouthSmile, browInnerUp, …) nor "
                         f"{', '.join(ANGLES)} nor a group ({', '.join(GROUPS)})")


def _check_group(change: Change) -> None:
    if change.kind != "scale":
        raise MediaError(f"{change.target} is a group of movement, which can only be scaled; {change.kind} one shape of it")
    try:
        check_groups({change.target: change.value})
    except ValueError as error:
        raise MediaError(str(error)) from None


def edited(document: MotionDocument, changes: Sequence[Change]) -> MotionDocument:
    """The document with all changes, one after the other."""
    face, body = document.face_motion(), document.body_motion()
    for change in changes:
        check_change(change)
        if change.start_s is not None and change.start_s >= document.duration_s:
            raise MediaError(f"the change of {change.target} starts at {change.start_s:g} s, but the motion lasts "
                             f"{document.duration_s:.2f} s")
        face, body = changed(face, body, change, torch.from_numpy(envelope(document.timestamps, change)).float())
    return document.with_motion(face, body)


def changed(face: FaceMotion, body: BodyMotion, change: Change, share: Tensor) -> tuple[FaceMotion, BodyMotion]:
    """Motion ``[T, …]`` with one change, each frame by its `share` ``[T]`` in [0, 1]."""
    if change.target in GROUPS:
        new_face, new_body = apply_dials(face, body, groups={change.target: change.value})
        return (FaceMotion.unpack(torch.lerp(face.packed(), new_face.packed(), share[:, None])),
                BodyMotion.unpack(torch.lerp(body.packed(), new_body.packed(), share[:, None])))
    packed = face.packed()
    columns = [len(ARKIT_INDEX) + ANGLES.index(change.target)] if change.target in ANGLES else shapes(change.target)
    value = float(np.deg2rad(change.value)) if change.target in ANGLES and change.kind != "scale" else change.value
    now = packed[:, columns]
    target = {"set": torch.full_like(now, value), "add": now + value, "scale": now * value}[change.kind]
    packed[:, columns] = torch.lerp(now, target, share[:, None])
    packed[:, :len(ARKIT_INDEX)] = packed[:, :len(ARKIT_INDEX)].clamp(0, 1)
    return FaceMotion.unpack(packed), body


def envelope(times_s: NDArray[np.float64], change: Change) -> NDArray[np.float64]:
    """``[T]``: 1 inside the span, 0 outside, raised-cosine ramps around it."""
    before = np.zeros_like(times_s) if change.start_s is None else change.start_s - times_s
    after = np.zeros_like(times_s) if change.end_s is None else times_s - change.end_s
    outside = np.maximum(np.maximum(before, after), 0)
    if change.ramp_s == 0:
        return (outside <= 0).astype(np.float64)
    return np.asarray(0.5 + 0.5 * np.cos(np.pi * np.clip(outside / change.ramp_s, 0, 1)))


def shapes(name: str) -> list[int]:
    """Columns of a shape, or of both sides of one that is named without its side."""
    return [ARKIT_INDEX[found] for found in (name, f"{name}Left", f"{name}Right") if found in ARKIT_INDEX]


def _seconds(text: str | None, whole: str) -> float | None:
    return None if text is None or not text.strip() else _float(text, whole)


def _float(text: str, whole: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not abs(value) <= LARGEST:
        raise MediaError(f"'{text.strip()}' in '{whole}' is no number up to {LARGEST}; write NAME=VALUE@START-END, such as "
                         "mouthSmileLeft=0.4@1.0-2.5")
    return value
