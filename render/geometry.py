"""The geometric half of the renderer: a frame from flow alone, before any network.

The person is looked up in the source picture through one dense flow, composited over the clean plate; the inside of the
mouth is drawn where the driven mesh shows it. Everything the networks later correct is returned beside the frame.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from render.face import face_flow, finish_face, prepare_face
from render.limbs import draw_limbs, prepare_limbs
from render.types import RenderDrive, RenderSource, Surface
from render.warp import draw_surface, enlarge, field_matrix, sample_sharp, smooth_field

MARGIN, REACH = 16, 2.0  # px above the person, and how much farther than any control point its field may move it
HAND_MARGIN = 12  # px around a hand's window


@dataclass
class Proposal:
    """What geometry proposes for a batch of frames.

    frame ``[B, 3, H, W]``; alpha ``[B, 1, H, W]`` of the person; flow ``[B, 2, H, W]`` px;
    face ``[B, 8, S, S]`` control image of the face window: RGB of the inner mouth, its mask, part one-hot of eye, teeth and
    tongue, how far the mesh's flow replaced the smooth field; hands ``[B, 4, H, W]`` textured hand rendering and its mask
    (the paper's hand control image); limbs: ``[B, 1, H, W]`` for each of the source's limbs, how much of it is seen
    """

    frame: Tensor
    alpha: Tensor
    flow: Tensor
    face: Tensor
    hands: Tensor
    limbs: list[Tensor]


def prepare(source: RenderSource) -> None:
    """Compute once what depends on the picture alone."""
    source.cache["field"] = field_matrix(source.control.cpu(), source.size).to(source.control.device)
    prepare_face(source)
    source.cache["layer"] = torch.cat([source.foreground * source.matte, source.matte])[None]
    source.cache["body"] = source.cache["layer"] if source.body is None else source.body[None]
    prepare_limbs(source)
    rows = (source.matte[0] > 0).any(1).nonzero()
    source.cache["top"] = rows[0, 0].float() if len(rows) else source.matte.new_zeros(())


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
    for index, (surface, vertices) in enumerate(zip(source.hands, drive.hands)):
        if index not in carried:
            _override_hand(flow, hands, surface, vertices)
    drawing = face_flow(flow, source, drive)
    frame, alpha = _composed(flow, source, drive)
    face = finish_face(drawing, frame, alpha, flow, source, drive)
    limbs = draw_limbs(frame, alpha, flow, hands, source, drive)
    hand_image = torch.cat([frame * hands, hands], dim=1)
    return Proposal(frame, alpha, flow, face, hand_image, limbs)


def _composed(flow: Tensor, source: RenderSource, drive: RenderDrive) -> tuple[Tensor, Tensor]:
    """Picture ``[B, 3, H, W]`` and alpha ``[B, 1, H, W]`` of the body over the plate; sampled only where the body can be."""
    H, W = source.size
    top = int(source.cache["top"] + (drive.control - source.control)[..., 1].amin().clamp(max=0) * REACH) - MARGIN
    top = min(max(top, 0), H - 1)
    frame, alpha = source.plate.expand(len(flow), -1, -1, -1).clone(), flow.new_zeros(len(flow), 1, H, W)
    layer = sample_sharp(source.cache["body"], flow[:, :, top:])
    alpha[:, :, top:] = layer[:, 3:]
    frame[:, :, top:] = layer[:, :3] + (1 - layer[:, 3:]) * source.plate[:, top:]
    return frame, alpha


def _override_hand(flow: Tensor, mask: Tensor, surface: Surface, vertices: Tensor) -> None:
    H, W = flow.shape[-2:]
    low = vertices[..., :2].amin((0, 1)).floor().int().tolist()
    high = vertices[..., :2].amax((0, 1)).ceil().int().tolist()
    x0, y0 = max(low[0] - HAND_MARGIN, 0), max(low[1] - HAND_MARGIN, 0)
    x1, y1 = min(high[0] + HAND_MARGIN, W), min(high[1] + HAND_MARGIN, H)
    if x1 <= x0 or y1 <= y0:
        return
    fragments, attributes = draw_surface(surface, vertices, (x0, y0, x1 - x0, y1 - y0))
    covered = fragments.mask[:, None].to(flow.dtype)
    soft = F.avg_pool2d(attributes[:, 2:3] * covered, 5, 1, 2)
    weight = soft * covered
    window = flow[:, :, y0:y1, x0:x1]
    window += weight * (attributes[:, :2] - window)
    mask[:, :, y0:y1, x0:x1] = torch.maximum(mask[:, :, y0:y1, x0:x1], covered)
