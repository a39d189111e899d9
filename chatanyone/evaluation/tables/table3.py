"""Table 3 of the paper: a head speaks from its first frame and its sound alone."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chatanyone.evaluation import learned, lips, reenacted, speaking, syncnet
from chatanyone.evaluation.bars.sync import score
from chatanyone.evaluation.lips import Image, Points
from chatanyone.evaluation.measures import Measure, Outcome, not_computed
from chatanyone.evaluation.session import Session
from chatanyone.evaluation.speaking import FPS, MAX_LAG, RealLips
from chatanyone.evaluation.statistics import Curve, best_lag
from chatanyone.evaluation.studio import HEAD, Variant
from chatanyone.media.audio import read_audio
from chatanyone.media.video import VideoReader
from chatanyone.portrait import Portrait, prepare_portrait

TITLE = "Table 3: audio-driven heads"
NEEDS: tuple[str, ...] = ("clips",)
CLIPS = 8
_DUMP_EVERY = 6
_SELF = sys.modules[__name__]


def diversity(points: list[Points]) -> float:
    """Mean standard deviation of the 478 face points over time, % of the mean face width. The paper's normalisation is not
    given; this one is ours."""
    track = np.stack([found[:, :2] for found in points]).astype(np.float64)
    width = float(np.linalg.norm(track[:, 234] - track[:, 454], axis=1).mean())
    return 100 * float(np.sqrt(track.var(axis=0).sum(axis=1)).mean()) / width


def speed_r(aperture: Curve, loudness: Curve) -> tuple[float, int]:
    """Weight-free sync: largest r between how fast the mouth moves and how fast the loudness changes, and its lag
    (positive: the mouth comes late)."""
    return best_lag(np.diff(aperture), np.diff(loudness), MAX_LAG)


def measure(session: Session) -> Outcome:
    clips = speaking.references(session, CLIPS)
    if not clips:
        return Outcome("table3", TITLE, [not_computed("sync", "no clip whose lips follow its own sound")], matrix=True)
    rows = [row for variant in session.variants for row in _rows(session, variant, clips)]
    rows += _real(session, clips)
    about = (f"{len(clips)} clips: a head of 512 × 512 from the clip's first frame, spoken by the clip's sound. Lip sync, and "
             "the correlation of mouth speed with the change of loudness, stand for SyncNet; diversity is our reading")
    return Outcome("table3", TITLE, rows, about, matrix=True)


def _rows(session: Session, variant: Variant, clips: list[RealLips]) -> list[Measure]:
    found = {clip.path.stem: _film(session, variant, clip) for clip in session.progress(f"table 3, {variant.name}", clips)}
    real = {clip.path.stem: clip for clip in clips}
    speeds = {name: speed_r(np.array(row["aperture"]), real[name].loudness) for name, row in found.items()}
    return [
        Measure("r with the real lips", {name: score(np.array(row["aperture"]), real[name].aperture)[0]
                                         for name, row in found.items()}, "", variant.name),
        Measure("mouth speed against loudness, r", {name: r for name, (r, _) in speeds.items()}, "", variant.name),
        Measure("its lag", {name: float(lag) for name, (_, lag) in speeds.items()}, "frames", variant.name),
        Measure("diversity", {name: row["diversity"] for name, row in found.items()}, "% of face width", variant.name),
        *[row for row in learned.of_pairs(session, f"audio {variant.name}", f"true audio {variant.name}", list(found),
                                          variant.name) if row.name in ("FID", "CSIM")],
        *_syncnet(session, found, variant.name),
    ]


def _syncnet(session: Session, rows: dict[str, dict[str, Any]], variant: str) -> list[Measure]:
    if "syncnet" not in session.weights:
        return [not_computed("Sync-C, Sync-D", "they need --syncnet", variant)]
    return [Measure(name, {clip: row["syncnet"][name] for clip, row in rows.items() if row["syncnet"]}, "", variant)
            for name in ("Sync-C", "Sync-D")]


def _real(session: Session, clips: list[RealLips]) -> list[Measure]:
    """The clips themselves: what a perfect film would score."""
    def spread(clip: RealLips) -> dict[str, Any]:
        with VideoReader(clip.path, FPS) as reader:
            return {"diversity": diversity([found for found in lips.follow_face(reader) if found is not None])}

    speeds = {clip.path.stem: speed_r(clip.aperture, clip.loudness) for clip in clips}
    rows = {clip.path.stem: session.item("diversity", clip.path.stem, (_SELF, lips), lambda: spread(clip), files=[clip.path])
            for clip in clips}
    name = "the clips themselves"
    return [Measure("mouth speed against loudness, r", {clip: r for clip, (r, _) in speeds.items()}, "", name),
            Measure("its lag", {clip: float(lag) for clip, (_, lag) in speeds.items()}, "frames", name),
            Measure("diversity", {clip: row["diversity"] for clip, row in rows.items()}, "% of face width", name)]


def _film(session: Session, variant: Variant, clip: RealLips) -> dict[str, Any]:
    dumped, weights = bool(session.weights), session.weights.get("syncnet")

    def make() -> dict[str, Any]:
        portrait = prepare_portrait(_first(clip.path), HEAD)
        samples = read_audio(clip.path)
        frames = session.studio.film(variant, portrait, samples)
        if dumped:
            _dump_true(session, f"audio {variant.name}", clip.path, portrait)
            frames = _dumping(frames, reenacted.frames_folder(session, f"audio {variant.name}", clip.path.stem))
        kept: list[Image] = []
        points = list(lips.follow_face(_kept(frames, kept) if weights else frames))
        curve, _ = lips.without_gaps(np.array([lips.aperture(found) for found in points]))
        rate = session.studio.config.media.rate
        return {"aperture": speaking.rounded(curve), "diversity": diversity([p for p in points if p is not None]),
                "syncnet": syncnet.of_film(weights, kept, points, samples, rate) if weights else {}}

    return session.item("audio_driven", f"{clip.path.stem}-{variant.name}", (_SELF, lips), make, files=[clip.path],
                        variant=variant, dumped=dumped, syncnet=weights is not None)


def _kept(frames: Iterator[Image], kept: list[Image]) -> Iterator[Image]:
    for frame in frames:
        kept.append(frame)
        yield frame


def _first(path: Path) -> NDArray[np.uint8]:
    with VideoReader(path, FPS) as reader:
        return next(iter(reader))


def _dump_true(session: Session, name: str, path: Path, portrait: Portrait) -> None:
    """The clip's own frames, framed as the film's."""
    folder = reenacted.frames_folder(session, f"true {name}", path.stem)
    with VideoReader(path, FPS) as reader:
        for index, image in enumerate(islice(reader, 0, None, _DUMP_EVERY)):
            reenacted.dump(folder / f"{index:04d}.png", reenacted.framed(image, portrait))


def _dumping(frames: Iterator[Image], folder: Path) -> Iterator[Image]:
    def keep(index: int, frame: Image) -> Image:
        if index % _DUMP_EVERY == 0:
            reenacted.dump(folder / f"{index // _DUMP_EVERY:04d}.png", frame)
        return frame

    return (keep(index, frame) for index, frame in enumerate(frames))
