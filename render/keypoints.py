"""Keypoints: the paper's Eq. 1 (implicit, body) and Eq. 2 (explicit plus implicit, face), and their heat maps.

Convention: pixels (x, y), depth larger is nearer. The body is refined once per picture by a small backbone that looks at the
person; the face by the warping-field net, frame by frame. Both refinements are bounded and start at zero.
"""

from __future__ import annotations

import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from render.layers import zero_linear
from render.warp import identity_flow

HEAT_SIGMA = 12.0  # px
THUMBNAIL = (192, 128)  # H, W of the picture the backbone sees


def body_keypoints(canonical: Tensor, rotation: Tensor, delta: Tensor, scale: Tensor, translation: Tensor) -> Tensor:
    """Eq. 1: ``x = s (x_c R + δ) + t``.

    Args: canonical ``[..., K, D]``; rotation ``[..., D, D]``; delta ``[..., K, D]``; scale ``[..., 1, 1]`` px;
    translation ``[..., 1, D]`` px. Returns ``[..., K, D]`` px.
    """
    return scale * (canonical @ rotation + delta) + translation


def face_keypoints(projected: Tensor, offset: Tensor) -> Tensor:
    """Eq. 2: ``x_face = P(V) + Δ``; both ``[..., K, 3]`` px, P(V) the template's projected keypoints."""
    return projected + offset


def heat_maps(points: Tensor, size: tuple[int, int], stride: int, sigma: float = HEAT_SIGMA) -> Tensor:
    """Gaussians around keypoints.

    Args: points ``[B, K, 2 or more]`` px; size H, W px; sigma px. Returns ``[B, K, H/stride, W/stride]``, 1 at a keypoint.
    """
    nodes = identity_flow(size, stride, points.device)[0]
    x = torch.exp(-0.5 * ((nodes[0, 0] - points[..., 0:1]) / sigma).square())
    y = torch.exp(-0.5 * ((nodes[1, :, 0] - points[..., 1:2]) / sigma).square())
    return y[..., :, None] * x[..., None, :]


class BodyKeypointFinder(nn.Module):
    """Where the picture's implicit body keypoints x_c lie relative to the landmarks: looked at once per picture.

    Args:
        points: K.
        bound: in heights of the picture / 8.
        backbone: timm name; trained here, from scratch.
    """

    def __init__(self, points: int = 14, bound: float = 0.04, backbone: str = "lcnet_050") -> None:
        super().__init__()
        self.bound = bound
        self.backbone = timm.create_model(backbone, pretrained=False, in_chans=4, features_only=True, out_indices=(-1,))
        self.head = zero_linear(self.backbone.feature_info.channels()[-1], points * 2)

    def train(self, mode: bool = True) -> BodyKeypointFinder:
        """Batch statistics of the few pictures of a training batch would mislead: the backbone's norms stay fixed."""
        super().train(mode)
        self.backbone.eval()
        return self

    def forward(self, layer: Tensor) -> Tensor:
        """Args: layer ``[B, 4, H, W]`` person and matte. Returns offsets ``[B, K, 2]`` px."""
        small = F.interpolate(layer, THUMBNAIL, mode="bilinear", antialias=True)
        features = self.backbone(small)[0].mean((-2, -1))
        offset = torch.tanh(self.head(features).float().unflatten(-1, (-1, 2)))
        return offset * (self.bound * layer.shape[-2] / 8)
