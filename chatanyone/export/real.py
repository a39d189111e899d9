"""What the nets meet in use: the numbers of a real voice, and of a portrait that speaks it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from chatanyone import build
from chatanyone.config import Config
from chatanyone.errors import ChatAnyoneError
from chatanyone.export.graphs import Graph
from chatanyone.export.manifest import describe
from chatanyone.export.run_onnx import Nets
from chatanyone.stages import GestureStage
from motion.audio.features import AudioStream
from motion.body_sampler import BodySampler
from motion.sampler import REFERENCE_TOKENS, FaceSampler, thinned
from motion.template.head import HeadTemplate
from motion.types import EXPRESSION_DIM, BodyMotion, FaceMotion
from render.geometry import coarse_flow, draw
from render.keypoints import heat_maps
from render.reconstruction import face_masks
from render.renderer import Renderer, activity, face_heat, face_window, implicit_body
from render.types import RenderDrive, RenderSource
from render.warp import STRIDE

SECONDS = 3
KEPT = 4  # calls of each net that are compared
Calls = dict[str, list[list[Tensor]]]  # inputs of some calls, by the graph's name


class TorchNets(Nets):
    """The graphs in torch, where `run_onnx` expects files; keeps the inputs of all calls."""

    def __init__(self, graphs: Sequence[Graph]) -> None:
        self.nets = {graph.name: graph for graph in graphs}
        self.graphs = {graph.name: describe(graph) for graph in graphs}
        self.calls: Calls = defaultdict(list)

    def __call__(self, name: str, **inputs: Any) -> dict[str, Any]:
        graph = self.nets[name]
        tensors = [torch.from_numpy(np.ascontiguousarray(inputs[port.name])) for port in graph.inputs]
        self.calls[name].append(tensors)
        return {port.name: tensor.numpy() for port, tensor in zip(graph.outputs, graph(tensors))}

    def meet(self, motion: NDArray[np.float32]) -> None:
        """Face motion ``[T, 58]`` as if it were a reference clip."""
        if "face_reference" in self.nets:
            clip = torch.from_numpy(motion[:, :EXPRESSION_DIM])[None]
            self.calls["face_reference"].append([thinned(clip, REFERENCE_TOKENS)])

    def some_calls(self) -> Calls:
        """`KEPT` of each, spread over the stream."""
        return {name: calls[::-(-len(calls) // KEPT)] for name, calls in self.calls.items()}


def voice(seconds: float = SECONDS) -> NDArray[np.float32]:
    """The voice that ships with the styles: 16 kHz."""
    from chatanyone.media.audio import read_audio
    from chatanyone.styles import calibration

    path = Path(calibration.__file__).parent / "data" / calibration.VOICE
    return read_audio(path)[:round(16000 * seconds)]


@torch.no_grad()
def engine_motion(speech: AudioStream, face: FaceSampler, body: BodySampler, template: HeadTemplate,
                  samples: NDArray[np.float32], seed: int = 0) -> tuple[NDArray[np.float32], ...]:
    """The motion as films are made: face ``[T, 58]``, body ``[T, 14, 3]``, hands ``[T, 2, 51]``."""
    from chatanyone.pipeline import Strengths

    features = speech(torch.from_numpy(samples))
    stage = GestureStage(body, template)
    moved, state = face.step(features, face.init_state(seed))
    last, _ = face.flush(state)
    whole = FaceMotion.unpack(torch.cat([moved.packed(), last.packed()]))
    first, resting = stage.step(features, whole, stage.init_state(seed, None, Strengths()))  # type: ignore[arg-type]
    gestures = BodyMotion.unpack(torch.cat([first.packed(), stage.flush(resting)[0].packed()]))
    return whole.packed().numpy(), gestures.delta.numpy(), gestures.hands.numpy()


def drawn_inputs(net: Renderer, config: Config, template: HeadTemplate, motion: Sequence[NDArray[np.float32]]) -> Calls:
    """What the rendering nets are given when the demo's portrait moves so; empty where the demo's picture is not installed."""
    from chatanyone import demo
    from chatanyone.driver import Driver
    from chatanyone.portrait import prepare_portrait

    try:
        portrait = prepare_portrait(demo.picture(), config.media.width_height)
    except ChatAnyoneError:
        return {}
    driver = Driver(portrait, template, hands=build.hand_templates(config))
    every = max(len(motion[0]) // KEPT, 1)
    face, delta, hands = (torch.from_numpy(part[every // 2::every]) for part in motion)
    return _drawn(net, driver.source, driver(FaceMotion.unpack(face), BodyMotion(delta, hands)))


@torch.no_grad()
def _drawn(net: Renderer, source: RenderSource, drive: RenderDrive) -> Calls:
    coarse = coarse_flow(source, drive)
    look, acting = net.look(source), activity(source, drive)
    motion = net.move(source, drive, coarse)
    proposal = draw(source, drive, coarse + motion.flow)
    rows, columns = face_window(source)
    window, layer, plate = proposal.frame[:, :, rows, columns], source.cache["layer"], source.plate
    behind = layer[:, :3] + (1 - layer[:, 3:]) * plate
    heat = face_heat(drive.face_keypoints, motion.offset, source.face_box)
    offset = source.cache["body_offset"]

    def heats(face: Tensor, body: Tensor) -> Tensor:
        points = (face[..., :2], implicit_body(source, body, offset))
        return torch.cat([heat_maps(each, source.size, STRIDE) for each in points], 1)

    return {
        "filter": [[proposal.frame, proposal.alpha, proposal.flow, proposal.hands[:, 3:],
                    face_masks(proposal.face, source.face_box, source.size), acting]],
        "appearance": [[layer, plate[None]]],
        "dense_motion": [[heats(drive.face_keypoints, drive.body_keypoints),
                          heats(source.face_keypoints[None], source.body_keypoints[None]), coarse,
                          source.cache["layer_eighth"], look.vector, acting]],
        "generator": [[proposal.frame, proposal.alpha, proposal.flow, motion.occlusion, look.quarter, look.eighth,
                       proposal.hands]],
        "face_refine": [[window, behind[:, :, rows, columns], proposal.face, heat, look.vector]]}
