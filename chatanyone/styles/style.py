"""A style as a value, and as a safetensors file that carries its description; no pickle."""

from __future__ import annotations

import os
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from chatanyone.errors import MediaError
from chatanyone.pipeline import Style
from motion.correction import KNOTS, Correction, check_correction, straight
from motion.impulses import BLINKS_PER_S
from motion.style import SPEECH, check_rest
from motion.types import EXPRESSION_DIM, EXPRESSION_GROUPS, FACE_DIM, POSE_DIM, FaceMotion, StyleRange

KIND, VERSION = "chatanyone.style", "1"
NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")
REFERENCE_FRAMES = 90  # 3 s at 30 fps; the net was trained on less, so more would only cost time (our choice)
MAX_BYTES = 1_000_000


@dataclass(frozen=True)
class NamedStyle:
    """How somebody moves; every tensor is optional.

    expression: ``[4]`` deviation of each of `EXPRESSION_GROUPS`, weight units
    pose: ``[6]`` deviation of head rotation (rad) and translation (metres)
    reference: ``[R, 52]`` expressions of a clip at 30 fps, R ≤ `REFERENCE_FRAMES`
    rest: ``[58]`` resting face and head, added to the motion
    correction: of what the net leaves of the clip's manner (`chatanyone.styles.calibration`)
    """

    name: str
    description: str = ""
    expression: Tensor | None = None
    pose: Tensor | None = None
    reference: Tensor | None = None
    rest: Tensor | None = None
    correction: Correction | None = None

    def pipeline_style(self) -> Style:
        """What the engine takes."""
        reference = None
        if self.reference is not None:
            still = torch.zeros(len(self.reference), 3)
            reference = FaceMotion(self.reference, still, still)
        chosen = None if self.expression is None and self.pose is None else StyleRange(self.expression, self.pose)
        return Style(chosen, reference, self.rest, self.correction)

    def summary(self) -> str:
        """Its numbers for people, several lines."""
        lines = [f"{self.name}: {self.description or 'no description'}"]
        if self.expression is not None:
            ranges = zip(EXPRESSION_GROUPS, self.expression.tolist())
            lines.append("  range of " + ", ".join(f"{name} {value:.3f}" for name, value in ranges) + " (weights)")
        if self.pose is not None:
            degrees = torch.rad2deg(self.pose[:3]).tolist()
            lines.append("  range of nods, turns, tilts " + ", ".join(f"{value:.1f}" for value in degrees) + " degrees")
        if self.correction is not None:
            lines.append(f"  blinks {BLINKS_PER_S * 60 * self.correction.blinks:.0f} a minute, lips move "
                         f"{float(self.correction.gain[SPEECH[0]]):.2f} times as wide as the net alone would")
        lines.append(f"  reference of {0 if self.reference is None else len(self.reference) / 30:.1f} s, "
                     f"{'with' if self.rest is not None else 'without'} a resting face of its own")
        return "\n".join(lines)


_SHAPES: dict[str, tuple[int | None, ...]] = {
    "expression": (len(EXPRESSION_GROUPS),), "pose": (POSE_DIM,), "reference": (None, EXPRESSION_DIM), "rest": (FACE_DIM,)}
_CORRECTION: dict[str, tuple[int | None, ...]] = {
    "correction_gain": (FACE_DIM,), "correction_offset": (FACE_DIM,), "correction_blinks": (1,),
    "correction_curve": (EXPRESSION_DIM, len(KNOTS))}


def check_name(name: str) -> str:
    """The name, if it may be one."""
    if not NAME.fullmatch(name):
        raise MediaError(f"'{name}' cannot be a style's name; use up to 32 of a to z, 0 to 9, - and _")
    return name


def save_style(style: NamedStyle, path: Path) -> None:
    """Whole or not at all; the reference in half precision."""
    given = {name: getattr(style, name) for name in _SHAPES}
    tensors = {name: value.contiguous() for name, value in given.items() if value is not None}
    if style.correction is not None:
        right = style.correction
        values = (right.gain, right.offset, torch.tensor([right.blinks]), right.curve)
        tensors |= {name: value.contiguous() for name, value in zip(_CORRECTION, values)}
    if "reference" in tensors:
        tensors["reference"] = tensors["reference"].half()
    about = {"kind": KIND, "version": VERSION, "name": style.name, "description": style.description}
    try:
        handle, partial = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".partial")
        os.close(handle)
        try:
            save_file(tensors, partial, about)
            os.chmod(partial, 0o644)
            os.replace(partial, path)
        finally:
            Path(partial).unlink(missing_ok=True)
    except (OSError, SafetensorError) as error:
        raise MediaError(f"the style could not be written to {path}: {getattr(error, 'strerror', None) or error}") from error


def load_style(path: Path) -> NamedStyle:
    """Inverse of `save_style`; what does not look like a style is refused."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise MediaError(f"{path} is too large to be a style")
        with safe_open(str(path), framework="pt") as file:
            about = file.metadata() or {}
            tensors = {name: file.get_tensor(name).float() for name in file.keys()}
    except FileNotFoundError:
        raise MediaError(f"there is no style at {path}") from None
    except (OSError, SafetensorError) as error:
        raise MediaError(f"{path} is not a style file ({error}); save the style again") from None
    if about.get("kind") != KIND or about.get("version") != VERSION:
        raise MediaError(f"{path} is not a style of version {VERSION}; save the style again")
    _check(tensors, path)
    parts = [tensors.pop(name, None) for name in _CORRECTION]
    gain, offset, blinks, curve = parts
    right = None
    if gain is not None and offset is not None and blinks is not None:  # styles of before have no curve
        right = _checked(Correction(gain, offset, float(blinks), straight() if curve is None else curve), path)
    return NamedStyle(path.stem, about.get("description", ""), correction=right, **tensors)


def _checked(correction: Correction, path: Path) -> Correction:
    try:
        check_correction(correction)
    except ValueError as error:
        raise MediaError(f"{path} is refused: {error}") from None
    return correction


def _check(tensors: dict[str, Tensor], path: Path) -> None:
    for name, tensor in tensors.items():
        shape = (_SHAPES | _CORRECTION).get(name)
        fits = shape is not None and len(tensor.shape) == len(shape) and all(
            wanted in (None, found) for wanted, found in zip(shape, tensor.shape))
        if not fits or not bool(torch.isfinite(tensor).all()):
            raise MediaError(f"{path} is damaged: its {name} is not what a style's should be; save the style again")
    if "rest" in tensors:
        try:
            check_rest(tensors["rest"])
        except ValueError as error:
            raise MediaError(f"{path} is refused: {error}") from None
