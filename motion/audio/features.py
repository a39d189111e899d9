"""Samples → features at the motion's frame rate, as a stream; whole clips are a loop over it.

Convention: frame ``i`` is described at its centre, sample ``(i + ½) · 16000 / fps``, by linear interpolation between the
encoder's rows at samples ``320 k``. Positions are integers and `Fraction`s, so nothing drifts. A clip of ``n`` samples
has ``ceil(n · fps / 16000)`` frames.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from fractions import Fraction
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from motion.audio.encoder import ENCODER_HZ, ROW_SAMPLES, AudioEncoder, EncoderState
from motion.audio.mel import HOP, N_FFT, SAMPLE_RATE, MelState, MelStream, mel_power, mel_windows, normalise_stream


def frame_count(samples: int, fps: Fraction) -> int:
    """Frames of a clip: ``ceil(n · fps / 16000)``."""
    return -(-samples * fps.numerator // (SAMPLE_RATE * fps.denominator))


def frame_rows(first: int, last: int, fps: Fraction, rows_hz: int = ENCODER_HZ) -> tuple[Tensor, Tensor]:
    """Where frames ``first … last − 1`` lie among the rows: index of the row before the centre, and how far past it."""
    divisor = 2 * fps.numerator
    places = [divmod((2 * frame + 1) * fps.denominator * rows_hz, divisor) for frame in range(first, last)]
    rows = torch.tensor([row for row, _ in places], dtype=torch.int64)
    return rows, torch.tensor([rest / divisor for _, rest in places])


def at_frames(rows: Tensor, first: int, last: int, fps: Fraction, offset: int = 0) -> Tensor:
    """Interpolate rows ``[R, C]``, the first of which is row `offset`, at the frames: ``[last − first, C]``."""
    index, share = frame_rows(first, last, fps)
    low = (index - offset).to(rows.device)
    high = (low + 1).clamp(max=len(rows) - 1)
    return torch.lerp(rows[low], rows[high], share.to(rows)[:, None])


class AudioFeatures(Protocol):
    """What the motion stages need of a speech front end."""

    fps: Fraction

    @property
    def feature_dim(self) -> int: ...

    @property
    def lookahead_samples(self) -> int: ...

    def init_state(self) -> Any: ...

    def step(self, samples: Tensor, state: Any) -> tuple[Tensor, Any]: ...

    def flush(self, state: Any) -> Tensor: ...

    def __call__(self, samples: Tensor) -> Tensor: ...


@dataclass
class AudioState:
    """Where an `AudioStream` stands. A value: clone it, save its `tensors`, go back to it.

    rows: encoder rows still needed, ``[R, C]``, the first of which is row `offset` of the clip
    offset, rows_skipped, received, emitted: int64 ``[]``; rows of the delay dropped, samples seen, frames given
    closed: bool ``[]``, set by `flush`
    """

    mel: MelState
    encoder: EncoderState
    rows: Tensor
    offset: Tensor
    rows_skipped: Tensor
    received: Tensor
    emitted: Tensor
    closed: Tensor

    def clone(self) -> AudioState:
        return AudioState(*(getattr(self, item.name).clone() for item in fields(self)))

    def tensors(self) -> dict[str, Tensor]:
        """Every tensor under a dotted name, for a safetensors file."""
        nested = {"mel": self.mel, "encoder": self.encoder}
        flat = {item.name: getattr(self, item.name) for item in fields(self) if item.name not in nested}
        for prefix, part in nested.items():
            flat |= {f"{prefix}.{item.name}": getattr(part, item.name) for item in fields(part)}
        return flat

    @classmethod
    def from_tensors(cls, tensors: dict[str, Tensor]) -> AudioState:
        """Inverse of `tensors`."""
        def part(prefix: str) -> dict[str, Tensor]:
            return {name[len(prefix):]: value for name, value in tensors.items() if name.startswith(prefix)}

        own = {name: value for name, value in tensors.items() if "." not in name}
        return cls(mel=MelState(**part("mel.")), encoder=EncoderState(**part("encoder.")), **own)


def _number(value: int) -> Tensor:
    return torch.tensor(value, dtype=torch.int64)


class AudioStream:
    """The default speech front end: `MelStream` → `AudioEncoder` → frames.

    The encoder computes blocks of a fixed size whatever the chunks, so any chunking gives the same bits.

    Args:
        encoder: put into evaluation mode
        fps: motion frame rate
    """

    def __init__(self, encoder: AudioEncoder, fps: Fraction | int = 30) -> None:
        self.encoder, self.fps = encoder.eval(), Fraction(fps)
        if self.fps <= 0:
            raise ValueError(f"the frame rate must be positive, got {fps}")
        self._mel = MelStream(2 * encoder.block, encoder.n_mels, mirrored=False)

    @property
    def feature_dim(self) -> int:
        return self.encoder.feature_dim

    @property
    def lookahead_samples(self) -> int:
        """Frame i is given once this many samples past its centre have come: one row to interpolate, the encoder's wait."""
        return ROW_SAMPLES + self.encoder.lookahead_samples

    def init_state(self) -> AudioState:
        device = self.encoder.conv1.weight.device
        return AudioState(
            self._mel.init_state(device), self.encoder.init_state(), torch.zeros(0, self.feature_dim, device=device),
            _number(0), _number(0), _number(0), _number(0), torch.tensor(False),
        )

    @torch.no_grad()
    def step(self, samples: Tensor, state: AudioState) -> tuple[Tensor, AudioState]:
        """Samples ``[N]``, any N → features ``[T, C]`` of the frames that are now certain."""
        if bool(state.closed):
            raise ValueError("samples came after the audio stream was flushed: start a new one with init_state()")
        if samples.ndim != 1:
            raise ValueError(f"expected mono samples of shape [N], got {list(samples.shape)}")
        mel, mel_state = self._mel.step(samples.to(state.rows), state.mel)
        rows, encoder_state = self._encode(normalise_stream(mel), state.encoder)
        state = replace(state, mel=mel_state, encoder=encoder_state, received=state.received + len(samples))
        return self._emit(rows, state)

    def _encode(self, mel: Tensor, state: EncoderState) -> tuple[Tensor, EncoderState]:
        rows = [mel.new_zeros(0, self.feature_dim)]
        for block in mel.split(2 * self.encoder.block):
            if len(block):
                row, state = self.encoder.step(block[None], state)
                rows.append(row[0])
        return torch.cat(rows), state

    def _emit(self, rows: Tensor, state: AudioState) -> tuple[Tensor, AudioState]:
        """Drop the encoder's delay, interpolate what both neighbours are there for, forget rows not needed any more."""
        skip = min(len(rows), self.encoder.delay - int(state.rows_skipped))
        rows, offset, first = torch.cat([state.rows, rows[skip:]]), int(state.offset), int(state.emitted)
        ready = offset + len(rows) - 1  # frames whose row before the centre is below this are certain
        last = first
        while _row_before(last, self.fps) < ready:
            last += 1
        frames = at_frames(rows, first, last, self.fps, offset) if last > first else rows[:0]
        keep = min(max(_row_before(last, self.fps) - offset, 0), len(rows))
        return frames, replace(state, rows=rows[keep:].clone(), offset=_number(offset + keep), emitted=_number(last),
                               rows_skipped=state.rows_skipped + skip)

    @torch.no_grad()
    def flush(self, state: AudioState) -> Tensor:
        """The last frames, as if silence followed; closes the state. In all there are ``ceil(n · fps / 16000)``."""
        left = frame_count(int(state.received), self.fps) - int(state.emitted)
        open_state, frames, silence = state.clone(), [state.rows[:0]], state.rows.new_zeros(2 * HOP * self.encoder.block)
        while sum(map(len, frames)) < left:
            more, open_state = self.step(silence, open_state)
            frames.append(more)
        state.closed.fill_(True)
        return torch.cat(frames)[:max(left, 0)]

    def __call__(self, samples: Tensor) -> Tensor:
        """A whole clip ``[N]`` → ``[T, C]``."""
        frames, state = self.step(samples, self.init_state())
        return torch.cat([frames, self.flush(state)])

    @torch.no_grad()
    def parallel(self, samples: Tensor) -> Tensor:
        """The same up to rounding, computed in one pass: faster for many clips of training. ``[N]`` → ``[T, C]``."""
        count = frame_count(len(samples), self.fps)
        if not count:
            return samples.new_zeros(0, self.feature_dim)
        rows = _row_before(count - 1, self.fps) + 2 + self.encoder.delay
        mel = stream_mel(samples, rows, self.encoder.n_mels)
        return at_frames(self.encoder(mel[None])[0, self.encoder.delay:], 0, count, self.fps)


def _row_before(frame: int, fps: Fraction) -> int:
    return (2 * frame + 1) * fps.denominator * ENCODER_HZ // (2 * fps.numerator)


def stream_mel(samples: Tensor, rows: int, n_mels: int = 80) -> Tensor:
    """What a `MelStream` that ends in silence gives, `rows` encoder rows of it: ``[..., N]`` → ``[..., 2 · rows, M]``."""
    padded = F.pad(samples, (N_FFT // 2, max(0, rows * ROW_SAMPLES + N_FFT // 2 - samples.shape[-1])))
    return normalise_stream(mel_power(mel_windows(padded)[..., :2 * rows, :], n_mels))
