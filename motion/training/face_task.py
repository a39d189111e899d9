"""What the face stage learns: windows as the streaming sampler cuts them.

A window is `hop + look_ahead` frames with the previous P frames given. At inference those are the sampler's own
output, so in a quarter of the rows the last hop of the previous motion is the net's own one-step prediction
("self-forcing"), and all of it gets a little noise; without both, rollouts drift.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from motion.diffusion.schedule import add_noise, cosine_alpha_bar
from motion.face import FaceDenoiser
from motion.sampler import FaceSampler
from motion.training.motion_data import ClipStore
from motion.training.sizes import complete
from motion.types import ARKIT_INDEX, EXPRESSION_DIM, EXPRESSION_GROUPS, FACE_DIM, FaceMotion, StyleRange

# Mouth opening in jawOpen units: jaw minus what mouthClose takes back, plus the lips' own parting.
_APERTURE = {"jawOpen": 1.0, "mouthClose": -1.0, "mouthLowerDownLeft": 0.15, "mouthLowerDownRight": 0.15,
             "mouthUpperUpLeft": 0.1, "mouthUpperUpRight": 0.1, "mouthPressLeft": -0.1, "mouthPressRight": -0.1}


@dataclass(frozen=True)
class FaceLossWeights:
    """Weights of the loss terms; our choice."""

    velocity: float = 2.0
    pose_velocity: float = 4.0
    aperture: float = 1.0
    closed: float = 4.0  # on top, where the true lips are (nearly) shut


@dataclass(frozen=True)
class ConditionDropout:
    """Chance that a condition is replaced by its learned null."""

    audio: float = 0.05
    previous: float = 0.05
    controls: float = 0.05
    expression: float = 0.2
    pose: float = 0.2


class FaceTask:
    """`chatanyone.training.Task` of the `FaceDenoiser`.

    Args:
        store: training clips; held_out: clips to validate on.
        batch: windows a step.
        config: keyword arguments of the net.
        hop, look_ahead: as in the sampler.
        reference_every: every so many steps a smaller batch with reference clips.
        reference_frames: of a clip that a reference is cut from; reference_tokens: to how many frames it is thinned.
    """

    kind = "face"

    def __init__(
        self, store: ClipStore, held_out: ClipStore, *, batch: int = 256, config: dict[str, Any] | None = None,
        hop: int = 4, look_ahead: int = 1, audio_past: int = 10, reference_every: int = 2, reference_frames: int = 240,
        reference_tokens: int = 24, weights: FaceLossWeights = FaceLossWeights(),
        dropout: ConditionDropout = ConditionDropout(),
    ) -> None:
        self.store, self.held_out, self.batch = store, held_out, batch
        self.hop, self.look_ahead, self.audio_past = hop, look_ahead, audio_past
        self.reference_every, self.reference_frames = reference_every, reference_frames
        self.reference_tokens = reference_tokens
        self.weights, self.dropout = weights, dropout
        self.config = complete(FaceDenoiser, {"audio_dim": store.data["features"].shape[1], **(config or {})})
        self.alpha_bar = cosine_alpha_bar(1000).float()
        self.channel_weight = channel_weights(store.moments("face", 0.0)[1])
        self.aperture = aperture_vector()
        self.previous = int(self.config["previous"])

    @property
    def window(self) -> int:
        """Frames of a window."""
        return self.hop + self.look_ahead

    def build(self) -> FaceDenoiser:
        """A fresh net that knows the data's mean and deviation."""
        net = FaceDenoiser(**self.config)
        for name, field, floor in (("motion", "face", 0.01), ("audio", "features", 0.05)):
            mean, std = self.store.moments(field, floor)
            std = torch.cat([std[:-6], self.store.moments(field, 1e-4)[1][-6:]]) if field == "face" else std
            getattr(net, f"{name}_mean").copy_(mean)
            getattr(net, f"{name}_std").copy_(std)
        return net

    def batches(self, seed: int) -> Iterator[dict[str, Tensor]]:
        """Random windows with the hop before them."""
        generator = torch.Generator().manual_seed(seed)
        before = self.previous + self.hop
        index = 0
        while True:
            with_reference = index % self.reference_every == self.reference_every - 1
            count = self.batch // 2 if with_reference else self.batch
            clip, frame = self.store.draw(count, self.window, generator)
            batch = {
                "face": self.store.cut("face", clip, frame, -before, before + self.window),
                "audio": self.store.cut("features", clip, frame, -self.audio_past - self.hop,
                                        self.audio_past + self.hop + self.window),
                "controls": self.store.cut("controls", clip, frame, -self.hop, self.hop + self.window),
                "style_expression": self.store.style_expression[clip], "style_pose": self.store.style_pose[clip],
                **self._more(clip, frame),
            }
            if with_reference:
                reference = self.store.spread("face", clip, self.reference_frames, self.reference_tokens, generator)
                batch["reference"] = reference[..., :EXPRESSION_DIM]
            yield batch
            index += 1

    def _more(self, clip: Tensor, frame: Tensor) -> dict[str, Tensor]:
        """What a batch of another net holds besides, for windows that begin at `frame` of `clip`, both ``[B]``."""
        return {}

    def _given(self, model: FaceDenoiser, batch: dict[str, Tensor], motion: Tensor, rows: int | None = None) -> dict[str, Any]:
        """Arguments that another net takes besides, of normalised `motion`; for the first `rows`' windows a hop earlier, or
        (None) for all windows."""
        return {}

    def loss(self, model: nn.Module, batch: dict[str, Tensor], step: int) -> tuple[Tensor, dict[str, float]]:
        """Denoises one window from a random timestep."""
        assert isinstance(model, FaceDenoiser)
        P, hop = self.previous, self.hop
        motion = model.normalise(batch["face"])
        previous, target = motion[:, hop:hop + P], motion[:, hop + P:]
        previous = self._own_past(model, batch, motion, previous)
        if "reference" in batch:
            previous = out_of_manner(previous, model.normalise_expression(batch["reference"]).mean(1))
        B = len(target)
        timestep = torch.randint(len(self.alpha_bar), (B,), device=target.device)
        noisy = self._noised(target, timestep)
        predicted = model(
            noisy, timestep, batch["audio"][:, hop:], previous, audio_first=-self.audio_past,
            controls=batch["controls"][:, hop:], style=StyleRange(batch["style_expression"], batch["style_pose"]),
            reference=batch.get("reference"), keep=self._kept(B, target.device), **self._given(model, batch, motion),
        )
        return self._terms(model, predicted, target, previous[:, -1:] - motion[:, hop + P - 1:hop + P])

    @torch.no_grad()
    def _own_past(self, model: FaceDenoiser, batch: dict[str, Tensor], motion: Tensor, previous: Tensor) -> Tensor:
        """The previous motion, a little noisy; in a quarter of the rows its last hop is the net's own prediction."""
        P, hop, window = self.previous, self.hop, self.window
        B = len(motion)
        rows = max(B // 4, 1)
        timestep = torch.randint(200, len(self.alpha_bar), (rows,), device=motion.device)
        noisy = self._noised(motion[:rows, P:P + window], timestep)
        own = model(
            noisy, timestep, batch["audio"][:rows, :-hop], motion[:rows, :P], audio_first=-self.audio_past,
            controls=batch["controls"][:rows, :window],
            style=StyleRange(batch["style_expression"][:rows], batch["style_pose"][:rows]),
            **self._given(model, batch, motion, rows),
        )
        mixed = previous.clone()
        mixed[:rows, -hop:] = own[:, :hop].to(mixed.dtype)
        strength = 0.04 * torch.rand(B, 1, 1, device=motion.device)
        return mixed + strength * torch.randn_like(mixed)

    def _noised(self, motion: Tensor, timestep: Tensor) -> Tensor:
        alpha_bar = self.alpha_bar.to(motion.device)[timestep][:, None, None]
        return add_noise(motion, torch.randn_like(motion), alpha_bar)

    def _kept(self, batch: int, device: torch.device) -> dict[str, Tensor]:
        """Random masks of `ConditionDropout`."""
        return {name: torch.rand(batch, device=device) >= chance for name, chance in vars(self.dropout).items()}

    def _terms(self, model: FaceDenoiser, predicted: Tensor, target: Tensor,
               offset: Tensor) -> tuple[Tensor, dict[str, float]]:
        """All loss terms, in normalised units but for the aperture, which is in tenths of jawOpen.

        `offset` is how far the given previous frame was from the true one: the step from it to the window's first frame
        counts as velocity too, so windows learn to join to what really came out.
        """
        w, scale = self.weights, self.channel_weight.to(target.device)
        error = predicted - target
        x_0 = (scale * error.square()).mean()
        speed = scale * torch.diff(torch.cat([offset, error], dim=1), dim=1).square()
        velocity, pose_velocity = speed[..., :EXPRESSION_DIM].mean(), speed[..., EXPRESSION_DIM:].mean()
        vector = (self.aperture.to(target.device) * model.motion_std) / 0.1
        gap = ((error * vector).sum(-1)).square()
        true_gap = ((target * model.motion_std + model.motion_mean) * self.aperture.to(target.device)).sum(-1)
        closed = (true_gap < 0.04).float()
        aperture = (gap * (1 + w.closed * closed)).mean()
        loss = x_0 + w.velocity * velocity + w.pose_velocity * pose_velocity + w.aperture * aperture
        numbers = {"x_0": x_0, "velocity": velocity, "pose_velocity": pose_velocity, "aperture": aperture}
        return loss, {name: float(value.detach()) for name, value in numbers.items()}

    def validate(self, model: nn.Module) -> dict[str, float]:
        """Rollouts of the streaming sampler on held-out clips."""
        assert isinstance(model, FaceDenoiser)
        scores: dict[str, list[float]] = {}
        for index in range(min(4, len(self.held_out.frames))):
            for name, value in self._rollout_scores(model, index).items():
                scores.setdefault(name, []).append(value)
        return {name: sum(values) / len(values) for name, values in scores.items()}

    def _rollout_scores(self, model: FaceDenoiser, index: int) -> dict[str, float]:
        """One held-out clip: correlation of the aperture, and how large motion is against the performer's."""
        store = self.held_out
        clip = torch.tensor([index])
        count = int(store.frames[index])
        features = store.cut("features", clip, torch.zeros(1, dtype=torch.long), 0, count)[0]
        true = store.cut("face", clip, torch.zeros(1, dtype=torch.long), 0, count)[0]
        sampler = FaceSampler(model, hop=self.hop, look_ahead=self.look_ahead, audio_past=self.audio_past)
        style = StyleRange(store.style_expression[index], store.style_pose[index])
        first, state = sampler.step(features, sampler.init_state(index, style))
        last, _ = sampler.flush(state)
        made = torch.cat([first.packed(), last.packed()])
        return rollout_scores(made, true)


def out_of_manner(previous: Tensor, manner: Tensor) -> Tensor:
    """Previous motion `[B, P, 58]` of half of the rows with some of the person's own mean `[B, 52]` taken away, normalised.

    A stream starts at rest. Previous motion that always shows the manner already would leave nothing to learn from the
    reference: it must pull the motion towards itself.
    """
    share = torch.rand(len(previous), 1, 1, device=previous.device) * (torch.rand_like(previous[:, :1, :1]) < 0.5)
    shifted = previous.clone()
    shifted[..., :EXPRESSION_DIM] -= share * manner[:, None]
    return shifted


def rollout_scores(made: Tensor, true: Tensor) -> dict[str, float]:
    """Packed motions `[T, 58]` → Pearson r of the aperture, ratios of deviations (made / true) per part."""
    vector = aperture_vector()
    a, b = made @ vector, true @ vector
    groups = {name: [ARKIT_INDEX[n] for n in names] for name, names in EXPRESSION_GROUPS.items()}
    groups["pose"] = list(range(EXPRESSION_DIM, FACE_DIM))
    scores = {"aperture_r": pearson(a, b)}
    for name, columns in groups.items():
        ratio = made[:, columns].std(0).square().sum().sqrt() / true[:, columns].std(0).square().sum().sqrt()
        scores[f"{name}_ratio"] = float(ratio)
    return scores


def aperture(motion: FaceMotion) -> Tensor:
    """Mouth opening `[..., T]` in units of jawOpen."""
    return motion.expression @ aperture_vector()[:EXPRESSION_DIM]


def pearson(a: Tensor, b: Tensor) -> float:
    """Correlation of two curves; 0 when one is flat."""
    a, b = a - a.mean(), b - b.mean()
    return float((a * b).sum() / (a.norm() * b.norm()).clamp(min=1e-9))


def aperture_vector() -> Tensor:
    """What each number adds to the mouth's opening, in units of jawOpen: `[58]`."""
    vector = torch.zeros(FACE_DIM)
    for name, value in _APERTURE.items():
        vector[ARKIT_INDEX[name]] = value
    return vector


def channel_weights(deviation: Tensor) -> Tensor:
    """Shapes that move more matter more; pose and gaze count more than their size, brows at least fully. Mean 1."""
    weight = (deviation / 0.08).clamp(0.05, 1.5)
    for name, index in ARKIT_INDEX.items():
        if name.startswith(("eyeLook", "brow")):
            weight[index] = max(float(weight[index]), 1.5 if name.startswith("eyeLook") else 1.0)
    weight[EXPRESSION_DIM:] = 2.5
    return weight / weight.mean()
