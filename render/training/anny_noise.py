"""Smooth noise in space: a periodic cube of random numbers, sampled between."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

SIDE = 32  # of the cube, after which noise repeats


def _cube(channels: int, seed: int) -> Tensor:
    """``[1, C, 33, 33, 33]``; the last plane of each axis is the first again."""
    values = torch.rand(1, channels, SIDE, SIDE, SIDE, generator=torch.Generator().manual_seed(seed)) * 2 - 1
    return F.pad(values, (0, 1, 0, 1, 0, 1), mode="circular")


_CUBES = {1: _cube(1, 1), 3: _cube(3, 2)}


def _at(places: Tensor, frequency: float, channels: int) -> Tensor:
    cell = (places * frequency) % SIDE
    part = cell - cell.floor()
    cell = cell.floor() + part * part * (3 - 2 * part)
    grid = (cell / SIDE * 2 - 1).view(1, 1, 1, -1, 3)
    return F.grid_sample(_CUBES[channels], grid, align_corners=True, padding_mode="border")[0, :, 0, 0].t()


def noise(places: Tensor, frequency: float) -> Tensor:
    """``[P, 3]`` to ``[P, 1]`` in [-1, 1]; `frequency` cells per unit of length."""
    return _at(places, frequency, 1)


def vectors(places: Tensor, frequency: float) -> Tensor:
    """``[P, 3]`` to ``[P, 3]``, each in [-1, 1]."""
    return _at(places, frequency, 3)


def turbulence(places: Tensor, frequency: float, octaves: int) -> Tensor:
    """Sum of noises, each twice as fine and half as strong; about [-1, 1]."""
    total = sum(noise(places + 5.3 * octave, frequency * 2**octave) * 0.5**octave for octave in range(octaves))
    assert isinstance(total, Tensor)
    return total
