"""Scenes of Anny people: as many as there are numbers, each with a look, filmed in soft light by a noisy camera."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from render.training.acting import Act
from render.training.anny_looks import Look, sample_look
from render.training.anny_people import AnnyBody, AnnyPerson
from render.training.anny_stage import SoftLight, expose, picture, sample_soft_light
from render.training.rocketbox import Person
from render.training.scenes import (
    FRONTAL, Draw, FaceFinder, Scene, Shot, cast_landmarks, frontal, shoot)
from render.training.stage import Camera
from render.training.wardrobe import Wardrobe

KEPT = 4  # people in memory


class AnnyPeople(Sequence[Person]):
    """People by number, made when asked for."""

    def __init__(self, wardrobe: Path | str, seeds: Sequence[int]) -> None:
        self.wardrobe, self.seeds = Wardrobe(wardrobe), seeds
        self.body = AnnyBody()
        self._made: dict[int, AnnyPerson] = {}

    def __len__(self) -> int:
        return len(self.seeds)

    def __getitem__(self, index):  # type: ignore[no-untyped-def]
        seed = self.seeds[index]
        if seed not in self._made:
            while len(self._made) >= KEPT:
                del self._made[next(iter(self._made))]
            self._made[seed] = AnnyPerson(self.body, self.wardrobe, seed)
        return self._made[seed]


class AnnyScene(Scene):
    """Anny people and how to film them.

    Args:
        wardrobe: zip of MakeHuman's hair, clothes and teeth.
        people: numbers of the people; each number is one person, always the same.
        find_face: as `RocketboxScene`'s.

    Raises:
        ValueError: the zip cannot be read or lacks something.
        ModuleNotFoundError: no `anny` package.
    """

    def __init__(self, wardrobe: Path | str, *, people: Sequence[int] = range(1000),
                 find_face: FaceFinder | None = None) -> None:
        self.people = AnnyPeople(wardrobe, people)
        self._find_face = find_face
        self._looks: dict[str, Look] = {}
        self._faces: dict[str, tuple[Tensor, Tensor]] = {}

    def lit(self, person: Person, camera: Camera, rng: np.random.Generator) -> Draw:
        light, grain = sample_soft_light(rng), np.random.default_rng(rng.integers(1 << 32))

        def draw(shot: Shot, background: Tensor) -> tuple[Tensor, Tensor]:
            colour, alpha = self._picture(person, shot, camera, light)
            return expose(colour + background * (1 - alpha), light, grain), alpha

        return draw

    def landmarks(self, person: Person) -> tuple[Tensor, Tensor] | None:
        if self._find_face is None:
            return None
        if person.name not in self._faces:
            camera = frontal(person.head["Head"] + np.array([0.0, 0.06, 0.0]))
            shot = shoot(person, Act(), camera, (FRONTAL, FRONTAL))
            colour, alpha = self._picture(person, shot, camera, plain_light())
            self._faces[person.name] = cast_landmarks(colour + 0.6 * (1 - alpha), shot.fragments, self._find_face, person.name)
        return self._faces[person.name]

    def _picture(self, person: Person, shot: Shot, camera: Camera, light: SoftLight) -> tuple[Tensor, Tensor]:
        assert isinstance(person, AnnyPerson)
        if person.name not in self._looks:
            self._looks[person.name] = sample_look(person)
        H, W = shot.fragments.triangle.shape[-2:]
        return picture(person, self._looks[person.name], shot.vertices, camera, light, (H, W))


def plain_light() -> SoftLight:
    """Even light from the front, no noise."""
    light = sample_soft_light(np.random.default_rng(0))
    front = torch.tensor([[0.2, 0.3, 0.93], [-0.5, 0.1, 0.86]])
    return SoftLight(light.sky, torch.full_like(light.radiance, 0.6), front, torch.tensor([[0.5] * 3, [0.2] * 3]),
                     torch.full((3,), 1.1), 0.2, 0.0, 0.3)
