"""Streaming state as a value: a dataclass of tensors and numbers that can be copied, saved and restored."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

StateT = TypeVar("StateT", bound="StreamState")


@dataclass
class StreamState:
    """Base of every streaming state.

    Fields are tensors, lists of tensors, None, or plain int, float, bool. `step` functions never change a state they
    were given, they return a new one, so keeping an old state is enough to go back to it.
    """

    def clone(self: StateT) -> StateT:
        """A copy that shares no memory."""
        return copy.deepcopy(self)

    def tensors(self) -> dict[str, Tensor]:
        """Everything as named tensors, ready for safetensors; absent fields are left out."""
        named: dict[str, Tensor] = {}
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, list):
                named |= {f"{field.name}.{index}": item.contiguous() for index, item in enumerate(value)}
            elif isinstance(value, Tensor):
                named[field.name] = value.contiguous()
            elif value is not None:
                named[field.name] = torch.tensor(value, dtype=torch.float64 if isinstance(value, float) else None)
        return named

    def restored(self: StateT, tensors: Mapping[str, Tensor]) -> StateT:
        """A state like this one with saved values; names that are missing or left over are refused."""
        rest = dict(tensors)
        values = {field.name: _take(field.name, getattr(self, field.name), rest) for field in dataclasses.fields(self)}
        if rest:
            raise ValueError(f"Expected the state of {type(self).__name__}, which has no {sorted(rest)}.")
        return dataclasses.replace(self, **values)


def _take(name: str, like: object, rest: dict[str, Tensor]) -> object:
    """One field out of `rest`, in the form of its present value."""
    if isinstance(like, list):
        return [_pop(f"{name}.{index}", rest) for index in range(len(like))]
    if like is None or isinstance(like, Tensor):
        return rest.pop(name, None) if like is None else _pop(name, rest)
    kind = next(kind for kind in (bool, int, float) if isinstance(like, kind))
    return kind(_pop(name, rest).item())


def _pop(name: str, rest: dict[str, Tensor]) -> Tensor:
    if name not in rest:
        raise ValueError(f"Expected a saved state with '{name}' in it; it has {sorted(rest)}.")
    return rest.pop(name)
