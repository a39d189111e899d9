"""Intensity by group: does every dial turn up what it names, step by step, and do lips still close?"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chatanyone.evaluation import lips, motions, speaking
from chatanyone.evaluation.bars.closure import closed
from chatanyone.evaluation.lips import Image, Points, motion_aperture
from chatanyone.evaluation.measures import Measure, Outcome, at_least
from chatanyone.evaluation.session import Session
from chatanyone.evaluation.statistics import spearman
from chatanyone.evaluation.studio import GEOMETRY, HEAD, NETWORKS, UPPER_BODY, Motion, Variant
from chatanyone.media.audio import SAMPLE_RATE, read_audio
from chatanyone.vision import face_landmarks
from motion.style import GROUPS, apply_dials
from motion.types import ARKIT_INDEX, BODY_KEYPOINTS, EXPRESSION_GROUPS

TITLE = "Intensity by group"
NEEDS: tuple[str, ...] = ("portraits", "voices")
DIALS = (0.0, 0.5, 1.0, 1.5, 2.0)
READ = ("mouth", "brows", "head")  # what MediaPipe reads surely enough; of the others, how much the pictures change
UPPER = ("shoulders", "hands")  # seen in pictures of the upper body only
PORTRAITS, VOICES, SECONDS, EVERY = 6, 4, 6.0, 9
_BROWS, _EYES = [105, 66, 107, 334, 296, 336], [33, 133, 362, 263]
_LIDS = ("eyeBlinkLeft", "eyeBlinkRight")
_SETTLED = 3  # looks at a picture
_SELF = sys.modules[__name__]
Array = NDArray[np.float64]


def group_deviation(moved: Motion, group: str) -> float:
    """Root mean square of the deviations of all numbers of a group: weights, rad, or shoulder widths. Blinks and gaze do not
    belong to the eyes' intensity and are left out."""
    if group == "head":
        values = moved["rotation"]
    elif group == "shoulders":
        values = moved["body"][:, [BODY_KEYPOINTS.index(f"shoulder{side}") for side in ("Left", "Right")]]
    elif group == "hands":
        values = moved["hands"]
    else:
        names = [name for name in EXPRESSION_GROUPS[group] if name not in _LIDS and not name.startswith("eyeLook")]
        values = moved["expression"][:, [ARKIT_INDEX[name] for name in names]]
    return float(np.sqrt((values.reshape(len(values), -1).astype(np.float64).std(axis=0) ** 2).mean()))


def closures_kept(natural: list[bool], dialled: list[bool]) -> float:
    """Part of the closures made at dial 1 that are made at another."""
    made = [after for before, after in zip(natural, dialled) if before]
    return float(np.mean(made)) if made else float("nan")


def measure(session: Session) -> Outcome:
    variant = session.variants[0] if session.variants[0] != GEOMETRY else NETWORKS
    voices = session.some(session.inputs.spoken or session.inputs.voices, VOICES)
    by_motion: dict[str, dict[str, float]] = {group: {} for group in GROUPS}
    kept: dict[str, float] = {}
    for path in session.progress("intensity, motion", voices):
        row = _motions(session, variant, path)
        for group in GROUPS:
            by_motion[group][path.stem] = spearman(DIALS, row["deviations"][group])
        kept |= {f"{path.stem} at {dial}": value for dial, value in row["kept"].items() if np.isfinite(value)}
    rows = [Measure(f"{group}: dial against deviation, Spearman", values, "", "networks", "smallest", must=at_least(1.0))
            for group, values in by_motion.items()]
    rows.append(Measure("closures kept at other dials", {name: 100 * v for name, v in kept.items()}, "%", must=at_least(90)))
    rows += _seen(session, GEOMETRY, voices[0])  # pictures as the program ships
    dials = ", ".join(f"{dial:g}" for dial in DIALS)
    about = f"dials {dials}; motion of {len(voices)} voices, pictures of up to {PORTRAITS} portraits"
    return Outcome("intensity", TITLE, rows, about)


def _motions(session: Session, variant: Variant, path: Path) -> dict[str, Any]:
    """Of one voice: each group's deviation along its dial, closures kept at other expression dials."""
    def make() -> dict[str, Any]:
        natural = _natural(session, variant, path)
        deviations = {group: [group_deviation(dialled(natural, group, dial), group) for dial in DIALS] for group in GROUPS}
        known = speaking.instants_of(session, path) if path in session.inputs.transcripts else []
        instants = [at for at in known if at < SECONDS]
        hits = {dial: closed(motion_aperture(dialled(natural, "mouth", dial)["expression"]), instants) for dial in DIALS[1:]}
        return {"deviations": deviations, "kept": {f"{dial:g}": closures_kept(hits[1.0], hits[dial])
                                                   for dial in DIALS[1:] if dial != 1 and instants}}

    return session.item("intensity", path.stem, (_SELF, motions), make, files=[path], variant=variant)


def _natural(session: Session, variant: Variant, voice: Path) -> Motion:
    """The first `SECONDS` of a voice with all dials at 1."""
    samples = read_audio(voice)[:int(SECONDS * SAMPLE_RATE)]
    return motions.motion_of(session.studio, variant, session.studio.portrait(session.neutral_portrait()), samples)


def dialled(natural: Motion, group: str, dial: float) -> Motion:
    """The same motion with one group's dial turned, as every path of the program turns it."""
    face, body = apply_dials(*motions.split(natural), groups={group: dial})
    return motions.joined(face, body)


def _seen(session: Session, variant: Variant, voice: Path) -> list[Measure]:
    """The same in pictures, by MediaPipe's landmarks."""
    found: dict[str, dict[str, float]] = {group: {} for group in GROUPS}
    for path in session.progress("intensity, pictures", session.some(session.inputs.portraits, PORTRAITS)):
        row = session.item("intensity", path.stem, (_SELF, motions, lips),
                           lambda: _pictures(session, variant, path, voice), files=[path, voice], variant=variant)
        for group in GROUPS:
            found[group][path.stem] = spearman(DIALS, row[group])
    return [Measure(f"{group}: dial against what is seen, Spearman", values, "", statistic="smallest", must=at_least(1.0))
            for group, values in found.items()]


def _pictures(session: Session, variant: Variant, path: Path, voice: Path) -> dict[str, Any]:
    """Each group alone: beside a talking mouth and a moving head a brow's change is lost in what landmarks make of them."""
    natural, scene_of = _natural(session, variant, voice), session.studio.engine(variant).stages.scene
    found: dict[str, list[float]] = {}
    for size, groups in ((HEAD, [g for g in GROUPS if g not in UPPER]), (UPPER_BODY, UPPER)):
        scene = scene_of(session.studio.portrait(path, size))
        for group in groups:
            films = [_frames(scene, alone(natural, group, dial)) for dial in DIALS]
            if group in READ:
                found[group] = [seen_deviation(_found(film), group) for film in films]
            else:
                found[group] = [picture_deviation(film) for film in films]
    return found


def _found(film: list[Image]) -> list[Points]:
    """Landmarks of each picture, all looked for from those of the first: following from one picture to the next, they went on
    swinging about a face at rest by as much as a brow moves."""
    start = next((points for points in lips.follow_face(film[:1] * _SETTLED) if points is not None), None)
    return [] if start is None else [points for picture in film
                                     if (points := face_landmarks(picture, start, _SETTLED)) is not None]


def alone(natural: Motion, group: str, dial: float) -> Motion:
    """One group at its dial and nothing else: other groups, blinks and gaze rest."""
    still = {name: values.copy() for name, values in natural.items()}
    events = [index for name, index in ARKIT_INDEX.items() if name in _LIDS or name.startswith("eyeLook")]
    still["expression"][:, events] = 0
    face, body = apply_dials(*motions.split(still), groups={**{other: 0.0 for other in GROUPS}, group: dial})
    return motions.joined(face, body)


def picture_deviation(film: list[Image]) -> float:
    """Mean over all pixels of their colours' deviation over time, of 255."""
    return float(np.stack(film).astype(np.float32).std(axis=0).mean())


def _frames(scene: Any, moved: Motion) -> list[Image]:
    pictures = scene(*motions.split({name: values[::EVERY] for name, values in moved.items()}))
    return list(pictures.clamp(0, 1).mul(255).round().byte().permute(0, 2, 3, 1).contiguous().cpu().numpy())


def seen_deviation(points: list[Points], group: str) -> float:
    """Deviation over time of the lips' distance, of the brows' height over the eyes, or of the nose tip, in face heights."""
    if len(points) < 2:
        return float("nan")
    track = np.stack(points).astype(np.float64)[..., :2]
    height = np.linalg.norm(track[:, 10] - track[:, 152], axis=1)
    if group == "mouth":
        return float(np.std([lips.aperture(found) for found in points]))
    if group == "brows":
        return float((np.linalg.norm(track[:, _BROWS].mean(1) - track[:, _EYES].mean(1), axis=1) / height).std())
    return float(track[:, 1].std(axis=0).max() / height.mean())
