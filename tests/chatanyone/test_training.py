"""The solver learns, stops, resumes exactly and exports the average."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from chatanyone.checkpoints import load_weights
from chatanyone.errors import CheckpointError, ConfigError
from chatanyone.training import Solver, SolverConfig


class LineTask:
    """y = 2x + 1, with dropout so that random numbers matter."""

    def __init__(self) -> None:
        self.kind = "line"
        self.config: dict[str, Any] = {"inputs": 1}

    def build(self) -> nn.Module:
        return nn.Sequential(nn.Linear(1, 16), nn.Dropout(0.1), nn.Linear(16, 1))

    def batches(self, seed: int) -> Iterator[dict[str, Tensor]]:
        generator = torch.Generator().manual_seed(seed)
        while True:
            yield {"x": torch.randn(32, 1, generator=generator)}

    def loss(self, model: nn.Module, batch: dict[str, Tensor], step: int) -> tuple[Tensor, dict[str, float]]:
        loss = (model(batch["x"]).float() - (2 * batch["x"] + 1)).square().mean()
        return loss, {"error": float(loss.detach())}

    def validate(self, model: nn.Module) -> dict[str, float]:
        assert not model.training
        x = torch.linspace(-1, 1, 9)[:, None]
        return {"error": float((model(x) - (2 * x + 1)).square().mean())}


def config(**changes: Any) -> SolverConfig:
    values: dict[str, Any] = dict(steps=40, learning_rate=0.02, warmup_steps=4, ema_decay=0.9, precision="fp32",
                                  device="cpu", segment_steps=7, log_every=10, validate_every=20)
    return SolverConfig(**(values | changes))


def test_it_learns(tmp_path: Path) -> None:
    solver = Solver(LineTask(), config(steps=200), tmp_path)
    before = solver.validate()["error"]
    assert solver.run()["error"] < 0.05 * before


def test_resumed_equals_uninterrupted(tmp_path: Path) -> None:
    whole = Solver(LineTask(), config(), tmp_path / "whole")
    whole.run()
    first = Solver(LineTask(), config(), tmp_path / "parts")
    batches = first._batches()
    for _ in range(17):  # in the middle of a segment
        first.run_step(*next(batches))
    first.folder.mkdir()
    first.save_state()
    second = Solver(LineTask(), config(), tmp_path / "parts")
    assert second.step == 17
    second.run()
    assert second.step == 40
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, second.model.state_dict()[name])
        assert torch.equal(whole.average[name], second.average[name])


def test_export_holds_the_average(tmp_path: Path) -> None:
    solver = Solver(LineTask(), config(), tmp_path)
    solver.run()
    solver.export(tmp_path / "line.safetensors")
    settings, tensors = load_weights(tmp_path / "line.safetensors", kind="line")
    assert settings == {"inputs": 1}
    assert torch.equal(tensors["0.weight"], solver.average["0.weight"])
    assert not torch.equal(tensors["0.weight"], solver.model.state_dict()["0.weight"])
    solver.export(tmp_path / "small.safetensors", half=True)
    _, small = load_weights(tmp_path / "small.safetensors", kind="line")
    assert small["0.weight"].dtype == torch.float16 and small["0.bias"].dtype == torch.float32


def test_time_limit_stops_and_saves(tmp_path: Path) -> None:
    solver = Solver(LineTask(), config(steps=10**9, minutes=0.0), tmp_path)
    solver.run()
    assert solver.step == 1 and solver.state_path.is_file()


def test_bad_batch_changes_nothing(tmp_path: Path) -> None:
    solver = Solver(LineTask(), config(), tmp_path)
    before = [p.detach().clone() for p in solver.model.parameters()]
    solver.run_step({"x": torch.full((4, 1), float("nan"))})
    assert all(torch.equal(a, b) for a, b in zip(before, solver.model.parameters()))


def test_schedule_and_log(tmp_path: Path) -> None:
    solver = Solver(LineTask(), config(warmup_steps=4, final_rate=0.0), tmp_path)
    assert solver.learning_rate() == pytest.approx(0.02 / 4)
    solver.step = 20
    assert solver.learning_rate() == pytest.approx(0.01)
    solver.step = 0
    solver.run()
    events = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [e["step"] for e in events if e["event"] == "train"] == [1, 10, 20, 30, 40]
    assert {"loss", "rate", "elapsed_s"} <= set(events[0])


def test_state_of_another_task_is_refused(tmp_path: Path) -> None:
    Solver(LineTask(), config(steps=1), tmp_path).run()
    other = LineTask()
    other.kind = "curve"
    with pytest.raises(CheckpointError, match="kind 'curve/state'"):
        Solver(other, config(), tmp_path)


def test_patience_without_a_score_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="the task 'line' names none"):
        Solver(LineTask(), config(patience=2), tmp_path)
