"""Colours and patterns of Anny people's clothes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from render.training.anny_noise import noise, turbulence, vectors

if TYPE_CHECKING:
    from render.training.anny_people import AnnyPerson

# sRGB of what people wear.
COLOURS = np.array([
    [0.92, 0.92, 0.90], [0.10, 0.10, 0.11], [0.16, 0.20, 0.30], [0.35, 0.37, 0.40], [0.62, 0.63, 0.65], [0.55, 0.12, 0.14],
    [0.18, 0.35, 0.55], [0.20, 0.36, 0.25], [0.75, 0.66, 0.52], [0.40, 0.28, 0.20], [0.80, 0.55, 0.55], [0.85, 0.75, 0.35],
    [0.55, 0.70, 0.82], [0.45, 0.30, 0.50], [0.12, 0.28, 0.32], [0.80, 0.42, 0.22]])
PLAIN, STRIPES, BARS, CHECKS, MELANGE = range(5)
SMALL = 0.012  # of a garment's area: an island as small is a button, a collar or a pocket


@dataclass(frozen=True)
class Fabric:
    """colour, second ``[3]`` linear; kind; period: metres of a pattern; folds and weave: strength of bumps; gloss."""

    colour: Tensor
    second: Tensor
    kind: int
    period: float
    folds: float
    weave: float
    gloss: float


def sample_fabrics(person: AnnyPerson, rng: np.random.Generator) -> list[Fabric]:
    """As many as `person.fabric` counts."""
    return [_sample(rng) for _ in range(int(person.fabric.max()) + 1)]


def _sample(rng: np.random.Generator) -> Fabric:
    first, second = (COLOURS[rng.choice(len(COLOURS), 2, replace=False)] * (1 + rng.normal(0, 0.08, (2, 3)))).clip(0.03, 0.95)
    kind = int(rng.choice(5, p=[0.5, 0.12, 0.1, 0.12, 0.16]))
    if kind == MELANGE:
        second = (first * rng.uniform(0.75, 1.25)).clip(0.03, 0.95)
    return Fabric(torch.tensor(first**2.2).float(), torch.tensor(second**2.2).float(), kind, float(rng.uniform(0.012, 0.05)),
                  float(rng.uniform(0.1, 0.4)), float(rng.uniform(0.02, 0.15)), float(rng.uniform(0, 0.15) ** 1.5))


def cloth_colour(fabrics: list[Fabric], which: Tensor, place: Tensor, uv: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Colour ``[P, 3]``, bump ``[P, 3]`` and gloss ``[P, 1]`` at places at rest ``[P, 3]`` (metres)."""
    colour, bump, gloss = torch.zeros_like(place), torch.zeros_like(place), torch.zeros(len(place), 1)
    for number, fabric in enumerate(fabrics):
        rows = (which == number).nonzero().squeeze(1)
        if not len(rows):
            continue
        at = place[rows]
        second = _pattern(fabric, at)
        mixed = fabric.colour + (fabric.second - fabric.colour) * second
        wear = 1 + 0.07 * turbulence(at, 14.0, 2) + 0.06 * noise(at, 600.0)
        colour[rows] = mixed * wear
        stretched = at * at.new_tensor([1.0, 0.55, 1.0])
        bump[rows] = fabric.folds * (vectors(stretched, 14.0) * 0.6 + vectors(stretched, 33.0) * 0.35) + \
            fabric.weave * vectors(at, 500.0)
        gloss[rows] = fabric.gloss
    return colour, bump, gloss


def _pattern(fabric: Fabric, at: Tensor) -> Tensor:
    """How much of the second colour: ``[P, 1]`` in [0, 1]."""
    bent = at + 0.004 * vectors(at, 20.0)
    across, up = bent[:, :1] / fabric.period, bent[:, 1:2] / fabric.period
    if fabric.kind == STRIPES:
        return _band(across)
    if fabric.kind == BARS:
        return _band(up)
    if fabric.kind == CHECKS:
        return 0.5 * (_band(across) + _band(up))
    if fabric.kind == MELANGE:
        return (0.5 + 0.8 * noise(at, 250.0)).clamp(0, 1)
    return torch.zeros(len(at), 1)


def _band(value: Tensor) -> Tensor:
    return ((torch.sin(value * 2 * torch.pi) - 0.3) * 4).clamp(0, 1)


def fabric_regions(person: AnnyPerson, rng: np.random.Generator) -> np.ndarray:
    """``[F]``: the number of each triangle's fabric: above and below the waist, collars and pockets now and then apart."""
    from render.training.anny_people import Stuff

    fabric = np.zeros(len(person.triangles), dtype=np.int64)
    rows = np.flatnonzero(person.stuff.numpy() == Stuff.CLOTH)
    corner = person.vertices.numpy()[person.triangles.numpy()[rows]]
    size = np.linalg.norm(np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0]), axis=1)
    island = person.island.numpy()[rows] + 1000 * person.layer.numpy()[rows]
    hip = person.head["L Thigh"][1] + 0.02
    trimmed = rng.random() < 0.5
    for name in np.unique(island):
        own = island == name
        low = np.average(corner[own, :, 1].mean(1), weights=size[own] + 1e-9) < hip
        small = trimmed and size[own].sum() < SMALL * size.sum()
        fabric[rows[own]] = 1 if low else 2 if small else 0
    return fabric
