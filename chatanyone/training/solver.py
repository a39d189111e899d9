"""One solver for every net: a resumable loop that knows nothing of what it trains.

A `Task` says what is learned; `Solver` does the rest: AdamW, warm-up and cosine, average of the weights (EMA), clipping,
bfloat16, gradient accumulation, a time limit, early stopping, a log, a training state in safetensors, and all of that on
the processes of `accelerate launch` as well: gradients are averaged, the main process validates and writes.

Resuming is exact: the random numbers of a step depend on `(seed, step, process)` alone, and the stream of batches starts
anew every `SolverConfig.segment_steps` steps from a seed of its own, so that resuming skips at most one segment of
batches. The one exception is `anneal_minutes`, which ties the learning rate to the clock.
"""

from __future__ import annotations

import itertools
import json
import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from chatanyone.checkpoints import load_weights, load_with_info, save_weights
from chatanyone.errors import ConfigError
from chatanyone.training.companions import Companions, load_optimizer, optimizer_tensors, under
from chatanyone.training.processes import Processes
from chatanyone.training.settings import SolverConfig
from chatanyone.training.signals import StopRequest
from chatanyone.training.task import Task, companions

logger = logging.getLogger(__name__)

SEED_STRIDE = 1_000_003  # between the random numbers of neighbouring seeds


class Solver:
    """Trains a task inside a folder: `state.safetensors` to resume from, `log.jsonl` to read.

    Args:
        task: what to learn. With `config.patience` it needs an attribute ``score``: the validation number to minimise.
        config: how.
        folder: of this run. When it holds a state, the run goes on from there. All processes must see it.
        processes: that train together; found in the environment.
        on_validate: is handed the solver after each validation, on the main process.
    """

    def __init__(self, task: Task, config: SolverConfig, folder: str | Path, processes: Processes | None = None,
                 on_validate: Callable[[Solver], None] | None = None) -> None:
        if config.threads is not None:
            torch.set_num_threads(config.threads)
        if config.patience is not None and not hasattr(task, "score"):
            raise ConfigError(f"patience needs one number to watch, and the task '{task.kind}' names none; leave it out")
        self.task, self.config, self.folder = task, config, Path(folder)
        self.processes = processes or Processes(config.device)
        self.device, self.on_validate = self.processes.device, on_validate
        torch.manual_seed(config.seed)
        self.model = task.build().to(self.device)
        self.processes.share(self.model.state_dict().values())
        self.companions = Companions(companions(task), self.processes)
        self.average = {name: value.detach().clone() for name, value in self.model.state_dict().items()}
        self.optimizer = torch.optim.AdamW(self._groups(), lr=config.learning_rate, betas=config.betas)
        self.step, self.elapsed_s = 0, 0.0
        self.best, self.best_step, self.waited = math.inf, 0, 0  # of early stopping
        self._stop = StopRequest()
        if self.state_path.is_file():
            self.load_state()
        self._check_together()

    @property
    def state_path(self) -> Path:
        """The file to resume from."""
        return self.folder / "state.safetensors"

    @property
    def best_path(self) -> Path:
        """The weights that validated best; there with `patience` only."""
        return self.folder / "best.safetensors"

    def run(self) -> dict[str, float]:
        """Trains until the steps or the minutes are over; returns the last validation (on the main process)."""
        self.folder.mkdir(parents=True, exist_ok=True)
        start = saved = time.monotonic()
        base = self.elapsed_s
        if self.config.patience is not None and self.step == 0 and self.processes.is_main:
            self._validated()  # what it begins with is the first to beat
        with self._stop.on_signal():
            for batches in () if self._given_up() else self._batches():
                numbers = self.run_step(*batches)
                now = time.monotonic()
                finished = self._agree(base + now - start, now - start)
                self._report(numbers, finished)
                if self.processes.is_main and now - saved > self.config.save_minutes * 60:
                    self.save_state()
                    saved = now
                if finished:
                    break
        if not self.processes.is_main:
            return {}
        self.save_state()  # first of all: whoever asked us to stop may not wait for the validation
        result = self._validated()
        self.save_state()
        return result

    def run_step(self, *batches: Mapping[str, Tensor]) -> dict[str, float]:
        """One update from the mean loss of the batches; random numbers depend on seed, step and process alone."""
        torch.manual_seed(self.processes.seed(self.config.seed * SEED_STRIDE + self.step))
        self.model.train()
        rate = self.learning_rate()
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.zero_grad(set_to_none=True)
        rows = [self._backward(batch, 1 / len(batches)) for batch in batches]
        parameters = list(self.model.parameters())
        self.processes.average(parameters)
        norm = nn.utils.clip_grad_norm_(parameters, self.config.grad_clip)
        if torch.isfinite(norm):  # one bad batch must not destroy hours
            self.optimizer.step()
        self.step += 1
        if self.processes.is_main:
            self._update_average()
        return _mean(rows) | {"grad_norm": float(norm), "rate": rate}

    def _backward(self, batch: Mapping[str, Tensor], share: float) -> dict[str, float]:
        """Adds a batch's gradients."""
        moved = {name: tensor.to(self.device, non_blocking=True) for name, tensor in batch.items()}
        autocast = torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.precision == "bf16")
        with self.companions.together(), autocast:
            loss, numbers = self.task.loss(self.model, moved, self.step)
        (loss * share).backward()
        return {"loss": float(loss.detach()), **numbers}

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

    def begin_with(self, tensors: Mapping[str, Tensor]) -> int:
        """Starts from other weights where name and shape fit; returns how many did."""
        own = self.model.state_dict()
        fitting = {name: value.to(own[name]) for name, value in tensors.items()
                   if name in own and value.shape == own[name].shape}
        self.model.load_state_dict(fitting, strict=False)
        for name, value in self.model.state_dict().items():
            self.average[name].copy_(value)
        return len(fitting)

    def export(self, path: str | Path, extra: Mapping[str, Any] | None = None, *, half: bool = False) -> None:
        """Writes the averaged weights as a weights file of the task's kind; `half` stores matrices in float16."""
        notes = {"step": self.step, "minutes": round(self.elapsed_s / 60, 1), **(extra or {})}
        weights = {name: value.half() if half and value.is_floating_point() and value.ndim >= 2 else value
                   for name, value in self.average.items()}
        save_weights(path, weights, kind=self.task.kind, config=self.task.config, extra=notes)

    def restore_best(self) -> int | None:
        """Takes the weights that validated best, where early stopping kept them; returns their step."""
        if self.config.patience is None or not self.best_path.is_file():
            return None
        _, tensors = load_weights(self.best_path, kind=self.task.kind)
        self.average = {name: value.to(self.device) for name, value in tensors.items()}
        return self.best_step

    def save_state(self) -> None:
        """Everything that resuming needs, in one file."""
        tensors = {f"model.{name}": value for name, value in self.model.state_dict().items()}
        tensors |= {f"average.{name}": value for name, value in self.average.items()}
        tensors |= {f"optimizer.{name}": value for name, value in optimizer_tensors(self.optimizer).items()}
        tensors |= {f"companions.{name}": value for name, value in self.companions.tensors().items()}
        extra = {"step": self.step, "elapsed_s": self.elapsed_s, "best_step": self.best_step, "waited": self.waited,
                 "best": None if math.isinf(self.best) else self.best, "processes": self.processes.count}
        save_weights(self.state_path, tensors, kind=f"{self.task.kind}/state", config=self.task.config, extra=extra)

    def load_state(self) -> None:
        """Goes on from `state_path`."""
        info, tensors = load_with_info(self.state_path, kind=f"{self.task.kind}/state")
        extra = info.extra
        self.step, self.elapsed_s = int(extra["step"]), float(extra["elapsed_s"])
        self.best_step, self.waited = int(extra.get("best_step", 0)), int(extra.get("waited", 0))
        self.best = math.inf if extra.get("best") is None else float(extra["best"])
        self.model.load_state_dict(under("model.", tensors))
        self.average = {name: value.to(self.device) for name, value in under("average.", tensors).items()}
        load_optimizer(self.optimizer, under("optimizer.", tensors))
        self.companions.load(under("companions.", tensors))
        if extra.get("processes", 1) != self.processes.count and self.processes.is_main:
            logger.warning("the run had %s processes, now it has %d: it goes on, but draws other batches",
                           extra.get("processes", 1), self.processes.count)

    def _check_together(self) -> None:
        """A run folder that only some machines see would let them train different nets."""
        if self.processes.total([float(self.step)])[0] != self.step * self.processes.count:
            raise ConfigError(f"the processes found different training states in {self.folder}; put --run on a disk that "
                              "all machines share")

    def _groups(self) -> list[dict[str, Any]]:
        """Weight decay for matrices only."""
        parameters = [p for p in self.model.parameters() if p.requires_grad]
        return [
            {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": self.config.weight_decay},
            {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
        ]

    def _batches(self) -> Iterator[tuple[dict[str, Tensor], ...]]:
        """The batches of each step from the present one on, in segments that each have a seed."""
        count = self.config.accumulate
        while self.step < self.config.steps:
            segment, done = divmod(self.step, self.config.segment_steps)
            batches = self.task.batches(self.processes.seed(self.config.seed * SEED_STRIDE + segment))
            rows = itertools.islice(batches, done * count, self.config.segment_steps * count)
            yield from zip(*[rows] * count)

    @torch.no_grad()
    def _update_average(self) -> None:
        """Exponential average, shorter at the start so that it forgets the initial weights."""
        decay = min(self.config.ema_decay, (1 + self.step) / (10 + self.step))
        for name, value in self.model.state_dict().items():
            if value.is_floating_point():
                self.average[name].lerp_(value, 1 - decay)
            else:
                self.average[name].copy_(value)

    def _agree(self, elapsed_s: float, run_s: float) -> bool:
        """Whether this was the last step: for all when for one. The main process's clock counts."""
        c, main = self.config, self.processes.is_main
        out_of_time = c.minutes is not None and run_s > 60 * c.minutes
        asked, self.elapsed_s = self.processes.total([float(self._stop.asked or out_of_time), elapsed_s if main else 0.0])
        annealed = c.anneal_minutes is not None and self.elapsed_s > 60 * c.anneal_minutes
        return asked > 0 or annealed or self.step >= c.steps

    def _report(self, numbers: Mapping[str, float], finished: bool) -> None:
        """Log lines and validation, when they are due."""
        if self.step % self.config.log_every == 0 or self.step == 1:
            loss, = self.processes.total([numbers["loss"]])  # the other numbers may have other names elsewhere
            self._log("train", {**numbers, "loss": loss / self.processes.count})
        if self.step % self.config.validate_every == 0 and not finished and self.processes.is_main:
            self._validated()

    def _validated(self) -> dict[str, float]:
        """Validates, logs, tells the observer, and asks for the end where nothing improves any more."""
        numbers = self.validate()
        self._log("validate", numbers)
        if self.config.patience is not None:
            self._watch(numbers[getattr(self.task, "score")])
        if self.on_validate is not None:
            self.on_validate(self)
        return numbers

    def _watch(self, score: float) -> None:
        """Keeps the best weights; gives up after `patience` validations that were no better."""
        if score < self.best:
            self.best, self.best_step, self.waited = score, self.step, 0
            self.export(self.best_path)
        else:
            self.waited += 1
        self._stop.asked = self._stop.asked or self._given_up()

    def _given_up(self) -> bool:
        """Early stopping said so, now or in an earlier run."""
        return self.config.patience is not None and self.waited >= self.config.patience

    def _log(self, event: str, numbers: Mapping[str, float]) -> None:
        if not self.processes.is_main:
            return
        record = {"event": event, "step": self.step, "elapsed_s": round(self.elapsed_s, 1), **numbers}
        with (self.folder / "log.jsonl").open("a") as file:
            file.write(json.dumps(record) + "\n")
        text = "  ".join(f"{name} {value:.4g}" for name, value in numbers.items())
        logger.info("%s %d  %.1f min  %s", event, self.step, self.elapsed_s / 60, text)


def _mean(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Name by name, over the rows that have it."""
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: sum(row[name] for row in rows if name in row) / sum(name in row for row in rows) for name in names}
