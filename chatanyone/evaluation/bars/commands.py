"""Command → re-detection: one ARKit weight is raised, the head is turned; MediaPipe says what it sees in the picture."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from chatanyone import build
from chatanyone.driver import Driver, neutral_motion
from chatanyone.evaluation import lips, pictures
from chatanyone.evaluation.lips import Image
from chatanyone.evaluation.measures import Measure, Outcome, at_least, at_most, not_computed
from chatanyone.evaluation.session import Session
from chatanyone.evaluation.statistics import pearson
from chatanyone.evaluation.studio import GEOMETRY, HEAD, NETWORKS, Variant
from chatanyone.portrait import Portrait
from chatanyone.vision.scores import FaceScores
from motion.template.fit import fit_pose
from motion.template.head import rotation_matrix
from motion.types import ARKIT_INDEX

TITLE = "Command → re-detection"
NEEDS: tuple[str, ...] = ("portraits",)
# The twelve main weights (our choice): what speech and common expressions use, and MediaPipe scores. Sides go together.
COMMANDS: dict[str, tuple[str, ...]] = {
    "jawOpen": ("jawOpen",), "mouthSmile": ("mouthSmileLeft", "mouthSmileRight"),
    "mouthFrown": ("mouthFrownLeft", "mouthFrownRight"), "mouthPucker": ("mouthPucker",), "mouthFunnel": ("mouthFunnel",),
    "mouthLeft": ("mouthLeft",), "mouthRight": ("mouthRight",),
    "mouthUpperUp": ("mouthUpperUpLeft", "mouthUpperUpRight"),
    "mouthLowerDown": ("mouthLowerDownLeft", "mouthLowerDownRight"), "eyeBlink": ("eyeBlinkLeft", "eyeBlinkRight"),
    "browInnerUp": ("browInnerUp",), "browDown": ("browDownLeft", "browDownRight"),
}
RAMP = (0.0, 0.25, 0.5, 0.75, 1.0)
TURNS, ANGLES_DEG = {"pitch": 0, "yaw": 1, "roll": 2}, (-15.0, -7.5, 7.5, 15.0)
_SHOWN, _SHEET_PX = 8, 2432  # portraits on the sheet, its largest width
_BESIDE = 12  # portraits of a variant that only stands beside
_SELF = sys.modules[__name__]


def ramp_r(scores: list[float]) -> float:
    """Pearson r between the weight that was set and the score that came back; NaN when a face was lost."""
    return pearson(np.array(RAMP), np.array(scores)) if np.isfinite(scores).all() else math.nan


def turned_deg(neutral: Tensor, turned: Tensor, axis: int) -> float:
    """Angle about an axis between two head rotations ``[3, 3]``, degrees; sine of it from the antisymmetric part."""
    R = turned @ neutral.T
    vector = torch.stack([R[2, 1] - R[1, 2], R[0, 2] - R[2, 0], R[1, 0] - R[0, 1]]) / 2
    return math.degrees(math.asin(max(-1.0, min(1.0, float(vector[axis])))))


def measure(session: Session) -> Outcome:
    if session.task_model is None:
        return Outcome("commands", TITLE, [not_computed("mean r over the ramps", "it needs --task-model")])
    rows, shown = [], []
    with FaceScores(session.task_model) as scores:
        for variant in session.variants:
            usual = len(session.inputs.portraits) if variant == session.variants[0] else _BESIDE
            portraits = session.some(session.inputs.portraits, usual)
            rows += _rows(session, variant, portraits, scores)
            strips = [_strip(session, variant, path) for path in portraits[::max(len(portraits) // _SHOWN, 1)][:_SHOWN]]
            name = pictures.stack(session.output / f"commands-{variant.name}.jpg", strips, _SHEET_PX)
            shown += [name] if name else []
    about = (f"{len(COMMANDS)} weights at {', '.join(f'{value:g}' for value in RAMP)} and turns of ±7.5° and ±15° about each "
             "axis; frames of 512 × 512. The sheet: rest, each weight at 1 in the order of the rows, turns of ±15°")
    return Outcome("commands", TITLE, rows, about, pictures=shown)


def _rows(session: Session, variant: Variant, portraits: list[Path], scores: FaceScores) -> list[Measure]:
    found: dict[str, dict[str, Any]] = {}
    for path in session.progress(f"commands, {variant.name}", portraits):
        found[path.stem] = session.item("commands", f"{path.stem}-{variant.name}", (_SELF, lips),
                                        lambda: _check(session, variant, path, scores), files=[path], variant=variant)
    barred = variant in (NETWORKS, GEOMETRY)
    r = {name: float(np.nanmean([ramp_r(row["ramps"][command]) for command in COMMANDS])) for name, row in found.items()}
    error = {name: float(np.nanmean(np.abs(list(row["turns"].values())))) for name, row in found.items()}
    rows = [Measure("mean r over the ramps", r, "", variant.name, must=at_least(0.8) if barred else None,
                    aim=at_least(0.95) if barred else None),
            Measure("pose error", error, "°", variant.name, must=at_most(2.5) if barred else None,
                    aim=at_most(1) if barred else None)]
    for command in COMMANDS:
        gains = {name: row["ramps"][command][-1] - row["ramps"][command][0] for name, row in found.items()}
        shape = np.nanmean([ramp_r(row["ramps"][command]) for row in found.values()])
        rows.append(Measure(f"score gained by {command}", gains, "", variant.name, note=f"mean r {shape:.2f}"))
    return rows


def _check(session: Session, variant: Variant, path: Path, scores: FaceScores) -> dict[str, Any]:
    """Scores along each ramp and errors of each turn, degrees, of one portrait."""
    portrait = session.studio.portrait(path, HEAD)
    scene = session.studio.engine(variant).stages.scene(portrait)
    frames = _draw(scene)
    pictures.save_strip(_strip(session, variant, path), [_face(frame, portrait) for frame in _shown(frames)], 128)
    scored = [scores(frame) for frame in frames[:1 + len(COMMANDS) * (len(RAMP) - 1)]]
    ramps, row = {}, 1
    for command, names in COMMANDS.items():
        steps = [scored[0], *scored[row:row + len(RAMP) - 1]]
        index = [ARKIT_INDEX[name] for name in names]
        ramps[command] = [round(float(step.expression[index].mean()), 4) if step else math.nan for step in steps]
        row += len(RAMP) - 1
    driver = scene.driver if hasattr(scene, "driver") else Driver(portrait, build.head_template(session.studio.config))
    head = [_rotation(driver, frame) for frame in [frames[0], *frames[row:]]]
    turns = {f"{name}{angle:+g}": round(turned_deg(head[0], head[1 + index], TURNS[name]) - angle, 3)
             for index, (name, angle) in enumerate(_turns())}
    return {"ramps": ramps, "turns": turns}


def _strip(session: Session, variant: Variant, path: Path) -> Path:
    return session.work.folder / "sheets" / f"commands-{path.stem}-{variant.name}.jpg"


def _shown(frames: list[Image]) -> list[Image]:
    """Rest, every weight at 1, the largest turns."""
    steps = len(RAMP) - 1
    ramps = 1 + len(COMMANDS) * steps
    turns = [frame for frame, (_, angle) in zip(frames[ramps:], _turns()) if abs(angle) == max(ANGLES_DEG)]
    return [frames[0], *frames[steps:ramps:steps], *turns]


def _face(frame: Image, portrait: Portrait) -> Image:
    """The head and the neck."""
    points = portrait.face.numpy()
    height = float(np.linalg.norm(points[10, :2] - points[152, :2]))
    x, y = points[:, :2].mean(axis=0)
    x0, y0, side = max(int(x - 0.85 * height), 0), max(int(y - 0.85 * height), 0), int(1.7 * height)
    return frame[y0:y0 + side, x0:x0 + side]


def _turns() -> list[tuple[str, float]]:
    return [(name, angle) for name in TURNS for angle in ANGLES_DEG]


def _draw(scene: Any) -> list[Image]:
    """The neutral frame, then every command's ramp, then every turn."""
    turns = _turns()
    face, body = neutral_motion(1 + len(COMMANDS) * (len(RAMP) - 1) + len(turns))
    row = 1
    for names in COMMANDS.values():
        for weight in RAMP[1:]:
            face.expression[row, [ARKIT_INDEX[name] for name in names]] = weight
            row += 1
    for name, angle in turns:
        face.rotation[row, TURNS[name]] = math.radians(angle)
        row += 1
    drawn: Tensor = scene(face, body).clamp(0, 1).mul(255).round().byte().permute(0, 2, 3, 1)
    result: NDArray[np.uint8] = drawn.contiguous().cpu().numpy()
    return list(result)


def _rotation(driver: Driver, image: Image) -> Tensor:
    points = lips.face_landmarks(image, driver.portrait.face.numpy(), passes=2)
    if points is None:
        return torch.full((3, 3), math.nan)
    camera = fit_pose(driver.template, driver.fit.neutral, driver.rest, torch.from_numpy(points).float())
    return rotation_matrix(camera.rotation)
