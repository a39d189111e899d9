"""One solver for every net: a resumable loop that knows nothing of what it trains.

A `Task` says what is learned; `Solver` does the rest: AdamW, warm-up and cosine, average of the weights (EMA),
clipping, bfloat16, a time limit, a log, and a training state in safetensors.

Resuming is exact: the random numbers of a step depend on `(seed, step)` alone, and the stream of batches starts anew
every `SolverConfig.segment_steps` steps from a seed of its own, so that resuming skips at most one segment of batches.
The one exception is `anneal_minutes`, which ties the learning rate to the clock.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import logging
import math
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from chatanyone.checkpoints import load_weights, read_info, save_weights

logger = logging.getLogger(__name__)

_OPTIMIZER_KEYS = ("step", "exp_avg", "exp_avg_sq")  # the whole state AdamW keeps of a parameter


class Task(Protocol):
    """What a net learns. `config` rebuilds the net: `build()` must depend on it alone."""

    kind: str
    config: dict[str, Any]

    def build(self) -> nn.Module:
        """A fresh net."""

    def batches(self, seed: int) -> Iterator[dict[str, Tensor]]:
        """Endless batches, on the CPU, that depend on the seed alone."""

    def loss(self, model: nn.Module, batch: dict[str, Tensor], step: int) -> tuple[Tensor, dict[str, float]]:
        """The scalar to minimise and the numbers worth a log line."""

    def validate(self, model: nn.Module) -> dict[str, float]:
        """Numbers of the averaged net in evaluation mode."""


@dataclass
class SolverConfig:
    """How to train. Times in minutes, lengths in steps."""

    steps: int = 10_000
    learning_rate: float = 3e-4
    warmup_steps: int = 200
    final_rate: float = 0.02  # of the learning rate, at the end of the cosine
    weight_decay: float = 0.01  # on matrices only
    betas: tuple[float, float] = (0.9, 0.99)
    grad_clip: float = 1.0
    ema_decay: float = 0.999
    precision: str = "bf16"  # bf16 | fp32
    device: str = "auto"  # auto | cpu | cuda
    threads: int | None = None  # of the CPU; None leaves torch's choice
    seed: int = 0
    segment_steps: int = 200
    log_every: int = 50
    validate_every: int = 1000
    save_minutes: float = 3.0
    minutes: float | None = None  # stop this run (not the schedule) after so long
    anneal_minutes: float | None = None  # cosine over training time instead of steps

    @classmethod
    def add_arguments(cls, parser: argparse.ArgumentParser) -> None:
        """One `--name` for each field."""
        for field in dataclasses.fields(cls):
            if field.name == "betas":
                continue
            kind = {"int": int, "float": float, "int | None": int, "float | None": float}.get(str(field.type), str)
            parser.add_argument("--" + field.name.replace("_", "-"), type=kind, default=field.default)

    @classmethod
    def from_arguments(cls, arguments: argparse.Namespace) -> SolverConfig:
        """From what `add_arguments` parsed."""
        names = {field.name for field in dataclasses.fields(cls)}
        return cls(**{name: value for name, value in vars(arguments).items() if name in names})


class Solver:
    """Trains a task inside a folder: `state.safetensors` to resume from, `log.jsonl` to read.

    Args:
        task: what to learn.
        config: how.
        folder: of this run. When it holds a state, the run goes on from there.
    """

    def __init__(self, task: Task, config: SolverConfig, folder: str | Path) -> None:
        if config.threads is not None:
            torch.set_num_threads(config.threads)
        self.task, self.config, self.folder = task, config, Path(folder)
        self.device = _device(config.device)
        torch.manual_seed(config.seed)
        self.model = task.build().to(self.device)
        self.average = {name: value.detach().clone() for name, value in self.model.state_dict().items()}
        self.optimizer = torch.optim.AdamW(self._groups(), lr=config.learning_rate, betas=config.betas)
        self.step, self.elapsed_s = 0, 0.0
        self._stop = False
        if self.state_path.is_file():
            self.load_state()

    @property
    def state_path(self) -> Path:
        """The file to resume from."""
        return self.folder / "state.safetensors"

    def run(self) -> dict[str, float]:
        """Trains until the steps or the minutes are over; returns the last validation."""
        self.folder.mkdir(parents=True, exist_ok=True)
        start, saved = time.monotonic(), time.monotonic()
        base = self.elapsed_s
        with self._stop_on_signal():
            for batch in self._batches():
                numbers = self.run_step(batch)
                now = time.monotonic()
                self.elapsed_s = base + now - start
                if self.step % self.config.log_every == 0 or self.step == 1:
                    self._log("train", numbers)
                if self.step % self.config.validate_every == 0:
                    self._log("validate", self.validate())
                if now - saved > self.config.save_minutes * 60:
                    self.save_state()
                    saved = now
                if self._finished(now - start):
                    break
        result = self.validate()
        self._log("validate", result)
        self.save_state()
        return result

    def run_step(self, batch: Mapping[str, Tensor]) -> dict[str, float]:
        """One update; the random numbers depend on the seed and the step alone."""
        torch.manual_seed(self.config.seed * 1_000_003 + self.step)
        self.model.train()
        rate = self.learning_rate()
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        moved = {name: tensor.to(self.device, non_blocking=True) for name, tensor in batch.items()}
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.precision == "bf16"):
            loss, numbers = self.task.loss(self.model, moved, self.step)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.config.grad_clip)
        if torch.isfinite(norm):  # one bad batch must not destroy hours
            self.optimizer.step()
        self.step += 1
        self._update_average()
        return {"loss": float(loss.detach()), "grad_norm": float(norm), "rate": rate, **numbers}

    def learning_rate(self) -> float:
        """Linear warm-up, then cosine to `final_rate`."""
        c = self.config
        progress = self.elapsed_s / (60 * c.anneal_minutes) if c.anneal_minutes else self.step / max(c.steps, 1)
        cosine = 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))
        warmup = min(1.0, (self.step + 1) / max(c.warmup_steps, 1))
        return c.learning_rate * warmup * (c.final_rate + (1 - c.final_rate) * cosine)

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """The task's numbers for the averaged weights."""
        trained = {name: value.detach().clone() for name, value in self.model.state_dict().items()}
        self.model.load_state_dict(self.average)
        self.model.eval()
        try:
            return self.task.validate(self.model)
        finally:
            self.model.load_state_dict(trained)
            self.model.train()

    def export(self, path: str | Path, extra: Mapping[str, Any] | None = None, *, half: bool = False) -> None:
        """Writes the averaged weights as a weights file of the task's kind; `half` stores matrices in float16."""
        notes = {"step": self.step, "minutes": round(self.elapsed_s / 60, 1), **(extra or {})}
        weights = {name: value.half() if half and value.is_floating_point() and value.ndim >= 2 else value
                   for name, value in self.average.items()}
        save_weights(path, weights, kind=self.task.kind, config=self.task.config, extra=notes)

    def save_state(self) -> None:
        """Everything that resuming needs, in one file."""
        tensors = {f"model.{name}": value for name, value in self.model.state_dict().items()}
        tensors |= {f"average.{name}": value for name, value in self.average.items()}
        for index, state in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{key}": torch.as_tensor(state[key]) for key in _OPTIMIZER_KEYS}
        extra = {"step": self.step, "elapsed_s": self.elapsed_s}
        save_weights(self.state_path, tensors, kind=f"{self.task.kind}/state", config=self.task.config, extra=extra)

    def load_state(self) -> None:
        """Goes on from `state_path`."""
        _, tensors = load_weights(self.state_path, kind=f"{self.task.kind}/state")
        extra = read_info(self.state_path).extra
        self.step, self.elapsed_s = int(extra["step"]), float(extra["elapsed_s"])
        self.model.load_state_dict(_under("model.", tensors))
        self.average = {name: value.to(self.device) for name, value in _under("average.", tensors).items()}
        states: dict[int, dict[str, Tensor]] = {}
        for name, value in _under("optimizer.", tensors).items():
            index, key = name.split(".")
            states.setdefault(int(index), {})[key] = value
        self.optimizer.load_state_dict({"state": states, "param_groups": self.optimizer.state_dict()["param_groups"]})

    def _groups(self) -> list[dict[str, Any]]:
        """Weight decay for matrices only."""
        parameters = [p for p in self.model.parameters() if p.requires_grad]
        return [
            {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": self.config.weight_decay},
            {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
        ]

    def _batches(self) -> Iterator[dict[str, Tensor]]:
        """The task's batches from the present step on, in segments that each have a seed."""
        while self.step < self.config.steps:
            segment, done = divmod(self.step, self.config.segment_steps)
            batches = self.task.batches(self.config.seed * 1_000_003 + segment)
            yield from itertools.islice(batches, done, self.config.segment_steps)

    @torch.no_grad()
    def _update_average(self) -> None:
        """Exponential average, shorter at the start so that it forgets the initial weights."""
        decay = min(self.config.ema_decay, (1 + self.step) / (10 + self.step))
        for name, value in self.model.state_dict().items():
            if value.is_floating_point():
                self.average[name].lerp_(value, 1 - decay)
            else:
                self.average[name].copy_(value)

    def _finished(self, run_s: float) -> bool:
        c = self.config
        out_of_time = c.minutes is not None and run_s > 60 * c.minutes
        annealed = c.anneal_minutes is not None and self.elapsed_s > 60 * c.anneal_minutes
        return self._stop or out_of_time or annealed or self.step >= c.steps

    def _log(self, event: str, numbers: Mapping[str, float]) -> None:
        record = {"event": event, "step": self.step, "elapsed_s": round(self.elapsed_s, 1), **numbers}
        with (self.folder / "log.jsonl").open("a") as file:
            file.write(json.dumps(record) + "\n")
        text = "  ".join(f"{name} {value:.4g}" for name, value in numbers.items())
        logger.info("%s %d  %.1f min  %s", event, self.step, self.elapsed_s / 60, text)

    @contextmanager
    def _stop_on_signal(self) -> Iterator[None]:
        """Ctrl-C and SIGTERM end the run after the present step, with its state saved."""
        def stop(number: int, frame: FrameType | None) -> None:
            self._stop = True

        try:
            before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
        except ValueError:  # not the main thread: leave signals alone
            before = {}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _device(name: str) -> torch.device:
    """`auto` takes the GPU where there is one."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The entries below a prefix, without it."""
    return {name[len(prefix):]: value for name, value in tensors.items() if name.startswith(prefix)}
