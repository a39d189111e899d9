"""A portrait's scene, with a driver and a renderer whose pictures tell which frame they are."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from chatanyone.media.frames import as_bytes
from chatanyone.stages import PortraitScene
from motion.types import BODY_DIM, FACE_DIM, BodyMotion, FaceMotion
from render.types import RenderDrive


class _Nobody:
    """A source that can only be moved to a device."""

    def to(self, device: torch.device) -> _Nobody:
        return self


class _Driver:
    """The head's one vertex is what the face says first."""

    source = _Nobody()

    def __call__(self, face: FaceMotion, body: BodyMotion) -> RenderDrive:
        head = face.packed()[:, None, :3]
        return RenderDrive(head, head[..., :2], [], head, head[..., :2])


class _Renderer:
    """One colour a picture; remembers how many it drew at once and in which threads."""

    def __init__(self) -> None:
        self.drawn: list[tuple[int, str]] = []

    def __call__(self, source: Any, drive: RenderDrive) -> Tensor:
        self.drawn.append((len(drive), threading.current_thread().name))
        return drive.head[:, 0, :, None, None].expand(-1, -1, 6, 4)


def _motion(frames: int) -> tuple[FaceMotion, BodyMotion]:
    face = torch.linspace(0, 1, frames)[:, None].repeat(1, FACE_DIM)
    return FaceMotion.unpack(face), BodyMotion.unpack(torch.zeros(frames, BODY_DIM))


@pytest.mark.parametrize("workers, batches", [(1, [4, 3]), (2, [4, 3]), (4, [2, 2, 2, 1])])
def test_pictures_are_the_bytes_of_what_is_drawn(workers: int, batches: list[int]) -> None:
    renderer = _Renderer()
    scene: Any = PortraitScene(_Driver(), renderer, workers=workers)  # type: ignore[arg-type]
    face, body = _motion(7)
    wanted = as_bytes(scene(face, body))
    assert len(np.unique(wanted)) == 7
    renderer.drawn.clear()
    made = scene.pictures(face, body)
    assert made.dtype == np.uint8 and made.shape == (7, 6, 4, 3)
    np.testing.assert_array_equal(made, wanted)
    assert sorted((count for count, _ in renderer.drawn), reverse=True) == batches
    assert all(name.startswith("render") == (workers > 1) for _, name in renderer.drawn)


def test_one_batch_is_drawn_where_it_is_asked_for() -> None:
    renderer = _Renderer()
    scene: Any = PortraitScene(_Driver(), renderer, workers=2)  # type: ignore[arg-type]
    for _ in range(2):
        assert len(scene.pictures(*_motion(1))) == len(scene(*_motion(1))) == 1
    assert {name for _, name in renderer.drawn} == {threading.current_thread().name}
