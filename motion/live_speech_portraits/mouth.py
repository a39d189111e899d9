"""Audio → mouth (Live Speech Portraits, section 3.2): a recurrent net that answers a few frames late.

The paper: LSTM of 3 × 256, then an MLP, 18 frames (300 ms at 60 fps) of delay, 25 mouth landmarks of one person. Ours: the
template's mouth and jaw blendshapes in place of landmarks (they can be edited and belong to nobody), a smaller net, a
delay that counts beside what the speech encoder already looks ahead, and a style's range as a second input.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from motion.layers.embed import OptionalEmbedding
from motion.style import GROUP_INDICES, TYPICAL_EXPRESSION

MOUTH: list[int] = GROUP_INDICES[0]  # columns of the 52 weights that the net predicts
Memory = tuple[Tensor, Tensor]  # hidden and cell, each [layers, B, width]


class MouthNet(nn.Module):
    """Features → mouth weights, both normalised; output row t + `delay` is frame t's.

    Args:
        audio_dim: channels C of the features.
        width, layers: of the LSTM.
    """

    def __init__(self, audio_dim: int, width: int, layers: int) -> None:
        super().__init__()
        self.width, self.layers = width, layers
        self.audio_in = nn.Linear(audio_dim, width)
        self.style = OptionalEmbedding(len(TYPICAL_EXPRESSION), width, TYPICAL_EXPRESSION)
        self.lstm = nn.LSTM(width, width, layers, batch_first=True)
        self.out = nn.Sequential(nn.Linear(width, width), nn.LeakyReLU(0.2), nn.Linear(width, len(MOUTH)))

    def forward(self, audio: Tensor, style: Tensor | None, present: Tensor | None = None, memory: Memory | None = None,
                ) -> tuple[Tensor, Memory]:
        """Args:
            audio: ``[B, T, C]``, normalised.
            style: expression range ``[B, 4]``, None leaves it to the net; present: ``[B]``, False drops a row's.
            memory: what an earlier call gave; None is the start of a stream.

        Returns: ``[B, T, M]`` and the memory after it.
        """
        x = self.audio_in(audio) + self.style(style, present, len(audio))[:, None]
        x, memory = self.lstm(nn.functional.leaky_relu(x, 0.2), memory)
        return self.out(x), memory

    def step(self, audio: Tensor, style: Tensor | None, memory: Memory) -> tuple[Tensor, Memory]:
        """One frame of one stream: audio ``[C]``, style ``[4]`` or None → ``[M]``.

        The LSTM written out: torch's own packs its weights anew at every call, which costs more than a frame's products.
        """
        x = self.audio_in(audio) + self.style(None if style is None else style[None], None, 1)[0]
        x = nn.functional.leaky_relu(x, 0.2)
        rows: list[tuple[Tensor, Tensor]] = []
        for (weight_in, weight_on, bias_in, bias_on), hidden, cell in zip(self.lstm.all_weights, *memory):
            gates = nn.functional.linear(x, weight_in, bias_in) + nn.functional.linear(hidden[0], weight_on, bias_on)
            enter, forget, value, leave = gates.chunk(4)
            kept = torch.sigmoid(forget) * cell[0] + torch.sigmoid(enter) * torch.tanh(value)
            x = torch.sigmoid(leave) * torch.tanh(kept)
            rows.append((x, kept))
        hidden, cell = (torch.stack(part)[:, None] for part in zip(*rows))
        return self.out(x), (hidden, cell)

    def start(self) -> Memory:
        """The memory before the first frame, of one stream."""
        zero = self.audio_in.weight.new_zeros(self.layers, 1, self.width)
        return zero, torch.zeros_like(zero)
