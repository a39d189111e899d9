"""The reconstruction filter: a small net says, place by place, how sharp the proposed frame deserves to be.

Geometry looks every pixel up as if it knew its place exactly. It does not: where hands move fast, skin stretches, a limb ends
or lips part, a crisp pixel is a crisp mistake. The net sees how the picture was warped and what is drawn there, and mixes the
frame with softer ones; negative weights sharpen. It cannot invent colours, so it cannot change who is seen. Kernels
predicted per pixel: after Bako et al., "Kernel-Predicting Convolutional Networks for Denoising Monte Carlo Renderings" (2017);
their use here is ours, and so are the sizes.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from render.layers import channels_last, conv, zero_conv
from render.fast import binomial, enlarged, halved, max_filter
from render.types import Box
from render.warp import identity_flow

STRIDE = 4  # px between the net's pixels
CONTEXT = 40  # px: how far it sees (28), and how far its weights reach when they are enlarged; a multiple of 8
INPUTS = 17
SHARPEN = -0.6  # smallest weight; the largest, 1, is the softer frame itself
FLOW_UNIT, FLOW_MOST = 16.0, 3.0  # px; in units
IN_MOUTH = 0.4  # of its weights; our choice, by eye: more makes teeth a smear
CORNERS = 9  # cells of `STRIDE` about a place of the mouth's inside, across, that are the mouth's too
IN_HANDS = 0.4  # of its weights, our choice: it goes by how far a hand has moved, not by how fast; rims may be softer
DETAIL = 10.0  # brings local contrast to order 1


class ReconstructionFilter(nn.Module):
    """How much of a softer frame, and how soft, at 1/4, from three convolutions that see 60 px about each place.

    Args:
        width: channels.
    """

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.first = conv(INPUTS, width)
        self.second = _dilated(width, 2)
        self.third = _dilated(width, 4)
        self.out = zero_conv(width, 2, kernel=1)

    def forward(self, inputs: Tensor) -> Tensor:
        """Weights ``[B, 2, H/4, W/4]`` of inputs ``[B, 17, H/4, W/4]``, in float32."""
        x = torch.relu_(self.first(channels_last(inputs)))
        x = x + torch.relu_(self.second(x))
        x = x + torch.relu_(self.third(x))
        return self.out(x).contiguous().float().clamp(SHARPEN, 1)


def filter_inputs(frame: Tensor, softer: tuple[Tensor, Tensor], alpha: Tensor, flow: Tensor, hands: Tensor,
                  face: Tensor) -> Tensor:
    """What the net sees, ``[B, 17, H/4, W/4]``.

    Args: frame ``[B, 3, H, W]``; softer: those of `soften`; alpha and hands ``[B, 1, H, W]``; flow ``[B, 2, H/4, W/4]`` px;
    face ``[B, 3, H/4, W/4]``: masks of inner mouth, eyeballs, and where meshes decide.
    """
    half, wide = softer
    fine = (frame[:, 1:2, ::2, ::2] - frame[:, 1:2, 1::2, 1::2]).abs()  # green stands for all
    coarse = (half - wide)[:, 1:2].abs()
    offset = (flow - identity_flow((flow.shape[-2] * STRIDE, flow.shape[-1] * STRIDE), STRIDE, flow.device)) / FLOW_UNIT
    across, down = offset[..., 1:] - offset[..., :-1], offset[:, :, 1:] - offset[:, :, :-1]
    stretch = torch.cat([F.pad(across, (0, 1)), F.pad(down, (0, 0, 0, 1))], 1) * (FLOW_UNIT / STRIDE)
    way = offset.square().sum(1, keepdim=True).sqrt()
    detail = halved(torch.cat([fine, coarse], 1)) * DETAIL
    return torch.cat([halved(half), thinned(alpha), detail, thinned(hands), face, offset.clamp(-FLOW_MOST, FLOW_MOST),
                      way.clamp(max=FLOW_MOST), stretch.clamp(-2, 2)], 1)


def soften(frame: Tensor) -> tuple[Tensor, Tensor]:
    """The frame at half its size, and that through [1 2 1]² / 16."""
    half = halved(frame)
    return half, binomial(half)


def mix(frame: Tensor, softer: tuple[Tensor, Tensor], weights: Tensor) -> Tensor:
    """``f + w (s − f)`` with ``s = s₁ + v (s₂ − s₁)`` enlarged; weights w, v ``[B, 2, H/4, W/4]``."""
    half, wide = softer
    soft = enlarged(torch.lerp(half, wide, enlarged(weights[:, 1:], STRIDE // 2)), 2)
    return torch.lerp(frame, soft, enlarged(weights[:, :1], STRIDE))


def seen_by_filter(box: Box, size: tuple[int, int]) -> tuple[slice, slice]:
    """Rows and columns of a frame of H, W px that decide about a box, beyond which there is only background: what the net
    sees about it, on the grid of the smooth field."""
    H, W = size
    x0, y0, width, height = box
    rows, columns = (slice(max(start - CONTEXT, 0), min(start + length + CONTEXT, end))
                     for start, length, end in ((y0, height, H), (x0, width, W)))
    return rows, columns


def allowance(alpha: Tensor, face: Tensor, hands: Tensor) -> Tensor:
    """``[B, 1, H/4, W/4]``: how much of its weights the net may have. 0 on the background, which is never touched; `IN_MOUTH`
    about the inside of the mouth and at its corners: squared error would have them a smear; `IN_HANDS` on hands, not about
    them; 1 elsewhere. Args: as of `filter_inputs`."""
    mouth = max_filter(face[:, :1], 3, CORNERS)
    return max_filter(thinned(alpha), 3, 3) * (1 - (1 - IN_MOUTH) * mouth) * (1 - (1 - IN_HANDS) * thinned(hands))


def face_masks(control: Tensor, box: tuple[int, int, int], size: tuple[int, int]) -> Tensor:
    """``[B, 3, H/4, W/4]``: inner mouth, eyeballs and where meshes decide, of the face window's control image
    ``[B, 8, S, S]`` and its box."""
    x0, y0, side = (value // STRIDE for value in box)
    masks = control.new_zeros(len(control), 3, size[0] // STRIDE, size[1] // STRIDE)
    window = masks[:, :, y0:y0 + side, x0:x0 + side]
    window += thinned(control)[:, [3, 4, 7]]
    window[:, 2:] = (window[:, 2:] + window[:, :1]).clamp(0, 1)
    return masks


def thinned(x: Tensor) -> Tensor:
    """Every fourth pixel: enough of a mask, and free."""
    return x[:, :, STRIDE // 2::STRIDE, STRIDE // 2::STRIDE]


def _dilated(width: int, dilation: int) -> nn.Conv2d:
    layer = nn.Conv2d(width, width, 3, padding=dilation, dilation=dilation)
    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    return layer
