"""Fine-tuning of the face stage: the shipped net, the person's motion, a stop when held-out films no longer gain."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from chatanyone.build import SHIPPED, weights_path
from chatanyone.checkpoints import load_weights, read_info
from chatanyone.finetune.clips import PersonClip, gather, split, total_seconds
from chatanyone.finetune.controls import controls_of
from chatanyone.finetune.targets import taught
from chatanyone.training import Processes, Solver, Task
from motion.audio.encoder import AudioEncoder
from motion.audio.features import AudioStream
from motion.face import FaceDenoiser
from motion.impulses import GESTURE_CODES
from motion.training.augment import augment_samples
from motion.training.face_task import ConditionDropout, FaceLossWeights, FaceTask
from motion.training.motion_data import Clip, ClipStore
from motion.types import ARKIT_INDEX, EXPRESSION_GROUPS

HEARINGS = 4  # the sound as it is, and through other microphones and rooms: a person's films are often all of one room
_CHECKS = 8  # batches of a held-out loss
# Measured lips are never quite shut: counting closures extra, as the first training does, only made the mouth smaller.
_WEIGHTS = replace(FaceLossWeights(), closed=0.0)
# A squared error alone teaches the mouth to open less wherever the voice does not tell how far: on GRID the made ÷ real
# amplitude fell within 50 steps; this weight on the difference of deviations holds against it (docs/training.md).
_SPREAD = 10.0
_MOUTH = [ARKIT_INDEX[name] for name in EXPRESSION_GROUPS["mouth"]]
_WHOLE = ConditionDropout(**{name: 0.0 for name in vars(ConditionDropout())})


class PersonStore(ClipStore):
    """Clips of one person, weighed and scaled by the moments of the data that the net was first trained on."""

    def __init__(self, clips: list[Clip], tensors: dict[str, Tensor]) -> None:
        super().__init__(clips)
        self._tensors = tensors

    def moments(self, name: str, floor: float) -> tuple[Tensor, Tensor]:
        prefix = {"face": "motion", "features": "audio"}.get(name)
        if prefix is None:
            return super().moments(name, floor)
        mean, std = (self._tensors[f"{prefix}_{part}"].float() for part in ("mean", "std"))
        return mean, std.clamp(min=floor)


class PersonTask:
    """The face stage's task from shipped weights, scored by its loss on held-out films with fixed random numbers.

    Args:
        clips, held_out: of the person, with features.
        weights: file to begin with.
        batch: windows a step.
    """

    kind = "face"
    score = "held_out_loss"

    def __init__(self, clips: list[Clip], held_out: list[Clip], weights: str, batch: int) -> None:
        self.config, self._tensors = load_weights(weights, kind=self.kind)
        store, apart = (PersonStore(part, self._tensors) for part in (clips, held_out))
        self.inner = FaceTask(store, apart, batch=batch, config=self.config, weights=_WEIGHTS)
        self.config = self.inner.config
        self._apart = FaceTask(apart, apart, batch=64, config=self.config, weights=_WEIGHTS,
                               dropout=_WHOLE)

    def build(self) -> nn.Module:
        """The net as shipped, with its own moments: other ones would change what it knows."""
        net = FaceDenoiser(**self.config)
        net.load_state_dict({name: value.float() for name, value in self._tensors.items()})
        return net

    def batches(self, seed: int) -> Iterator[dict[str, Tensor]]:
        return self.inner.batches(seed)

    def loss(self, model: nn.Module, batch: dict[str, Tensor], step: int) -> tuple[Tensor, dict[str, float]]:
        """The stage's own loss, and a mouth that opens as far and as often as the person's."""
        made: list[Tensor] = []
        hook = model.register_forward_hook(lambda net, inputs, output: made.append(output))
        try:
            loss, numbers = self.inner.loss(model, batch, step)
        finally:
            hook.remove()
        spread = self._spread(model, made[-1], batch["face"])
        return loss + _SPREAD * spread, {**numbers, "spread": float(spread.detach())}

    def _spread(self, model: nn.Module, made: Tensor, face: Tensor) -> Tensor:
        """Squared difference of the mouth shapes' deviations over a batch, made ``[B, W, 58]`` against real; normalised."""
        assert isinstance(model, FaceDenoiser)
        true = model.normalise(face)[:, -made.shape[1]:]
        deviations = [x[..., _MOUTH].flatten(0, 1).float().std(0) for x in (made, true)]
        return (deviations[0] - deviations[1]).square().mul(self.inner.channel_weight[_MOUTH].to(made.device)).mean()

    def validate(self, model: nn.Module) -> dict[str, float]:
        """The loss on held-out windows, and how rollouts of the streaming sampler follow the person."""
        device = next(model.parameters()).device
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.manual_seed(0)
            batches = self._apart.batches(0)
            losses = [self._apart.loss(model, {name: value.to(device) for name, value in next(batches).items()}, step)
                      for step in range(_CHECKS)]
        numbers = {self.score: sum(float(loss.detach()) for loss, _ in losses) / _CHECKS}
        return numbers | self.inner.validate(model)


def face_job(options: argparse.Namespace, processes: Processes,
             ) -> tuple[Task, dict[str, Any], Callable[[Solver], None] | None]:
    """The task, the notes for its weights, and what draws the sample sheets."""
    from chatanyone.finetune.sheets import FaceSheets

    encoder_path = weights_path("audio_encoder", SHIPPED)
    begin = str(options.warm_start or weights_path("face", SHIPPED))
    options.warm_start = None  # the task itself begins there
    clips = _gathered(options, processes)
    training, apart = split(clips)
    stream = _stream(encoder_path)
    deviation = load_weights(begin, kind="face")[1]["motion_std"].float()
    for person in clips if len(clips) > 1 else training + apart:
        person.face = taught(person.face, deviation)
    task = PersonTask([clip for number, person in enumerate(training) for clip in heard(person, stream, number)],
                      [heard(person, stream)[0] for person in apart], begin, options.batch)
    logging.info("training on %.0f s of %d films, held out %.0f s: %s", total_seconds(training), len(training),
                 total_seconds(apart), ", ".join(clip.path.name for clip in apart))
    notes = {"encoder": read_info(encoder_path).sha256, "begun_from": read_info(begin).sha256,
             "seconds": round(total_seconds(training), 1)}
    sheets = FaceSheets(apart[0], task, begin, options.run_folder, options.sheet_every) if options.sheet_every else None
    return task, notes, sheets


def heard(person: PersonClip, stream: Callable[[Tensor], Tensor], number: int | None = None) -> list[Clip]:
    """A film as training clips: the sound as it is, and with a number `HEARINGS` - 1 times as others might record it."""
    rng = np.random.default_rng(number)
    sounds = [person.samples] + [torch.from_numpy(augment_samples(person.samples.numpy(), rng)).float()
                                 for _ in range(0 if number is None else HEARINGS - 1)]
    controls, T = controls_of(person.face), len(person)
    code = torch.zeros(T, GESTURE_CODES)  # the body stage's; not trained here
    return [Clip(stream(sound)[:T], person.face, person.body, controls, code) for sound in sounds]


def _gathered(options: argparse.Namespace, processes: Processes) -> list[PersonClip]:
    """Tracked by the main process, read by all."""
    kept = options.run_folder / "tracked"
    clips = gather(options.clips_folder, kept) if processes.is_main else []
    processes.wait()
    return clips or gather(options.clips_folder, kept, report=logging.debug)


def _stream(path: Any) -> Callable[[Tensor], Tensor]:
    """Samples ``[N]`` → features ``[T, C]`` of the shipped encoder."""
    config, tensors = load_weights(path, kind="audio_encoder")
    encoder = AudioEncoder(**config)
    encoder.load_state_dict({name: value.float() for name, value in tensors.items()})
    return AudioStream(encoder).parallel
