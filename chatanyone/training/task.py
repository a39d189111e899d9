"""What the solver must be told about a net."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from torch import Tensor, nn


class Task(Protocol):
    """What a net learns. `config` rebuilds the net: `build()` must depend on it alone.

    A task may also have ``companions() -> Mapping[str, nn.Module]``: modules that train themselves inside `loss`, such as
    discriminators with their optimisers. The solver then keeps them in the training state and the same on all processes.
    """

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


def companions(task: Task) -> Mapping[str, nn.Module]:
    """The task's self-training modules, in an order that is the same everywhere."""
    found: Mapping[str, nn.Module] = getattr(task, "companions", dict)()
    return dict(sorted(found.items()))
