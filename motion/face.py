"""Face stage: a diffusion transformer from speech to 52 blendshapes and 6-D head pose.

The paper (ChatAnyone, section "Hierarchical audio2motion") gives: 6 DiT layers, cross-attention to audio features,
cross-attention to previous motion, AdaLN for expression and pose range, a reference clip's expressions concatenated
along time. Width, window, the prediction of x_0 and the controls are our choice.

Inside, motion is normalised: (value − mean) / deviation, buffers that travel with the weights.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from motion.impulses import FACE_CONTROLS
from motion.layers.attention import KeyValue, RelativeBias
from motion.layers.embed import OptionalEmbedding, TimestepEmbedding
from motion.layers.transformer import DiTBlock
from motion.style import TYPICAL_EXPRESSION, TYPICAL_POSE
from motion.types import EXPRESSION_DIM, FACE_DIM, POSE_DIM, FaceMotion, StyleRange


@dataclass
class FaceContext:
    """All that stays the same over the denoising steps of one window; made by `FaceDenoiser.encode`."""

    audio: list[KeyValue]
    audio_bias: Tensor
    previous: list[KeyValue]
    previous_bias: Tensor
    reference: list[KeyValue] | None
    self_bias: Tensor
    style: Tensor
    controls: Tensor


class FaceDenoiser(nn.Module):
    """Predicts clean motion from noisy motion.

    Args:
        audio_dim: channels C of the audio features.
        width: channels of a token.
        depth: blocks (6 in the paper).
        heads: heads of every attention.
        ratio: width of the feed-forward, in widths.
        audio_past: how many frames before a token it can hear; the features themselves look ahead.
        audio_future: how many frames after it.
        previous: frames P of previous motion a window is given.
        window: largest window T.
    """

    motion_mean: Tensor
    motion_std: Tensor
    audio_mean: Tensor
    audio_std: Tensor

    def __init__(
        self, *, audio_dim: int, width: int = 128, depth: int = 6, heads: int = 4, ratio: int = 4, audio_past: int = 14,
        audio_future: int = 4, previous: int = 16, window: int = 16,
    ) -> None:
        super().__init__()
        self.audio_dim, self.width, self.previous = audio_dim, width, previous
        for name, size in (("motion", FACE_DIM), ("audio", audio_dim)):
            self.register_buffer(f"{name}_mean", torch.zeros(size))
            self.register_buffer(f"{name}_std", torch.ones(size))
        self.motion_in = nn.Linear(FACE_DIM, width)
        self.audio_in = nn.Linear(audio_dim, width)
        self.previous_in = nn.Linear(FACE_DIM, width)
        self.reference_in = nn.Linear(EXPRESSION_DIM, width)
        self.controls_in = nn.Linear(FACE_CONTROLS, width)
        self.null_audio, self.null_previous, self.null_controls, self.segment, self.reference_condition = (
            nn.Parameter(torch.randn(width) * 0.02) for _ in range(5))
        self.timestep = TimestepEmbedding(width)
        self.expression_style = OptionalEmbedding(len(TYPICAL_EXPRESSION), width, TYPICAL_EXPRESSION)
        self.pose_style = OptionalEmbedding(POSE_DIM, width, TYPICAL_POSE)
        self.modulation = _zeroed(nn.Linear(width, 6 * width))
        self.self_bias = RelativeBias(heads, past=window - 1, future=window - 1)
        self.audio_bias = RelativeBias(heads, past=audio_past, future=audio_future)
        self.previous_bias = RelativeBias(heads, past=previous + window, future=0)
        self.blocks = nn.ModuleList(DiTBlock(width, heads, ratio) for _ in range(depth))
        self.norm_out = nn.LayerNorm(width)
        self.motion_out = nn.Linear(width, FACE_DIM)

    def normalise(self, motion: Tensor) -> Tensor:
        """Packed motion `[..., 58]` in the net's units."""
        return (motion - self.motion_mean) / self.motion_std

    def normalise_expression(self, expression: Tensor) -> Tensor:
        """Expressions `[..., 52]` in the net's units."""
        return (expression - self.motion_mean[:EXPRESSION_DIM]) / self.motion_std[:EXPRESSION_DIM]

    def denormalise(self, motion: Tensor) -> FaceMotion:
        """Inverse of `normalise`, with the blendshapes held in [0, 1]."""
        face = FaceMotion.unpack(motion.float() * self.motion_std + self.motion_mean)
        return FaceMotion(face.expression.clamp(0, 1), face.rotation, face.translation)

    def encode(
        self, audio: Tensor, previous: Tensor, *, frames: int, audio_first: int, controls: Tensor | None = None,
        style: StyleRange | None = None, reference: Tensor | list[KeyValue] | None = None,
        keep: dict[str, Tensor] | None = None,
    ) -> FaceContext:
        """Projects the conditions of a window once for all denoising steps.

        Args:
            audio: features `[B, A, C]`, one for each frame from `audio_first` on.
            previous: normalised motion `[B, P, 58]` of the frames −P … −1.
            frames: T of the window.
            audio_first: frame of the first feature; 0 is the window's first frame.
            controls: `[B, T, 13]` of `motion.impulses.face_controls`; None leaves everything to the net.
            style: ranges, each `[B, 4]` and `[B, 6]`, or None.
            reference: expressions `[B, R, 52]` of a reference clip, or what `encode_reference` made of them.
            keep: for training, per condition name a mask `[B]`; False replaces that row's condition by its null.
        """
        keep, B = keep or {}, audio.shape[0]
        audio_tokens = self.audio_in((audio - self.audio_mean) / self.audio_std)
        audio_tokens = _dropped(audio_tokens, keep.get("audio"), self.null_audio)
        previous_tokens = _dropped(self.previous_in(previous), keep.get("previous"), self.null_previous)
        control_tokens = self.null_controls.repeat(B, 1, 1) if controls is None else _dropped(
            self.controls_in(controls), keep.get("controls"), self.null_controls)
        style = style or StyleRange()
        style_token = self.expression_style(style.expression, keep.get("expression"), B) + self.pose_style(
            style.pose, keep.get("pose"), B)
        reference = self.encode_reference(reference) if isinstance(reference, Tensor) else reference
        now = torch.arange(frames, device=audio.device)
        return FaceContext(
            [block.audio_attention.project(audio_tokens) for block in self._blocks()],
            self.audio_bias(now, torch.arange(audio.shape[1], device=audio.device) + audio_first),
            [block.previous_attention.project(previous_tokens) for block in self._blocks()],
            self.previous_bias(now, torch.arange(-previous.shape[1], 0, device=audio.device)),
            reference, self._self_bias(now, reference), style_token, control_tokens,
        )

    def encode_reference(self, expression: Tensor) -> list[KeyValue]:
        """Reference expressions `[B, R, 52]` → for each block the keys and values its tokens see in front of their own.

        The paper concatenates reference tokens along time. Ours do not look at the noisy tokens, so they are the same
        in every window and every denoising step and cost nothing after the first.
        """
        x = self.reference_in(self.normalise_expression(expression)) + self.segment
        condition = self._modulation(self.reference_condition.expand(len(expression), -1))
        result = []
        for block in self._blocks():
            result.append(block.reference_key_value(x, condition))
            x = block(x, condition)
        return result

    def denoise(self, noisy: Tensor, timestep: Tensor, context: FaceContext) -> Tensor:
        """x_0 `[B, T, 58]` from x_t `[B, T, 58]`, both normalised, and the timesteps `[B]`."""
        x = self.motion_in(noisy) + context.controls
        condition = self._modulation(self.timestep(timestep) + context.style)
        for index, block in enumerate(self._blocks()):
            x = block(
                x, condition, self_bias=context.self_bias, audio=context.audio[index], audio_bias=context.audio_bias,
                previous=context.previous[index], previous_bias=context.previous_bias,
                reference=None if context.reference is None else context.reference[index],
            )
        return self.motion_out(self.norm_out(x)).float()

    def forward(
        self, noisy: Tensor, timestep: Tensor, audio: Tensor, previous: Tensor, *, audio_first: int,
        controls: Tensor | None = None, style: StyleRange | None = None, reference: Tensor | None = None,
        keep: dict[str, Tensor] | None = None,
    ) -> Tensor:
        """`encode` and `denoise` in one; see there for the arguments."""
        context = self.encode(audio, previous, frames=noisy.shape[1], audio_first=audio_first, controls=controls,
                              style=style, reference=reference, keep=keep)
        return self.denoise(noisy, timestep, context)

    def _self_bias(self, now: Tensor, reference: list[KeyValue] | None) -> Tensor:
        """Bias among the window's tokens, none towards the reference tokens in front of them."""
        bias = self.self_bias(now, now)
        if reference is None:
            return bias
        H, T, _ = bias.shape
        return torch.cat([bias.new_zeros(H, T, reference[0][0].shape[2]), bias], dim=-1)

    def _modulation(self, condition: Tensor) -> Tensor:
        """Condition `[B, D]` → shifts, scales and gates `[B, 6, D]`."""
        return self.modulation(nn.functional.silu(condition)).unflatten(-1, (6, self.width))

    def _blocks(self) -> list[DiTBlock]:
        return [block for block in self.blocks if isinstance(block, DiTBlock)]


def _zeroed(linear: nn.Linear) -> nn.Linear:
    """Weights and bias zero, for adaLN-Zero."""
    nn.init.zeros_(linear.weight)
    nn.init.zeros_(linear.bias)
    return linear


def _dropped(tokens: Tensor, keep: Tensor | None, null: Tensor) -> Tensor:
    """Rows whose `keep` is False become the learned null."""
    return tokens if keep is None else torch.where(keep[:, None, None], tokens, null.to(tokens.dtype))
