"""The renderer: geometry proposes, the networks dispose.

Every net changes what geometry proposes and starts at zero, so an untrained renderer draws exactly the geometric frame, and a
net whose output is still zero is not computed. Order of a frame: warping field → picture → reconstruction filter → generator
→ face pass. The filter is small and has a switch of its own.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from render.appearance import Appearance, AppearanceEncoder
from render.config import RenderConfig
from render.dense_motion import DenseMotion, Motion, motion_inputs
from render.face_refine import FaceRefine
from render.generator import Generator
from render.geometry import Proposal, coarse_flow, draw, prepare
from render.keypoints import BodyKeypointFinder, body_keypoints, face_keypoints, heat_maps
from render.reconstruction import (
    ReconstructionFilter, allowance, face_masks, filter_inputs, mix, seen_by_filter, soften)
from render.types import RenderDrive, RenderSource
from render.warp import STRIDE, sample

SHOULDERS = (2, 3)  # of the body keypoints
REST_PX = 2.0  # typical movement of a keypoint below which a frame counts as resting
PRECISIONS = ("fp32", "bf16")


class Renderer(nn.Module):
    """All rendering nets of one weights file. What it computes of a picture alone is kept in the source's cache: a source
    belongs to one renderer.

    Args:
        precision: fp32, or bf16 for the convolutions.
        sizes: fields of `RenderConfig`.
    """

    def __init__(self, precision: str = "fp32", **sizes: Any) -> None:
        super().__init__()
        if precision not in PRECISIONS:
            raise ValueError(f"precision must be one of {', '.join(PRECISIONS)}, not {precision}")
        c = RenderConfig(**sizes)
        self.sizes, self.precision, self.mouth = asdict(c), precision, c.mouth
        self.body_points = BodyKeypointFinder(bound=c.offset_bound, backbone=c.backbone)
        self.appearance = AppearanceEncoder(c.features)
        self.motion = DenseMotion(width=c.motion, appearance=2 * c.features, bound=c.flow_bound,
                                  offset_bound=c.offset_bound)
        self.generator = Generator(c.generator, c.features, c.residual_bound)
        self.face = FaceRefine(c.face, appearance=2 * c.features, bound=c.residual_bound)
        self.filter = ReconstructionFilter(c.filter)
        self.to(memory_format=torch.channels_last)

    @torch.no_grad()
    def forward(self, source: RenderSource, drive: RenderDrive, *, use_filter: bool = True, use_networks: bool = True,
                hand_injection: bool = True, face_refine: bool = True, implicit_offset: bool = True) -> Tensor:
        """Frames ``[B, 3, H, W]``; the switches leave out one part each: the filter, all other nets, or one of them."""
        coarse = coarse_flow(source, drive)
        with torch.autocast(coarse.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
            if not use_networks:
                proposal = draw(source, drive, coarse)
                return (self.reconstruct(proposal, source, drive) if use_filter else proposal.frame).clamp_(0, 1)
            appearance = self.look(source)
            motion = self.move(source, drive, coarse)
            proposal = draw(source, drive, coarse + motion.flow)
            hands = proposal.hands if hand_injection and source.hands and speaks(self.generator) else None
            if use_filter:
                proposal.frame = self.reconstruct(proposal, source, drive)
            frame, (rows, columns) = proposal.frame, face_window(source)
            if speaks(self.generator):
                change = self.generate(proposal, appearance, motion.occlusion, hands)
                change[:, :, rows, columns] *= self.open_to_change(proposal.face)
                frame = frame + change
            if face_refine and speaks(self.face):
                window = frame[:, :, rows, columns]
                window += self.refine(window, proposal.face, source, drive, motion.offset * implicit_offset)
        return frame.clamp_(0, 1)

    def reconstruct(self, proposal: Proposal, source: RenderSource, drive: RenderDrive) -> Tensor:
        """The proposed frame, as sharp as it deserves to be (in place)."""
        if not speaks(self.filter):
            return proposal.frame
        rows, columns = seen_by_filter(proposal.box, source.size)
        frame, alpha, hands = (x[:, :, rows, columns] for x in (proposal.frame, proposal.alpha, proposal.hand_mask))
        corner = proposal.flow.new_tensor([columns.start, rows.start])[:, None, None]
        flow = F.interpolate(proposal.flow[:, :, rows, columns] - corner, scale_factor=1 / 4, mode="bilinear")
        softer = soften(frame)
        masks = face_masks(proposal.face, source.face_box, source.size)
        masks = masks[:, :, rows.start // 4:rows.stop // 4, columns.start // 4:columns.stop // 4]
        weights = self.filter(filter_inputs(frame, softer, alpha, flow, hands, masks))
        weights = weights * (allowance(alpha, masks, hands) * activity(source, drive))
        proposal.frame[:, :, rows, columns] = mix(frame, softer, weights)
        return proposal.frame

    def look(self, source: RenderSource) -> Appearance:
        """What is computed once per picture, kept in the source's cache."""
        cache = source.cache
        if "appearance_vector" not in cache:
            if "layer" not in cache:
                prepare(source)
            layer = cache["layer"]
            look = self.appearance(layer, source.plate[None])
            cache["layer_eighth"] = F.avg_pool2d(layer, STRIDE)
            cache["body_offset"] = self.body_points(layer)[0]
            cache["appearance_quarter"], cache["appearance_eighth"], cache["appearance_vector"] = look
        return Appearance(*(cache[f"appearance_{level}"] for level in ("quarter", "eighth", "vector")))

    def move(self, source: RenderSource, drive: RenderDrive, coarse: Tensor) -> Motion:
        """What the warping-field net says of the frames; `look` comes first."""
        offset = source.cache["body_offset"]
        resting = torch.cat([_heat(source.face_keypoints[None], source.size),
                             _heat(implicit_body(source, source.body_keypoints[None], offset), source.size)], 1)
        driving = torch.cat([_heat(drive.face_keypoints, source.size),
                             _heat(implicit_body(source, drive.body_keypoints, offset), source.size)], 1)
        x = motion_inputs(driving, resting, coarse, source.cache["layer_eighth"])
        motion = self.motion(x, source.cache["appearance_vector"])
        return motion._replace(flow=motion.flow * activity(source, drive))

    def generate(self, proposal: Proposal, appearance: Appearance, occlusion: Tensor, hands: Tensor | None) -> Tensor:
        """The generator's change of the proposed frame; hands: the hand control image."""
        flow = F.interpolate(proposal.flow, scale_factor=1 / 4, mode="bilinear")
        quarter, eighth = warp_features(appearance, flow, occlusion)
        return self.generator(proposal.frame, proposal.alpha, quarter, eighth, hands)

    def open_to_change(self, control: Tensor) -> Tensor:
        """``[B, 1, S, S]``: 1, and `mouth` where the face window's control image shows the inside of the mouth."""
        return 1 - (1 - self.mouth) * control[:, 3:4]

    def refine(self, window: Tensor, control: Tensor, source: RenderSource, drive: RenderDrive, offset: Tensor) -> Tensor:
        """The face pass's change of the face window ``[B, 3, S, S]``; offset is Eq. 2's Δ in window sides."""
        if "face_source" not in source.cache:
            rows, columns = face_window(source)
            layer = source.cache["layer"][:, :, rows, columns]
            source.cache["face_source"] = layer[:, :3] + (1 - layer[:, 3:]) * source.plate[:, rows, columns]
        heat = face_heat(drive.face_keypoints, offset, source.face_box)
        change = self.face(window, source.cache["face_source"], control, heat, source.cache["appearance_vector"])
        return change * self.open_to_change(control)


def speaks(net: Generator | FaceRefine | ReconstructionFilter) -> bool:
    """Whether the net has learned to say anything: while its output layer is zero, computing it would be waste."""
    return any(bool(parameter.any()) for parameter in net.out.parameters())


def activity(source: RenderSource, drive: RenderDrive) -> Tensor:
    """``[B, 1, 1, 1]``: 0 for the picture's own pose, 1 a few pixels away from it: at rest there is no flow to correct."""
    moved = torch.cat([drive.face_keypoints[..., :2] - source.face_keypoints[:, :2],
                       drive.body_keypoints - source.body_keypoints], 1)
    return 1 - torch.exp(-moved.square().sum(-1).mean(-1) / REST_PX ** 2)[:, None, None, None]


def face_window(source: RenderSource) -> tuple[slice, slice]:
    """Rows and columns."""
    x0, y0, side = source.face_box
    return slice(y0, y0 + side), slice(x0, x0 + side)


def implicit_body(source: RenderSource, points: Tensor, offset: Tensor) -> Tensor:
    """Eq. 1 with s, t of the picture and R = 1: landmarks ``[B, 14, 2]`` px refined by the picture's offset ``[14, 2]`` px."""
    rest = source.body_keypoints
    scale = (rest[SHOULDERS[0]] - rest[SHOULDERS[1]]).norm().clamp(min=1.0)
    translation = rest[:1]
    canonical = (rest + offset - translation) / scale
    identity = torch.eye(2, dtype=rest.dtype, device=rest.device)
    return body_keypoints(canonical, identity, (points - rest) / scale, scale, translation)


def face_heat(projected: Tensor, offset: Tensor, box: tuple[int, int, int]) -> Tensor:
    """Heat maps of Eq. 2's keypoints in the face window, ``[B, 21, S/8, S/8]``; offset ``[B, 21, 3]`` in window sides."""
    x0, y0, side = box
    origin = projected.new_tensor([x0, y0, 0])
    points = face_keypoints(projected - origin, offset * side)
    return heat_maps(points, (side, side), STRIDE, sigma=side / 32)


def warp_features(appearance: Appearance, flow: Tensor, occlusion: Tensor) -> tuple[Tensor, Tensor]:
    """The picture's features where the frame shows them, at 1/4 and 1/8.

    Args: flow ``[B, 2, H/4, W/4]`` px of the full picture; occlusion ``[B, 1, H/8, W/8]``.
    """
    coarse = F.interpolate(flow, scale_factor=1 / 2, mode="bilinear")
    seen = F.interpolate(occlusion, scale_factor=2, mode="bilinear")
    return sample(appearance.quarter, flow / 4) * seen, sample(appearance.eighth, coarse / 8) * occlusion


def _heat(points: Tensor, size: tuple[int, int]) -> Tensor:
    return heat_maps(points, size, STRIDE)
