"""What the body stage learns: whole stretches of a clip at once, since the net is causal.

Keypoints come from the head template; appearance features of a picture are random here (no picture belongs to the
synthetic speech), mostly absent: the net learns to live with them, not yet to use them. The model card says so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from motion.body import BodyTransformer
from motion.training.motion_data import ClipStore
from motion.training.sizes import complete
from motion.types import BODY_DIM, BODY_KEYPOINTS, BODY_POINTS, HAND_DIM, BodyMotion, FaceMotion

# Face motion → template face keypoints [T, Kf, 3], metres: `HeadTemplate.keypoints`.
Keypoints = Callable[[Tensor, Tensor, Tensor], Tensor]


class BodyTask:
    """`chatanyone.training.Task` of the `BodyTransformer`.

    Args:
        store: training clips; held_out: clips to validate on.
        keypoints: of the template.
        batch: stretches a step; frames: of a stretch.
        config: keyword arguments of the net.
        velocity: weight of the velocity error; agreement: of the wrists that must match the hands.
    """

    kind = "body"

    def __init__(
        self, store: ClipStore, held_out: ClipStore, keypoints: Keypoints, *, batch: int = 12, frames: int = 120,
        config: dict[str, Any] | None = None, velocity: float = 4.0, agreement: float = 1.0,
        appearance_chance: float = 0.25,
    ) -> None:
        self.store, self.held_out, self.keypoints = store, held_out, keypoints
        self.batch, self.frames, self.velocity, self.agreement = batch, frames, velocity, agreement
        self.appearance_chance = appearance_chance
        self.config = complete(BodyTransformer, {"audio_dim": store.data["features"].shape[1], **(config or {})})
        self.channel_weight = _channel_weights()

    def build(self) -> BodyTransformer:
        """A fresh net that knows the data's mean and deviation."""
        net = BodyTransformer(**self.config)
        mean, std = self.store.moments("features", 0.05)
        net.audio_mean.copy_(mean)
        net.audio_std.copy_(std)
        net.motion_std.copy_(self.store.moments("body", 1e-3)[1])
        clip, frame = self.store.draw(64, self.frames, torch.Generator().manual_seed(0))
        points = self._keypoints(self.store.cut("face", clip, frame, 0, self.frames)).flatten(0, 1).flatten(1)
        net.keypoint_mean.copy_(points.mean(0))
        net.keypoint_std.copy_(points.std(0).clamp(min=1e-3))
        return net

    def batches(self, seed: int) -> Iterator[dict[str, Tensor]]:
        """Random stretches with the audio around them."""
        generator = torch.Generator().manual_seed(seed)
        past, future = int(self.config["audio_past"]), int(self.config["audio_future"])
        while True:
            clip, frame = self.store.draw(self.batch, self.frames + future, generator)
            start = torch.rand(self.batch, generator=generator) < 0.25
            frame = torch.where(start, 0, frame)  # streams begin at rest often enough to learn it
            yield {
                "keypoints": self._keypoints(self.store.cut("face", clip, frame, 0, self.frames)),
                "audio": self.store.cut("features", clip, frame, -past, past + self.frames + future),
                "code": self.store.cut("code", clip, frame, 0, self.frames),
                "body": self.store.cut("body", clip, frame, 0, self.frames),
                "appearance": torch.randn(self.batch, 4, int(self.config.get("appearance_dim", 32)),
                                          generator=generator),
                "start": start,
            }

    def loss(self, model: nn.Module, batch: dict[str, Tensor], step: int) -> tuple[Tensor, dict[str, float]]:
        """Position, velocity, and wrists that agree with the hands, in units of each channel's deviation."""
        assert isinstance(model, BodyTransformer)
        made = self._run(model, batch).packed()
        scale = self.channel_weight.to(made.device)
        warm = torch.where(batch["start"], 0, model.past // 2)  # inside a clip the first frames lack their past
        seen = (torch.arange(self.frames, device=made.device) >= warm[:, None]).float()[..., None]
        error = (made - batch["body"]) / model.motion_std
        position = (scale * seen * error.square()).mean() / seen.mean()
        speed = (scale * seen[:, 1:] * torch.diff(error, dim=1).square()).mean()
        agreement = _disagreement(BodyMotion.unpack(made)).square().mean() / 0.03 ** 2
        loss = position + self.velocity * speed + self.agreement * agreement
        numbers = {"position": position, "velocity": speed, "agreement": agreement}
        return loss, {name: float(value.detach()) for name, value in numbers.items()}

    def validate(self, model: nn.Module) -> dict[str, float]:
        """Explained variance and amplitude of wrists and shoulders on held-out clips."""
        assert isinstance(model, BodyTransformer)
        count = min(16, len(self.held_out.frames))
        frames = int(self.held_out.frames[:count].min()) - 2
        clip, zero = torch.arange(count), torch.zeros(count, dtype=torch.long)
        cut = self.held_out.cut
        batch = {
            "keypoints": self._keypoints(cut("face", clip, zero, 0, frames)),
            "code": cut("code", clip, zero, 0, frames),
            "audio": cut("features", clip, zero, -30, 30 + frames + 1),
        }
        made = self._run(model, batch)
        return body_scores(made, BodyMotion.unpack(cut("body", clip, zero, 0, frames)))

    def _run(self, model: BodyTransformer, batch: dict[str, Tensor]) -> BodyMotion:
        """The net on a batch, with appearance features in some rows of training batches."""
        appearance = batch.get("appearance")
        keep = None if appearance is None else torch.rand(len(appearance)) < self.appearance_chance
        past = batch["audio"].shape[1] - batch["keypoints"].shape[1] - model.audio_future
        motion, _ = model(batch["keypoints"], batch["audio"], batch["code"], audio_first=-past, appearance=appearance,
                          keep_appearance=None if keep is None else keep.to(batch["audio"].device))
        return motion

    def _keypoints(self, face: Tensor) -> Tensor:
        """Packed face motion `[..., 58]` → `[..., Kf, 3]`."""
        motion = FaceMotion.unpack(face)
        return self.keypoints(motion.expression, motion.rotation, motion.translation)


def body_scores(made: BodyMotion, true: BodyMotion) -> dict[str, float]:
    """Per part: share of the variance explained, and ratio of the deviations (made / true)."""
    scores = {}
    for name in ("wristLeft", "wristRight", "shoulderLeft", "neck"):
        index = BODY_KEYPOINTS.index(name)
        a, b = made.delta[..., index, :], true.delta[..., index, :]
        scores[f"{name}_explained"] = float(1 - (a - b).square().sum() / (b - b.mean((0, 1))).square().sum())
        scores[f"{name}_ratio"] = float(a.std() / b.std())
    return scores


def _disagreement(motion: BodyMotion) -> Tensor:
    """Wrist keypoints against the hands' wrist translations, `[B, T, 2, 3]`, shoulder widths."""
    wrists = [BODY_KEYPOINTS.index("wristLeft"), BODY_KEYPOINTS.index("wristRight")]
    return motion.delta[..., wrists, :] - motion.hands[..., -3:]


def _channel_weights() -> Tensor:
    """`[144]`: keypoints and wrists count fully, the many finger joints a fifth. Mean 1."""
    hand = torch.full((HAND_DIM,), 0.2)
    hand[-6:] = 1.0
    weight = torch.cat([torch.ones(BODY_POINTS * 3), hand, hand])
    assert len(weight) == BODY_DIM
    return weight / weight.mean()
