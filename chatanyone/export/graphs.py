"""What an exported net is: a module of tensors alone, and the names, shapes and units of what goes in and comes out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

NEXT = "next_"  # the output next_x is the input x of the next call
DTYPES = {"float32": torch.float32, "int64": torch.int64, "bool": torch.bool}


@dataclass(frozen=True)
class Port:
    """An input or output.

    axes: sizes, or names of those that may vary from call to call
    meaning: what it is, with its unit
    start: of a stream's state, the number it is filled with before the first call
    span: of an input, what random numbers it is tried with (lowest, highest); None is standard normal
    """

    name: str
    axes: tuple[int | str, ...]
    meaning: str
    dtype: str = "float32"
    start: float | None = None
    span: tuple[float, float] | None = None

    def random(self, sizes: Mapping[str, int], generator: torch.Generator) -> Tensor:
        """Numbers to try it with, shaped as `sizes` says."""
        shape = [sizes[axis] if isinstance(axis, str) else axis for axis in self.axes]
        low, high = self.span or (0, 2)
        if self.dtype == "float32":
            uniform = torch.rand(shape, generator=generator) * (high - low) + low
            return uniform if self.span else torch.randn(shape, generator=generator)
        return torch.randint(int(low), int(high), shape, generator=generator).to(DTYPES[self.dtype])


@dataclass(frozen=True)
class Graph:
    """One file.

    part: what `--only` calls it; kinds: of the weights files it comes from
    module: takes the inputs and gives the outputs, in order
    sizes: for each axis with a name, two sizes to try it with
    constants: what a caller needs beside the file
    """

    name: str
    part: str
    kinds: tuple[str, ...]
    purpose: str
    module: nn.Module
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    sizes: Mapping[str, tuple[int, int]]
    constants: Mapping[str, Any] = field(default_factory=dict)

    @property
    def file(self) -> str:
        return f"{self.name}.onnx"

    def random_inputs(self, which: int, seed: int = 0) -> list[Tensor]:
        """Inputs with the first (0) or second (1) of `sizes`."""
        generator = torch.Generator().manual_seed(seed)
        chosen = {axis: pair[which] for axis, pair in self.sizes.items()}
        return [port.random(chosen, generator) for port in self.inputs]

    @torch.no_grad()
    def __call__(self, inputs: list[Tensor]) -> list[Tensor]:
        """In torch."""
        outputs = self.module(*inputs)
        return [outputs] if isinstance(outputs, Tensor) else list(outputs)
