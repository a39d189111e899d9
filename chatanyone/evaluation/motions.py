"""Motion without pictures: the engine's hearing half, for bars that ask what the person does for minutes."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from chatanyone.evaluation.studio import Motion, Studio, Variant
from chatanyone.media.audio import SAMPLE_RATE
from chatanyone.pipeline import AvatarPipeline, Strengths, Style
from chatanyone.portrait import Portrait
from motion.types import BodyMotion, FaceMotion

_HOP = 60  # frames a pass: any gives the same motion, long ones sooner
NAMES = ("expression", "rotation", "translation", "body", "hands")


def motion_of(studio: Studio, variant: Variant, portrait: Portrait, samples: NDArray[np.float32], *, seed: int = 0,
              strengths: Strengths = Strengths(), style: Style = Style()) -> Motion:
    """What the person would do in the film: expression ``[T, 52]``, rotation ``[T, 3]``, translation ``[T, 3]``, body
    ``[T, 14, 3]``, hands ``[T, 2, 51]``."""
    engine = studio.engine(variant)
    kept: list[tuple[FaceMotion, BodyMotion]] = []
    deaf = AvatarPipeline(engine.stages._replace(scene=_nothing), engine.fps, _HOP, lambda *pair: kept.append(pair))
    state = deaf.init(portrait, seed, style, strengths)
    for _ in deaf.run(torch.from_numpy(samples), state):
        pass
    whole = [torch.cat([pair[index].packed() for pair in kept]).cpu() for index in (0, 1)]
    return joined(FaceMotion.unpack(whole[0]), BodyMotion.unpack(whole[1]))


def joined(face: FaceMotion, body: BodyMotion) -> Motion:
    """As named arrays."""
    parts = (face.expression, face.rotation, face.translation, body.delta, body.hands)
    return {name: part.cpu().numpy() for name, part in zip(NAMES, parts)}


def split(motion: Motion) -> tuple[FaceMotion, BodyMotion]:
    """Inverse of `joined`."""
    expression, rotation, translation, delta, hands = (
        torch.from_numpy(np.ascontiguousarray(motion[name])) for name in NAMES)
    return FaceMotion(expression, rotation, translation), BodyMotion(delta, hands)


def _nothing(portrait: Any) -> Any:
    """A scene of pictures of one pixel."""
    return lambda face, body: torch.zeros(len(face.expression), 3, 1, 1)


def speech_and_silence(recordings: list[NDArray[np.float32]], seconds: float, pause_s: float = 4.0,
                       ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Recordings with pauses between them, then silence up to `seconds`; and which 30 fps frames are speech."""
    pieces: list[NDArray[np.float32]] = []
    spoken: list[NDArray[np.bool_]] = []
    left = int(seconds * SAMPLE_RATE)
    for recording in recordings:
        for piece, speaks in ((recording, True), (np.zeros(int(pause_s * SAMPLE_RATE), np.float32), False)):
            piece = piece[:left]
            pieces.append(piece)
            spoken.append(np.full(len(piece), speaks))
            left -= len(piece)
    pieces.append(np.zeros(left, np.float32))
    spoken.append(np.zeros(left, bool))
    flags = np.concatenate(spoken)
    middles = (np.arange(-(-len(flags) * 30 // SAMPLE_RATE)) + 0.5) * SAMPLE_RATE / 30
    return np.concatenate(pieces), flags[np.minimum(middles.astype(int), len(flags) - 1)]
