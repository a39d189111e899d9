"""Reading motion documents: what a file must be, and the two kinds that were written before there was one."""

from __future__ import annotations

import zipfile
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chatanyone.errors import MediaError
from chatanyone.motionfile import (
    FORMAT, MEASURED_FIELDS, MOTION_FIELDS, ORIGINS, VERSION, Array, Measured, MotionDocument, displaced)
from motion.types import ARKIT_NAMES

_REMEDY = "make it again with `chatanyone track` or `animate --motion-out`"
_OPTIONAL = "landmarks"
_SHAPES: dict[str, tuple[int, ...]] = {
    "expression": (52,), "rotation": (3,), "translation": (3,), "body": (14, 3), "hands": (2, 51)}
# Version 1: tracked motion under other names, and motion that was made as a format of its own.
_MADE_1, _TRACKED_1 = ("chatanyone.animation", 1), (FORMAT, 1)
_RENAMED_1 = {"keypoints": "body", "hand_landmarks": "hands"}


def read_document(path: Path) -> MotionDocument:
    """Any version; see `MotionDocument.load`."""
    arrays = _read(path)
    kind = (str(arrays.get("format", "none")), _number(arrays.get("version")))
    readers = {(FORMAT, VERSION): _present, _MADE_1: _made_1, _TRACKED_1: _tracked_1}
    if kind not in readers:
        raise MediaError(f"expected {FORMAT} version {VERSION} in {path}, found {kind[0]} version {kind[1]}; {_REMEDY}")
    if kind == _TRACKED_1 and "hand_motion" in arrays:
        arrays = _renamed(arrays)
    _require(arrays, {"fps", "expression_names", *MOTION_FIELDS}, path)
    _check(arrays, path)
    try:
        return readers[kind](arrays, path)
    except (ValueError, IndexError, TypeError, ZeroDivisionError) as error:
        raise MediaError(f"expected a motion file at {path}, but its contents do not fit together; {_REMEDY}") from error


def _present(arrays: dict[str, Array], path: Path) -> MotionDocument:
    measured = None
    if "measured_valid" in arrays:
        given: dict[str, Any] = {name: arrays.get(f"measured_{name}") for name in MEASURED_FIELDS}
        _require({name: value for name, value in given.items() if value is not None}, set(MEASURED_FIELDS) - {_OPTIONAL}, path)
        measured = Measured(**given)
    origin = str(arrays.get("origin", "made"))
    return _document(arrays, measured, origin if origin in ORIGINS else "made", str(arrays.get("source", "")),
                     str(arrays.get("sound", "")))


def _made_1(arrays: dict[str, Array], path: Path) -> MotionDocument:
    return _document(arrays, None, "made")


def _tracked_1(arrays: dict[str, Array], path: Path) -> MotionDocument:
    _require(arrays, set(MEASURED_FIELDS) - {_OPTIONAL}, path)
    given: dict[str, Any] = {name: arrays.get(name) for name in MEASURED_FIELDS}
    return _document(arrays, Measured(**given), "tracked")


def _renamed(arrays: dict[str, Array]) -> dict[str, Array]:
    """A tracked file of version 1 in today's names."""
    old = {new: arrays[name] for new, name in _RENAMED_1.items() if name in arrays}
    if len(old) == len(_RENAMED_1) and "hand_confidence" in arrays and old["keypoints"].ndim == 3:
        T = len(arrays["timestamps"])
        body = old["keypoints"]
        if len(body) == len(arrays["hand_motion"]) == T:
            moved, hands = displaced(body, arrays["hand_motion"], arrays["hand_confidence"])
            return arrays | old | {"body": moved, "hands": hands}
    return arrays | old


def _document(arrays: dict[str, Array], measured: Measured | None, origin: str, source: str = "", sound: str = "",
              ) -> MotionDocument:
    fps = Fraction(int(arrays["fps"][0]), int(arrays["fps"][1]))
    motion = {name: np.asarray(arrays[name], dtype=np.float32) for name in MOTION_FIELDS}
    return MotionDocument(fps, **motion, origin=origin, source=source, sound=sound, measured=measured)


def _read(path: Path) -> dict[str, Array]:
    try:
        with np.load(path, allow_pickle=False) as file:
            return {key: file[key] for key in file.files}
    except FileNotFoundError as error:
        raise MediaError(f"expected a motion file at {path}, found no such file; check the path") from error
    except (OSError, ValueError, EOFError, AttributeError, KeyError, zipfile.BadZipFile, zipfile.error,
            NotImplementedError) as error:
        raise MediaError(f"expected a motion file (.npz) at {path}, but it cannot be read; {_REMEDY}") from error


def _number(value: Any) -> int:
    try:
        return int(value)
    except (TypeError, ValueError):
        return 0


def _require(arrays: dict[str, Array], names: set[str], path: Path) -> None:
    missing = sorted(names - arrays.keys())
    if missing:
        raise MediaError(f"expected {', '.join(missing)} in {path}, not found; {_REMEDY}")


def _check(arrays: dict[str, Array], path: Path) -> None:
    if tuple(arrays["expression_names"].tolist()) != ARKIT_NAMES:
        raise MediaError(f"expected the 52 ARKit names in their usual order in {path}, found others; {_REMEDY}")
    fps: NDArray[np.int64] = arrays["fps"]
    if fps.shape != (2,) or not 1 <= fps[0] / max(int(fps[1]), 1) <= 1000:
        raise MediaError(f"expected a frame rate in {path}, found {fps.tolist()}; {_REMEDY}")
    T = len(np.atleast_1d(arrays["expression"]))
    if not T:
        raise MediaError(f"expected motion in {path}, found no frame; {_REMEDY}")
    for name, shape in _SHAPES.items():
        if arrays[name].shape != (T, *shape) or arrays[name].dtype.kind != "f":
            raise MediaError(f"expected {T} frames of {name} in {path}, found {list(arrays[name].shape)}; {_REMEDY}")
        if not np.isfinite(arrays[name]).all():
            raise MediaError(f"expected finite numbers for {name} in {path}, found others; {_REMEDY}")
    for name, text in MEASURED_FIELDS.items():
        found = arrays.get(f"measured_{name}")
        if text.startswith("[T") and found is not None and (not found.shape or len(found) != T):
            raise MediaError(f"expected {T} frames of measured_{name} in {path}, found {list(found.shape)}; {_REMEDY}")
