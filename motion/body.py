"""Body stage: a 2-layer transformer from head keypoints, speech and the source's look to shoulders, arms and hands.

The paper (ChatAnyone): upper-body motion is mainly led by head motion, hands mainly follow the rhythm of the audio; the
net has two transformer layers and cross-attends to audio and to appearance features. Causality, sizes and the gesture
code (`motion.impulses.gesture_code`, this regression's freedom) are our choice.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from motion.impulses import GESTURE_CODES
from motion.layers.attention import KeyValue, RelativeBias
from motion.layers.state import StreamState
from motion.layers.transformer import CrossBlock
from motion.types import BODY_DIM, BodyMotion


@dataclass
class BodyCache(StreamState):
    """Keys and values of the last frames for each layer, `[B, H, S, D / H]`."""

    keys: list[Tensor]
    values: list[Tensor]


class BodyTransformer(nn.Module):
    """Body and hands from the head, frame by frame, looking back only.

    Args:
        audio_dim: channels C of the audio features.
        keypoints: face keypoints Kf of the template.
        appearance_dim: channels of the source's appearance features.
        width, depth, heads, ratio: of the transformer (depth 2 in the paper).
        past: frames a layer looks back.
        audio_past, audio_future: frames of audio around a token that it hears.
    """

    keypoint_mean: Tensor
    keypoint_std: Tensor
    audio_mean: Tensor
    audio_std: Tensor
    motion_std: Tensor

    def __init__(
        self, *, audio_dim: int, keypoints: int = 21, appearance_dim: int = 32, width: int = 128, depth: int = 2,
        heads: int = 4, ratio: int = 3, past: int = 60, audio_past: int = 30, audio_future: int = 1,
    ) -> None:
        super().__init__()
        self.audio_dim, self.width, self.past, self.heads = audio_dim, width, past, heads
        self.audio_past, self.audio_future = audio_past, audio_future
        for name, size in (("keypoint", 3 * keypoints), ("audio", audio_dim)):
            self.register_buffer(f"{name}_mean", torch.zeros(size))
            self.register_buffer(f"{name}_std", torch.ones(size))
        self.register_buffer("motion_std", torch.ones(BODY_DIM))
        self.keypoint_in = nn.Linear(3 * keypoints, width)
        self.code_in = nn.Linear(GESTURE_CODES, width)
        self.audio_in = nn.Linear(audio_dim, width)
        self.appearance_in = nn.Linear(appearance_dim, width)
        self.null_appearance = nn.Parameter(torch.randn(width) * 0.02)
        self.self_bias = RelativeBias(heads, past=past, future=0)
        self.audio_bias = RelativeBias(heads, past=audio_past, future=audio_future)
        self.blocks = nn.ModuleList(CrossBlock(width, heads, ratio) for _ in range(depth))
        self.norm_out = nn.LayerNorm(width)
        self.motion_out = nn.Linear(width, BODY_DIM)

    def init_cache(self, batch: int = 1) -> BodyCache:
        """The past of a stream that has none."""
        empty = self.motion_std.new_zeros(batch, self.heads, 0, self.width // self.heads)
        return BodyCache([empty for _ in self.blocks], [empty for _ in self.blocks])

    def forward(
        self, keypoints: Tensor, audio: Tensor, code: Tensor, *, audio_first: int,
        appearance: Tensor | None = None, keep_appearance: Tensor | None = None, cache: BodyCache | None = None,
        filled: Tensor | None = None,
    ) -> tuple[BodyMotion, BodyCache]:
        """The next T frames.

        Args:
            keypoints: template face keypoints `[B, T, Kf, 3]`, metres.
            audio: features `[B, A, C]` that cover the frames from `audio_first` on.
            code: `[B, T, 8]` of `gesture_code`.
            audio_first: frame of the first feature; 0 is the first of the T frames.
            appearance: features of the source picture `[B, N, D]`; None uses the learned null.
            keep_appearance: for training, `[B]`; False replaces that row's features by the null.
            cache: of the frames before; None starts afresh.
            filled: how many of the cache's frames, the last ones, are real, where it has a fixed length; None for all.

        Returns:
            Motion, `delta` `[B, T, 14, 3]` and `hands` `[B, T, 2, 51]`, and the cache for the frames after.
        """
        B, T = keypoints.shape[:2]
        cache = cache or self.init_cache(B)
        x = self.keypoint_in((keypoints.flatten(2) - self.keypoint_mean) / self.keypoint_std) + self.code_in(code)
        heard = self.audio_in((audio - self.audio_mean) / self.audio_std)
        look = self._appearance(appearance, keep_appearance, B)
        now = torch.arange(T, device=x.device)
        held = cache.keys[0].shape[2]
        seen = torch.arange(-held, T, device=x.device)
        self_bias = self.self_bias(now, seen)
        if filled is not None:
            self_bias = self_bias.masked_fill(seen < -filled, float("-inf"))
        audio_bias = self.audio_bias(now, torch.arange(audio.shape[1], device=x.device) + audio_first)
        keys, values = [], []
        for index, block in enumerate(self._blocks()):
            past: KeyValue = (cache.keys[index], cache.values[index])
            x, (key, value) = block(x, past, self_bias, block.audio_attention.project(heard), audio_bias,
                                    block.appearance_attention.project(look))
            keys.append(key[:, :, -self.past:])
            values.append(value[:, :, -self.past:])
        packed = self.motion_out(self.norm_out(x)).float() * self.motion_std
        return BodyMotion.unpack(packed), BodyCache(keys, values)

    def _appearance(self, features: Tensor | None, keep: Tensor | None, batch: int) -> Tensor:
        """Tokens `[B, N, D]` of the source's look, or one null token."""
        if features is None:
            return self.null_appearance.repeat(batch, 1, 1)
        tokens = self.appearance_in(features)
        if keep is None:
            return tokens
        return torch.where(keep[:, None, None], tokens, self.null_appearance.to(tokens.dtype))

    def _blocks(self) -> list[CrossBlock]:
        return [block for block in self.blocks if isinstance(block, CrossBlock)]
