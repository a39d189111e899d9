"""Modules that train themselves inside a task's loss (discriminators): kept in the state and equal on all processes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from chatanyone.training.processes import Processes

ADAM_KEYS = ("step", "exp_avg", "exp_avg_sq")  # the whole state Adam and AdamW keep of a parameter
_EXTRA = "_extra_state"  # modules may hide their optimiser's state there; it is kept tensor by tensor instead


class Companions:
    """All self-training modules of a task.

    With many processes their optimisers' steps are put off to the end of the loss, where all processes take the averaged
    step together, in one order: a process whose batch shows no hand must neither stop the others nor fall behind them.

    Args:
        modules: name → module; optimisers are found in the attributes of their submodules.
    """

    def __init__(self, modules: Mapping[str, nn.Module], processes: Processes) -> None:
        self.modules, self.processes = modules, processes
        self.optimizers = {f"{name}.{place}": optimizer for name, module in modules.items()
                           for place, optimizer in _optimizers(module)}
        for module in modules.values():
            module.to(processes.device)
            processes.share([*module.parameters(), *module.buffers()])

    @contextmanager
    def together(self) -> Iterator[None]:
        """Around a loss: the steps taken inside are averaged over the processes."""
        if self.processes.count == 1 or not self.optimizers:
            yield
            return
        put_off = [_PutOff(optimizer) for optimizer in self.optimizers.values()]
        try:
            yield
        finally:
            for one in put_off:
                one.restore()
        wanted = self.processes.total([float(one.wanted) for one in put_off])
        for one, count in zip(put_off, wanted):
            if count:
                one.step(self.processes)

    def tensors(self) -> dict[str, Tensor]:
        """Weights and optimiser states under flat names."""
        flat = {f"weights.{name}.{key}": value for name, module in self.modules.items()
                for key, value in module.state_dict().items() if not key.endswith(_EXTRA)}
        for name, optimizer in self.optimizers.items():
            flat |= {f"optimizer.{name}.{key}": value for key, value in optimizer_tensors(optimizer).items()}
        return flat

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Inverse of `tensors`; a module that the state does not know stays as it is."""
        for name, module in self.modules.items():
            values = under(f"weights.{name}.", tensors)
            if values:
                missing = module.load_state_dict(values, strict=False).missing_keys
                if any(not key.endswith(_EXTRA) for key in missing):
                    raise ValueError(f"the training state lacks {', '.join(missing)} of {name}; start a new --run folder")
        for name, optimizer in self.optimizers.items():
            load_optimizer(optimizer, under(f"optimizer.{name}.", tensors))


class _PutOff:
    """Collects what an optimiser would have stepped with; its `step` does nothing meanwhile."""

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        self.optimizer, self.wanted = optimizer, 0
        self.parameters = [p for group in optimizer.param_groups for p in group["params"]]
        self.gradients: list[Tensor | None] = [None] * len(self.parameters)
        self.before = vars(optimizer).get("step")  # learning rate schedulers put theirs there
        setattr(optimizer, "step", self._collect)

    def _collect(self, *_: Any, **__: Any) -> None:
        self.wanted += 1
        for index, parameter in enumerate(self.parameters):
            if parameter.grad is not None:
                before = self.gradients[index]
                self.gradients[index] = parameter.grad.clone() if before is None else before + parameter.grad

    def restore(self) -> None:
        """The optimiser's own `step` again."""
        del vars(self.optimizer)["step"]
        if self.before is not None:
            setattr(self.optimizer, "step", self.before)

    def step(self, processes: Processes) -> None:
        """One real step with the mean gradient of all processes and of all steps asked for."""
        for parameter, gradient in zip(self.parameters, self.gradients):
            parameter.grad = None if gradient is None else gradient / max(self.wanted, 1)
        processes.average(self.parameters)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Adam's state as ``<parameter>.<key>``."""
    return {f"{index}.{key}": torch.as_tensor(state[key])
            for index, state in optimizer.state_dict()["state"].items() for key in ADAM_KEYS}


def load_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Inverse of `optimizer_tensors`; rates and other settings stay the optimiser's own."""
    states: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        index, key = name.split(".")
        states.setdefault(int(index), {})[key] = value
    optimizer.load_state_dict({"state": states, "param_groups": optimizer.state_dict()["param_groups"]})


def under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The entries below a prefix, without it."""
    return {name[len(prefix):]: value for name, value in tensors.items() if name.startswith(prefix)}


def _optimizers(module: nn.Module) -> Iterator[tuple[str, torch.optim.Optimizer]]:
    for place, part in module.named_modules():
        for name, value in sorted(vars(part).items()):
            if isinstance(value, torch.optim.Optimizer):
                yield f"{place}.{name}".strip("."), value
