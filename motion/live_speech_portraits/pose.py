"""Head motion as a probability (Live Speech Portraits, section 3.3): the next pose's Gaussian, from all before and the sound.

A WaveNet: gated causal convolutions of width 2 with dilations 1, 2, 4 … in two stacks. The paper's 2 × 7 layers look back
255 frames of 60 fps; 2 × 6 look back 127 of 30 fps, the same 4.2 s. Input are pose and velocity, loss the negative
log-likelihood with σ of at least 0.03.

Ours: the Gaussian is that of the velocity, in units of its deviation, and the pose goes on from where it was: the
same Gaussian about another mean, so that a net that has learned little stands still and does not jump. A style's pose
range is a second condition.

A streaming frame costs one product a layer: each layer keeps its last `dilation` inputs in a ring.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from motion.layers.embed import OptionalEmbedding
from motion.style import TYPICAL_POSE
from motion.types import POSE_DIM

STACKS = 2
SIGMA_FLOOR = 0.03  # the paper's
SIGMA_CEILING = 10.0  # our choice: keeps exp() in bounds


class GatedLayer(nn.Module):
    """y = residual(tanh(a) · sigmoid(b)) + x with [a, b] from x now, x `dilation` frames ago and the condition."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.past = nn.Linear(width, 2 * width, bias=False)
        self.now = nn.Linear(width, 2 * width, bias=False)
        self.residual = nn.Linear(width, width)

    def forward(self, past: Tensor, now: Tensor, condition: Tensor) -> tuple[Tensor, Tensor]:
        """``[..., W]``, ``[..., W]``, ``[..., 2 W]`` → the layer's output and what goes to the skip sum, ``[..., W]``."""
        signal, gate = (self.past(past) + self.now(now) + condition).chunk(2, dim=-1)
        kept = torch.tanh(signal) * torch.sigmoid(gate)
        return now + self.residual(kept), kept


class PoseNet(nn.Module):
    """History and features → mean and log σ of the next velocity.

    Args:
        audio_dim: channels C of the features.
        width: channels of a layer; condition: of the condition; skip: of the sum over layers.
        layers: of a stack; the receptive field is 2 · (2^layers − 1) + 1 frames.
        dropout: of the history, in training, so that the sound is listened to (the paper has 0.5).
    """

    def __init__(self, audio_dim: int, width: int, layers: int, condition: int, skip: int, dropout: float) -> None:
        super().__init__()
        self.dilations = [2 ** layer for layer in range(layers)] * STACKS
        count = len(self.dilations)
        self.width = width
        self.history_in = nn.Linear(2 * POSE_DIM, width)
        self.dropout = nn.Dropout(dropout)
        self.audio_in = nn.Linear(audio_dim, condition)
        self.style = OptionalEmbedding(POSE_DIM, condition, TYPICAL_POSE)
        self.condition = nn.Linear(condition, count * 2 * width)  # of all layers at once
        self.layers = nn.ModuleList(GatedLayer(width) for _ in self.dilations)
        self.skip = nn.Linear(count * width, skip)  # the sum of each layer's own product
        self.hidden = nn.Linear(skip, skip)
        self.out = nn.Linear(skip, 2 * POSE_DIM)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    @property
    def receptive_field(self) -> int:
        """Frames of history that a prediction depends on."""
        return sum(self.dilations) + 1

    def forward(self, history: Tensor, audio: Tensor, style: Tensor | None, present: Tensor | None = None,
                ) -> tuple[Tensor, Tensor]:
        """Whole stretches, for training.

        Args:
            history: pose and velocity of the frame before each, ``[B, T, 12]``, normalised.
            audio: ``[B, T, C]``, normalised.
            style: pose range ``[B, 6]`` or None; present: ``[B]``, False drops a row's.

        Returns: mean and log σ, each ``[B, T, 6]``.
        """
        x = nn.functional.leaky_relu(self.history_in(self.dropout(history)), 0.2)
        conditions, kept = self._conditions(audio, style, present), []
        for layer, dilation, condition in zip(self.layers, self.dilations, conditions):
            past = nn.functional.pad(x, (0, 0, dilation, 0))[:, :-dilation]
            x, part = layer(past, x, condition)
            kept.append(part)
        return self._gaussian(torch.cat(kept, dim=-1))

    def start(self) -> Tensor:
        """The rings of all layers before the first frame, one after the other: ``[Σ dilations, W]``."""
        return self.history_in.weight.new_zeros(sum(self.dilations), self.width)

    def step(self, history: Tensor, audio: Tensor, style: Tensor | None, rings: Tensor, frame: int,
             ) -> tuple[Tensor, Tensor, Tensor]:
        """One frame of a stream: `forward`'s last row, and the rings after it.

        Args: history ``[12]``, audio ``[C]``, style ``[6]`` or None; frame: how many were before.
        """
        x = nn.functional.leaky_relu(self.history_in(history), 0.2)
        conditions = self._conditions(audio[None, None], None if style is None else style[None], None)
        rings, first, kept = rings.clone(), 0, []
        for layer, dilation, condition in zip(self.layers, self.dilations, conditions):
            slot = first + frame % dilation
            entered = x
            x, part = layer(rings[slot], x, condition[0, 0])
            rings[slot] = entered
            kept.append(part)
            first += dilation
        mean, log_sigma = self._gaussian(torch.cat(kept))
        return mean, log_sigma, rings

    def _conditions(self, audio: Tensor, style: Tensor | None, present: Tensor | None) -> tuple[Tensor, ...]:
        """For each layer ``[B, T, 2 W]``."""
        heard = self.audio_in(audio) + self.style(style, present, len(audio))[:, None]
        return self.condition(nn.functional.leaky_relu(heard, 0.2)).split(2 * self.width, dim=-1)

    def _gaussian(self, kept: Tensor) -> tuple[Tensor, Tensor]:
        """Skip sum, then twice ReLU and a product (the paper's end)."""
        x = self.hidden(torch.relu(self.skip(kept)))
        mean, log_sigma = self.out(torch.relu(x)).chunk(2, dim=-1)
        return mean, log_sigma.clamp(math.log(SIGMA_FLOOR), math.log(SIGMA_CEILING))


def negative_log_likelihood(value: Tensor, mean: Tensor, log_sigma: Tensor) -> Tensor:
    """Of each number under its Gaussian, the shape of `value`."""
    return 0.5 * math.log(2 * math.pi) + log_sigma + 0.5 * ((value - mean) * torch.exp(-log_sigma)).square()
