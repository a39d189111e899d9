"""The geometric half of the renderer: a frame from flow alone, before any network.

The person is looked up in the source picture through one dense flow, composited over the clean plate; the inside of the
mouth is drawn where the driven mesh shows it. Everything the networks later correct is returned beside the frame.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from render.face import face_flow, finish_face, prepare_face
from render.limbs import draw_limbs, prepare_limbs
from render.fast import mean_filter, prepare_layer, sample_layer
from render.types import Box, RenderDrive, RenderSource, Surface
from render.warp import STRIDE, draw_surface, enlarge, field_matrix, smooth_field

MARGIN = 16  # px of the picture about the body that are looked up with it
HAND_MARGIN = 12  # px around a hand's window


@dataclass
class Proposal:
    """What geometry proposes for a batch of frames.

    frame ``[B, 3, H, W]``; alpha ``[B, 1, H, W]`` of the person; flow ``[B, 2, H, W]`` px;
    face ``[B, 8, S, S]`` control image of the face window: RGB of the inner mouth, its mask, part one-hot of eye, teeth and
    tongue, how far the mesh's flow replaced the smooth field; hand_mask ``[B, 1, H, W]`` where a hand's mesh is seen;
    limbs: ``[B, 1, H, W]`` for each of the source's limbs, how much of it is seen; box: beyond it there is only the plate
    """

    frame: Tensor
    alpha: Tensor
    flow: Tensor
    face: Tensor
    hand_mask: Tensor
    limbs: list[Tensor]
    box: Box

    @property
    def hands(self) -> Tensor:
        """``[B, 4, H, W]``: textured hand rendering and its mask, the paper's hand control image."""
        return torch.cat([self.frame * self.hand_mask, self.hand_mask], dim=1)


def prepare(source: RenderSource) -> None:
    """Compute once what depends on the picture alone."""
    source.cache["field"] = field_matrix(source.control.cpu(), source.size).to(source.control.device)
    prepare_face(source)
    source.cache["layer"] = torch.cat([source.foreground * source.matte, source.matte])[None]
    source.cache["body"] = source.cache["layer"] if source.body is None else source.body[None]
    source.cache["body_fine"] = prepare_layer(source.cache["body"][0])
    rows, columns = (source.cache["body"][0, 3] > 0).nonzero().unbind(1)
    places = torch.stack([columns, rows], 1) if len(rows) else rows.new_zeros(1, 2)
    source.cache["body_extent"] = torch.stack([places.amin(0), places.amax(0) + 1])
    prepare_limbs(source)


def propose(source: RenderSource, drive: RenderDrive) -> Proposal:
    """Flow, picture and control images of a batch of frames."""
    return draw(source, drive, coarse_flow(source, drive))


def coarse_flow(source: RenderSource, drive: RenderDrive) -> Tensor:
    """The smooth field of a batch of frames: ``[B, 2, H/8, W/8]`` px."""
    if "field" not in source.cache:
        prepare(source)
    return smooth_field(source.cache["field"], drive.control - source.control, source.size)


def draw(source: RenderSource, drive: RenderDrive, coarse: Tensor) -> Proposal:
    """Picture and control images from the smooth field of `coarse_flow`, which a network may have corrected."""
    flow = enlarge(coarse)
    hands = torch.zeros(len(drive), 1, *source.size, device=flow.device)
    carried = {limb.hand for limb in source.limbs}
    boxes = [_body_box(coarse, source)]
    for index, (surface, vertices) in enumerate(zip(source.hands, drive.hands)):
        if index not in carried:
            boxes.append(_override_hand(flow, hands, surface, vertices))
    drawing = face_flow(flow, source, drive)
    frame, alpha = _composed(flow, source, _around([*boxes, drawing.box], source.size))
    face = finish_face(drawing, frame, alpha, flow, source, drive)
    limbs, windows = draw_limbs(frame, alpha, flow, hands, source, drive)
    return Proposal(frame, alpha, flow, face, hands, limbs, _around([*boxes, drawing.box, *windows], source.size))


def _composed(flow: Tensor, source: RenderSource, box: Box) -> tuple[Tensor, Tensor]:
    """Picture ``[B, 3, H, W]`` and alpha ``[B, 1, H, W]`` of the body over the plate; looked up only in a box of the frame."""
    rows, columns = slice(box[1], box[1] + box[3]), slice(box[0], box[0] + box[2])
    frame, alpha = source.plate.expand(len(flow), -1, -1, -1).clone(), flow.new_zeros(len(flow), 1, *source.size)
    layer = sample_layer(source.cache["body_fine"], flow[:, :, rows, columns])
    alpha[:, :, rows, columns] = layer[:, 3:]
    torch.addcmul(layer[:, :3], 1 - layer[:, 3:], source.plate[:, rows, columns], out=frame[:, :, rows, columns])
    return frame, alpha


def _body_box(coarse: Tensor, source: RenderSource) -> Box | None:
    """Where the smooth field ``[B, 2, H/8, W/8]`` px shows places near the body, in any frame of the batch."""
    low, high = source.cache["body_extent"][..., None, None]
    near = ((coarse > low - MARGIN) & (coarse < high + MARGIN)).all(1).any(0)
    rows, columns = (near.any(dim).nonzero().flatten().tolist() for dim in (1, 0))
    if not rows:
        return None
    return columns[0] * STRIDE, rows[0] * STRIDE, (columns[-1] + 1 - columns[0]) * STRIDE, (rows[-1] + 1 - rows[0]) * STRIDE


def _around(boxes: list[Box | None], size: tuple[int, int]) -> Box:
    """The box around boxes, one cell larger, on the smooth field's grid and inside the frame."""
    found = [box for box in boxes if box is not None]
    if not found:
        return 0, 0, STRIDE, STRIDE
    H, W = size
    x0, y0 = (max(min(box[k] for box in found) // STRIDE - 1, 0) * STRIDE for k in (0, 1))
    x1, y1 = (min((max(-(-(box[k] + box[k + 2]) // STRIDE) for box in found) + 1) * STRIDE, end)
              for k, end in ((0, W), (1, H)))
    return x0, y0, x1 - x0, y1 - y0


def _override_hand(flow: Tensor, mask: Tensor, surface: Surface, vertices: Tensor) -> Box | None:
    """Where a hand's mesh is seen it decides (in place); returns the hand's window."""
    H, W = flow.shape[-2:]
    low = vertices[..., :2].amin((0, 1)).floor().int().tolist()
    high = vertices[..., :2].amax((0, 1)).ceil().int().tolist()
    x0, y0 = max(low[0] - HAND_MARGIN, 0), max(low[1] - HAND_MARGIN, 0)
    x1, y1 = min(high[0] + HAND_MARGIN, W), min(high[1] + HAND_MARGIN, H)
    if x1 <= x0 or y1 <= y0:
        return None
    triangle, attributes = draw_surface(surface, vertices, (x0, y0, x1 - x0, y1 - y0))
    covered = (triangle >= 0)[:, None].to(flow.dtype)
    soft = mean_filter(attributes[:, 2:3] * covered, 5, 5)
    weight = soft * covered
    window = flow[:, :, y0:y1, x0:x1]
    window += weight * (attributes[:, :2] - window)
    mask[:, :, y0:y1, x0:x1] = torch.maximum(mask[:, :, y0:y1, x0:x1], covered)
    return x0, y0, x1 - x0, y1 - y0
