"""Samples → features at the motion's frame rate, as a stream; whole clips are a loop over it.

A clip of ``n`` samples has ``ceil(n · fps / 16000)`` frames; frame ``i`` is described at its centre (`resample`).
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from fractions import Fraction
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from motion.audio.encoder import AudioEncoder, EncoderState
from motion.audio.mel import HOP, N_FFT, MelState, MelStream, mel_power, mel_windows, normalise_stream
from motion.audio.resample import ROW_SAMPLES, FrameSampler, RowState, at_frames, frame_count, row_before


class AudioFeatures(Protocol):
    """What the motion stages need of a speech front end."""

    fps: Fraction

    @property
    def feature_dim(self) -> int:
        """C."""

    @property
    def lookahead_samples(self) -> int:
        """How many samples past the centre of a frame must have come before it is given."""

    def init_state(self) -> Any:
        """The state before the first sample."""

    def step(self, samples: Tensor, state: Any) -> tuple[Tensor, Any]:
        """Samples ``[N]``, any N → features ``[T, C]`` of the frames that are now certain."""

    def flush(self, state: Any) -> Tensor:
        """The last frames, as if silence followed; closes the state."""

    def __call__(self, samples: Tensor) -> Tensor:
        """A whole clip ``[N]`` → ``[ceil(N · fps / 16000), C]``."""


@dataclass
class AudioState:
    """Where an `AudioStream` stands. A value: clone it, save its `tensors`, go back to it.

    skipped: rows of the encoder's delay dropped so far, int64 ``[]``
    closed: bool ``[]``, set by `flush`
    """

    mel: MelState
    encoder: EncoderState
    frames: RowState
    skipped: Tensor
    closed: Tensor

    def clone(self) -> AudioState:
        return AudioState(*(getattr(self, item.name).clone() for item in fields(self)))

    def tensors(self) -> dict[str, Tensor]:
        """Every tensor under a dotted name, for a safetensors file."""
        flat = {"skipped": self.skipped, "closed": self.closed}
        for prefix in _PARTS:
            part = getattr(self, prefix)
            flat |= {f"{prefix}.{item.name}": getattr(part, item.name).contiguous() for item in fields(part)}
        return flat

    @classmethod
    def from_tensors(cls, tensors: dict[str, Tensor]) -> AudioState:
        """Inverse of `tensors`."""
        parts = {prefix: {name.partition(".")[2]: value for name, value in tensors.items()
                          if name.startswith(prefix + ".")} for prefix in _PARTS}
        return cls(MelState(**parts["mel"]), EncoderState(**parts["encoder"]), RowState(**parts["frames"]),
                   tensors["skipped"], tensors["closed"])


_PARTS = ("mel", "encoder", "frames")


class AudioStream:
    """The default speech front end: `MelStream` → `AudioEncoder` → `FrameSampler`.

    The encoder computes blocks of a fixed size whatever the chunks, so any chunking gives the same bits.

    Args:
        encoder: put into evaluation mode
        fps: motion frame rate
    """

    def __init__(self, encoder: AudioEncoder, fps: Fraction | int = 30) -> None:
        self.encoder, self.fps = encoder.eval(), Fraction(fps)
        self._mel = MelStream(2 * encoder.block, encoder.n_mels, mirrored=False)
        self._sampler = FrameSampler(self.fps)

    @property
    def feature_dim(self) -> int:
        return self.encoder.feature_dim

    @property
    def lookahead_samples(self) -> int:
        """One row to interpolate with, and the encoder's wait."""
        return ROW_SAMPLES + self.encoder.lookahead_samples

    def init_state(self) -> AudioState:
        device = self.encoder.conv1.weight.device
        return AudioState(self._mel.init_state(device), self.encoder.init_state(),
                          self._sampler.init_state(self.feature_dim, device),
                          torch.zeros((), dtype=torch.int64), torch.tensor(False))

    @torch.no_grad()
    def step(self, samples: Tensor, state: AudioState) -> tuple[Tensor, AudioState]:
        if bool(state.closed):
            raise ValueError("samples came after the audio stream was flushed: start a new one with init_state()")
        if samples.ndim != 1:
            raise ValueError(f"expected mono samples of shape [N], got {list(samples.shape)}")
        mel, mel_state = self._mel.step(samples.to(state.frames.rows), state.mel)
        rows, encoder_state = self._encode(normalise_stream(mel), state.encoder)
        skip = min(len(rows), self.encoder.delay - int(state.skipped))
        frames, frame_state = self._sampler.step(rows[skip:], state.frames)
        return frames, AudioState(mel_state, encoder_state, frame_state, state.skipped + skip, state.closed)

    def _encode(self, mel: Tensor, state: EncoderState) -> tuple[Tensor, EncoderState]:
        rows = [mel.new_zeros(0, self.feature_dim)]
        for block in mel.split(2 * self.encoder.block):
            if len(block):
                row, state = self.encoder.step(block[None], state)
                rows.append(row[0])
        return torch.cat(rows), state

    @torch.no_grad()
    def flush(self, state: AudioState) -> Tensor:
        left = frame_count(int(state.mel.received), self.fps) - int(state.frames.emitted)
        going, frames = replace(state, closed=torch.tensor(False)), [state.frames.rows[:0]]
        silence = state.frames.rows.new_zeros(2 * HOP * self.encoder.block)
        while sum(map(len, frames)) < left:
            more, going = self.step(silence, going)
            frames.append(more)
        state.closed = torch.tensor(True)
        return torch.cat(frames)[:max(left, 0)]

    def __call__(self, samples: Tensor) -> Tensor:
        frames, state = self.step(samples, self.init_state())
        return torch.cat([frames, self.flush(state)])

    @torch.no_grad()
    def parallel(self, samples: Tensor) -> Tensor:
        """The same up to rounding, computed in one pass, for the many clips of training: ``[N]`` → ``[T, C]``."""
        count = frame_count(len(samples), self.fps)
        if not count:
            return samples.new_zeros(0, self.feature_dim)
        rows = row_before(count - 1, self.fps) + 2 + self.encoder.delay
        mel = stream_mel(samples, rows, self.encoder.n_mels)
        return at_frames(self.encoder(mel[None])[0, self.encoder.delay:], 0, count, self.fps)


def stream_mel(samples: Tensor, rows: int, n_mels: int = 80) -> Tensor:
    """What a `MelStream` gives for `rows` encoder rows, silence behind: ``[..., N]`` → ``[..., 2 · rows, M]``."""
    padded = F.pad(samples, (N_FFT // 2, max(0, rows * ROW_SAMPLES + N_FFT // 2 - samples.shape[-1])))
    return normalise_stream(mel_power(mel_windows(padded)[..., :2 * rows, :], n_mels))
