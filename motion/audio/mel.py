"""Log-mel spectrogram of Whisper (Radford et al. 2022, arXiv 2212.04356 §2.2), whole and as a stream.

Convention: 16 kHz, Hann window of 400 samples, hop 160; mel frame ``j`` is centred on sample ``160 j``; a clip of
``n`` samples has ``n // 160`` frames (Whisper drops the last of the centred frames); its ends are mirrored.

Whisper clamps the spectrogram 8 decades below the *loudest value of the whole clip*, which a stream cannot know.
`normalise` is Whisper's; `normalise_stream` clamps at a fixed level instead (our choice), so that a frame depends
on its own 400 samples only, and on nothing said before or after. The default encoder is trained with the latter,
under random gain.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

SAMPLE_RATE = 16000
N_FFT = 400
HOP = 160
N_MELS = 80
HALF = N_FFT // 2
DYNAMIC_RANGE = 8.0  # decades kept below the reference, Whisper's number
STREAM_REFERENCE = 2.0  # log10 mel power that stands for Whisper's maximum: about that of speech at full scale


def _hz_to_mel(hz: Tensor) -> Tensor:
    """Slaney's scale: linear below 1 kHz, logarithmic above."""
    log_step = math.log(6.4) / 27.0
    return torch.where(hz < 1000, hz * 3 / 200, 15 + torch.log(hz.clamp(min=1e-9) / 1000) / log_step)


def _mel_to_hz(mel: Tensor) -> Tensor:
    log_step = math.log(6.4) / 27.0
    return torch.where(mel < 15, mel * 200 / 3, 1000 * torch.exp((mel - 15) * log_step))


@cache
def mel_filters(n_mels: int = N_MELS) -> Tensor:
    """Triangular filters of unit area, 0 Hz to 8 kHz: ``[201, n_mels]``."""
    limits = _hz_to_mel(torch.tensor([0.0, SAMPLE_RATE / 2], dtype=torch.float64))
    edges = _mel_to_hz(torch.linspace(float(limits[0]), float(limits[1]), n_mels + 2, dtype=torch.float64))
    bins = torch.linspace(0, SAMPLE_RATE / 2, HALF + 1, dtype=torch.float64)[:, None]
    rise = (bins - edges[None, :-2]) / (edges[1:-1] - edges[:-2])
    fall = (edges[None, 2:] - bins) / (edges[2:] - edges[1:-1])
    triangles = torch.minimum(rise, fall).clamp(min=0)
    return (triangles * 2 / (edges[2:] - edges[:-2])).float()


@cache
def _window() -> Tensor:
    return torch.hann_window(N_FFT)


def mel_power(windows: Tensor, n_mels: int = N_MELS) -> Tensor:
    """Log10 mel power of windows already cut: ``[..., J, 400]`` samples → ``[..., J, n_mels]``."""
    spectrum = torch.fft.rfft(windows * _window().to(windows))
    power = spectrum.real.square() + spectrum.imag.square()
    return (power @ mel_filters(n_mels).to(windows)).clamp(min=1e-10).log10()


def mel_windows(samples: Tensor) -> Tensor:
    """Cut windows without padding: ``[..., N]`` → ``[..., (N − 400) // 160 + 1, 400]``."""
    return samples.unfold(-1, N_FFT, HOP)


def normalise(log_power: Tensor) -> Tensor:
    """Whisper's scaling of a whole clip ``[..., J, M]``: clamp 8 decades below its maximum, then ``(x + 4) / 4``."""
    loudest = log_power.amax(dim=(-2, -1), keepdim=True) if log_power.numel() else log_power.new_zeros(1)
    return (torch.maximum(log_power, loudest - DYNAMIC_RANGE) + 4) / 4


def normalise_stream(log_power: Tensor) -> Tensor:
    """The same scaling against `STREAM_REFERENCE`; each frame by itself."""
    return (log_power.clamp(min=STREAM_REFERENCE - DYNAMIC_RANGE) + 4) / 4


def mirror(samples: Tensor, left: int, right: int) -> Tensor:
    """Mirror the ends of ``[..., N]``, not repeating the outermost sample; a clip too short for it is zero-padded."""
    if samples.shape[-1] <= max(left, right):
        return F.pad(samples, (left, right))
    return F.pad(samples[None], (left, right), mode="reflect")[0]


def log_mel(samples: Tensor, n_mels: int = N_MELS) -> Tensor:
    """Whisper's features of a whole clip, as ``transformers.WhisperFeatureExtractor`` gives them without padding.

    Args:
        samples: float ``[N]`` or ``[B, N]``, 16 kHz

    Returns:
        ``[N // 160, n_mels]`` or ``[B, N // 160, n_mels]``
    """
    count = samples.shape[-1] // HOP
    if not count:
        return samples.new_zeros(*samples.shape[:-1], 0, n_mels)
    return normalise(mel_power(mel_windows(mirror(samples, HALF, HALF)), n_mels)[..., :count, :])


@dataclass
class MelState:
    """Where a `MelStream` stands; cloning the tensors saves it.

    pending: samples not yet consumed, from the start of the next window on, ``[P]``, at most 1 280
    received: samples seen so far, int64 ``[]``
    emitted: mel frames given so far, int64 ``[]``
    """

    pending: Tensor
    received: Tensor
    emitted: Tensor

    def clone(self) -> MelState:
        return MelState(self.pending.clone(), self.received.clone(), self.emitted.clone())


class MelStream:
    """Log mel power as samples come, in blocks of a fixed size, so that any chunking gives the same bits.

    Args:
        block: mel frames computed at a time; the latency is one block
        n_mels: bands
        mirrored: True mirrors the ends of the clip as Whisper does; False takes silence before and after
    """

    def __init__(self, block: int = 4, n_mels: int = N_MELS, mirrored: bool = True) -> None:
        self.block, self.n_mels, self.mirrored = block, n_mels, mirrored
        self.block_samples = N_FFT + (block - 1) * HOP

    def init_state(self, device: torch.device | str = "cpu") -> MelState:
        start = 0 if self.mirrored else HALF  # the mirror is put in front once its samples are there
        zero = torch.zeros((), dtype=torch.int64)
        return MelState(torch.zeros(start, device=device), zero.clone(), zero.clone())

    def step(self, samples: Tensor, state: MelState) -> tuple[Tensor, MelState]:
        """Samples ``[N]`` → log10 mel power ``[J, n_mels]`` of every complete block (`normalise` is the caller's)."""
        pending = torch.cat([state.pending, samples])
        before = int(state.received)
        received = before + len(samples)
        if self.mirrored and before <= HALF < received:
            pending = mirror(pending, HALF, 0)
        ready = not self.mirrored or received > HALF
        blocks = []
        while ready and len(pending) >= self.block_samples:
            blocks.append(mel_power(mel_windows(pending[:self.block_samples]), self.n_mels))
            pending = pending[self.block * HOP:]
        frames = torch.cat(blocks) if blocks else pending.new_zeros(0, self.n_mels)
        return frames, MelState(pending.clone(), torch.tensor(received), state.emitted + len(frames))

    def flush(self, state: MelState) -> Tensor:
        """The frames that remain when the clip ends, so that there are ``received // 160`` in all."""
        left = int(state.received) // HOP - int(state.emitted)
        if left <= 0:
            return state.pending.new_zeros(0, self.n_mels)
        short = int(state.received) <= HALF  # too short to mirror
        ended = self._end(F.pad(state.pending, (HALF, 0)) if short and self.mirrored else state.pending, short)
        padded = F.pad(ended, (0, self.block_samples + self.block * HOP))
        tail = replace(state, pending=padded[:0], received=torch.tensor(N_FFT))
        frames, _ = self.step(padded, tail)
        return frames[:left]

    def _end(self, pending: Tensor, short: bool) -> Tensor:
        """The pending samples and what follows the clip's end."""
        if not self.mirrored or short:
            return F.pad(pending, (0, HALF))
        return torch.cat([pending, pending[-HALF - 1:-1].flip(0)])
