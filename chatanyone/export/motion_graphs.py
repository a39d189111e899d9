"""Features → face and body, as graphs: the conditions of a window once, then one graph for each denoising step."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from chatanyone.export.graphs import NEXT, Graph, Port
from motion.audio.encoder import AudioEncoder
from motion.body import BodyCache
from motion.body_sampler import BodySampler
from motion.face import FaceContext, FaceDenoiser
from motion.impulses import FACE_CONTROLS, GESTURE_CODES
from motion.layers.attention import KeyValue
from motion.sampler import MANNER_HOLD, MEAN_SHARE, REFERENCE_TOKENS, SHIFTED, FaceSampler, anchor_motion
from motion.style import LIVELY, RAISERS, SPEECH, WHOLE_BROW
from motion.template.head import HeadTemplate
from motion.types import ARKIT_INDEX, BODY_POINTS, EXPRESSION_DIM, FACE_DIM, HAND_DIM, POSE_DIM, FaceMotion, StyleRange


class ReferenceGraph(nn.Module):
    """`FaceDenoiser.encode_reference`: expressions ``[B, R, 52]`` → ``[L, 2, B, H, R, D / H]``."""

    def __init__(self, net: FaceDenoiser) -> None:
        super().__init__()
        self.net = net

    def forward(self, expression: Tensor) -> Tensor:
        return stacked(self.net.encode_reference(expression))


class WindowGraph(nn.Module):
    """`FaceDenoiser.encode` and the anchor: what stays the same over the steps of a window."""

    def __init__(self, sampler: FaceSampler, encoder: AudioEncoder) -> None:
        super().__init__()
        self.net, self.encoder, self.first = sampler.denoiser, encoder, -sampler.audio_past
        self.frames = sampler.hop + sampler.look_ahead

    def forward(self, audio: Tensor, previous: Tensor, controls: Tensor, style_expression: Tensor, style_pose: Tensor,
                keep_audio: Tensor, keep_style: Tensor) -> tuple[Tensor, ...]:
        keep = {"audio": keep_audio, "expression": keep_style, "pose": keep_style}
        context = self.net.encode(audio, previous, frames=self.frames, audio_first=self.first, controls=controls,
                                  style=StyleRange(style_expression, style_pose), keep=keep)
        anchor = self.net.normalise(anchor_motion(self.encoder.curves(audio[:, -self.first:]), style_expression))
        return stacked(context.audio), stacked(context.previous), context.style, context.controls, anchor


class StepGraph(nn.Module):
    """`FaceDenoiser.denoise`, and its mouth drawn to the anchor."""

    weight: Tensor
    audio_bias: Tensor
    previous_bias: Tensor
    self_bias: Tensor

    def __init__(self, sampler: FaceSampler) -> None:
        super().__init__()
        net, size, past = sampler.denoiser, sampler.hop + sampler.look_ahead, sampler.audio_past
        self.net = net
        now, weight = torch.arange(size), torch.zeros(FACE_DIM)
        weight[SPEECH] = sampler.anchor_weight
        self.register_buffer("weight", weight)
        self.register_buffer("audio_bias", net.audio_bias(now, torch.arange(-past, size)).detach())
        self.register_buffer("previous_bias", net.previous_bias(now, torch.arange(-net.previous, 0)).detach())
        self.register_buffer("self_bias", net.self_bias(now, now).detach())

    def forward(self, noisy: Tensor, timestep: Tensor, audio: Tensor, previous: Tensor, style: Tensor, controls: Tensor,
                anchor: Tensor, reference: Tensor, keep_reference: Tensor) -> Tensor:
        B, T, _ = noisy.shape
        H, R = self.self_bias.shape[0], reference.shape[4]
        hidden = torch.where(keep_reference, 0.0, float("-inf"))[:, None, None, None].expand(B, H, T, R)
        bias = torch.cat([hidden, self.self_bias.expand(B, H, T, T)], dim=-1)
        context = FaceContext(pairs(audio), self.audio_bias, pairs(previous), self.previous_bias, pairs(reference), bias,
                              style, controls)
        x_0 = self.net.denoise(noisy, timestep, context)
        return x_0 + self.weight * (anchor - x_0)


class BodyGraph(nn.Module):
    """`BodyTransformer` behind the head's keypoints, with a cache of fixed length."""

    def __init__(self, sampler: BodySampler, template: HeadTemplate) -> None:
        super().__init__()
        self.net, self.template = sampler.net, template

    def forward(self, face: Tensor, audio: Tensor, code: Tensor, cache: Tensor, position: Tensor) -> tuple[Tensor, ...]:
        motion = FaceMotion.unpack(face)
        keypoints = self.template.keypoints(motion.expression, motion.rotation, motion.translation)
        keys, values = list(cache[:, 0].unbind(0)), list(cache[:, 1].unbind(0))
        body, after = self.net(keypoints, audio, code, audio_first=-self.net.audio_past, cache=BodyCache(keys, values),
                               filled=position)
        return body.delta, body.hands, stacked(list(zip(after.keys, after.values))), position + face.shape[1]


def face_graphs(sampler: FaceSampler, encoder: AudioEncoder) -> list[Graph]:
    """Reference, window, step; the encoder has the estimate that the mouth is drawn to."""
    net = sampler.denoiser
    L, H, width, P = len(net.blocks), net.self_bias.table.shape[0], net.width, net.previous
    T, A = sampler.hop + sampler.look_ahead, sampler.audio_past + sampler.hop + sampler.look_ahead

    def key_values(name: str, length: int | str, meaning: str, start: float | None = None) -> Port:
        return Port(name, (L, 2, "batch", H, length, width // H), f"keys and values of {meaning}, for each block", start=start)

    audio, previous = key_values("audio_kv", A, "the audio"), key_values("previous_kv", P, "the previous motion")
    reference = key_values("reference_kv", "reference", "a reference clip's expressions", start=0.0)
    style = Port("style", ("batch", width), "embedded style range")
    controls = Port("control_tokens", ("batch", T, width), "embedded controls")
    anchor = Port("anchor", ("batch", T, FACE_DIM), "the audio's own estimate of the motion, normalised")
    x_0 = Port("x_0", ("batch", T, FACE_DIM), "clean motion of the window, normalised")
    batch = {"batch": (1, 2)}
    return [
        Graph("face_reference", "face", ("face",), "a reference clip's manner, once a stream", ReferenceGraph(net),
              (Port("expression", ("batch", "reference", EXPRESSION_DIM),
                    f"ARKit weights of the clip, thinned evenly to at most {REFERENCE_TOKENS} frames", span=(0, 1)),),
              (reference,), batch | {"reference": (REFERENCE_TOKENS, 5)}),
        Graph("face_window", "face", ("face", "audio_encoder"), "conditions of a window, once a hop",
              WindowGraph(sampler, encoder),
              (Port("audio", ("batch", A, net.audio_dim),
                    f"features at the film's rate, from {sampler.audio_past} frames before the window to its end; zeros "
                    "before the stream's first"),
               Port("previous", ("batch", P, FACE_DIM), "motion of the frames before, normalised"),
               Port("controls", ("batch", T, FACE_CONTROLS), "lid closure 0 to 1, gaze right and up -1 to 1, ten of sway"),
               Port("style_expression", ("batch", 4), "deviation of mouth, brows, eyes, cheeks, weights", span=(0, 0.2)),
               Port("style_pose", ("batch", POSE_DIM), "deviation of rotation, rad, and translation, m", span=(0, 0.1)),
               Port("keep_audio", ("batch",), "false leaves the audio out (guidance)", "bool"),
               Port("keep_style", ("batch",), "false leaves the style to the net", "bool")),
              (audio, previous, style, controls, anchor), batch),
        Graph("face_step", "face", ("face",), "one denoising step", StepGraph(sampler),
              (Port("noisy", ("batch", T, FACE_DIM), "x_t, normalised"),
               Port("timestep", ("batch",), "t, 0 to 999", "int64", span=(0, 1000)), audio, previous, style, controls, anchor,
               reference, Port("keep_reference", ("batch",), "false leaves the reference out", "bool", start=0)),
              (x_0,), batch | {"reference": (1, REFERENCE_TOKENS)}, _face_constants(sampler))]


def body_graphs(sampler: BodySampler, template: HeadTemplate) -> list[Graph]:
    """The one graph of body and hands."""
    net, T = sampler.net, sampler.hop
    past = (Port("cache", (len(net.blocks), 2, "batch", net.heads, net.past, net.width // net.heads),
                 "keys and values of the frames before", start=0.0),
            Port("position", (1,), "frames so far", "int64", start=0, span=(0, 100)))
    return [
        Graph("body", "body", ("body",), "face and speech to body and hands, one hop a call", BodyGraph(sampler, template),
              (Port("face", ("batch", T, FACE_DIM), "52 ARKit weights, rotation 3 (axis-angle, rad), translation 3 (m)",
                    span=(0, 0.3)),
               Port("audio", ("batch", net.audio_past + T + net.audio_future, net.audio_dim),
                    f"features at the film's rate, {net.audio_past} frames before the hop to {net.audio_future} after it"),
               Port("code", ("batch", T, GESTURE_CODES), "six smooth normal numbers, sine and cosine of the breath"), *past),
              (Port("delta", ("batch", T, BODY_POINTS, 3), "displacement of the body keypoints, shoulder widths, image axes"),
               Port("hands", ("batch", T, 2, HAND_DIM),
                    "left, right: 15 joints x 3 (axis-angle, rad), global rotation 3, wrist translation 3 (shoulder widths)"),
               *(Port(NEXT + port.name, port.axes, port.meaning, port.dtype) for port in past)),
              {"batch": (1, 2)}, {"hop": T, "audio_past": net.audio_past, "audio_future": net.audio_future})]


def _face_constants(sampler: FaceSampler) -> dict[str, object]:
    net, ddim = sampler.denoiser, sampler.ddim
    assert LIVELY.expression is not None and LIVELY.pose is not None
    return {
        "hop": sampler.hop, "look_ahead": sampler.look_ahead, "audio_past": sampler.audio_past, "previous": net.previous,
        "timesteps": ddim.timesteps, "alpha_bar": [float(ddim.alpha_bar[t]) for t in ddim.timesteps],
        "motion_mean": net.motion_mean.tolist(), "motion_std": net.motion_std.tolist(), "inertia": sampler.keep.tolist(),
        "held": SHIFTED.tolist(), "hold": MANNER_HOLD, "mean_share": MEAN_SHARE,
        "brow_raisers": [ARKIT_INDEX[name] for name in RAISERS], "whole_brow": WHOLE_BROW,
        "style_expression": LIVELY.expression.tolist(), "style_pose": LIVELY.pose.tolist()}


def stacked(pairs: list[KeyValue]) -> Tensor:
    """Keys and values of each block → ``[L, 2, B, H, S, D / H]``."""
    return torch.stack([torch.stack(pair) for pair in pairs])


def pairs(stacked: Tensor) -> list[KeyValue]:
    """Inverse of `stacked`."""
    return [(pair[0], pair[1]) for pair in stacked.unbind(0)]
