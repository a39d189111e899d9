"""Films of portraits that speak and fall silent, looked at once for all bars about their pictures."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chatanyone.driver import neutral_motion
from chatanyone.evaluation import lips, pictures, pixels
from chatanyone.evaluation.lips import Image, Points
from chatanyone.evaluation.session import Session
from chatanyone.evaluation.speaking import rounded
from chatanyone.evaluation.studio import Variant
from chatanyone.media.audio import SAMPLE_RATE, read_audio
from chatanyone.pipeline import Strengths
from chatanyone.portrait import Portrait
from chatanyone.vision import PoseLandmarks, detect_hands, detect_pose
from motion.types import ARKIT_INDEX

SPEECH_S, SILENCE_S, STILL_S = 3.0, 3.0, 1.0
ROOM_LEVEL = 1e-3  # RMS of the second half of the silence: -60 dB, a quiet room; the first half is digital silence
EVERY = 8  # frames between the pictures that are looked at closely
USUAL = 10  # portraits
_SHEET_EVERY = 24
_OPEN_LIDS = 0.1  # eyeBlink below which lids do not move
_NOSE, _SHOULDERS = 1, (11, 12)  # MediaPipe's face mesh and pose
_SELF = sys.modules[__name__]


@dataclass(frozen=True)
class Look:
    """What was seen of one portrait.

    aperture: ``[T]`` face heights; nose: ``[T, 2]`` px; speech_frames: where the silence begins
    closely: rows of numbers of every `EVERY`-th frame, by name
    neutral: of the frame of zero motion; jitter: px over `STILL_S` with all dials at zero
    hands: the source's confidence ``[2]``, 0 where it shows none
    """

    name: str
    aperture: NDArray[np.float64]
    nose: NDArray[np.float64]
    speech_frames: int
    closely: dict[str, list[float]]
    neutral: dict[str, float]
    jitter: dict[str, float]
    hands: list[float]
    sheet: str

    def mean(self, name: str) -> float:
        """Over the frames that were looked at closely; NaN where none gave a number."""
        known = [value for value in self.closely[name] if np.isfinite(value)]
        return float(np.mean(known)) if known else float("nan")


def looks(session: Session, variant: Variant) -> Iterator[Look]:
    """One portrait after another."""
    portraits = session.some(session.inputs.portraits, USUAL)
    voices = session.inputs.spoken or session.inputs.voices
    for index, path in enumerate(session.progress(f"films, {variant.name}", portraits)):
        voice = voices[index % len(voices)]
        row = session.item("looks", f"{path.stem}-{variant.name}", (_SELF, pixels, lips),
                           lambda: _look(session, variant, path, voice), files=[path, voice], variant=variant)
        yield Look(path.stem, np.array(row["aperture"]), np.array(row["nose"]), row["speech_frames"], row["closely"],
                   row["neutral"], row["jitter"], row["hands"], row["sheet"])


def sheet(session: Session, variant: Variant, found: list[Look]) -> list[str]:
    """The films' strips as one picture beside the report: each portrait as given, then frames."""
    name = pictures.stack(session.output / f"films-{variant.name}.jpg", [Path(look.sheet) for look in found])
    return [name] if name else []


def sound(voice: Path) -> NDArray[np.float32]:
    """`SPEECH_S` of a voice, then silence, digital and then of a quiet room."""
    speech = read_audio(voice)[:int(SPEECH_S * SAMPLE_RATE)]
    silence = np.zeros(int(SILENCE_S * SAMPLE_RATE), np.float32)
    half = len(silence) // 2
    silence[half:] = ROOM_LEVEL * np.random.default_rng(0).standard_normal(len(silence) - half)
    return np.concatenate([speech, silence])


def _look(session: Session, variant: Variant, path: Path, voice: Path) -> dict[str, Any]:
    portrait, samples = session.studio.portrait(path), sound(voice)
    source = _Source(portrait)
    kept: list[Image] = [source.image]
    frames = _watched(session.studio.film(variant, portrait, samples), source, kept)
    points = list(lips.follow_face(frames))
    for index, found in enumerate(points[::EVERY]):
        source.see_face(index, found)
    strip = session.work.folder / "sheets" / f"{path.stem}-{variant.name}.jpg"
    pictures.save_strip(strip, kept, 288)
    speech_frames = int(min(SPEECH_S, (len(samples) / SAMPLE_RATE) - SILENCE_S) * 30)
    nose = np.array([[np.nan] * 2 if found is None else found[_NOSE, :2] for found in points])
    aperture, _ = lips.without_gaps(np.array([lips.aperture(found) for found in points]))
    return {"aperture": rounded(aperture), "nose": np.nan_to_num(nose).round(4).tolist(), "speech_frames": speech_frames,
            "closely": source.rows, "neutral": _neutral(session, variant, portrait, source),
            "jitter": _jitter(session, variant, portrait), "hands": source.hands, "sheet": str(strip)}


class _Source:
    """The picture, measured, and what frames are against it."""

    def __init__(self, portrait: Portrait) -> None:
        self.portrait, self.image = portrait, pixels.rgb(portrait)
        self.background = pixels.background(portrait)
        self.regions = pixels.regions(portrait, portrait.face.numpy())
        self.hands = _hand_confidence(self.image, portrait)
        self.first: Image | None = None
        self.frames: list[Image] = []
        self.rows: dict[str, list[float]] = {name: [] for name in (
            "face sharpness", "clothes sharpness", "background", "skin", "hair", "clothes", "geometry", "hand 0", "hand 1")}

    def see(self, frame: Image) -> None:
        """A frame to be looked at closely, before its face is known."""
        self.first = frame if self.first is None else self.first
        self.frames.append(frame)
        self.rows["background"].append(round(pixels.change(frame, self.first, self.background), 5))
        for side, confidence in enumerate(_hand_confidence(frame, self.portrait)):
            self.rows[f"hand {side}"].append(confidence)

    def see_face(self, index: int, points: Points | None) -> None:
        """What depends on where the face is in the frame that was seen as number `index`."""
        values = self.compared(self.frames[index], points)
        for name in ("face sharpness", "clothes sharpness", "skin", "hair", "clothes", "geometry"):
            self.rows[name].append(values.get(name, float("nan")))

    def compared(self, frame: Image, points: Points | None) -> dict[str, float]:
        """Sharpness ratios, ΔE and landmark error of one frame; nothing where no face is found."""
        if points is None:
            return {}
        there, here = self.regions, pixels.regions(self.portrait, points)
        result = {f"{name} sharpness": pixels.laplacian_energy(frame, getattr(here, name))
                  / pixels.laplacian_energy(self.image, getattr(there, name)) for name in ("face", "clothes")}
        result |= {name: pixels.delta_e(pixels.mean_lab(frame, getattr(here, name)),
                                        pixels.mean_lab(self.image, getattr(there, name)))
                   for name in ("skin", "hair", "clothes")}
        result["geometry"] = pixels.geometry_error(points, self.portrait.face.numpy(), pixels.STILL)
        return {name: round(value, 5) for name, value in result.items()}


def _watched(film: Iterator[Image], source: _Source, kept: list[Image]) -> Iterator[Image]:
    """Every frame, some of them looked at closely and some kept for the contact sheet."""
    for index, frame in enumerate(film):
        if index % EVERY == 0:
            source.see(frame)
        if index % _SHEET_EVERY == _SHEET_EVERY // 2:
            kept.append(frame)
        yield frame


def _hand_confidence(image: Image, portrait: Portrait) -> list[float]:
    """MediaPipe's confidence of the hands the picture shows; 0 where one is not found."""
    if not any(portrait.hand_seen):
        return [0.0, 0.0]
    pose = PoseLandmarks(portrait.pose.numpy(), portrait.pose_visibility.numpy())
    found = detect_hands(image, pose if portrait.pose_visibility.any() else None)
    return [round(hand.confidence, 4) if hand is not None and seen else 0.0
            for hand, seen in zip(found, portrait.hand_seen)]


def _neutral(session: Session, variant: Variant, portrait: Portrait, source: _Source) -> dict[str, float]:
    """The frame of zero motion against the picture."""
    scene = session.studio.engine(variant).stages.scene(portrait)
    picture = scene(*neutral_motion(1))[0].clamp(0, 1).mul(255).round().byte().permute(1, 2, 0).cpu().numpy()
    points = lips.face_landmarks(picture, portrait.face.numpy(), passes=2)
    given = lips.face_landmarks(source.image, portrait.face.numpy(), passes=2)
    if points is None or given is None:
        return {}
    return {"geometry": pixels.geometry_error(points, given), **{
        name: value for name, value in source.compared(picture, points).items() if "sharpness" in name}}


def _jitter(session: Session, variant: Variant, portrait: Portrait) -> dict[str, float]:
    """Standard deviation, px, of nose and shoulders over silence with all dials at zero; blinks are left out."""
    motion: dict[str, NDArray[Any]] = {}
    samples = np.zeros(int(STILL_S * SAMPLE_RATE), np.float32)
    frames = list(session.studio.film(variant, portrait, samples, strengths=Strengths(0, 0, 0), motion=motion))
    still = np.flatnonzero(motion["expression"][:, ARKIT_INDEX["eyeBlinkLeft"]] < _OPEN_LIDS)
    chosen = [frames[index] for index in still]
    noses = [found[_NOSE, :2] for found in lips.follow_face(chosen) if found is not None]
    poses = [pose.points[list(_SHOULDERS), :2] for pose in map(detect_pose, chosen[::3]) if pose is not None]
    return {"nose": _spread(noses), "shoulders": _spread(poses)}


def _spread(points: list[NDArray[np.float32]]) -> float:
    """Largest standard deviation of a coordinate."""
    return float(np.std(np.array(points, np.float64), axis=0).max()) if len(points) > 1 else float("nan")
