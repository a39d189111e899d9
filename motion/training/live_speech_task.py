"""What `LiveSpeechPortraits` learns: mouth and head of the same performances as the face stage, stretches of them at once.

A stretch begins anywhere in a clip; in a quarter of the rows at its start, where a stream begins with nothing behind it.
Elsewhere the first `context` frames are what the head's net looks back at and do not count for it. The true history is a
little noisy, because in use it is the net's own. All sizes and weights are our choice; the paper trains the two nets apart,
500 epochs of 3 to 5 minutes of one person.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from motion.live_speech_portraits.manifold import farthest_points
from motion.live_speech_portraits.mouth import MOUTH
from motion.live_speech_portraits.net import LiveSpeechPortraits
from motion.live_speech_portraits.pose import negative_log_likelihood
from motion.live_speech_portraits.sampler import LiveSpeechSampler
from motion.training.face_task import aperture_vector, channel_weights, rollout_scores
from motion.training.motion_data import ClipStore
from motion.training.sizes import complete
from motion.types import EXPRESSION_DIM, StyleRange

VELOCITY, APERTURE, CLOSED = 2.0, 1.0, 4.0  # weights of the mouth's terms, as for the face stage
LIKELIHOOD = 0.2  # of the head's term beside the mouth's
STYLE_DROPOUT = 0.2
HISTORY_NOISE = 0.05  # deviations
_NEARLY_SHUT = 0.04  # units of jawOpen
_BANK_FROM = 12_000  # features at most that a bank is chosen from


class LiveSpeechTask:
    """`chatanyone.training.Task` of `LiveSpeechPortraits`.

    Args:
        store: training clips; held_out: clips to validate on.
        people: features ``[N, C]`` of people's speech for the manifold's bank; None takes the training clips'.
        batch: stretches a step.
        config: keyword arguments of the net.
        context, frames: of a stretch, together.
    """

    kind = "live_speech_portraits"

    def __init__(self, store: ClipStore, held_out: ClipStore, people: Tensor | None = None, *, batch: int = 24,
                 config: dict[str, Any] | None = None, context: int = 64, frames: int = 128) -> None:
        self.store, self.held_out, self.batch, self.context, self.frames = store, held_out, batch, context, frames
        given = {"audio_dim": store.data["features"].shape[1], **(config or {})}
        wanted = complete(LiveSpeechPortraits, given)
        self.people = store.data["features"] if people is None else people
        self.config = {**wanted, "bank": min(int(wanted["bank"]), len(self.people))}
        self.look_ahead = int(self.config["look_ahead"])
        if int(store.frames.max()) < context + frames + self.look_ahead:
            raise ValueError(f"Expected a clip of at least {context + frames + self.look_ahead} frames, the longest has "
                             f"{int(store.frames.max())}; make longer ones.")
        self.mouth_weight = channel_weights(store.moments("face", 0.0)[1])[MOUTH]
        self.aperture = aperture_vector()[MOUTH]

    def build(self) -> LiveSpeechPortraits:
        """A fresh net that knows the data's moments and the bank."""
        net = LiveSpeechPortraits(**self.config)
        mean, std = self.store.moments("features", 0.05)
        net.audio_mean.copy_(mean)
        net.audio_std.copy_(std)
        mean, std = self.store.moments("face", 0.01)
        net.mouth_mean.copy_(mean[MOUTH])
        net.mouth_std.copy_(std[MOUTH])
        net.pose_std.copy_(self.store.moments("face", 1e-4)[1][EXPRESSION_DIM:])
        net.velocity_std.copy_(self._velocity_std())
        net.bank.copy_(self._bank(std=net.audio_std))
        return net

    def _velocity_std(self) -> Tensor:
        """Root mean square change of the pose from frame to frame, ``[6]``."""
        pose = self.store.data["face"][:, EXPRESSION_DIM:].float()
        return torch.diff(pose, dim=0).square().mean(0).sqrt().clamp(min=1e-6)

    def _bank(self, std: Tensor) -> Tensor:
        """Features that cover the people's speech."""
        rows = self.people.float()
        rows = rows[::max(len(rows) // _BANK_FROM, 1)] if len(rows) > _BANK_FROM else rows
        return rows[farthest_points(rows / std, int(self.config["bank"]))]

    def batches(self, seed: int) -> Iterator[dict[str, Tensor]]:
        """Random stretches."""
        generator = torch.Generator().manual_seed(seed)
        length = self.context + self.frames
        while True:
            clip, frame = self._drawn(length + self.look_ahead, generator)
            frame[:max(self.batch // 4, 1)] = 0
            yield {
                "audio": self.store.cut("features", clip, frame, 0, length + self.look_ahead),
                "face": self.store.cut("face", clip, frame, -2, length + 2),
                "style_expression": self.store.style_expression[clip], "style_pose": self.store.style_pose[clip],
                "counts": (frame == 0)[:, None] | (torch.arange(length) >= self.context),
            }

    def _drawn(self, length: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Random clips that are long enough, and where their stretches begin."""
        clip, frame = self.store.draw(self.batch, length, generator)
        while bool((short := self.store.frames[clip] < length).any()):
            again = self.store.draw(self.batch, length, generator)
            clip, frame = (torch.where(short, new, old) for new, old in zip(again, (clip, frame)))
        return clip, frame

    def loss(self, model: nn.Module, batch: dict[str, Tensor], step: int) -> tuple[Tensor, dict[str, float]]:
        """Mouth as a regression, head as a likelihood."""
        assert isinstance(model, LiveSpeechPortraits)
        audio = model.heard(batch["audio"])
        numbers = self._mouth_terms(model, audio, batch)
        numbers["nll"] = self._head_term(model, audio[:, self.look_ahead:], batch)
        total = numbers["mouth"] + VELOCITY * numbers["velocity"] + APERTURE * numbers["aperture"]
        return total + LIKELIHOOD * numbers["nll"], {name: float(value.detach()) for name, value in numbers.items()}

    def _mouth_terms(self, model: LiveSpeechPortraits, audio: Tensor, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """In units of each shape's deviation; the aperture in tenths of jawOpen, errors where lips are shut count more."""
        made = model.mouth(audio, batch["style_expression"], self._kept(audio))[0][:, self.look_ahead:]
        true = batch["face"][:, 2:, MOUTH]
        error = made.float() - (true - model.mouth_mean) / model.mouth_std
        weight, vector = self.mouth_weight.to(error), self.aperture.to(error)
        shut = (true @ vector < _NEARLY_SHUT).float()
        gap = (error * model.mouth_std) @ vector / 0.1
        return {"mouth": (weight * error.square()).mean(), "velocity": (weight * torch.diff(error, dim=1).square()).mean(),
                "aperture": (gap.square() * (1 + CLOSED * shut)).mean()}

    def _head_term(self, model: LiveSpeechPortraits, audio: Tensor, batch: dict[str, Tensor]) -> Tensor:
        """Negative log-likelihood of the true velocities."""
        pose = batch["face"][..., EXPRESSION_DIM:]
        velocity = torch.diff(pose, dim=1) / model.velocity_std
        history = torch.cat([pose[:, 1:-1] / model.pose_std, velocity[:, :-1]], dim=-1)
        history = history + HISTORY_NOISE * torch.randn_like(history)
        mean, log_sigma = model.pose(history, audio, batch["style_pose"], self._kept(audio))
        lost = negative_log_likelihood(velocity[:, 1:], mean.float(), log_sigma.float()).mean(-1)
        return (lost * batch["counts"]).sum() / batch["counts"].sum()

    def _kept(self, audio: Tensor) -> Tensor:
        """Rows whose style is shown, ``[B]``."""
        return torch.rand(len(audio), device=audio.device) >= STYLE_DROPOUT

    def validate(self, model: nn.Module) -> dict[str, float]:
        """Rollouts of the streaming sampler on held-out clips."""
        assert isinstance(model, LiveSpeechPortraits)
        rows = [self._rollout_scores(model, index) for index in range(min(4, len(self.held_out.frames)))]
        return {name: sum(row[name] for row in rows) / len(rows) for name in rows[0]}

    def _rollout_scores(self, model: LiveSpeechPortraits, index: int) -> dict[str, float]:
        store, start = self.held_out, torch.zeros(1, dtype=torch.long)
        clip, count = torch.tensor([index]), int(self.held_out.frames[index])
        features, true = (store.cut(name, clip, start, 0, count)[0] for name in ("features", "face"))
        sampler = LiveSpeechSampler(model)
        style = StyleRange(store.style_expression[index], store.style_pose[index])
        first, state = sampler.step(features, sampler.init_state(index, style))
        last, _ = sampler.flush(state)
        return rollout_scores(torch.cat([first.packed(), last.packed()]), true)
