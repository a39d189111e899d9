"""All that is learned of the backend in one module: mouth, head, the bank, and what numbers are measured in."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from motion.live_speech_portraits.mouth import MOUTH, MouthNet
from motion.live_speech_portraits.pose import PoseNet
from motion.style import TYPICAL_POSE


class LiveSpeechPortraits(nn.Module):
    """Args:
        audio_dim: channels C of the features.
        look_ahead: frames the nets hear beyond the one they answer for, besides what the features look ahead.
        mouth_width, mouth_layers: of the LSTM (paper: 256, 3).
        pose_width, pose_layers, pose_condition, pose_skip: of the WaveNet, layers in each of its two stacks
            (paper: 128, 7 at 60 fps, 512, 256).
        pose_dropout: of its history, in training.
        bank: features N of the manifold.

    Buffers: audio_mean, audio_std ``[C]``; mouth_mean, mouth_std ``[M]``; pose_std, velocity_std ``[6]`` rad and metres,
    the latter a frame's change at 30 fps; bank ``[N, C]``. A pose is measured from rest.
    """

    audio_mean: Tensor
    audio_std: Tensor
    mouth_mean: Tensor
    mouth_std: Tensor
    pose_std: Tensor
    velocity_std: Tensor
    bank: Tensor

    def __init__(self, *, audio_dim: int, look_ahead: int = 2, mouth_width: int = 160, mouth_layers: int = 3,
                 pose_width: int = 48, pose_layers: int = 6, pose_condition: int = 96, pose_skip: int = 96,
                 pose_dropout: float = 0.1, bank: int = 2048) -> None:
        super().__init__()
        self.audio_dim, self.look_ahead = audio_dim, look_ahead
        self.mouth = MouthNet(audio_dim, mouth_width, mouth_layers)
        self.pose = PoseNet(audio_dim, pose_width, pose_layers, pose_condition, pose_skip, pose_dropout)
        self.register_buffer("audio_mean", torch.zeros(audio_dim))
        self.register_buffer("audio_std", torch.ones(audio_dim))
        self.register_buffer("mouth_mean", torch.full((len(MOUTH),), 0.1))
        self.register_buffer("mouth_std", torch.full((len(MOUTH),), 0.1))
        self.register_buffer("pose_std", TYPICAL_POSE.clone())
        self.register_buffer("velocity_std", 0.1 * TYPICAL_POSE)
        self.register_buffer("bank", torch.randn(bank, audio_dim))

    def heard(self, features: Tensor) -> Tensor:
        """Features ``[..., C]`` in the nets' units."""
        return (features - self.audio_mean) / self.audio_std
