"""The motion nets in ONNX Runtime, for a CPU: compiled when they are loaded, from the modules themselves.

They are small, so torch spends most of their time on calling some thousand operations a window, each of which waits for
Python's lock beside the threads that draw. Here each net is one call, with the same numbers up to rounding.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from chatanyone.export.files import opened, traced
from chatanyone.export.motion_graphs import pairs, stacked
from chatanyone.export.speech_graphs import AudioGraph
from motion.audio.encoder import AudioEncoder, EncoderState
from motion.audio.features import AudioStream
from motion.face import FaceContext, FaceDenoiser
from motion.impulses import FACE_CONTROLS
from motion.sampler import FaceSampler
from motion.types import EXPRESSION_DIM, FACE_DIM

TOLERANCE = 1e-4  # of an output's largest number; found are some 1e-6
_REFERENCE, _SELF_BIAS = 6, 7  # inputs of `_Step` that are as long as the reference clip
_log = logging.getLogger(__name__)


def compile_motion(speech: Any, face: Any) -> None:
    """Has a speech front end and a face sampler use compiled nets (in place), where these are the default ones. What cannot be
    compiled stays in torch, and a warning says why."""
    try:
        if isinstance(speech, AudioStream):
            speech.encoder = CompiledEncoder(speech.encoder)  # type: ignore[assignment]
        if isinstance(face, FaceSampler):
            face.denoiser = CompiledDenoiser(face)  # type: ignore[assignment]
    except Exception as error:  # torch's exporter and ONNX Runtime raise what they like
        _log.warning("motion stays in torch, which takes twice the time: %s", str(error).strip().partition("\n")[0])


class CompiledEncoder:
    """An `AudioEncoder` whose `step` is one call; everything else is the encoder's own."""

    def __init__(self, encoder: AudioEncoder) -> None:
        self.encoder, state = encoder, encoder.init_state()
        mel = torch.linspace(-0.5, 1.5, 2 * encoder.block * encoder.n_mels).view(1, -1, encoder.n_mels)
        self._step = _Call(AudioGraph(encoder), (mel, state.mel, state.stem, state.cache, state.energy, state.position[None]))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.encoder, name)

    def step(self, mel: Tensor, state: EncoderState) -> tuple[Tensor, EncoderState]:
        """As of `AudioEncoder`, for one stream."""
        features, past, stem, cache, energy, position = self._step(
            mel, state.mel, state.stem, state.cache, state.energy, state.position[None])
        return features, EncoderState(past, stem, cache, energy, position[0])


class CompiledDenoiser:
    """A `FaceDenoiser` whose `denoise` is one call; everything else is the net's own."""

    def __init__(self, sampler: FaceSampler) -> None:
        self.net = net = sampler.denoiser
        T, generator = sampler.hop + sampler.look_ahead, torch.Generator().manual_seed(0)

        def numbers(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=generator)

        with torch.no_grad():
            reference = net.encode_reference(numbers(1, 2, EXPRESSION_DIM))
        window = self.encode(numbers(1, sampler.audio_past + T, net.audio_dim), numbers(1, net.previous, FACE_DIM), frames=T,
                             audio_first=-sampler.audio_past, controls=numbers(1, T, FACE_CONTROLS), reference=reference)
        self._step = _Call(_Step(net), (numbers(1, T, FACE_DIM), torch.tensor([500]), *map(torch.from_numpy, window)),
                           {_REFERENCE: 4, _SELF_BIAS: 2})

    def __getattr__(self, name: str) -> Any:
        return getattr(self.net, name)

    @torch.no_grad()
    def encode(self, *arguments: Any, **named: Any) -> list[NDArray[Any]]:
        """As of `FaceDenoiser`, a window's conditions in the order of `_Step`; without a reference clip its keys and values
        are empty."""
        context = self.net.encode(*arguments, **named)
        none = context.audio[0][0][:, :, :0]
        reference = context.reference or [(none, none)] * len(context.audio)
        return [x.numpy() for x in (stacked(context.audio), context.audio_bias, stacked(context.previous),
                                    context.previous_bias, stacked(reference), context.self_bias, context.style,
                                    context.controls)]

    def denoise(self, noisy: Tensor, timestep: Tensor, context: list[NDArray[Any]]) -> Tensor:
        """As of `FaceDenoiser`, for one stream and windows as long as the sampler's."""
        return self._step(noisy, timestep, *context)[0]


class _Step(nn.Module):
    """`FaceDenoiser.denoise` of tensors alone; keys and values ``[L, 2, B, H, S, D / H]``."""

    def __init__(self, net: FaceDenoiser) -> None:
        super().__init__()
        self.net = net

    def forward(self, noisy: Tensor, timestep: Tensor, audio: Tensor, audio_bias: Tensor, previous: Tensor,
                previous_bias: Tensor, reference: Tensor, self_bias: Tensor, style: Tensor, controls: Tensor) -> Tensor:
        return self.net.denoise(noisy, timestep, FaceContext(
            pairs(audio), audio_bias, pairs(previous), previous_bias, pairs(reference), self_bias, style, controls))


class _Call:
    """A module in ONNX Runtime, checked against torch on the inputs that it was compiled with.

    Args:
        growing: of inputs, by number, the axis whose length varies.
    """

    def __init__(self, module: nn.Module, inputs: tuple[Tensor, ...], growing: Mapping[int, int] = {}) -> None:
        self._names, file = [f"x{index}" for index in range(len(inputs))], io.BytesIO()
        traced(module, inputs, file, self._names,
               dynamic_axes={self._names[index]: {axis: f"n{index}"} for index, axis in growing.items()})
        self._net = opened(file.getvalue())
        with torch.no_grad():
            wanted = module(*inputs)
        for found, value in zip(self(*inputs), [wanted] if isinstance(wanted, Tensor) else wanted):
            if not float((found - value).abs().max()) <= TOLERANCE * float(value.abs().max()):
                raise ValueError(f"{type(module).__name__} gives other numbers in ONNX Runtime")

    def __call__(self, *inputs: Tensor | NDArray[Any]) -> list[Tensor]:
        named = {name: x if isinstance(x, np.ndarray) else x.numpy() for name, x in zip(self._names, inputs)}
        return [torch.from_numpy(output) for output in self._net.run(None, named)]
