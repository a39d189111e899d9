"""Fine-tuning of the rendering nets on one person's films."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from chatanyone.build import SHIPPED, weights_path
from chatanyone.checkpoints import load_weights, read_info
from chatanyone.finetune.clips import glance, split, total_seconds
from chatanyone.finetune.pairs import write_pairs
from chatanyone.finetune.sheets import COLUMNS, Picture, write_sheet
from chatanyone.training import Processes, Solver, Task
from chatanyone.training.task import companions
from render.renderer import Renderer
from render.training.data import pair_paths, read_pair, unpack
from render.training.task import LossWeights, RenderTask, draw_pair

# A film has no true flow to learn from; what is left of the losses is about pictures. Our choice.
WEIGHTS = LossWeights(flow=0.0, occlusion=0.0)


class PersonRenderTask:
    """The renderer's task from shipped weights, scored by its error on held-out films.

    Args:
        folder: of pairs; weights: file to begin with.
    """

    kind = "render"
    score = "held_out_error"

    def __init__(self, folder: Path, weights: str) -> None:
        config, tensors = load_weights(weights, kind=self.kind)
        self._tensors = {name: value.float() if value.is_floating_point() else value for name, value in tensors.items()}
        # What ships leaves the inside of the mouth to geometry; this person's films show this person's teeth.
        self.inner = RenderTask(folder, sizes={**config, "mouth": 1.0}, weights=WEIGHTS)
        self.config = self.inner.config

    def build(self) -> nn.Module:
        net = Renderer(**self.config)
        net.load_state_dict(self._tensors)
        return net

    def companions(self) -> Mapping[str, nn.Module]:
        return companions(self.inner)

    def batches(self, seed: int) -> Iterator[dict[str, Tensor]]:
        return self.inner.batches(seed)

    def loss(self, model: nn.Module, batch: dict[str, Tensor], step: int) -> tuple[Tensor, dict[str, float]]:
        return self.inner.loss(model, batch, step)

    def validate(self, model: nn.Module) -> dict[str, float]:
        """The task's numbers, and the root mean square error of the person's pixels that they stand for."""
        numbers = self.inner.validate(model)
        return {self.score: float(10 ** (-numbers["nets_person"] / 20)), **numbers}


class RenderSheets:
    """Rows real, geometry, before, now of held-out pairs, every so many steps."""

    def __init__(self, folder: Path, begin: str, run: Path, every: int) -> None:
        paths = pair_paths(folder, "held_out")
        chosen = sorted({round(i * (len(paths) - 1) / (COLUMNS - 1)) for i in range(COLUMNS)})
        self.paths, self.begin, self.run, self.every, self.next = [paths[i] for i in chosen], begin, run, every, 0
        self._before: list[Picture] = []

    def __call__(self, solver: Solver) -> None:
        if solver.step == 0 or solver.step < self.next:
            return
        self.next = (solver.step // self.every + 1) * self.every
        pairs = [unpack({name: value.to(solver.device) for name, value in read_pair(path).items()}) for path in self.paths]
        if not self._before:
            config, tensors = load_weights(self.begin, kind="render")
            self._before = self._drawn(config, tensors, solver.device, pairs)
        now = self._drawn(solver.task.config, solver.average, solver.device, pairs)
        rows = [[_face(pair, pair.target) for pair in pairs], [_face(pair, pair.frame) for pair in pairs], self._before, now]
        write_sheet(self.run / f"sheet_{solver.step:06d}.png", rows)

    @staticmethod
    @torch.no_grad()
    def _drawn(config: dict[str, Any], tensors: Mapping[str, Tensor], device: torch.device, pairs: list[Any]) -> list[Picture]:
        net = Renderer(**config)
        net.load_state_dict({name: value.float() if value.is_floating_point() else value for name, value in tensors.items()})
        net = net.to(device).eval()
        return [_face(pair, draw_pair(net, pair)) for pair in pairs]


def _face(pair: Any, frame: Tensor) -> Picture:
    """The face window as bytes."""
    rows, columns = pair.window
    window = frame[0, :, rows, columns].clamp(0, 1).mul(255).round().byte()
    return np.ascontiguousarray(window.permute(1, 2, 0).cpu().numpy())


def render_job(options: argparse.Namespace, processes: Processes,
               ) -> tuple[Task, dict[str, Any], Callable[[Solver], None] | None]:
    """The task, the notes for its weights, and what draws the sample sheets."""
    begin = str(options.warm_start or weights_path("render", SHIPPED))
    options.warm_start = None  # the task itself begins there
    folder = options.run_folder / "pairs"
    notes: dict[str, Any] = {"begun_from": read_info(begin).sha256}
    if processes.is_main:
        training, apart = split(glance(options.clips_folder))
        counts = [write_pairs(part, folder, name, logging.info) for name, part in (("train", training), ("held_out", apart))]
        logging.info("%d pairs of %.0f s to train on, %d held out", counts[0], total_seconds(training), counts[1])
        notes |= {"pairs": counts[0], "seconds": round(total_seconds(training), 1)}
    processes.wait()
    task = PersonRenderTask(folder, begin)
    sheets = RenderSheets(folder, begin, options.run_folder, options.sheet_every) if options.sheet_every else None
    return task, notes, sheets
