"""Motion in other programs' forms: ARKit CSV as Live Link Face writes it, and JSON for glTF. The suffix says which."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

from chatanyone.errors import MediaError
from chatanyone.exchange.arkit_csv import read_csv, write_csv
from chatanyone.exchange.gltf_json import read_json, write_json
from chatanyone.motionfile import MotionDocument

_READERS: dict[str, Callable[[Path, Fraction | None], MotionDocument]] = {
    ".npz": lambda path, fps: MotionDocument.load(path), ".csv": read_csv, ".json": read_json}
_WRITERS: dict[str, Callable[[MotionDocument, Path], None]] = {
    ".npz": lambda document, path: document.save(path), ".csv": write_csv, ".json": write_json}
SUFFIXES = tuple(_READERS)


def read_motion(path: str | Path, fps: Fraction | None = None) -> MotionDocument:
    """A motion file of any form; `fps` where a CSV's time codes do not tell the exact rate."""
    path = Path(path)
    return _READERS[_suffix(path)](path, fps)


def write_motion(document: MotionDocument, path: str | Path) -> None:
    """In the form that the suffix names; whole or not at all. CSV and JSON hold face and head, not body and hands."""
    path = Path(path)
    _WRITERS[_suffix(path)](document, path)


def _suffix(path: Path) -> str:
    suffix = path.suffix.lower()
    if suffix not in _READERS:
        raise MediaError(f"motion comes in files that end in {', '.join(SUFFIXES)}, not '{path.name}'")
    return suffix
