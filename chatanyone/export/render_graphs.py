"""The rendering nets as graphs. What is around them (meshes, flow, sampling of the picture) is geometry and stays out."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from chatanyone.export.graphs import Graph, Port
from render.appearance import Appearance, AppearanceEncoder
from render.dense_motion import DenseMotion, motion_inputs
from render.face_refine import FaceRefine
from render.generator import Generator
from render.reconstruction import ReconstructionFilter, allowance, filter_inputs, mix, soften
from render.renderer import Renderer, speaks, warp_features
from render.warp import STRIDE

FACE_POINTS, ALL_POINTS = 21, 35
FRAME, ALPHA = "the frame that geometry proposes, RGB 0 to 1", "how much of each pixel is the person"
FLOW = "where in the picture each pixel comes from, x and y, px"
ACTIVITY = "0 for the picture's own pose, 1 a few px away from it"
OTHER_SIZE = (384, 256)  # height and width, px, to try the filter with
FACE_SIDES = (128, 160)  # px, sides of a face window to try the face pass with


class FilterGraph(nn.Module):
    """`Renderer.reconstruct`."""

    def __init__(self, net: ReconstructionFilter) -> None:
        super().__init__()
        self.net = net

    def forward(self, frame: Tensor, alpha: Tensor, flow: Tensor, hands: Tensor, face: Tensor, activity: Tensor) -> Tensor:
        softer = soften(frame)
        quarter = F.interpolate(flow, scale_factor=1 / 4, mode="bilinear")
        inputs = filter_inputs(frame, softer, alpha, quarter, hands, face)
        return mix(frame, softer, self.net(inputs) * allowance(alpha, face, hands) * activity)


class AppearanceGraph(nn.Module):
    """`AppearanceEncoder`, and the person at 1/8 that the warping field sees."""

    def __init__(self, net: AppearanceEncoder) -> None:
        super().__init__()
        self.net = net

    def forward(self, layer: Tensor, plate: Tensor) -> tuple[Tensor, ...]:
        return *self.net(layer, plate), F.avg_pool2d(layer, STRIDE)


class MotionGraph(nn.Module):
    """`Renderer.move` behind its heat maps."""

    def __init__(self, net: DenseMotion) -> None:
        super().__init__()
        self.net = net

    def forward(self, driving: Tensor, resting: Tensor, coarse: Tensor, layer_eighth: Tensor, vector: Tensor,
                activity: Tensor) -> tuple[Tensor, ...]:
        motion = self.net(motion_inputs(driving, resting, coarse, layer_eighth), vector)
        return coarse + motion.flow * activity, motion.occlusion, motion.offset


class GeneratorGraph(nn.Module):
    """`Renderer.generate`."""

    def __init__(self, net: Generator) -> None:
        super().__init__()
        self.net = net

    def forward(self, frame: Tensor, alpha: Tensor, flow: Tensor, occlusion: Tensor, quarter: Tensor, eighth: Tensor,
                hands: Tensor) -> Tensor:
        appearance = Appearance(quarter, eighth, vector=eighth[..., 0, 0])  # the vector is not looked at
        warped = warp_features(appearance, F.interpolate(flow, scale_factor=1 / 4, mode="bilinear"), occlusion)
        return self.net(frame, alpha, *warped, hands)


class FaceRefineGraph(nn.Module):
    """`FaceRefine`."""

    def __init__(self, net: FaceRefine) -> None:
        super().__init__()
        self.net = net

    def forward(self, window: Tensor, source: Tensor, control: Tensor, heat: Tensor, vector: Tensor) -> Tensor:
        return self.net(window, source, control, heat, vector)


def render_graphs(net: Renderer, size: tuple[int, int]) -> list[Graph]:
    """Those that have something to say, for frames of `size` (width, height)."""
    W, H = size
    C = net.sizes["features"]
    frame = Port("frame", ("batch", 3, H, W), FRAME, span=(0, 1))
    alpha = Port("alpha", ("batch", 1, H, W), ALPHA, span=(0, 1))
    flow = Port("flow", ("batch", 2, H, W), FLOW, span=(0, H))
    activity = Port("activity", ("batch", 1, 1, 1), ACTIVITY, span=(0, 1))
    batch = {"batch": (1, 2)}
    graphs = []
    if speaks(net.filter):
        graphs.append(_filter_graph(net.filter, (H, W)))
    if not (speaks(net.generator) or speaks(net.face)):
        return graphs
    quarter = Port("quarter", (1, C, H // 4, W // 4), "features of the picture at 1/4")
    eighth = Port("eighth", (1, 2 * C, H // 8, W // 8), "features at 1/8")
    vector = Port("vector", (1, 2 * C), "the person in one vector")
    layer_eighth = Port("layer_eighth", (1, 4, H // 8, W // 8), "the person at 1/8", span=(0, 1))
    occlusion = Port("occlusion", ("batch", 1, H // 8, W // 8), "1 is seen", span=(0, 1))
    coarse = Port("coarse", ("batch", 2, H // 8, W // 8), "the smooth field of geometry, px", span=(0, H))
    heat = "Gaussians of 12 px about 21 face and 14 body keypoints of the"
    graphs += [
        Graph("appearance", "render", ("render",), "a picture's features, once", AppearanceGraph(net.appearance),
              (Port("layer", (1, 4, H, W), "person (colours times matte) and matte", span=(0, 1)),
               Port("plate", (1, 3, H, W), "clean background", span=(0, 1))), (quarter, eighth, vector, layer_eighth), {}),
        Graph("dense_motion", "render", ("render",), "corrects the smooth field", MotionGraph(net.motion),
              (Port("driving", ("batch", ALL_POINTS, H // 8, W // 8), f"{heat} frame", span=(0, 1)),
               Port("resting", (1, ALL_POINTS, H // 8, W // 8), f"{heat} picture", span=(0, 1)),
               coarse, layer_eighth, vector, activity),
              (Port("corrected", coarse.axes, "the smooth field to draw the frame with, px"), occlusion,
               Port("offset", ("batch", FACE_POINTS, 3), "of the face keypoints, in sides of the face window")), batch),
        Graph("generator", "render", ("render",), "change of the whole frame", GeneratorGraph(net.generator),
              (frame, alpha, flow, occlusion, quarter, eighth,
               Port("hands", ("batch", 4, H, W), "the hands as drawn: colours times mask, and mask", span=(0, 1))),
              (Port("change", ("batch", 3, H, W), "to be added to the frame"),), batch, {"mouth": net.mouth}),
        _face_graph(net.face, vector, net.mouth)]
    return graphs


def _filter_graph(net: ReconstructionFilter, size: tuple[int, int]) -> Graph:
    """For frames of any height and width that 16 divides; `size` is tried first."""
    (H, W), (h, w) = size, OTHER_SIZE

    def image(name: str, channels: int, meaning: str, highest: float = 1.0) -> Port:
        return Port(name, ("batch", channels, "height", "width"), meaning, span=(0, highest))

    return Graph(
        "filter", "render", ("render",), "reconstruction filter: each place as sharp as it deserves to be", FilterGraph(net),
        (image("frame", 3, FRAME), image("alpha", 1, ALPHA), image("flow", 2, FLOW, W), image("hands", 1, "mask of hands"),
         Port("face", ("batch", 3, "height_quarter", "width_quarter"),
              "masks at 1/4: inner mouth, eyeballs, where meshes decide", span=(0, 1)),
         Port("activity", ("batch", 1, 1, 1), ACTIVITY, span=(0, 1))),
        (Port("filtered", ("batch", 3, "height", "width"), "the frame, RGB about 0 to 1, to be clamped"),),
        {"batch": (1, 2), "height": (H, h), "width": (W, w), "height_quarter": (H // 4, h // 4),
         "width_quarter": (W // 4, w // 4)})


def _face_graph(net: FaceRefine, vector: Port, mouth: float) -> Graph:
    def window(name: str, channels: int, meaning: str, batch: int | str = "batch") -> Port:
        return Port(name, (batch, channels, "side", "side"), meaning, span=(0, 1))

    return Graph(
        "face_refine", "render", ("render",), "change of the face window", FaceRefineGraph(net),
        (window("window", 3, "the face window of the frame; its side is a multiple of 16 px"),
         window("source", 3, "the same window of the picture", 1),
         window("control", 8, "inner mouth RGB and mask; eye, teeth, tongue; where meshes decide"),
         Port("heat", ("batch", FACE_POINTS, "side_eighth", "side_eighth"), "Gaussians about the face keypoints, side / 8",
              span=(0, 1)), vector),
        (Port("change", ("batch", 3, "side", "side"), "to be added to the window, faded out"),),
        {"batch": (1, 2), "side": FACE_SIDES, "side_eighth": (FACE_SIDES[0] // 8, FACE_SIDES[1] // 8)}, {"mouth": mouth})
