"""Training pairs of the renderer on disk: what geometry proposes for a target whose true picture is known.

One safetensors file holds one pair. Pictures are bytes; geometry is computed once, when the pair is made, because it costs
more than a training step. Names and shapes are those of `RenderPair`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from render.types import RenderDrive, RenderSource, Surface

PICTURES = ("foreground", "matte", "plate", "target", "target_alpha", "frame", "alpha", "control", "hands")


@dataclass
class RenderPair:
    """A source, the state that drives it, and the truth. Everything has a batch dimension of 1.

    foreground ``[1, 3, H, W]``, matte ``[1, 1, H, W]``, plate ``[1, 3, H, W]``: the source's
    target ``[1, 3, H, W]``, target_alpha ``[1, 1, H, W]``; area ``[1, 1, H, W]`` what is seen in the target (`Area`)
    frame, alpha, control (its ``face``), hands: geometry's `Proposal`; flow_quarter ``[1, 2, H/4, W/4]`` its flow, px
    coarse ``[1, 2, H/8, W/8]``: geometry's smooth field, px
    true_flow ``[1, 2, H/8, W/8]`` px; seen ``[1, 1, H/8, W/8]``: 1 where true_flow holds and the source shows the place;
        0 everywhere where no true flow is known (films, photographs): see `measured`
    box ``[1, 3]``: face window; face_source, face_drive ``[1, 21, 3]``; body_source, body_drive ``[1, 14, 2]`` px
    """

    foreground: Tensor
    matte: Tensor
    plate: Tensor
    target: Tensor
    target_alpha: Tensor
    area: Tensor
    frame: Tensor
    alpha: Tensor
    control: Tensor
    hands: Tensor
    flow_quarter: Tensor
    coarse: Tensor
    true_flow: Tensor
    seen: Tensor
    box: Tensor
    face_source: Tensor
    face_drive: Tensor
    body_source: Tensor
    body_drive: Tensor

    @property
    def measured(self) -> bool:
        """Whether the drive was measured in the target itself, so that geometry's frame lies where the truth lies."""
        return not bool(self.seen.any())

    @property
    def layer(self) -> Tensor:
        """``[1, 4, H, W]``: the person's colours times the matte, and the matte."""
        return torch.cat([self.foreground * self.matte, self.matte], 1)

    def source(self) -> RenderSource:
        """What the nets see of the source; without meshes, for geometry is done."""
        nothing = self.coarse.new_zeros(0)
        x0, y0, side = self.box[0].tolist()
        return RenderSource(
            self.foreground[0], self.matte[0], self.plate[0], Surface(*[nothing] * 5), [], nothing, (x0, y0, side),
            self.face_source[0], self.body_source[0], nothing, cache={"layer": self.layer})

    def drive(self) -> RenderDrive:
        """What the nets see of the driving state."""
        nothing = self.coarse.new_zeros(1, 0)
        return RenderDrive(nothing, nothing, [], self.face_drive, self.body_drive)

    @property
    def window(self) -> tuple[slice, slice]:
        """Rows and columns of the face window."""
        x0, y0, side = self.box[0].tolist()
        return slice(y0, y0 + side), slice(x0, x0 + side)

    @property
    def mouth(self) -> Tensor:
        """``[1, 1, H, W]``: 1 where geometry drew the inside of the mouth."""
        return self._placed(self.control[:, 3:4])

    @property
    def eyes(self) -> Tensor:
        """``[1, 1, H, W]``: 1 where geometry shows an eyeball."""
        return self._placed(self.control[:, 4:5])

    @property
    def fixed(self) -> Tensor:
        """``[1, 1, H, W]``: 1 where meshes and the mouth decide what is drawn, whatever the smooth field says."""
        return self._placed((self.control[:, 3:4] + self.control[:, 7:8]).clamp(0, 1))

    def _placed(self, window: Tensor) -> Tensor:
        """The face window in an empty frame."""
        rows, columns = self.window
        whole = torch.zeros_like(self.alpha)
        whole[:, :, rows, columns] = window
        return whole


def write_pair(path: Path, pair: RenderPair) -> None:
    """Pictures as bytes, areas as bytes, the rest as it is."""
    tensors = {field.name: getattr(pair, field.name)[0] for field in fields(RenderPair)}
    tensors |= {name: (tensors[name] * 255).round().clamp(0, 255).byte() for name in PICTURES}
    tensors["area"] = tensors["area"].byte()
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".part")
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, partial)
    partial.rename(path)  # a trainer that runs meanwhile never sees half a file


def read_pair(path: Path) -> dict[str, Tensor]:
    """As stored, with a batch dimension: small to move; `unpack` makes numbers of it."""
    return {name: tensor[None] for name, tensor in load_file(path).items()}


def unpack(batch: Mapping[str, Tensor]) -> RenderPair:
    """Bytes to numbers in [0, 1]."""
    missing = {field.name for field in fields(RenderPair)} - batch.keys()
    if missing:
        raise ValueError(f"a render pair lacks {', '.join(sorted(missing))}; make the pairs anew")
    values = {name: batch[name].float() / 255 if name in PICTURES else batch[name]
              for name in (field.name for field in fields(RenderPair))}
    return RenderPair(**values)


def pair_paths(folder: Path, split: str) -> list[Path]:
    """The files of a split (train, held_out), in order."""
    return sorted(folder.glob(f"{split}_*.safetensors"))
