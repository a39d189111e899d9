"""The face denoiser with Loopy's two additions: a long past, and audio to latents.

`motion.sampler.FaceSampler` runs it as it is: the state's previous motion is as long as the segments reach (`previous`), and
each window takes from it what its tokens show.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from motion.face import FaceContext, FaceDenoiser
from motion.layers.attention import KeyValue
from motion.loopy.latents import AudioToLatents, Movement
from motion.loopy.segments import InterClipAttention, TemporalSegments
from motion.types import FACE_DIM, StyleRange


class LoopyDenoiser(FaceDenoiser):
    """Args:
        audio_dim … window: as of `FaceDenoiser`; `previous` are the frames seen whole.
        stride, expand, segments: of the long past (paper: 4, 2, 5).
        latents, embeddings: of the audio-to-latents module.

    Attributes: previous: frames of motion before a window that `encode` is given, as far as the segments reach.
    """

    def __init__(
        self, *, audio_dim: int, width: int = 128, depth: int = 6, heads: int = 4, ratio: int = 4, audio_past: int = 14,
        audio_future: int = 4, previous: int = 16, window: int = 16, stride: int = 4, expand: int = 2, segments: int = 8,
        latents: int = 4, embeddings: int = 32,
    ) -> None:
        super().__init__(audio_dim=audio_dim, width=width, depth=depth, heads=heads, ratio=ratio, audio_past=audio_past,
                         audio_future=audio_future, previous=previous, window=window)
        self.segments = TemporalSegments(FACE_DIM, width, stride, expand, segments)
        self.near, self.previous = previous, max(self.segments.span, previous)
        self.latents = AudioToLatents(audio_dim, width, latents, embeddings)
        for block in self._blocks():
            block.previous_attention = InterClipAttention(width, heads, stride * segments)

    def added(self) -> list[str]:
        """Names of the parameters that `FaceDenoiser` does not have."""
        return [name for name, _ in self.named_parameters()
                if name.startswith(("segments.", "latents.")) or ".previous_attention.past." in name or name.endswith(".gate")]

    def encode(
        self, audio: Tensor, previous: Tensor, *, frames: int, audio_first: int, controls: Tensor | None = None,
        style: StyleRange | None = None, reference: Tensor | list[KeyValue] | None = None,
        keep: dict[str, Tensor] | None = None, past: Tensor | None = None, movement: Movement | None = None,
    ) -> FaceContext:
        """As `FaceDenoiser.encode`, and:

        Args:
            previous: normalised motion ``[B, self.previous, 58]`` before the window; with `past` the last `near` will do.
            keep: also `past` and `latents`; the latents go with the audio they are made of.
            past: what the tokens show, ``[B, L, 58]``, where it was taken already.
            movement: in training, what may stand for the sound.
        """
        keep = keep or {}
        context = super().encode(audio, previous[:, -self.near:], frames=frames, audio_first=audio_first, controls=controls,
                                 style=style, reference=reference, keep=keep)
        shown = self.segments.sampled(previous[:, -self.segments.span:]) if past is None else past
        tokens = self.segments(shown, keep.get("past"))
        latents = self.latents((audio - self.audio_mean) / self.audio_std, movement)
        for name in ("audio", "latents"):
            if name in keep:
                latents = torch.where(keep[name][:, None], latents, 0)
        pairs = [self._inter_clip(index).joined(pair, tokens) for index, pair in enumerate(context.previous)]
        return replace(context, previous=pairs, style=context.style + latents)

    def forward(
        self, noisy: Tensor, timestep: Tensor, audio: Tensor, previous: Tensor, *, audio_first: int,
        controls: Tensor | None = None, style: StyleRange | None = None, reference: Tensor | None = None,
        keep: dict[str, Tensor] | None = None, past: Tensor | None = None, movement: Movement | None = None,
    ) -> Tensor:
        """`encode` and `denoise` in one."""
        context = self.encode(audio, previous, frames=noisy.shape[1], audio_first=audio_first, controls=controls, style=style,
                              reference=reference, keep=keep, past=past, movement=movement)
        return self.denoise(noisy, timestep, context)

    def _inter_clip(self, block: int) -> InterClipAttention:
        attention = self._blocks()[block].previous_attention
        assert isinstance(attention, InterClipAttention)
        return attention
