"""Audio-to-latents module (Loopy, section 3.3, Figure 4): sound, or movement, as a mixture of a few learned embeddings.

The paper: a set of learnable embeddings gives keys and values; each condition goes through a fully connected layer and is
the query; what is attended to, the *motion latents*, goes through another layer and is added to the timestep embedding. In
training the condition is drawn with equal probability from the audio embedding, the face's landmarks, the variance of head
movement and that of expression; later it is the audio alone. So what movements teach the embeddings carries over to sound.

Ours, because the paper leaves it open or measures pixels: a condition is measured over the half second that the net hears
(paper: 12 frames at 25 fps); the audio is the features' mean and deviation there, landmarks are the mean coefficients,
variances are standard deviations, of the six pose numbers and of the shapes that speech does not move; four queries, 32
embeddings, four heads.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from motion.style import SPEECH
from motion.types import EXPRESSION_DIM, FACE_DIM, POSE_DIM

UPPER_FACE: list[int] = [index for index in range(EXPRESSION_DIM) if index not in SPEECH]
SOURCES = ("audio", "landmarks", "head", "expression")


@dataclass
class Movement:
    """What training may show in place of the sound.

    landmarks: mean motion ``[B, 58]``, head: deviations of the pose ``[B, 6]``, expression: of the upper face ``[B, U]``, all
        of normalised motion; source: which of `SOURCES` a row is shown, ``[B]``
    """

    landmarks: Tensor
    head: Tensor
    expression: Tensor
    source: Tensor

    @classmethod
    def of(cls, motion: Tensor, source: Tensor) -> Movement:
        """Of normalised motion ``[B, T, 58]`` over the stretch that is heard."""
        deviation = motion.std(dim=1, correction=0)
        return cls(motion.mean(1), deviation[:, EXPRESSION_DIM:], deviation[:, UPPER_FACE], source)


class AudioToLatents(nn.Module):
    """A condition → what is added to the timestep embedding; nothing at first (the last layer starts at zero).

    Args:
        audio_dim: channels C of the features.
        width: of the timestep embedding.
        latents: queries of a condition.
        embeddings: how many are learned.
        size, heads: of the attention.
    """

    def __init__(self, audio_dim: int, width: int, latents: int, embeddings: int, size: int = 64, heads: int = 4) -> None:
        super().__init__()
        self.latents, self.heads = latents, heads
        sizes = (2 * audio_dim, FACE_DIM, POSE_DIM, len(UPPER_FACE))
        self.queries = nn.ModuleDict({name: nn.Linear(inputs, latents * size) for name, inputs in zip(SOURCES, sizes)})
        self.embeddings = nn.Parameter(torch.randn(embeddings, size))
        self.key_value = nn.Linear(size, 2 * size)
        self.out = nn.Linear(latents * size, width)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, audio: Tensor, movement: Movement | None = None) -> Tensor:
        """Normalised features ``[B, A, C]`` of what is heard, and in training what may stand for them → ``[B, width]``."""
        query = self.queries["audio"](torch.cat([audio.mean(1), audio.std(dim=1, correction=0)], dim=-1))
        if movement is not None:
            for index, name in enumerate(SOURCES[1:], 1):
                shown = (movement.source == index)[:, None]
                query = torch.where(shown, self.queries[name](getattr(movement, name)), query)
        B = len(query)
        query = query.view(B, self.latents, self.heads, -1).transpose(1, 2)
        keys, values = self.key_value(self.embeddings).view(1, -1, 2, self.heads, query.shape[-1]).permute(2, 0, 3, 1, 4)
        latents = F.scaled_dot_product_attention(query, keys.expand(B, -1, -1, -1), values.expand(B, -1, -1, -1))
        return self.out(latents.transpose(1, 2).flatten(1))
