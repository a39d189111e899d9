"""What one of several training processes does in tests; `start` runs them as `accelerate launch` would (gloo, CPU)."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

from chatanyone.training import Processes, Solver, SolverConfig

REPOSITORY = Path(__file__).resolve().parents[2]
ROWS = 8


class Critic(nn.Module):
    """A discriminator that trains itself, but only on batches whose first row asks for it."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Linear(2, 1)
        self.optimizer = torch.optim.Adam(self.net.parameters(), lr=0.05)

    def train_adv(self, fake: Tensor, real: Tensor) -> None:
        loss = (self.net(fake.detach()) - 1).square().mean() + self.net(real).square().mean()
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()


class PlaneTask:
    """y = A x, with a critic. share: (rank, count) takes its part of batches that are the same everywhere."""

    kind = "plane"
    config: dict[str, Any] = {}

    def __init__(self, share: tuple[int, int] | None = None, critic_rank: int | None = None) -> None:
        self.share, self.critic_rank = share, critic_rank
        self.critic = Critic()
        with torch.no_grad():
            self.critic.net.weight.copy_(torch.tensor([[0.5, -0.25]]))
            self.critic.net.bias.zero_()
        self.seen: list[float] = []

    def companions(self) -> Mapping[str, nn.Module]:
        return {"critic": self.critic}

    def build(self) -> nn.Module:
        return nn.Sequential(nn.Linear(3, 16), nn.Dropout(0.1 if self.share is None else 0.0), nn.Linear(16, 2))

    def batches(self, seed: int) -> Iterator[dict[str, Tensor]]:
        generator = torch.Generator().manual_seed(0 if self.share else seed)
        while True:
            x = torch.randn(ROWS, 3, generator=generator)
            rank, count = self.share or (0, 1)
            yield {"x": x[rank::count]}

    def loss(self, model: nn.Module, batch: dict[str, Tensor], step: int) -> tuple[Tensor, dict[str, float]]:
        x = batch["x"]
        self.seen.append(float(x.sum()))
        made, true = model(x).float(), torch.stack([x[:, 0] - x[:, 1], 0.5 * x[:, 2]], 1)
        weight, bias = (p.detach().clone() for p in self.critic.net.parameters())
        fooled = -F.linear(made, weight, bias).mean()
        if self.critic_rank in (None, int(os.environ.get("RANK", "0"))):
            self.critic.train_adv(made, true)
        return (made - true).square().mean() + 0.01 * fooled, {}

    def validate(self, model: nn.Module) -> dict[str, float]:
        return {"error": 0.0}


def config(**changes: Any) -> SolverConfig:
    """Small, exact."""
    values: dict[str, Any] = dict(steps=12, learning_rate=0.01, warmup_steps=2, final_rate=1.0, ema_decay=0.5,
                                  precision="fp32", device="cpu", segment_steps=5, log_every=1, validate_every=100,
                                  grad_clip=1e6)
    return SolverConfig(**(values | changes))


def one_step(processes: Processes, folder: Path, parts: int, critic_rank: int | None = None) -> dict[str, Tensor]:
    """Gradients and weights after a step on this process's part of the joined batch, and the critic's weights after two."""
    solver = Solver(PlaneTask((processes.rank, parts), critic_rank), config(), folder, processes)
    batches = solver._batches()
    solver.run_step(*next(batches))
    found = {f"gradient.{name}": p.grad.clone() for name, p in solver.model.named_parameters() if p.grad is not None}
    solver.run_step(*next(batches))
    found |= {f"weights.{name}": p.detach().clone() for name, p in solver.model.named_parameters()}
    return found | {f"critic.{name}": tensor.clone() for name, tensor in solver.companions.tensors().items()}


def train(processes: Processes, folder: Path, *stops: int) -> dict[str, Tensor]:
    """Trains to the end, broken off at the given steps; the last solver's weights and what it drew."""
    for steps in stops:
        Solver(PlaneTask(), config(steps=steps), folder, processes).run()
        processes.wait()
    solver = Solver(task := PlaneTask(), config(), folder, processes)
    solver.run()
    return {**solver.model.state_dict(), **solver.companions.tensors(), "drawn": torch.tensor(task.seen)}


def stopped_by(processes: Processes, folder: Path, rank: int) -> int:
    """One process is asked to stop in its third step; returns where this one ended."""
    task = PlaneTask()
    solver = Solver(task, config(steps=10 ** 6), folder, processes)
    inner = task.loss

    def loss(model: nn.Module, batch: dict[str, Tensor], step: int) -> tuple[Tensor, dict[str, float]]:
        if step == 2 and processes.rank == rank:
            solver._stop.asked = True
        return inner(model, batch, step)

    task.loss = loss  # type: ignore[method-assign]
    solver.run()
    return solver.step


def main(folder: Path) -> None:
    """Everything one process has to say, into a file of its own."""
    torch.set_num_threads(1)
    processes = Processes("cpu")
    found: dict[str, Tensor] = {"count": torch.tensor(processes.count)}
    results = {"joined": one_step(processes, folder / "joined", processes.count),
               "lonely": one_step(processes, folder / "lonely", processes.count, critic_rank=1),
               "whole": train(processes, folder / "whole"), "resumed": train(processes, folder / "resumed", 4, 7),
               "stopped": {"step": torch.tensor(stopped_by(processes, folder / "stopped", rank=1))}}
    for name, values in results.items():
        found |= {f"{name}/{key}": value.detach().clone().contiguous() for key, value in values.items()}
    processes.wait()  # as the program does: who leaves first must not leave another in the middle of a sum
    before = group_threads()
    processes.end()
    found |= {"threads": torch.tensor([before, group_threads()])}
    save_file(found, str(folder / f"rank{processes.rank}.safetensors"))


def group_threads() -> int:
    """How many threads of the process group this process has."""
    names = (task.read_text().strip() for task in Path("/proc/self/task").glob("*/comm"))
    return sum(name.startswith(("gloo", "pt_gloo", "pt_tcpstore")) for name in names)


def start(folder: Path, count: int) -> None:
    """Runs `main` on so many processes and waits for them."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    base = os.environ | {"WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1",
                         "MASTER_PORT": str(port), "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1",
                         "PYTHONPATH": str(REPOSITORY)}
    running = [subprocess.Popen([sys.executable, __file__, str(folder)], cwd=REPOSITORY,
                                env=base | {"RANK": str(rank), "LOCAL_RANK": str(rank)}, stderr=subprocess.PIPE)
               for rank in range(count)]
    try:
        for process in running:
            _, errors = process.communicate(timeout=400)
            if process.returncode:
                raise AssertionError(errors.decode()[-3000:])
    finally:
        for process in running:
            process.kill()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
