"""ARKit CSV in the layout of Epic's Live Link Face app: a row a frame, 63 columns.

Timecode (``HH:MM:SS:FF.fff``, FF counts frames, fff thousandths of one), BlendShapeCount (61), 52 weights in the app's order
and capitalisation, then head and eyes as yaw, pitch, roll.

Convention (the app documents none): angles are radians; the head is ``R = R_y(yaw) R_x(pitch) R_z(roll)`` in template axes
(+X image right, +Y up, +Z to the viewer), so yaw turns to the image's right and pitch nods down. Eyes are written from the
weights (1 is about 30°) and not read back: the weights hold the gaze already.
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from chatanyone import timebase
from chatanyone.errors import MediaError
from chatanyone.exchange.text import read_text, write_text
from chatanyone.motionfile import MotionDocument
from motion.types import ARKIT_INDEX, ARKIT_NAMES, BODY_POINTS, HAND_DIM

_SIDED_EYE = ("eyeBlink", "eyeLookDown", "eyeLookIn", "eyeLookOut", "eyeLookUp", "eyeSquint", "eyeWide")
_MIDDLE = (
    "jawForward", "jawRight", "jawLeft", "jawOpen", "mouthClose", "mouthFunnel", "mouthPucker", "mouthRight", "mouthLeft",
    "mouthSmileLeft", "mouthSmileRight", "mouthFrownLeft", "mouthFrownRight", "mouthDimpleLeft", "mouthDimpleRight",
    "mouthStretchLeft", "mouthStretchRight", "mouthRollLower", "mouthRollUpper", "mouthShrugLower", "mouthShrugUpper",
    "mouthPressLeft", "mouthPressRight", "mouthLowerDownLeft", "mouthLowerDownRight", "mouthUpperUpLeft",
    "mouthUpperUpRight", "browDownLeft", "browDownRight", "browInnerUp", "browOuterUpLeft", "browOuterUpRight", "cheekPuff",
    "cheekSquintLeft", "cheekSquintRight", "noseSneerLeft", "noseSneerRight", "tongueOut")
NAMES: tuple[str, ...] = tuple(f"{name}{side}" for side in ("Left", "Right") for name in _SIDED_EYE) + _MIDDLE
ANGLES = ("HeadYaw", "HeadPitch", "HeadRoll", "LeftEyeYaw", "LeftEyePitch", "LeftEyeRoll", "RightEyeYaw", "RightEyePitch",
          "RightEyeRoll")
COLUMNS: tuple[str, ...] = ("Timecode", "BlendShapeCount", *(name[0].upper() + name[1:] for name in NAMES), *ANGLES)
DECIMALS = 8  # half a unit of the last is less than any program shows
FULL_GAZE_RAD = 0.52
DEFAULT_FPS = 60  # the app's, where a clip is too short to show its rate
_TIMECODE = re.compile(r"(\d{1,2}):(\d{2}):(\d{2})[:;](\d{1,3})(?:\.(\d+))?")


def write_csv(document: MotionDocument, path: Path) -> None:
    """Face and head of a document."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(COLUMNS)
    order = [ARKIT_INDEX[name] for name in NAMES]
    angles = np.concatenate([head_angles(document.rotation), _eye_angles(document.expression)], axis=1)
    for frame, (weights, turned) in enumerate(zip(document.expression[:, order], angles)):
        numbers = [f"{value:.{DECIMALS}f}" for value in (*weights, *turned)]
        writer.writerow([timecode(frame, document.fps), len(numbers), *numbers])
    write_text(path, buffer.getvalue())


def read_csv(path: Path, fps: Fraction | None = None) -> MotionDocument:
    """A take; rows without numbers and lost frames are bridged by straight lines.

    Args:
        fps: the exact rate; None takes what the time codes count, 60 for takes that are shorter than a second.

    Raises:
        MediaError: not such a file.
    """
    rows = list(csv.reader(io.StringIO(read_text(path))))
    columns = _columns(rows[0] if rows else [], path)
    taken = [(number, row) for number, row in enumerate(rows[1:], 2) if any(cell.strip() for cell in row)]
    codes = [_parts(row[0], path, number) for number, row in taken]
    full = [len(row) > max(columns.values()) for _, row in taken]
    if sum(full) < 1:
        raise MediaError(f"{path} holds no frame with weights; export the take again")
    nominal = _nominal(codes, fps)
    places = _places(codes, nominal)
    values = np.array([[_number(row[column], path, number) for column in columns.values()]
                       for (number, row), whole in zip(taken, full) if whole])
    known = places[np.array(full)]
    return _document(dict(zip(columns, values.T)), known, fps or Fraction(nominal), path)


def timecode(frame: int, fps: Fraction) -> str:
    """``HH:MM:SS:FF.fff`` that counts frames at the whole rate above `fps`, as cameras do without dropping numbers."""
    nominal = math.ceil(fps)
    seconds, frames = divmod(frame, nominal)
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}:{frames:02d}.000"


def head_angles(rotation: NDArray[np.float32]) -> NDArray[np.float64]:
    """Axis-angle ``[T, 3]`` → yaw, pitch, roll ``[T, 3]``, rad."""
    return np.asarray(Rotation.from_rotvec(rotation.astype(np.float64)).as_euler("YXZ"))


def _eye_angles(expression: NDArray[np.float32]) -> NDArray[np.float64]:
    """Yaw, pitch, roll of the left, then the right eye ``[T, 6]``, rad, signs as the head's."""
    def weight(name: str) -> NDArray[np.float64]:
        return np.asarray(expression[:, ARKIT_INDEX[name]], dtype=np.float64)

    columns = []
    for side, outwards in (("Left", 1.0), ("Right", -1.0)):
        yaw = outwards * (weight(f"eyeLookOut{side}") - weight(f"eyeLookIn{side}"))
        pitch = weight(f"eyeLookDown{side}") - weight(f"eyeLookUp{side}")
        columns += [yaw * FULL_GAZE_RAD, pitch * FULL_GAZE_RAD, np.zeros(len(expression))]
    return np.stack(columns, axis=1)


def _columns(header: Sequence[str], path: Path) -> dict[str, int]:
    """Places of the 52 weights and the head's angles; capitalisation and order may differ from app to app."""
    places = {cell.strip().lower(): place for place, cell in enumerate(header)}
    wanted = (*NAMES, *ANGLES[:3])
    missing = [name for name in NAMES if name.lower() not in places]
    if "timecode" not in places or len(missing) == len(NAMES):
        raise MediaError(f"{path} is not a Live Link Face CSV: its first line must name Timecode and the ARKit weights")
    if set(missing) - {"tongueOut"}:
        raise MediaError(f"{path} lacks the column {missing[0]}; export the take again with all 52 weights")
    return {name: places[name.lower()] for name in wanted if name.lower() in places}


def _parts(text: str, path: Path, line: int) -> tuple[int, float]:
    """Whole seconds and frames (with their fraction) of a time code."""
    found = _TIMECODE.fullmatch(text.strip())
    if not found:
        raise MediaError(f"line {line} of {path} has no time code such as 00:00:01:15.000, but '{text.strip()[:30]}'")
    hours, minutes, seconds, frames = (int(found[group]) for group in range(1, 5))
    return hours * 3600 + minutes * 60 + seconds, frames + float(f"0.{found[5] or 0}")


def _nominal(codes: Sequence[tuple[int, float]], fps: Fraction | None) -> int:
    """Frames that the codes count in a second."""
    if fps is not None:
        return math.ceil(fps)
    most = int(max(frames for _, frames in codes)) + 1
    if codes[-1][0] == codes[0][0]:
        return max(DEFAULT_FPS, most)
    return next((rate for rate in (24, 25, 30, 48, 50, 60, 120) if most <= rate), most)


def _places(codes: Sequence[tuple[int, float]], nominal: int) -> NDArray[np.float64]:
    """Frame numbers since the first row, with fractions; they must go forwards."""
    places = np.array([seconds * nominal + frames for seconds, frames in codes], dtype=np.float64)
    places -= places[0]
    return np.maximum.accumulate(places)


def _number(text: str, path: Path, line: int) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise MediaError(f"line {line} of {path} has '{text.strip()[:30]}' where a number should be; export the take again")
    return value


def _document(values: dict[str, NDArray[np.float64]], places: NDArray[np.float64], fps: Fraction, path: Path,
              ) -> MotionDocument:
    T = int(round(places[-1])) + 1
    timebase.parse_fps(fps)
    if T > 24 * 3600 * 60:
        raise MediaError(f"{path} lasts longer than a day by its time codes; export the take again")
    frames = np.arange(T)

    def track(name: str) -> NDArray[np.float64]:
        return np.interp(frames, places, values[name]) if name in values else np.zeros(T)

    expression = np.stack([track(name) for name in ARKIT_NAMES], axis=1).clip(0, 1)
    turns = Rotation.from_euler("YXZ", np.stack([track(name) for name in ANGLES[:3]], axis=1)).as_rotvec()
    return MotionDocument(
        fps, expression.astype(np.float32), turns.astype(np.float32), np.zeros((T, 3), np.float32),
        np.zeros((T, BODY_POINTS, 3), np.float32), np.zeros((T, 2, HAND_DIM), np.float32), origin="imported", source=path.name)
