"""What the renderer takes: a prepared source picture, and one driving state per frame.

Convention: pixel coordinates (x, y), x right, y down, centre of the top-left pixel (0.5, 0.5); depth larger is nearer;
colours RGB in [0, 1].
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from enum import IntEnum
from typing import Any

import torch
from torch import Tensor


Box = tuple[int, int, int, int]  # x0, y0, width, height px


class Part(IntEnum):
    """What a triangle of the head mesh shows; the same numbers as the template's."""

    SKIN = 0
    EYE = 1
    TEETH = 2
    TONGUE = 3
    CAVITY = 4


@dataclass
class Surface:
    """A mesh that lies on the picture: each vertex knows which source pixel it shows.

    triangles: ``[F, 3]``; source: ``[V, 2]`` px in the source picture; trust: ``[V]`` in [0, 1], how far the mesh's flow
    replaces the smooth field (1 inside the face, 0 at its outline); part: ``[F]`` (`Part`) of a head, zeros of a hand;
    arch: ``[V, 2]`` tooth coordinates of a head (radians along the arch, 0 gum to 1 edge, of lower teeth to -1).
    """

    triangles: Tensor
    source: Tensor
    trust: Tensor
    part: Tensor
    arch: Tensor


@dataclass
class Limb:
    """A forearm with its hand, taken off the body: a layer of its own that moves before the torso.

    layer: ``[4, H, W]`` colours times alpha, and alpha; control: ``[N, 2]`` px source positions of the control points of the
    limb's own field; hand: which of the source's hand surfaces it carries, None for none; depth: larger is nearer
    """

    layer: Tensor
    control: Tensor
    hand: int | None
    depth: float


@dataclass
class RenderSource:
    """One person, prepared once. H, W are the frame's.

    foreground ``[3, H, W]``, matte ``[1, H, W]``, plate ``[3, H, W]``: person, soft alpha, clean background
    head: the head mesh on the picture; hands: meshes of the hands that are seen, left before right
    control: ``[N, 2]`` px source positions of the control points of the smooth field
    face_box: x0, y0, side px of the square that the face path works on; multiples of 16, inside the frame
    face_keypoints ``[21, 3]`` px, body_keypoints ``[14, 2]`` px in the source picture
    mouth_light: ``[3]`` colour of the light that falls on the face, scales teeth and tongue
    colourless: the picture is black and white or has one tint (the light's): so has what is drawn of the mouth
    teeth: ``[4, H, W]`` the picture's own teeth, continued, and how surely they are (0 … 1); None where it shows none
    limbs: forearms that move before the body; body: ``[4, H, W]`` colours times alpha and alpha of the person without them,
        continued behind them; None where there are none
    """

    foreground: Tensor
    matte: Tensor
    plate: Tensor
    head: Surface
    hands: list[Surface]
    control: Tensor
    face_box: tuple[int, int, int]
    face_keypoints: Tensor
    body_keypoints: Tensor
    mouth_light: Tensor
    limbs: list[Limb] = field(default_factory=list)
    body: Tensor | None = None
    teeth: Tensor | None = None
    colourless: bool = False
    cache: dict[str, Tensor] = field(default_factory=dict)  # what nets computed of the picture alone

    @property
    def size(self) -> tuple[int, int]:
        """H, W."""
        return self.plate.shape[-2], self.plate.shape[-1]

    def to(self, device: torch.device | str) -> RenderSource:
        """A copy whose tensors live on ``device``."""
        return _moved(self, torch.device(device))


@dataclass
class RenderDrive:
    """Where everything is in the frames to draw (batch B).

    head: ``[B, V, 3]`` px and depth of the head mesh; control: ``[B, N, 2]`` px; hands: one ``[B, V_h, 3]`` for each of the
    source's hand surfaces; face_keypoints ``[B, 21, 3]``, body_keypoints ``[B, 14, 2]`` px; limbs: ``[B, N, 2]`` px of each
    limb's control points; fade: ``[B, L]`` how much of each limb is seen, 1 where not given (a hand that left the picture)
    """

    head: Tensor
    control: Tensor
    hands: list[Tensor]
    face_keypoints: Tensor
    body_keypoints: Tensor
    limbs: list[Tensor] = field(default_factory=list)
    fade: Tensor | None = None

    def __len__(self) -> int:
        return len(self.head)

    def slice(self, start: int, stop: int) -> RenderDrive:
        """Frames ``start`` to ``stop``."""
        return RenderDrive(self.head[start:stop], self.control[start:stop], [h[start:stop] for h in self.hands],
                           self.face_keypoints[start:stop], self.body_keypoints[start:stop],
                           [limb[start:stop] for limb in self.limbs], None if self.fade is None else self.fade[start:stop])

    def to(self, device: torch.device | str) -> RenderDrive:
        """A copy whose tensors live on ``device``."""
        return _moved(self, torch.device(device))


def _moved(value: Any, device: torch.device) -> Any:
    if isinstance(value, Tensor):
        return value.to(device)
    if isinstance(value, list):
        return [_moved(item, device) for item in value]
    if isinstance(value, dict):
        return {key: _moved(item, device) for key, item in value.items()}
    if isinstance(value, (Surface, Limb, RenderSource, RenderDrive)):
        return replace(value, **{f.name: _moved(getattr(value, f.name), device) for f in fields(value)})
    return value
