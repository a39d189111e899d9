"""A compact speech encoder of Whisper's architecture that streams: log mel → features at 50 Hz.

Whisper (Radford et al. 2022, §2.2): two convolutions of width 3 with GELU, the second of stride 2, then pre-norm
transformer blocks and a final norm. Departures, our choice: convolutions are causal, attention sees the last `context`
frames only, rotary positions (Su et al. 2021) replace the sinusoids, so that a stream may be endless, and the output is
read `delay` frames late: row ``p`` has heard the sound up to frame ``p`` and speaks about frame ``p − delay``. That is
the whole look-ahead, the same in every layer, and no frame is computed twice.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from motion.audio.mel import DYNAMIC_RANGE, HOP, N_FFT, STREAM_REFERENCE
from motion.audio.resample import ROW_SAMPLES, ROWS_HZ

SILENT_MEL = (STREAM_REFERENCE - DYNAMIC_RANGE + 4) / 4  # `normalise_stream` of silence
EXTRA_CHANNELS = 2  # appended to the hidden features: speech probability, log energy
SPEAKING, ENERGY = -2, -1  # where they are


@dataclass(frozen=True)
class EncoderConfig:
    """Sizes of `AudioEncoder`.

    n_mels: mel bands
    dim, heads, layers: of the transformer
    context: frames of 20 ms a layer sees, the present one included (bounds memory)
    delay: frames of 20 ms the output waits (look-ahead)
    phonemes, curves: outputs of the two training heads
    """

    n_mels: int = 80
    dim: int = 192
    heads: int = 4
    layers: int = 6
    context: int = 96
    delay: int = 4
    phonemes: int = 43
    curves: int = 52


DEBUG_CONFIG = EncoderConfig(dim=16, heads=2, layers=2, context=12, delay=2)


@dataclass
class EncoderState:
    """What a stream keeps between blocks.

    mel: the last two mel frames, ``[B, 2, M]``
    stem: the last row between the convolutions, ``[B, 1, C]``
    cache: keys (rotated) and values of the last rows, ``[L, 2, B, H, W, C/H]``
    energy: log energy of the last `delay` rows, ``[B, delay, 1]``
    position: rows so far, int64 ``[]``
    """

    mel: Tensor
    stem: Tensor
    cache: Tensor
    energy: Tensor
    position: Tensor

    def clone(self) -> EncoderState:
        return EncoderState(*(getattr(self, item.name).clone() for item in fields(self)))


def rotary_table(length: int, width: int, start: int = 0) -> Tensor:
    """Cosine and sine of the rotary positions ``start … start + length − 1``: ``[2, length, width / 2]``.

    In double precision, so that hours into a stream two neighbours still differ as at its start.
    """
    rates = 10000.0 ** (-torch.arange(0, width, 2, dtype=torch.float64) / width)
    angles = torch.arange(start, start + length, dtype=torch.float64)[:, None] * rates
    return torch.stack([angles.cos(), angles.sin()]).float()


def rotate(x: Tensor, table: Tensor) -> Tensor:
    """Turn the channel pairs (c, c + half) of ``[..., T, C]`` by the angles of ``[2, T, C/2]``."""
    first, second = x.chunk(2, dim=-1)
    cosine, sine = table
    return torch.cat([first * cosine - second * sine, first * sine + second * cosine], dim=-1)


def band_mask(length: int, context: int) -> Tensor:
    """True where row p may look: at p and the ``context − 1`` rows before it, ``[T, T]``."""
    distance = torch.arange(length)[:, None] - torch.arange(length)
    return (distance >= 0) & (distance < context)


class Attention(nn.Module):
    """Multi-head self-attention over the band, whole or with a cache."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.out = nn.Linear(dim, dim)

    def split(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """``[B, T, C]`` → query, key, value, each ``[B, H, T, C/H]``."""
        B, T, C = x.shape
        query, key, value = self.qkv(x).view(B, T, 3, self.heads, C // self.heads).permute(2, 0, 3, 1, 4)
        return query, key, value

    def attend(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor) -> Tensor:
        x = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        return self.out(x.transpose(1, 2).flatten(2))

    def forward(self, x: Tensor, table: Tensor, mask: Tensor) -> Tensor:
        query, key, value = self.split(x)
        return self.attend(rotate(query, table), rotate(key, table), value, mask)


class Block(nn.Module):
    """Pre-norm transformer block: attention, then an MLP of four times the width."""

    def __init__(self, dim: int, heads: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(dim)
        self.attention = Attention(dim, heads)
        self.mlp_norm = nn.LayerNorm(dim)
        self.mlp = nn.Sequential(nn.Linear(dim, 4 * dim), nn.GELU(), nn.Linear(4 * dim, dim))
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, table: Tensor, mask: Tensor) -> Tensor:
        x = x + self.dropout(self.attention(self.attention_norm(x), table, mask))
        return x + self.dropout(self.mlp(self.mlp_norm(x)))

    def step(self, x: Tensor, cache: Tensor, table: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """New rows ``[B, Q, C]`` against the cache ``[2, B, H, W, C/H]`` → rows, new cache of the same size."""
        query, key, value = self.attention.split(self.attention_norm(x))
        query, key = rotate(torch.stack([query, key]), table)
        cache = torch.cat([cache, torch.stack([key, value])], dim=3)
        x = x + self.attention.attend(query, cache[0], cache[1], mask)
        return x + self.mlp(self.mlp_norm(x)), cache[:, :, :, x.shape[1]:]


class AudioEncoder(nn.Module):
    """Log mel ``[B, J, M]`` (from `normalise_stream`) → features ``[B, J / 2, dim + 2]`` at 50 Hz, `delay` rows late.

    The last two channels of the features are the probability that somebody speaks and the log energy (the mel scale:
    −0.5 is silence, about 0.5-1 is speech); both are about the same instant as the rest of the row.
    """

    block = 2  # rows computed at a time when streaming: 40 ms

    def __init__(self, n_mels: int = 80, dim: int = 192, heads: int = 4, layers: int = 6, context: int = 96,
                 delay: int = 4, phonemes: int = 43, curves: int = 52, dropout: float = 0.0) -> None:
        super().__init__()
        if dim % (2 * heads):
            raise ValueError(f"dim must be a multiple of twice the heads, got dim={dim} and heads={heads}")
        self.n_mels, self.dim, self.heads, self.context, self.delay = n_mels, dim, heads, context, delay
        self.conv1 = nn.Conv1d(n_mels, dim, 3)
        self.conv2 = nn.Conv1d(dim, dim, 3, stride=2)
        self.blocks = nn.ModuleList(Block(dim, heads, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(dim)
        self.phoneme_head = nn.Linear(dim, phonemes)
        self.curve_head = nn.Linear(dim, curves)
        nn.init.zeros_(self.curve_head.weight)  # a mouth at rest, until training says otherwise
        nn.init.zeros_(self.curve_head.bias)

    @property
    def feature_dim(self) -> int:
        return self.dim + EXTRA_CHANNELS

    @property
    def lookahead_samples(self) -> int:
        """A row about time t, and every row up to the end of its block, has heard less than t plus this much."""
        window_and_pair = HOP + N_FFT // 2  # the second mel frame of the last row, half a window wide
        return ROW_SAMPLES * (self.delay + self.block - 1) + window_and_pair

    def forward(self, mel: Tensor) -> Tensor:
        """A whole clip at once, for training; equals `step` over its blocks up to rounding."""
        B, J, M = mel.shape
        x = self._stem(F.pad(mel, (0, 0, 2, 0), value=SILENT_MEL), mel.new_zeros(B, 1, self.dim))[0]
        table = rotary_table(x.shape[1], self.dim // self.heads).to(x)
        mask = band_mask(x.shape[1], self.context).to(x.device)
        for block in self.blocks:
            x = block(x, table, mask)
        energy = F.pad(log_energy(mel), (0, 0, self.delay, 0), value=SILENT_MEL)
        return self._features(self.norm(x), energy[:, :x.shape[1]])

    def _stem(self, mel: Tensor, previous: Tensor) -> tuple[Tensor, Tensor]:
        """Two more mel frames than rows come in; → rows ``[B, P, C]`` and the row that the next call needs."""
        x = F.gelu(self.conv1(mel.transpose(1, 2))).transpose(1, 2)
        x = torch.cat([previous.to(x), x], dim=1)
        return F.gelu(self.conv2(x.transpose(1, 2))).transpose(1, 2), x[:, -1:]

    def _features(self, hidden: Tensor, energy: Tensor) -> Tensor:
        speaking = 1 - self.phoneme_head(hidden).float().softmax(-1)[..., :1]
        return torch.cat([hidden, speaking.to(hidden), energy.to(hidden)], dim=-1)

    def phoneme_logits(self, features: Tensor) -> Tensor:
        """``[..., C]`` → logits of `motion.training.phonemes.PHONEME_CLASSES`."""
        return self.phoneme_head(features[..., :self.dim])

    def curves(self, features: Tensor) -> Tensor:
        """``[..., C]`` → the encoder's own estimate of the mouth, 52 ARKit weights (not clamped)."""
        return self.curve_head(features[..., :self.dim])

    def init_state(self, batch_size: int = 1) -> EncoderState:
        """The state before the first sample."""
        weight = self.conv1.weight
        cache = weight.new_zeros(len(self.blocks), 2, batch_size, self.heads, self.context, self.dim // self.heads)
        return EncoderState(
            mel=weight.new_full((batch_size, 2, self.n_mels), SILENT_MEL),
            stem=weight.new_zeros(batch_size, 1, self.dim), cache=cache,
            energy=weight.new_full((batch_size, self.delay, 1), SILENT_MEL),
            position=torch.zeros((), dtype=torch.int64),
        )

    def step(self, mel: Tensor, state: EncoderState) -> tuple[Tensor, EncoderState]:
        """One block of ``2 · block`` mel frames ``[B, 4, M]`` → features ``[B, 2, C]``."""
        B, J, M = mel.shape
        if J != 2 * self.block:
            raise ValueError(f"the encoder streams in blocks of {2 * self.block} mel frames, got {J}")
        position = int(state.position)
        table = rotary_table(self.block, self.dim // self.heads, position)
        return self.advance(mel, state, table.to(mel), self.step_mask(position).to(mel.device))

    def advance(self, mel: Tensor, state: EncoderState, table: Tensor, mask: Tensor) -> tuple[Tensor, EncoderState]:
        """`step` where the caller gives the rotary positions of the block's rows, ``[2, Q, C/2]``, and its `step_mask`."""
        x, stem = self._stem(torch.cat([state.mel, mel], dim=1), state.stem)
        caches = []
        for block, cache in zip(self.blocks, state.cache):
            assert isinstance(block, Block)
            x, cache = block.step(x, cache, table.to(x), mask)
            caches.append(cache)
        energy = torch.cat([state.energy, log_energy(mel)], dim=1)
        features = self._features(self.norm(x), energy[:, :self.block])
        return features, EncoderState(mel[:, -2:], stem, torch.stack(caches), energy[:, self.block:],
                                      state.position + self.block)

    def step_mask(self, position: int | Tensor) -> Tensor:
        """Which slots of the cache and of the block itself a row of the block may look at; `position` rows came before."""
        slot = torch.arange(self.context + self.block)
        query = self.context + torch.arange(self.block)[:, None]
        return (slot <= query) & (slot > query - self.context) & (slot >= self.context - position)


def log_energy(mel: Tensor) -> Tensor:
    """Log of the mean mel power at each row, on the mel's own scale: ``[B, J, M]`` → ``[B, J // 2, 1]``."""
    power = (mel[:, :mel.shape[1] // 2 * 2:2] * (4 * math.log(10))).logsumexp(-1, keepdim=True)
    return (power - math.log(mel.shape[2])) / (4 * math.log(10))


def count_gflop(config: EncoderConfig) -> float:
    """GFLOP (2 · MAC) for one second of speech: convolutions, linear layers, attention over the full context."""
    C, W, R = config.dim, config.context, ROWS_HZ
    stem = 3 * config.n_mels * C * 2 * R + 3 * C * C * R
    layer = (12 * C * C + 2 * (W + AudioEncoder.block) * C) * R
    heads = C * (config.phonemes + config.curves) * R
    return 2e-9 * (stem + config.layers * layer + heads)
