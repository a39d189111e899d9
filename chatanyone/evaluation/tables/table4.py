"""Table 4 of the paper: style transfer. Does the reference bring the person's manner, and leave the words alone?"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from chatanyone import tracking
from chatanyone.evaluation import motions, performed, speaking
from chatanyone.evaluation.bars.sync import score
from chatanyone.evaluation.lips import motion_aperture
from chatanyone.evaluation.measures import Measure, Outcome, at_least, at_most
from chatanyone.evaluation.session import Session
from chatanyone.evaluation.speaking import FPS, RealLips, rounded
from chatanyone.evaluation.statistics import pearson
from chatanyone.evaluation.studio import GEOMETRY, NETWORKS, Variant
from chatanyone.evaluation.work import code_hash
from chatanyone.media.audio import SAMPLE_RATE, read_audio
from chatanyone.pipeline import Style
from chatanyone.styles import clips as style_clips
from chatanyone.styles.calibration import Calibration
from chatanyone.styles.style import NamedStyle
from chatanyone.timebase import first_sample
from motion.style import style_range
from motion.types import EXPRESSION_GROUPS, FaceMotion

TITLE = "Table 4: style transfer"
NEEDS: tuple[str, ...] = ("portraits",)
WITH, WITHOUT = "with the reference", "without"
OWN, STILL = "control: the person's other take", "control: the reference's mean, still"
EXPECTED = {WITH: "expected motion, with the reference", WITHOUT: "expected motion, without"}  # the mean of all seeds
PEOPLE, CLIPS = 16, 8
CLIP_SEEDS = 8  # one seed's glances are chance; a performer's are the target's own
TAKE_SHIFTS = 9  # starts from which the person's other take is laid over the target
# Other words, to see a range on: recordings, seconds of them, seed, frames in which a stream leaves rest.
RANGE_VOICES, RANGE_S, RANGE_SEED, RANGE_STARTS = 3, 20.0, 7, 30
# Clips whose whole is the reference of a range, whatever --limit: r over few is chance. A blink is an event, so three seeds.
RANGE_CLIPS, RANGE_SEEDS = 12, (7, 8, 9)
_SELF = sys.modules[__name__]
Matrix = NDArray[np.float64]  # [T, 52] expression weights
Row = dict[str, Any]


def coefficient_mae(made: Matrix, true: Matrix) -> float:
    """Mean absolute difference over frames and weights."""
    count = min(len(made), len(true))
    return float(np.abs(made[:count] - true[:count]).mean())


def coefficient_ssim(made: Matrix, true: Matrix, data_range: float | None = None) -> float:
    """SSIM (11 × 11, σ 1.5) of the two ``[T, 52]`` matrices as pictures; order of `ARKIT_NAMES`.

    The range is what they span together, torchmetrics' default. With 1, the range that weights could have, the constants C1
    and C2 outweigh small weights and lift every score.
    """
    from torchmetrics.functional.image import structural_similarity_index_measure

    count = min(len(made), len(true))
    a, b = (torch.from_numpy(np.ascontiguousarray(x[:count]))[None, None].float() for x in (made, true))
    found = structural_similarity_index_measure(a, b, data_range=data_range)
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
    calibration = functools.cache(lambda: Calibration.of(session.studio.settings(variant)))
    people = [_person(session, variant, calibration, index) for index in session.progress(
        "style, performer", session.some(list(range(PEOPLE)), PEOPLE))]
    clips = speaking.references(session, CLIPS) if session.inputs.clips else []
    real = [_clip(session, variant, calibration, clip) for clip in session.progress("style, clips", clips)]
    whole = [_whole(session, variant, calibration, path) for path in session.progress(
        "range, clips", session.inputs.clips[:RANGE_CLIPS] if _other_words(session) else [])]
    rows = _table(people, "performer") + (_table(real, "clips") + _sync(real) if real else []) + _whole_ranges(whole)
    about = (f"{len(people)} people of the performer with voices and manners held back from training, reference and target "
             f"with different words; {len(real)} clips, first half as reference, second half as target (their own tracks), "
             f"mean of {CLIP_SEEDS} seeds; ranges also of {len(whole)} whole clips")
    return Outcome("table4", TITLE, rows, about)


def _table(rows: list[Row], kind: str) -> list[Measure]:
    """MAE, SSIM, their gain, and how ranges follow."""
    found = []
    for name in ("MAE", "SSIM", "SSIM of range 1"):
        found += [Measure(f"coefficient {name}, {kind}", {row["name"]: row[side][name] for row in rows}, "", side)
                  for side in (WITHOUT, WITH, EXPECTED[WITHOUT], EXPECTED[WITH], OWN, STILL) if side in rows[0]]
    mae, ssim = ({side: float(np.mean([row[side][name] for row in rows])) for side in (WITH, WITHOUT)}
                 for name in ("MAE", "SSIM"))
    found.append(Measure(f"MAE with ÷ without, {kind}", {"all": mae[WITH] / max(mae[WITHOUT], 1e-9)}, must=at_most(0.7)))
    found.append(Measure(f"SSIM with ÷ without, {kind}", {"all": ssim[WITH] / max(ssim[WITHOUT], 1e-9)}, must=at_least(2)))
    wanted = [row["reference ranges"] for row in rows]
    for title, name in (("range on other words", "other ranges"), ("range on the target's words", "ranges")):
        for side in (WITHOUT, WITH, *([OWN] if name == "ranges" else [])):
            if not all(row[side].get(name) for row in rows):
                continue
            r = range_correlation([row[side][name] for row in rows], wanted)
            bar = at_least(0.8) if side == WITH and name == "other ranges" and kind == "performer" else None
            found.append(Measure(f"{title} against the reference's, r, {kind}", r, "", "networks" if bar else side, must=bar,
                                 note="with; by group" if bar else "by group"))
    return found


def _whole_ranges(rows: list[Row]) -> list[Measure]:
    """How the range on other words follows that of a whole clip, and how one half of a clip foretells the other's."""
    name, wanted = "range on other words against the whole clip's, r, clips", [row["range"] for row in rows]
    made = range_correlation([row["made"] for row in rows], wanted)
    found = [Measure(name, made, must=at_least(0.8), note="with; by group"),
             Measure("range of a half against the other's, r, clips", range_correlation(
                 *([row["halves"][half] for row in rows] for half in (0, 1))), "", OWN, note="by group")]
    return [row for row in found if row.values]


def range_correlation(made: list[list[float]], reference: list[list[float]]) -> dict[str, float]:
    """For each group of weights: r over styles between the deviation that came out and the reference's."""
    a, b = np.array(made, np.float64), np.array(reference, np.float64)
    return {name: pearson(a[:, index], b[:, index]) for index, name in enumerate(EXPRESSION_GROUPS)} if len(a) > 2 else {}


def _sync(rows: list[Row]) -> list[Measure]:
    lost = {row["name"]: row[WITHOUT]["sync"] - row[WITH]["sync"] for row in rows}
    return [Measure("lip sync r", {row["name"]: row[side]["sync"] for row in rows}, "", side, note="of the motion's lips")
            for side in (WITHOUT, WITH)] + [Measure("lip sync r lost to the style", lost, must=at_most(0.03))]


def _person(session: Session, variant: Variant, calibration: Callable[[], Calibration], index: int) -> Row:
    def make() -> Row:
        made = performed.pair(index)
        style = _style(calibration(), made.reference, made.reference_samples)
        return {"name": made.name, "reference ranges": ranges(_expression(made.reference)), **_both(
            session, variant, made.samples, style, [made.seed], _expression(made.reference), _expression(made.target), 0)}

    return session.item("style", f"person-{index}", (_SELF, performed, motions), make, files=_other_words(session),
                        variant=variant, index=index)


def _clip(session: Session, variant: Variant, calibration: Callable[[], Calibration], clip: RealLips) -> Row:
    def make() -> Row:
        track = _track(session, clip.path)
        half = len(track.expression) // 2
        first = FaceMotion(track.expression[:half], track.rotation[:half], track.translation[:half])
        samples = read_audio(clip.path)
        row = {"name": clip.path.stem, "reference ranges": ranges(_expression(first)), **_both(
            session, variant, samples, _style(calibration(), first, samples[:first_sample(half, FPS)]),
            list(range(CLIP_SEEDS)), _expression(first), _expression(track), half)}
        for side in (WITH, WITHOUT):
            row[side]["sync"] = score(np.array(row[side].pop("lips")), clip.aperture)[0]
        return row

    return session.item("style", clip.path.stem, (_SELF, motions, style_clips), make,
                        files=[clip.path, *_other_words(session)], variant=variant)


def _whole(session: Session, variant: Variant, calibration: Callable[[], Calibration], path: Path) -> Row:
    """Ranges of a clip, of its halves, and of what comes out on other words with the whole of it as reference."""
    def make() -> Row:
        track = _track(session, path)
        expression, half = _expression(track), len(track.expression) // 2
        words, style = _words(session), _style(calibration(), track, style_clips.sound(path))
        made = [ranges(_moved(session, variant, words, seed, style)[RANGE_STARTS:]) for seed in RANGE_SEEDS]
        return {"range": ranges(expression), "made": pooled(made),
                "halves": [ranges(expression[:half]), ranges(expression[half:])]}

    return session.item("style", f"whole-{path.stem}", (_SELF, motions, style_clips), make,
                        files=[path, *_other_words(session)], variant=variant)


def pooled(found: list[list[float]]) -> list[float]:
    """Root mean squares over seeds."""
    return [float(value) for value in np.sqrt(np.mean(np.square(found), axis=0))]


def _track(session: Session, path: Path) -> FaceMotion:
    """A clip's face at 30 fps, tracked once."""
    def make() -> Row:
        track = tracking.track_file(path, fps=FPS, task_model=session.task_model, progress=False).face_motion()
        return {"face": np.round(track.packed().double().numpy(), 6).tolist()}

    found = session.item("style", f"track-{path.stem}", (_SELF, tracking), make, files=[path], code=code_hash())
    return FaceMotion.unpack(torch.tensor(found["face"]))


def _both(session: Session, variant: Variant, samples: NDArray[np.float32], style: Style, seeds: list[int], reference: Matrix,
          target: Matrix, start: int) -> Row:
    """With and without the reference, against the target from frame `start` on; the mean over the seeds."""
    true, others = target[start:], _other_words(session)
    found: Row = {OWN: {**other_take(reference, true), "ranges": ranges(true)},
                  STILL: _against(np.broadcast_to(reference.mean(0), true.shape), true)}
    for side, chosen in ((WITH, style), (WITHOUT, Style())):
        moved = np.stack([_moved(session, variant, samples, seed, chosen) for seed in seeds])
        found[side] = {**_mean([_against(one[start:], true) for one in moved]), "ranges": ranges(moved[0][start:]),
                       "lips": rounded(motion_aperture(moved[0].astype(np.float32)))}
        if len(seeds) > 1:
            found[EXPECTED[side]] = _against(moved.mean(0)[start:], true)
        if others:
            found[side]["other ranges"] = ranges(_moved(session, variant, _words(session), RANGE_SEED, chosen)[RANGE_STARTS:])
    return found


def other_take(reference: Matrix, true: Matrix) -> Row:
    """What the person's own reference scores when it is laid over the target: the same manner and range, other times. The
    mean over `TAKE_SHIFTS` starts, the reference repeated where it is too short."""
    count = len(reference)
    starts = [index * count // TAKE_SHIFTS for index in range(TAKE_SHIFTS)]
    return _mean([_against(reference[(np.arange(len(true)) + start) % count], true) for start in starts])


def _mean(rows: list[Row]) -> Row:
    return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}


def _moved(session: Session, variant: Variant, samples: NDArray[np.float32], seed: int, style: Style) -> Matrix:
    portrait = session.studio.portrait(session.neutral_portrait())
    moved = motions.motion_of(session.studio, variant, portrait, samples, seed=seed, style=style)
    return np.asarray(moved["expression"], np.float64)


def _against(made: Matrix, true: Matrix) -> Row:
    return {"MAE": coefficient_mae(made, true), "SSIM": coefficient_ssim(made, true),
            "SSIM of range 1": coefficient_ssim(made, true, 1.0)}


def _other_words(session: Session) -> list[Path]:
    """Recordings of some `RANGE_S`: a range shows over many words, six seconds have two blinks and five raised brows."""
    return session.inputs.voices[:RANGE_VOICES]


def _words(session: Session) -> NDArray[np.float32]:
    return np.concatenate([read_audio(path) for path in _other_words(session)])[:int(RANGE_S * SAMPLE_RATE)]


def _style(calibration: Calibration, reference: FaceMotion, samples: NDArray[np.float32] | None) -> Style:
    """As `--style-video` makes it of a clip's track and sound."""
    whole = style_range(reference)
    style = NamedStyle("reference", "", whole.expression, whole.pose, style_clips.typical_part(reference))
    return calibration.corrected(style, reference, samples).pipeline_style()


def _expression(motion: FaceMotion) -> Matrix:
    return np.asarray(motion.expression.numpy(), np.float64)
