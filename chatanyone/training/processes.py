"""The processes that train one net together, as `accelerate launch` starts them, and the few things they must agree on.

Gradients are averaged here and not by wrapping the net (DistributedDataParallel), because tasks call methods of their net
and several nets in turn, which a wrapper does not see. It costs the overlap of computing and sending: about 0.1 s a step
for 16 M parameters over 10 GbE, nothing inside one machine.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from datetime import timedelta

import torch
import torch.distributed.nn  # before there is a group: defaults of its functions keep the one they find for ever
from torch import Tensor

_COUNTS = ("WORLD_SIZE", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE")  # torchrun, then kinds of MPI
_PATIENCE = timedelta(hours=2)  # how long the others wait while the first one validates, draws and saves


class Processes:
    """This process among all; alone unless `accelerate launch`, torchrun or MPI started it.

    Args:
        device: auto | cpu | cuda; with many processes each takes the GPU of its own.

    Attributes:
        rank: number of this process, 0 is the main one; count: how many there are.
    """

    def __init__(self, device: str = "auto") -> None:
        self.rank, self.count = 0, 1
        if any(int(os.environ.get(name, "1")) > 1 for name in _COUNTS):
            from accelerate import PartialState

            state = PartialState(cpu=device == "cpu", timeout=_PATIENCE)
            self.rank, self.count, self.device = state.process_index, state.num_processes, state.device
        else:
            self.device = torch.device(("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device)

    @property
    def is_main(self) -> bool:
        """Whether this one validates, logs and writes."""
        return self.rank == 0

    def seed(self, seed: int) -> int:
        """Another number on every process, the given one on the first."""
        return seed + self.rank * 1_000_000_007

    @torch.no_grad()
    def share(self, tensors: Iterable[Tensor]) -> None:
        """Overwrites the tensors by those of the main process."""
        if self.count > 1:
            from accelerate.utils import broadcast

            for tensor in tensors:
                tensor.copy_(broadcast(tensor.detach().contiguous().to(self.device)))

    @torch.no_grad()
    def average(self, parameters: Sequence[Tensor]) -> None:
        """Mean of the gradients over all processes. One that is None everywhere stays None; elsewhere it counts as 0."""
        if self.count == 1:
            return
        known = torch.tensor([p.grad is not None for p in parameters], dtype=torch.float32, device=self.device)
        parts = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
        flat = self._sum(torch.cat([known, *(part.float().flatten() for part in parts)]))
        sums = flat[len(known):].split([p.numel() for p in parameters])
        for parameter, seen, total in zip(parameters, flat[:len(known)].tolist(), sums):
            parameter.grad = (total / self.count).view_as(parameter).to(parameter.dtype) if seen else None

    def total(self, values: Sequence[float]) -> list[float]:
        """Sums over all processes; everybody must call it at the same point."""
        if self.count == 1:
            return list(values)
        numbers: list[float] = self._sum(torch.tensor(values, dtype=torch.float64, device=self.device)).tolist()
        return numbers

    def wait(self) -> None:
        """Until all are here."""
        self.total([0.0])

    @staticmethod
    def _sum(tensor: Tensor) -> Tensor:
        from accelerate.utils import reduce

        summed: Tensor = reduce(tensor, reduction="sum")
        return summed

    @staticmethod
    def end() -> None:
        """Leaves the group. Its threads end here; those that end with the interpreter abort the program now and then."""
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
