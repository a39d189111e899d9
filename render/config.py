"""Sizes of the rendering nets, in one place: what a weights file of kind ``render`` carries."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class RenderConfig:
    """Channels and bounds. Our choice throughout: the paper gives no sizes; these keep a frame at about 6 GFLOP.

    features: channels of the appearance features at 1/4 and (twice that) at 1/8
    motion: of the warping-field net at 1/8
    filter: of the reconstruction filter at 1/4
    generator: of the generator at 1/4, half of it at 1/2 and twice at 1/8
    face: of the face-refine net at 1/4 of the window, half of it at 1/2 and twice at 1/8
    flow_bound: px the nets may move the geometric flow
    offset_bound: how far implicit keypoints may leave the explicit ones, in sides of the face window (Eq. 2's Δ) and in
        heights of the picture / 8 (Eq. 1's x_c)
    residual_bound: how far the nets may change a colour
    mouth: how far the nets may change the inside of the mouth, 0 to 1; 0 as long as the people they are trained on show no
        teeth there
    backbone: timm name of the finder of implicit body keypoints
    """

    features: int = 16
    motion: int = 32
    filter: int = 16
    generator: int = 32
    face: int = 32
    flow_bound: float = 8.0
    offset_bound: float = 0.04
    residual_bound: float = 0.5
    mouth: float = 0.0
    backbone: str = "lcnet_050"
