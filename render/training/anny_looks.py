"""What Anny people's surfaces look like: skin, eyes, teeth, hair and cloth computed at each point, no textures but masks.

Noise lives in the space of the body at rest, so that it sticks to the surface and knows no seams. All colours are linear
unless a name says sRGB; the random choices are a `Look`'s.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from render.training.anny_fabrics import Fabric, cloth_colour, sample_fabrics
from render.training.anny_noise import noise, turbulence, vectors
from render.training.anny_people import AnnyPerson, Stuff

HOLED = torch.tensor([stuff in (Stuff.HAIR, Stuff.BROW, Stuff.LASH) for stuff in Stuff])
# sRGB: skin from pale to deep, with the lips that go with it.
SKIN = np.array([[0.93, 0.78, 0.70], [0.90, 0.72, 0.62], [0.84, 0.65, 0.53], [0.76, 0.56, 0.43], [0.64, 0.44, 0.33],
                 [0.50, 0.33, 0.24], [0.37, 0.24, 0.18]])
LIPS = np.array([[0.80, 0.50, 0.47], [0.77, 0.47, 0.44], [0.71, 0.43, 0.39], [0.64, 0.38, 0.34], [0.52, 0.31, 0.28],
                 [0.42, 0.25, 0.23], [0.32, 0.20, 0.19]])
HAIR = np.array([[0.13, 0.11, 0.10], [0.17, 0.12, 0.09], [0.22, 0.14, 0.09], [0.33, 0.21, 0.12], [0.45, 0.28, 0.15],
                 [0.62, 0.47, 0.30], [0.72, 0.60, 0.43], [0.50, 0.22, 0.10], [0.62, 0.60, 0.58], [0.82, 0.80, 0.77]])
IRIS = np.array([[0.20, 0.11, 0.06], [0.30, 0.18, 0.09], [0.38, 0.28, 0.14], [0.35, 0.40, 0.25], [0.32, 0.45, 0.55],
                 [0.42, 0.50, 0.55], [0.28, 0.36, 0.45]])
MASKS = ("lips", "eyelids", "ears", "fingernails")
BETWEEN_LIPS = 0.8  # light that gets between the lips, beside what `anny_stage` finds hidden
IRIS_ANGLE, PUPIL_ANGLE = 0.46, (0.13, 0.22)  # rad, seen from the eyeball's centre


def linear(srgb: np.ndarray | Tensor) -> Tensor:
    """sRGB to linear, by the simple power."""
    return torch.as_tensor(np.asarray(srgb), dtype=torch.float32).clamp_min(0).pow(2.2)


@dataclass(frozen=True)
class Samples:
    """P points of the surface: triangle ``[P]``; place, normal, view (unit), sky (light from all round), strand (along hair)
    ``[P, 3]``; uv ``[P, 2]``
    (v down); rest ``[P, 3]`` metres at rest; painted ``[P, 10]`` as `AnnyPerson.painted`."""

    triangle: Tensor
    place: Tensor
    normal: Tensor
    view: Tensor
    sky: Tensor
    strand: Tensor
    uv: Tensor
    rest: Tensor
    painted: Tensor

    def only(self, rows: Tensor) -> Samples:
        """Some of the points."""
        return Samples(*(getattr(self, name)[rows] for name in self.__dataclass_fields__))


@dataclass(frozen=True)
class Look:
    """A person's random colours. skin, lip, hair, iris, tooth: ``[3]`` linear; the rest numbers in [0, 1] or radians."""

    skin: Tensor
    lip: Tensor
    hair: Tensor
    grey: float
    iris: Tensor
    tooth: Tensor
    pupil: float
    redness: float
    blotches: float
    freckles: float
    stubble: float
    buzz: float
    gloss: float
    brow: float
    lipstick: float
    strands: float
    shift: Tensor
    fabrics: list[Fabric]
    masks: Tensor


def sample_look(person: AnnyPerson) -> Look:
    """Colours that go together, from the person's seed."""
    rng = np.random.default_rng([person.seed, 11])
    phenotype, man = person.phenotype, person.phenotype["gender"] < 0.5
    names = ("african", "asian", "caucasian")
    origin = np.array([phenotype[name] for name in names])
    origin = origin / origin.sum()
    depth = float(np.clip(origin @ np.array([5.0, 1.9, 0.9]) + rng.normal(0, 0.7), 0, len(SKIN) - 1))
    skin, lip = (np.stack([np.interp(depth, range(len(table)), table[:, c]) for c in range(3)]) for table in (SKIN, LIPS))
    skin = skin * (1 + rng.normal(0, 0.02, 3))
    dark = depth > 2.5 or origin[2] < 0.4
    hair = HAIR[int(rng.integers(0, 3 if dark else 8))] * (1 + rng.normal(0, 0.06, 3))
    grey = float(max(0.0, (phenotype["age"] - 0.8) / 0.17) * rng.uniform(0.3, 1))
    iris = IRIS[int(rng.integers(0, 2 if dark else len(IRIS)))] * (1 + rng.normal(0, 0.08, 3))
    tooth = np.array([0.93, 0.87, 0.77]) * (1 + rng.normal(0, 0.02, 3)) * rng.uniform(0.92, 1.03)
    lipstick = 0.0 if man or rng.random() < 0.6 else float(rng.uniform(0.3, 0.9))
    if lipstick:
        lip = lip * (1 - lipstick) + np.array([0.62, 0.14, 0.18]) * rng.uniform(0.7, 1.1) * lipstick
    hair = hair * (1 - grey) + HAIR[8 + int(rng.integers(2))] * grey
    return Look(
        linear(skin), linear(lip.clip(0, 1)), linear(hair), grey, linear(iris), linear(tooth), rng.uniform(*PUPIL_ANGLE),
        redness=float(rng.uniform(0.1, 0.5)), blotches=float(rng.uniform(0.2, 0.6)),
        freckles=float(rng.uniform(0, 0.5) * (rng.random() < 0.3)),
        stubble=float(rng.choice([rng.uniform(0, 0.35), rng.uniform(0.5, 1.0)], p=[0.6, 0.4])) if man else 0.0,
        buzz=float(rng.uniform(0.1, 0.9)), gloss=float(rng.uniform(0.3, 1.0)), brow=float(rng.uniform(0.55, 0.95)),
        lipstick=lipstick, strands=float(rng.uniform(0.6, 1.4)), shift=torch.from_numpy(rng.uniform(0, 7, 3)).float(),
        fabrics=sample_fabrics(person, rng), masks=_masks(person.body.data))


_KEPT: dict[Path, Tensor] = {}


def _masks(data: Path) -> Tensor:
    """`MASKS` of MakeHuman's skin (CC0), ``[4, 1024, 1024]`` in [0, 1]."""
    if data not in _KEPT:
        planes = []
        for name in MASKS:
            with Image.open(data / f"mpfb2/textures/mpfb_{name}.jpg") as image:
                plane = image.convert("L").resize((1024, 1024), Image.Resampling.BOX)
            planes.append(np.asarray(plane, dtype=np.float32) / 255)
        _KEPT[data] = torch.from_numpy(np.stack(planes))
    return _KEPT[data]


def shade(person: AnnyPerson, look: Look, points: Samples, lamps: Tensor, colour: Tensor, lit: Tensor
          ) -> tuple[Tensor, Tensor]:
    """Linear colours ``[P, 3]`` and alpha ``[P, 1]``; lamps and colour ``[2, 3]``, lit ``[P, 1]``: part of the key lamp."""
    result, alpha = torch.zeros_like(points.place), torch.ones(len(points.place), 1)
    stuff = person.stuff[points.triangle]
    for kind, shader in enumerate((_skin, _eye, _teeth, _gum, _cloth, _hair, _brow, _lash)):  # in the order of `Stuff`
        rows = (stuff == kind).nonzero().squeeze(1)
        if len(rows):
            light = _Lamps(lamps, colour, lit[rows])
            result[rows], alpha[rows] = shader(person, look, points.only(rows), light)
    return result, alpha


@dataclass(frozen=True)
class _Lamps:
    direction: Tensor
    colour: Tensor
    lit: Tensor

    def diffuse(self, points: Samples, normal: Tensor, wrap: Tensor | float = 0.0) -> Tensor:
        """``[P, 3]``; wrap per channel lets light creep round edges, as in skin."""
        total = points.sky.clone()
        for row in range(2):
            facing = (normal @ self.direction[row])[:, None]
            amount = ((facing + wrap) / (1 + wrap)).clamp_min(0)
            total = total + amount * self.colour[row] * (self.lit if row == 0 else 1.0)
        return total

    def shine(self, points: Samples, normal: Tensor, sharp: float) -> Tensor:
        """Highlights ``[P, 3]`` of the lamps, and of the sky at grazing angles."""
        total = torch.zeros_like(normal)
        facing = (normal * points.view).sum(1, keepdim=True).clamp(0, 1)
        fresnel = 0.04 + 0.96 * (1 - facing).pow(5)
        for row in range(2):
            half = F.normalize(points.view + self.direction[row], dim=1)
            lobe = (normal * half).sum(1, keepdim=True).clamp_min(0).pow(sharp) * (sharp + 8) / 25
            total = total + lobe * self.colour[row] * (self.lit if row == 0 else 1.0)
        return total * fresnel + points.sky * fresnel * 0.25


def _skin(person: AnnyPerson, look: Look, points: Samples, light: _Lamps) -> tuple[Tensor, Tensor]:
    scalp, beard, flush, under, mouth = points.painted[:, :5].unsqueeze(-1).unbind(1)
    place = points.rest + look.shift
    mask = F.grid_sample(look.masks[None], (points.uv * 2 - 1)[None, None], align_corners=False)[0, :, 0].t()
    lips, lids, ears, nails = mask.unsqueeze(-1).unbind(1)
    slow, middle, fine = turbulence(place, 18.0, 2), noise(place, 120.0), noise(place, 420.0)
    colour = look.skin * (1 + look.blotches * (0.16 * slow + 0.09 * middle) + 0.05 * fine)
    red = look.redness * (flush + 0.35 * (turbulence(place + 3, 30.0, 2) - 0.2).clamp_min(0) + 0.5 * ears) + 0.2 * nails
    colour = colour * (1 - red * colour.new_tensor([0.02, 0.32, 0.28]))
    colour = colour * (1 - (under + lids * 0.6) * colour.new_tensor([0.16, 0.22, 0.18]))
    spots = _step(noise(place, 300.0), 0.35, 0.8) * look.freckles * (flush * 1.2 + 0.15)
    colour = colour * (1 - spots * colour.new_tensor([0.35, 0.5, 0.6]))
    hair_colour = look.hair * 0.8
    grain = (0.6 + 0.8 * noise(place, 900.0)).clamp(0, 1.3)
    shadow = beard * look.stubble * (1 - lips) * (0.5 + 0.3 * slow).clamp(0, 1) * grain
    colour = colour + (hair_colour * 1.2 - colour) * (shadow * 0.75).clamp(0, 0.9)
    bald = bool((person.stuff != Stuff.HAIR).all())
    cover = scalp * (look.buzz * grain if bald else 0.92)
    colour = colour + (hair_colour - colour) * cover.clamp(0, 0.95)
    lip = look.lip * (1 + 0.12 * noise(place * place.new_tensor([2.5, 0.6, 1.0]), 350.0))
    colour = colour + (lip - colour) * lips.clamp(0, 1) * 0.9
    inside = colour.new_tensor([0.28, 0.06, 0.06]) * look.skin.mean().clamp(0.3, 0.6) * 1.6
    colour = colour + (inside - colour) * mouth
    bump = vectors(place, 330.0) * 0.10 + vectors(place, 110.0) * 0.05
    normal = _bumped(points.normal, bump * (1 + 2 * lips))
    wrap = colour.new_tensor([0.35, 0.2, 0.15])
    shine = light.shine(points, normal, 14.0) * look.gloss * 0.9
    shine = shine + light.shine(points, normal, 45.0) * (0.25 * look.gloss + lips)
    lit = light.diffuse(points, normal, wrap) * 0.72 * (1 - mouth * (1 - BETWEEN_LIPS))
    return colour * lit + shine * 0.6 * (1 - scalp * 0.6), torch.ones(len(colour), 1)


def _bumped(normal: Tensor, bump: Tensor) -> Tensor:
    bump = bump - (bump * normal).sum(1, keepdim=True) * normal
    return F.normalize(normal + bump, dim=1)


def _eye(person: AnnyPerson, look: Look, points: Samples, light: _Lamps) -> tuple[Tensor, Tensor]:
    direction = F.normalize(points.painted[:, 7:10], dim=1)
    x, y, z = direction.unbind(1)
    angle, around = torch.atan2(torch.hypot(x, y), z)[:, None], torch.atan2(y, x)
    ring = torch.stack([around.cos() * 2, around.sin() * 2, angle[:, 0] * 0.3], 1)
    white = points.place.new_tensor([0.56, 0.52, 0.50]) * (1 + 0.06 * turbulence(direction, 2.0, 2))
    white = white * (1 - ((angle - 0.7) / 0.7).clamp(0, 1) * white.new_tensor([0.12, 0.35, 0.35]))
    iris = look.iris * 0.8 * (1 + 0.22 * noise(ring, 4.0) + 0.25 * (IRIS_ANGLE - angle) / IRIS_ANGLE)
    iris = iris * (1 - 0.75 * _step(angle, IRIS_ANGLE * 0.8, IRIS_ANGLE))
    colour = iris + (white - iris) * _step(angle, IRIS_ANGLE - 0.03, IRIS_ANGLE + 0.03)
    colour = colour * _step(angle, look.pupil - 0.03, look.pupil + 0.03)
    lid = 1 - 0.55 * _step(direction[:, 1:2], 0.05, 0.42)  # the upper lid and its lashes shade the eyeball
    glint = light.shine(points, points.normal, 260.0) * 0.8
    return colour * light.diffuse(points, points.normal, 0.2) * 0.75 * lid + glint.clamp(0, 3), torch.ones(len(colour), 1)


def _step(value: Tensor, start: float, end: float) -> Tensor:
    t = ((value - start) / (end - start)).clamp(0, 1)
    return t * t * (3 - 2 * t)


def _teeth(person: AnnyPerson, look: Look, points: Samples, light: _Lamps) -> tuple[Tensor, Tensor]:
    colour = look.tooth * (1 + 0.06 * noise(points.rest, 300.0))
    shine = light.shine(points, points.normal, 60.0)
    lit = light.diffuse(points, points.normal, 0.3) * 0.52 * BETWEEN_LIPS
    return colour * lit + shine * 0.35, torch.ones(len(colour), 1)


def _gum(person: AnnyPerson, look: Look, points: Samples, light: _Lamps) -> tuple[Tensor, Tensor]:
    colour = points.place.new_tensor([0.50, 0.17, 0.16]) * (1 + 0.15 * noise(points.rest, 250.0))
    normal = _bumped(points.normal, vectors(points.rest, 500.0) * 0.2)
    shine = light.shine(points, normal, 40.0)
    return colour * light.diffuse(points, normal, 0.3) * 0.6 * BETWEEN_LIPS + shine * 0.3, torch.ones(len(colour), 1)


def _cloth(person: AnnyPerson, look: Look, points: Samples, light: _Lamps) -> tuple[Tensor, Tensor]:
    colour, bump, gloss = cloth_colour(look.fabrics, person.fabric[points.triangle], points.rest + look.shift, points.uv)
    normal = _bumped(points.normal, bump)
    lit = light.diffuse(points, normal, 0.1)
    return colour * lit * 0.72 + light.shine(points, normal, 10.0) * gloss, torch.ones(len(colour), 1)


def _hair(person: AnnyPerson, look: Look, points: Samples, light: _Lamps) -> tuple[Tensor, Tensor]:
    fringe, across, along = points.painted[:, 5:6], points.painted[:, 6], points.rest[:, 1]
    strand = torch.stack([across * 9.0, along * 6.0, points.uv[:, 0] * 3], 1) + look.shift
    coarse, fine = noise(strand, 1.0), noise(strand * torch.tensor([5.0, 1.5, 5.0]), 1.0)
    thin = noise(strand * torch.tensor([16.0, 2.0, 16.0]), 1.0)
    pattern = 0.45 * coarse + 0.35 * fine + 0.35 * thin
    colour = look.hair * (1 + look.strands * 0.55 * pattern).clamp_min(0.25)
    if look.grey > 0.15:
        colour = colour + (linear(HAIR[9]) - colour) * (thin - 0.3).clamp(0, 0.5) * look.grey
    tangent = F.normalize(points.strand, dim=1)
    normal = _bumped(points.normal, vectors(strand * torch.tensor([5.0, 1.0, 5.0]), 1.0) * 0.35)
    total = points.sky * 0.9
    for row in range(2):
        amount = light.lit if row == 0 else 1.0
        facing = ((normal @ light.direction[row])[:, None] * 0.8 + 0.2).clamp_min(0)
        half = F.normalize(points.view + light.direction[row], dim=1)
        slide = (tangent * half).sum(1, keepdim=True) + 0.12 * pattern
        gleam = (1 - slide.square()).clamp_min(0).sqrt().pow(28.0) * facing.sqrt()
        total = total + facing * light.colour[row] * amount
        colour_gleam = (0.06 + 0.5 * look.hair) * gleam * light.colour[row] * amount * (0.6 + 0.6 * fine).clamp_min(0)
        colour = colour + colour_gleam * 0.5
    hole = 0.5 + 0.5 * (0.3 * coarse + 0.6 * fine + 0.6 * thin)
    edge = (points.normal * points.view).sum(1, keepdim=True).abs()  # single hairs stand out at the outline
    alpha = _step(fringe * 1.55 - hole.clamp(0, 1) * 0.8, 0.0, 0.3) * _step(edge + 0.12 - 0.2 * hole, 0.0, 0.12)
    return colour * total * 0.75, alpha


def _brow(person: AnnyPerson, look: Look, points: Samples, light: _Lamps) -> tuple[Tensor, Tensor]:
    strand = torch.stack([points.uv[:, 0] * 60 + points.uv[:, 1] * 40, points.uv[:, 1] * 20, points.uv[:, 0] * 10], 1)
    pattern = noise(strand, 1.0)
    alpha = _step(points.painted[:, 5:6] * 1.4 - 0.4 * (0.5 + pattern), 0.0, 0.7) * look.brow
    return look.hair * 0.55 * light.diffuse(points, points.normal, 0.3) * (1 + 0.3 * pattern), alpha


def _lash(person: AnnyPerson, look: Look, points: Samples, light: _Lamps) -> tuple[Tensor, Tensor]:
    pattern = noise(torch.stack([points.uv[:, 0] * 90, points.uv[:, 1] * 8, points.uv[:, 1] * 0], 1), 1.0)
    alpha = (0.45 + 0.5 * pattern).clamp(0, 1) * (points.painted[:, 5:6] * 1.5).clamp(0, 1) * 0.8
    return look.hair * 0.2 * light.diffuse(points, points.normal, 0.3) + 0.004, alpha
