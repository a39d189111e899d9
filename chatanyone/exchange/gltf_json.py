"""JSON that a glTF animation can be made of without arithmetic: names, times, one flat track of weights, head tracks.

``times`` and each ``output`` are what glTF's accessors hold: ``weights`` T·52 numbers, frame after frame, in the order of
``morphTargets``; ``rotation`` unit quaternions x, y, z, w; ``translation`` metres. glTF's axes (+Y up, the face looks along
+Z, +X to the person's left) are the template's own.
"""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from chatanyone import timebase
from chatanyone.errors import ConfigError, MediaError
from chatanyone.exchange.text import read_text, write_text
from chatanyone.motionfile import MotionDocument
from motion.types import ARKIT_INDEX, ARKIT_NAMES, BODY_POINTS, HAND_DIM

FORMAT, VERSION = "chatanyone.gltf", 1
DECIMALS = 8


def write_json(document: MotionDocument, path: Path) -> None:
    """Face and head of a document."""
    turns = Rotation.from_rotvec(document.rotation.astype(np.float64)).as_quat()
    turns *= np.where(turns[:, 3:] < 0, -1, 1)
    channels = {"weights": document.expression, "rotation": turns, "translation": document.translation}
    content = {
        "format": FORMAT, "version": VERSION, "fps": [document.fps.numerator, document.fps.denominator],
        "source": document.source, "sound": document.sound, "morphTargets": list(ARKIT_NAMES),
        "times": _rounded(document.timestamps), "interpolation": "LINEAR",
        "channels": {name: {"target": "head" if name != "weights" else "face", "path": name, "output": _rounded(values)}
                     for name, values in channels.items()},
    }
    write_text(path, json.dumps(content, separators=(",", ":")))


def read_json(path: Path, fps: Fraction | None = None) -> MotionDocument:
    """Inverse of `write_json`; morph targets may stand in any order, and those that are missing rest.

    Raises:
        MediaError: not such a file.
    """
    try:
        content = json.loads(read_text(path))
    except (json.JSONDecodeError, RecursionError) as error:
        raise MediaError(f"{path} is not JSON ({error}); export it again") from None
    if not isinstance(content, dict) or content.get("format") != FORMAT or content.get("version") != VERSION:
        raise MediaError(f"{path} is not {FORMAT} version {VERSION}; export it with `chatanyone convert`")
    try:
        return _document(content, fps, path)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, ConfigError) as error:
        raise MediaError(f"{path} is damaged ({error}); export it again") from None


def _document(content: dict[str, Any], fps: Fraction | None, path: Path) -> MotionDocument:
    rate = timebase.parse_fps(fps or Fraction(int(content["fps"][0]), int(content["fps"][1] or 1)))
    names, channels, T = content["morphTargets"], content["channels"], len(content["times"])
    weights = _track(channels, "weights", T, len(names))
    turns = _track(channels, "rotation", T, 4)
    expression = np.zeros((T, len(ARKIT_NAMES)))
    for column, name in enumerate(names):
        if name in ARKIT_INDEX:
            expression[:, ARKIT_INDEX[name]] = weights[:, column]
    rotation = Rotation.from_quat(turns).as_rotvec()
    return MotionDocument(
        rate, expression.clip(0, 1).astype(np.float32), rotation.astype(np.float32),
        _track(channels, "translation", T, 3).astype(np.float32), np.zeros((T, BODY_POINTS, 3), np.float32),
        np.zeros((T, 2, HAND_DIM), np.float32), origin="imported", source=path.name, sound=str(content.get("sound", "")))


def _track(channels: dict[str, Any], name: str, frames: int, width: int) -> NDArray[np.float64]:
    """``[T, width]`` out of a flat output."""
    values = np.asarray(channels[name]["output"], dtype=np.float64)
    if values.shape != (frames * width,) or not np.isfinite(values).all() or not frames:
        raise ValueError(f"expected {frames * width} finite numbers of {name}")
    return values.reshape(frames, width)


def _rounded(values: NDArray[Any]) -> list[float]:
    return [round(float(value), DECIMALS) for value in np.asarray(values, dtype=np.float64).ravel()]
