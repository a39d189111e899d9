"""Encoders of ``openai/whisper-*`` through `transformers`, behind the interface of `AudioStream`.

Whisper hears windows of 30 s. Each window gives a hop of rows near its end, with some look-ahead behind them and as
much of the past before them as fits; windows lie at fixed places, so any chunking gives the same features. A window
costs the same whatever the hop: long hops for files (the default), short ones for live speech on a fast machine.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from motion.audio.mel import log_mel
from motion.audio.resample import ROW_SAMPLES, ROWS_HZ, FrameSampler, RowState, frame_count


@dataclass
class WhisperState:
    """pending: the samples that later windows need, from row `start` on; windows: done so far; all int64 ``[]``."""

    pending: Tensor
    start: Tensor
    received: Tensor
    windows: Tensor
    frames: RowState
    closed: Tensor

    def clone(self) -> WhisperState:
        return WhisperState(self.pending.clone(), self.start.clone(), self.received.clone(), self.windows.clone(),
                            self.frames.clone(), self.closed.clone())

    def tensors(self) -> dict[str, Tensor]:
        """Every tensor under a dotted name, for a safetensors file."""
        flat = {name: getattr(self, name) for name in ("pending", "start", "received", "windows", "closed")}
        return flat | {f"frames.{name}": getattr(self.frames, name) for name in ("rows", "offset", "emitted")}

    @classmethod
    def from_tensors(cls, tensors: dict[str, Tensor]) -> WhisperState:
        """Inverse of `tensors`."""
        frames = RowState(*(tensors[f"frames.{name}"] for name in ("rows", "offset", "emitted")))
        return cls(frames=frames, **{name: value for name, value in tensors.items() if "." not in name})


class WhisperStream:
    """A Whisper encoder as speech front end; features are its last hidden state.

    Args:
        source: folder of a downloaded model, or a hub id such as ``openai/whisper-tiny``
        fps: motion frame rate
        hop_s, lookahead_s: seconds of speech a window adds, and how far it hears beyond them
    """

    def __init__(self, source: str | Path, fps: Fraction | int = 30, hop_s: float = 20.0, lookahead_s: float = 2.0,
                 device: torch.device | str = "cpu") -> None:
        from transformers import WhisperModel

        self.encoder = WhisperModel.from_pretrained(str(source)).get_encoder().to(device).eval()
        self.fps = Fraction(fps)
        self._sampler = FrameSampler(self.fps)
        self._hop, self._ahead = round(hop_s * ROWS_HZ), round(lookahead_s * ROWS_HZ)
        self._window = int(self.encoder.config.max_source_positions)
        if self._hop < 1 or self._hop + self._ahead > self._window:
            limit_s = self._window / ROWS_HZ
            raise ValueError(f"hop_s + lookahead_s must lie in (0, {limit_s}], got {hop_s} + {lookahead_s}")

    @property
    def feature_dim(self) -> int:
        return int(self.encoder.config.d_model)

    @property
    def lookahead_samples(self) -> int:
        """A hop, the look-ahead, one row to interpolate with."""
        return ROW_SAMPLES * (self._hop + self._ahead + 1)

    def init_state(self) -> WhisperState:
        zero = torch.zeros((), dtype=torch.int64)
        device = next(self.encoder.parameters()).device
        return WhisperState(torch.zeros(0, device=device), zero, zero, zero,
                            self._sampler.init_state(self.feature_dim, device), torch.tensor(False))

    @torch.no_grad()
    def step(self, samples: Tensor, state: WhisperState) -> tuple[Tensor, WhisperState]:
        if bool(state.closed):
            raise ValueError("samples came after the audio stream was flushed: start a new one with init_state()")
        pending = torch.cat([state.pending, samples.to(state.pending)])
        state = replace(state, pending=pending, received=state.received + len(samples))
        frames = [state.frames.rows[:0]]
        while self._needed(int(state.windows)) <= int(state.received):
            more, state = self._advance(state)
            frames.append(more)
        return torch.cat(frames), state

    def _needed(self, window: int) -> int:
        """Samples that a window needs."""
        return ROW_SAMPLES * ((window + 1) * self._hop + self._ahead)

    def _first_row(self, window: int) -> int:
        return max(0, (window + 1) * self._hop + self._ahead - self._window)

    def _advance(self, state: WhisperState) -> tuple[Tensor, WhisperState]:
        """Hear the next window: its hop of rows, resampled."""
        window, start = int(state.windows), int(state.start)
        first, hop = self._first_row(window), window * self._hop
        heard = state.pending[(first - start) * ROW_SAMPLES:self._needed(window) - start * ROW_SAMPLES]
        rows = self._encode(heard)[hop - first:hop - first + self._hop]
        frames, row_state = self._sampler.step(rows, state.frames)
        following = self._first_row(window + 1)
        pending = state.pending[(following - start) * ROW_SAMPLES:].clone()
        return frames, replace(state, pending=pending, start=torch.tensor(following), windows=state.windows + 1,
                               frames=row_state)

    def _encode(self, samples: Tensor) -> Tensor:
        """At most a window of samples → its rows ``[1500, C]``; silence fills it up as in Whisper."""
        padded = F.pad(samples, (0, self._window * ROW_SAMPLES - len(samples)))
        mel = log_mel(padded, int(self.encoder.config.num_mel_bins))
        return self.encoder(mel.T[None].to(padded)).last_hidden_state[0]

    @torch.no_grad()
    def flush(self, state: WhisperState) -> Tensor:
        left = frame_count(int(state.received), self.fps) - int(state.frames.emitted)
        going, frames = replace(state), [state.frames.rows[:0]]
        while sum(map(len, frames)) < left:
            more, going = self._advance(going)
            frames.append(more)
        state.closed = torch.tensor(True)
        return torch.cat(frames)[:max(left, 0)]

    def __call__(self, samples: Tensor) -> Tensor:
        frames, state = self.step(samples, self.init_state())
        return torch.cat([frames, self.flush(state)])
