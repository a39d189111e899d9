"""Sample sheets of a fine-tuning run: the person's first frame, driven by a sentence that training does not hear.

PNG only, into the run's own folder. They show the person, so they stay where the films are.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from chatanyone import build
from chatanyone.config import load_config
from chatanyone.errors import PortraitError
from chatanyone.finetune.clips import FPS, PersonClip
from chatanyone.media.video import VideoReader
from chatanyone.pipeline import Style
from chatanyone.portrait import Portrait, prepare_portrait
from chatanyone.training import Solver, Task
from motion.style import style_range
from motion.training.face_task import aperture
from motion.types import BodyMotion, FaceMotion

COLUMNS, SIDE = 8, 192  # pictures of a sheet, and their side in px
MOST_FRAMES = 120  # of a sentence
Picture = NDArray[np.uint8]


class FaceSheets:
    """Draws a contact sheet (real, before, now) and curves of lips and head every so many steps.

    Args:
        clip: held out; task: what is trained; begin: the weights it began with.
        folder: of the run, gets ``sheet_<step>.png`` and ``curves_<step>.png``.
        every: steps; sheets come with validations, so it is rounded up to one.
    """

    def __init__(self, clip: PersonClip, task: Task, begin: str, folder: Path, every: int) -> None:
        self.clip, self.task, self.begin, self.folder, self.every = clip, task, begin, folder, every
        self.next = 0
        self._real: list[Picture] = []
        self._portrait: Portrait | None = None
        self._before: tuple[list[Picture], FaceMotion] | None = None

    def __call__(self, solver: Solver) -> None:
        if solver.step == 0 or solver.step < self.next:
            return
        self.next = (solver.step // self.every + 1) * self.every
        if self._before is None:
            self._prepare()
            self._before = self._drive(self.begin)
        now = self.folder / "sheet.safetensors"
        solver.export(now)
        pictures, motion = self._drive(str(now))
        now.unlink()
        if pictures:
            write_sheet(self.folder / f"sheet_{solver.step:06d}.png", [self._real, self._before[0], pictures])
        real = FaceMotion.unpack(self.clip.face[:MOST_FRAMES])
        write_curves(self.folder / f"curves_{solver.step:06d}.png",
                     {"real": real, "before": self._before[1], f"step {solver.step}": motion})

    def _prepare(self) -> None:
        """The film's pictures at the sheet's instants, and its first one as a portrait."""
        frames = islice(VideoReader(self.clip.path, FPS), self.clip.first, self.clip.first + MOST_FRAMES)
        chosen = set(instants(min(len(self.clip), MOST_FRAMES)))
        kept = [frame for index, frame in enumerate(frames) if index in chosen]
        try:
            self._portrait = prepare_portrait(kept[0], (512, 512))
            self._real = [_framed(frame, self._portrait) for frame in kept]
        except PortraitError as error:
            logging.warning("no pictures in the sheets, curves only: %s", error)

    def _drive(self, weights: str) -> tuple[list[Picture], FaceMotion]:
        """Pictures at the sheet's instants, and the motion, of the person speaking the sentence with these weights."""
        config = load_config(None, {"motion.face_weights": weights, "media.size": "512x512"})
        motion: list[Tensor] = []

        def listen(face: FaceMotion, body: BodyMotion) -> None:
            motion.append(face.packed())

        engine = build.pipeline(config, on_motion=listen)
        if self._portrait is None:
            engine.stages = engine.stages._replace(scene=lambda portrait: _blank)
        frames = min(len(self.clip), MOST_FRAMES)
        samples = self.clip.samples[:int(frames * 16000 / FPS)]
        style = Style(style_range(FaceMotion.unpack(self.clip.face)))
        chosen = set(instants(frames))
        made = [frame for index, frame in enumerate(engine.run(samples, engine.init(self._portrait, style=style)))
                if index in chosen]
        pictures = made if self._portrait is not None else []
        return pictures, FaceMotion.unpack(torch.cat(motion))


def instants(frames: int) -> list[int]:
    """Which frames a sheet shows."""
    return sorted({round(index * (frames - 1) / (COLUMNS - 1)) for index in range(COLUMNS)})


def write_sheet(path: Path, rows: Sequence[Sequence[Picture]]) -> None:
    """One row a version, one column an instant."""
    cells = [[np.asarray(Image.fromarray(picture).resize((SIDE, SIDE), Image.Resampling.LANCZOS)) for picture in row]
             for row in rows if row]
    _save(path, Image.fromarray(np.concatenate([np.concatenate(row, 1) for row in cells])))


def write_curves(path: Path, motions: dict[str, FaceMotion]) -> None:
    """Lip opening and head rotation over time."""
    figure = Figure(figsize=(10, 5), layout="constrained")
    lips, head = figure.subplots(2, 1, sharex=True)
    for name, motion in motions.items():
        seconds = np.arange(len(motion.expression)) / float(FPS)
        lips.plot(seconds, aperture(motion).numpy(), label=name, color="black" if name == "real" else None)
        head.plot(seconds, np.degrees(motion.rotation[:, 0].numpy()), color="black" if name == "real" else None)
    lips.set_ylabel("lip opening (jawOpen)")
    head.set_ylabel("head pitch (degrees)")
    head.set_xlabel("seconds")
    lips.legend()
    FigureCanvasAgg(figure).draw()
    _save(path, Image.fromarray(np.asarray(figure.canvas.buffer_rgba())[..., :3]))  # type: ignore[attr-defined]


def _save(path: Path, picture: Image.Image) -> None:
    partial = path.with_suffix(".part")
    picture.save(partial, "png")
    partial.replace(path)


def _framed(frame: Picture, portrait: Portrait) -> Picture:
    """The film's frame as the portrait frames it."""
    x0, y0, x1, y1 = (round(value) for value in portrait.box)
    return np.asarray(Image.fromarray(frame).crop((x0, y0, x1, y1)).resize(portrait.size, Image.Resampling.BICUBIC))


def _blank(face: FaceMotion, body: BodyMotion) -> Tensor:
    """Nothing to see: motion alone is wanted."""
    return torch.zeros(len(face.expression), 3, 1, 1)
