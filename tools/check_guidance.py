"""What guidance does to the motion, without pictures: lips against the clips' own, closures, ranges against the style's.

    python tools/check_guidance.py --clips clips/ [--style lively] [--style tracked.npz] [--strengths 1,1.5,2,3,5]

For each style and each strength, once of the audio and once of the style (the other is 1): r of the lips with the clips' real
lips (clips that `evaluate` takes as references, their first seconds), the lips' deviation against strength 1, closures made at
p, b, m (clips whose words are known), and the range (deviation) of brows and head on all that sound against the style's own.
Each stands twice: net alone / with the style's correction, which was fitted at strength 1. All streams of a row of strengths
run in step, so that the net sees them as one batch.
"""

from __future__ import annotations

import argparse
import copy
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from chatanyone.config import Config
from chatanyone.evaluation import speaking
from chatanyone.evaluation.bars.closure import closed
from chatanyone.evaluation.bars.sync import score
from chatanyone.evaluation.inputs import gather
from chatanyone.evaluation.lips import motion_aperture
from chatanyone.evaluation.session import Session
from chatanyone.evaluation.studio import Studio
from chatanyone.evaluation.work import Work
from chatanyone.media.audio import SAMPLE_RATE, read_audio
from chatanyone.motionfile import MotionDocument
from chatanyone.styles import clips as style_clips
from chatanyone.styles import styles_of
from chatanyone.styles.calibration import Calibration
from chatanyone.styles.style import NamedStyle
from motion.correction import Correction, corrected
from motion.style import style_range
from motion.types import EXPRESSION_GROUPS, FaceMotion

SEED, STARTS = 7, 30  # frames in which a stream leaves rest
BROWS = list(EXPRESSION_GROUPS).index("brows")


class Heard(NamedTuple):
    """One clip: features ``[T, C]`` of its sound, its real lips, seconds of p, b, m."""

    features: Tensor
    real: speaking.Curve
    instants: list[float]


class InStep:
    """A denoiser for many streams, each in a thread of its own: waits until every stream asks, then answers all at once."""

    def __init__(self, net: Any, streams: int) -> None:
        self._net, self._streams, self._met = net, streams, threading.Condition()
        self._asked: list[tuple[Tensor, Tensor, Any, list[Tensor]]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._net, name)

    def denoise(self, noisy: Tensor, timestep: Tensor, context: Any) -> Tensor:
        """As `FaceDenoiser.denoise`."""
        answer: list[Tensor] = []
        with self._met:
            self._asked.append((noisy, timestep, context, answer))
            self._answer_if_all_asked()
            self._met.wait_for(lambda: bool(answer))
        return answer[0]

    def leave(self) -> None:
        """A stream has ended."""
        with self._met:
            self._streams -= 1
            self._answer_if_all_asked()

    def _answer_if_all_asked(self) -> None:
        if not self._asked or len(self._asked) < self._streams:
            return
        for bare in (False, True):
            group = [row for row in self._asked if (row[2].reference is None) == bare]
            if group:
                context = _together([row[2] for row in group])
                made = self._net.denoise(torch.cat([row[0] for row in group]), torch.cat([row[1] for row in group]), context)
                for row, answer in zip(group, made.split(1)):
                    row[3].append(answer)
        self._asked = []
        self._met.notify_all()


def _together(contexts: list[Any]) -> Any:
    """One context of many; all have the same reference, and biases that know no batch."""
    first, count = contexts[0], len(contexts)

    def pairs(name: str) -> list[tuple[Tensor, Tensor]]:
        columns = zip(*(getattr(context, name) for context in contexts))
        return [(torch.cat([key for key, _ in column]), torch.cat([value for _, value in column])) for column in columns]

    shown = first.reference and [(key.expand(count, *key.shape[1:]), value.expand(count, *value.shape[1:]))
                                 for key, value in first.reference]
    return replace(first, audio=pairs("audio"), previous=pairs("previous"), reference=shown,
                   style=torch.cat([context.style for context in contexts]),
                   controls=torch.cat([context.controls for context in contexts]))


def heard(session: Session, speech: Any, limit: int, seconds: float) -> list[Heard]:
    """Reference clips."""
    found = []
    for clip in speaking.references(session, limit):
        samples = read_audio(clip.path)[:int(seconds * SAMPLE_RATE)]
        state = speech.init_state()
        features, state = speech.step(torch.from_numpy(samples), state)
        told = speaking.instants_of(session, clip.path) if clip.path in session.inputs.transcripts else []
        found.append(Heard(torch.cat([features, speech.flush(state)]), clip.aperture, told))
    return found


def spoken(sampler: Any, style: NamedStyle, rows: list[Heard], strengths: list[tuple[float, float]]) -> list[list[Tensor]]:
    """For strengths of audio and style each clip's motion ``[T, 58]`` by the net alone: no correction, no resting face."""
    together = InStep(sampler.denoiser, len(strengths) * len(rows))

    def one(pair: tuple[float, float], features: Tensor) -> Tensor:
        own = copy.copy(sampler)
        own.denoiser, own.guidance_audio, own.guidance_style = together, *pair
        try:
            with torch.inference_mode():
                state = own.init_state(SEED, style.pipeline_style().range, style.reference)
                first, state = own.step(features, state)
                last, _ = own.flush(state)
                return torch.cat([first.packed(), last.packed()]).clone()
        finally:
            together.leave()

    with ThreadPoolExecutor(len(strengths) * len(rows)) as pool:
        jobs = [[pool.submit(one, pair, row.features) for row in rows] for pair in strengths]
        return [[job.result() for job in line] for line in jobs]


def numbers(rows: list[Heard], moved: list[Tensor], style: NamedStyle) -> list[float]:
    """r, amplitude (mm), closures (%), brows and head against the style's range."""
    lips = [motion_aperture(FaceMotion.unpack(motion).expression.numpy()) for motion in moved]
    r = [score(curve, row.real)[0] for curve, row in zip(lips, rows)]
    shut = [hit for curve, row in zip(lips, rows) for hit in closed(curve, row.instants)]
    found = style_range(FaceMotion.unpack(torch.cat([motion[STARTS:] for motion in moved])))
    assert found.expression is not None and found.pose is not None and style.expression is not None and style.pose is not None
    head = float(found.pose[:3].norm() / style.pose[:3].norm())
    return [float(np.mean(r)), float(np.mean([curve.std() for curve in lips])), 100 * float(np.mean(shut)),
            float(found.expression[BROWS] / style.expression[BROWS]), head]


def style_of(name: str, calibration: Calibration) -> NamedStyle:
    """A style by name, or the manner of a tracked clip."""
    if not name.endswith(".npz"):
        return styles_of(Config()).resolve(name)
    return style_clips.clip_manner(MotionDocument.load(name), calibration, Path(name).stem)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=Path, required=True)
    parser.add_argument("--style", action="append", help="name, mixture or tracked .npz; may be repeated (lively)")
    parser.add_argument("--strengths", default="1,1.5,2,3,5")
    parser.add_argument("--limit", type=int, default=12, help="most clips")
    parser.add_argument("--seconds", type=float, default=3.0, help="of each clip")
    parser.add_argument("--work", type=Path, default=Path("work"), help="what was measured on the clips is kept here")
    arguments = parser.parse_args()
    config = Config()
    session = Session(gather(None, None, arguments.clips), Studio(config), Work(arguments.work), arguments.work)
    calibration = Calibration.of(config)
    rows = heard(session, calibration.speech, arguments.limit, arguments.seconds)
    print(f"{len(rows)} clips, {sum(len(row.instants) for row in rows)} closures\n", flush=True)
    print("| style | audio | style | r of the lips | amplitude | closures | brows | head |\n|" + "---|" * 8)
    for name in arguments.style or ["lively"]:
        _table(calibration, rows, name, [float(value) for value in arguments.strengths.split(",")])


def _table(calibration: Calibration, rows: list[Heard], name: str, strengths: list[float]) -> None:
    style = style_of(name, calibration)
    right, base = style.correction, list[list[float]]()
    more = [value for value in strengths if value != 1]
    for pairs in ([(1.0, 1.0), *((value, 1.0) for value in more)], [(1.0, value) for value in more]):
        for (audio, manner), plain in zip(pairs, spoken(calibration.sampler, style, rows, pairs)):
            both = [plain] if right is None else [plain, [_corrected(motion, right) for motion in plain]]
            made = [numbers(rows, moved, style) for moved in both]
            base = base or made
            columns = [" / ".join(form(row[index], first[index]) for row, first in zip(made, base))
                       for index, form in enumerate((_two, _ratio, _whole, _two, _two))]
            print(f"| {style.name} | {audio:g} | {manner:g} | " + " | ".join(columns) + " |", flush=True)


def _corrected(motion: Tensor, right: Correction) -> Tensor:
    return corrected(FaceMotion.unpack(motion), right.gain, right.offset, right.curve).packed()


def _two(value: float, _: float) -> str:
    return f"{value:.2f}"


def _ratio(value: float, first: float) -> str:
    return f"{value / first:.2f}"


def _whole(value: float, _: float) -> str:
    return f"{value:.0f} %"


if __name__ == "__main__":
    main()
