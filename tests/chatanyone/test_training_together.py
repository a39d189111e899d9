"""Two processes on one machine train like one: same gradients on the joined batch, exact resume, a common end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from chatanyone.training import Processes
from motion.training.motion_data import Clip, write_clips
from tests.helpers.together import REPOSITORY, one_step, start

RTOL, ATOL = 1e-5, 1e-6  # float32 sums in another order


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Tensor]]:
    """What the two said."""
    folder = tmp_path_factory.mktemp("together")
    start(folder, 2)
    return [load_file(folder / f"rank{rank}.safetensors") for rank in range(2)]


def part(found: dict[str, Tensor], name: str) -> dict[str, Tensor]:
    return {key.partition("/")[2]: value for key, value in found.items() if key.startswith(f"{name}/")}


def test_they_found_each_other(ranks: list[dict[str, Tensor]]) -> None:
    assert [int(found["count"]) for found in ranks] == [2, 2]


def test_no_thread_of_the_group_outlives_it(ranks: list[dict[str, Tensor]]) -> None:
    for before, after in (found["threads"].tolist() for found in ranks):
        assert before > 0 and after == 0, "threads that end with the interpreter abort it now and then"


def test_gradients_are_those_of_the_joined_batch(ranks: list[dict[str, Tensor]], tmp_path: Path) -> None:
    torch.manual_seed(0)
    alone = one_step(Processes("cpu"), tmp_path, 1)
    assert any(value.abs().max() > 1e-2 for name, value in alone.items() if name.startswith("gradient"))
    for found in ranks:
        joined = part(found, "joined")
        assert joined.keys() == alone.keys()
        for name, value in alone.items():
            torch.testing.assert_close(joined[name], value, rtol=RTOL, atol=ATOL, msg=name)


def test_weights_are_the_same_everywhere(ranks: list[dict[str, Tensor]]) -> None:
    for name in ("joined", "lonely", "whole", "resumed"):
        first, second = (part(found, name) for found in ranks)
        for key in first.keys() - {"drawn"}:
            assert torch.equal(first[key], second[key]), (name, key)


def test_a_discriminator_that_only_one_process_trains_moves_on_both(ranks: list[dict[str, Tensor]]) -> None:
    for found in ranks:
        lonely = part(found, "lonely")
        assert not torch.equal(lonely["critic.weights.critic.net.weight"], torch.tensor([[0.5, -0.25]]))
        assert float(lonely["critic.optimizer.critic.optimizer.0.step"]) == 2


def test_each_draws_its_own_batches(ranks: list[dict[str, Tensor]]) -> None:
    drawn = [part(found, "whole")["drawn"] for found in ranks]
    assert len(drawn[0]) == 12 and not torch.isclose(drawn[0], drawn[1]).any()


def test_resumed_equals_uninterrupted(ranks: list[dict[str, Tensor]]) -> None:
    for found in ranks:
        whole, resumed = part(found, "whole"), part(found, "resumed")
        assert torch.equal(whole["drawn"][7:], resumed["drawn"])
        for key in whole.keys() - {"drawn"}:
            assert torch.equal(whole[key], resumed[key]), key


def test_one_that_is_asked_to_stop_stops_both(ranks: list[dict[str, Tensor]]) -> None:
    assert [int(part(found, "stopped")["step"]) for found in ranks] == [3, 3]


@pytest.mark.slow
def test_the_command_on_two_processes(tmp_path: Path) -> None:
    """The real entry point, broken off and taken up again. (`accelerate launch` starts GPUs through the same torchrun; for
    processors alone it would need MPI.)"""
    data = tmp_path / "clips"
    data.mkdir()
    waves = [0.3 + 0.2 * torch.sin(torch.arange(130)[:, None] / 3 + torch.arange(n)) for n in (6, 58, 144, 13, 8)]
    for split in ("train", "held_out"):
        write_clips(data / f"{split}_0.safetensors", [Clip(*waves)] * 3)
    settings = tmp_path / "settings.yaml"
    settings.write_text("motion-face:\n  net: {width: 16, depth: 1, heads: 2, ratio: 2, previous: 8}\n  total_batch: 16\n")
    for steps in ("3", "5"):
        subprocess.run(
            [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "-m", "chatanyone",
             "train", "motion-face", "--data", str(data), "--config", str(settings),
             "--output", str(tmp_path / "face.safetensors"), "--steps", steps,
             "--batch", "8", "--log-every", "1", "--precision", "fp32", "--device", "cpu"],
            check=True, cwd=REPOSITORY, timeout=400, env=os.environ | {"OMP_NUM_THREADS": "1"})
    rows = [json.loads(line) for line in (tmp_path / "face.run" / "log.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows if row["event"] == "train"] == [1, 2, 3, 4, 5], "the main process alone writes"
