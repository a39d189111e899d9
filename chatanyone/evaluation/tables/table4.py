"""Table 4 of the paper: style transfer. Does the reference bring the person's manner, and leave the words alone?"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from chatanyone.evaluation import motions, performed, speaking
from chatanyone.evaluation.bars.motion import motion_aperture
from chatanyone.evaluation.bars.sync import score
from chatanyone.evaluation.measures import Measure, Outcome, at_least, at_most
from chatanyone.evaluation.session import Session
from chatanyone.evaluation.speaking import FPS, RealLips, rounded
from chatanyone.evaluation.statistics import pearson
from chatanyone.evaluation.studio import GEOMETRY, NETWORKS, Variant
from chatanyone.media.audio import read_audio
from chatanyone.pipeline import Style
from chatanyone.styles import clips as style_clips
from chatanyone.styles.style import NamedStyle
from chatanyone.tracking import track_file
from motion.style import style_range
from motion.types import EXPRESSION_GROUPS, FaceMotion

TITLE = "Table 4: style transfer"
NEEDS: tuple[str, ...] = ("portraits",)
WITH, WITHOUT = "with the reference", "without"
PEOPLE, CLIPS = 16, 8
_SELF = sys.modules[__name__]
Matrix = NDArray[np.float64]  # [T, 52] expression weights
Row = dict[str, Any]


def coefficient_mae(made: Matrix, true: Matrix) -> float:
    """Mean absolute difference over frames and weights."""
    count = min(len(made), len(true))
    return float(np.abs(made[:count] - true[:count]).mean())


def coefficient_ssim(made: Matrix, true: Matrix) -> float:
    """SSIM (11 × 11, σ 1.5, range 1) of the two ``[T, 52]`` matrices as pictures; order of `ARKIT_NAMES`."""
    from torchmetrics.functional.image import structural_similarity_index_measure

    count = min(len(made), len(true))
    a, b = (torch.from_numpy(np.ascontiguousarray(x[:count]))[None, None].float() for x in (made, true))
    found = structural_similarity_index_measure(a, b, data_range=1.0)
    assert isinstance(found, torch.Tensor)
    return float(found)


def ranges(expression: Matrix) -> list[float]:
    """Deviation of each of `EXPRESSION_GROUPS`."""
    still = torch.zeros(len(expression), 3)
    found = style_range(FaceMotion(torch.from_numpy(expression).float(), still, still)).expression
    assert found is not None
    return [float(value) for value in found]


def measure(session: Session) -> Outcome:
    variant = next((v for v in session.variants if v != GEOMETRY), NETWORKS)
    people = [_person(session, variant, index) for index in session.progress(
        "style, performer", session.some(list(range(PEOPLE)), PEOPLE))]
    clips = speaking.references(session, CLIPS) if session.inputs.clips else []
    real = [_clip(session, variant, clip) for clip in session.progress("style, clips", clips)]
    rows = _table(people, "performer") + (_table(real, "clips") + _sync(real) if real else [])
    about = (f"{len(people)} people of the performer with voices and manners held back from training, reference and target "
             f"with different words; {len(real)} clips, first half as reference, second half as target (their own tracks)")
    return Outcome("table4", TITLE, rows, about)


def _table(rows: list[Row], kind: str) -> list[Measure]:
    """MAE, SSIM, their gain, and how ranges follow."""
    found = []
    for name in ("MAE", "SSIM"):
        found += [Measure(f"coefficient {name}, {kind}", {row["name"]: row[side][name] for row in rows}, "", side)
                  for side in (WITHOUT, WITH)]
    mae, ssim = ({side: float(np.mean([row[side][name] for row in rows])) for side in (WITH, WITHOUT)}
                 for name in ("MAE", "SSIM"))
    found.append(Measure(f"MAE with ÷ without, {kind}", {"all": mae[WITH] / max(mae[WITHOUT], 1e-9)}, must=at_most(0.7)))
    found.append(Measure(f"SSIM with ÷ without, {kind}", {"all": ssim[WITH] / max(ssim[WITHOUT], 1e-9)}, must=at_least(2)))
    for side in (WITHOUT, WITH):
        r = range_correlation([row[side]["ranges"] for row in rows], [row["reference ranges"] for row in rows])
        found.append(Measure(f"range against the reference's, r, {kind}", r, "", side if side == WITHOUT else "networks",
                             must=at_least(0.8) if side == WITH else None, note="" if side == WITHOUT else "with; by group"))
    return found


def range_correlation(made: list[list[float]], reference: list[list[float]]) -> dict[str, float]:
    """For each group of weights: r over styles between the deviation that came out and the reference's."""
    a, b = np.array(made, np.float64), np.array(reference, np.float64)
    return {name: pearson(a[:, index], b[:, index]) for index, name in enumerate(EXPRESSION_GROUPS)} if len(a) > 2 else {}


def _sync(rows: list[Row]) -> list[Measure]:
    lost = {row["name"]: row[WITHOUT]["sync"] - row[WITH]["sync"] for row in rows}
    return [Measure("lip sync r", {row["name"]: row[side]["sync"] for row in rows}, "", side, note="of the motion's lips")
            for side in (WITHOUT, WITH)] + [Measure("lip sync r lost to the style", lost, must=at_most(0.03))]


def _person(session: Session, variant: Variant, index: int) -> Row:
    def make() -> Row:
        made = performed.pair(index)
        style = _style(made.reference)
        return {"name": made.name, "reference ranges": ranges(_expression(made.reference)), **_both(
            session, variant, made.samples, style, made.seed, _expression(made.target), 0)}

    return session.item("style", f"person-{index}", (_SELF, performed, motions), make, variant=variant, index=index)


def _clip(session: Session, variant: Variant, clip: RealLips) -> Row:
    def make() -> Row:
        track = track_file(clip.path, fps=FPS, task_model=session.task_model, progress=False).face_motion()
        half = len(track.expression) // 2
        first = FaceMotion(track.expression[:half], track.rotation[:half], track.translation[:half])
        row = {"name": clip.path.stem, "reference ranges": ranges(_expression(first)), **_both(
            session, variant, read_audio(clip.path), _style(first), 0, _expression(track), half)}
        for side in (WITH, WITHOUT):
            row[side]["sync"] = score(np.array(row[side].pop("lips")), clip.aperture)[0]
        return row

    return session.item("style", clip.path.stem, (_SELF, motions, style_clips), make, files=[clip.path], variant=variant)


def _both(session: Session, variant: Variant, samples: NDArray[np.float32], style: Style, seed: int, target: Matrix,
          start: int) -> Row:
    """With and without the reference, against the target from frame `start` on."""
    portrait: Path = session.neutral_portrait()
    found: Row = {}
    for side, chosen in ((WITH, style), (WITHOUT, Style())):
        moved = motions.motion_of(session.studio, variant, session.studio.portrait(portrait), samples, seed=seed, style=chosen)
        made = moved["expression"].astype(np.float64)
        late, true = made[start:], target[start:]
        found[side] = {"MAE": coefficient_mae(late, true), "SSIM": coefficient_ssim(late, true), "ranges": ranges(late),
                       "lips": rounded(motion_aperture(moved["expression"]))}
    return found


def _style(reference: FaceMotion) -> Style:
    """As `--style-video` makes it of a clip's track."""
    whole = style_range(reference)
    return NamedStyle("reference", "", whole.expression, whole.pose, style_clips.typical_part(reference)).pipeline_style()


def _expression(motion: FaceMotion) -> Matrix:
    return np.asarray(motion.expression.numpy(), np.float64)
