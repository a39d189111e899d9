"""Clips for training the motion nets: features, performance and controls of each utterance, made once and kept.

Shards are safetensors; a `ClipStore` joins them into one long row of frames with rest in front of every clip, so that
cutting a window out is one index.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from motion.impulses import face_controls, gesture_code
from motion.style import stack_styles, style_range
from motion.training.gestures import perform_body
from motion.training.performance import perform_face, prosody, random_performance_style
from motion.training.speech import Speech
from motion.types import FaceMotion

LEAD = 72  # frames of rest in front of each clip: as far as any net looks back


@dataclass
class Clip:
    """One utterance, a row a frame: `[T, …]`.

    features: C of the audio encoder; face: 58; body: 144; controls: 13 of `face_controls`; code: 8 of `gesture_code`
    """

    features: Tensor
    face: Tensor
    body: Tensor
    controls: Tensor
    code: Tensor


def make_clip(speech: Speech, mouth: np.ndarray, features: Tensor, seed: int) -> Clip:
    """Performs an utterance whose mouth curves `[T, 52]` and features `[T, C]` are known."""
    frames = len(mouth)
    said, style = prosody(speech, frames), random_performance_style(np.random.default_rng(seed))
    face = torch.from_numpy(perform_face(said, mouth.astype(np.float64), seed, style))
    body = perform_body(said, FaceMotion.unpack(face), seed)
    controls = face_controls(seed, 0, frames, gaze=style.gaze)
    return Clip(features[:frames], face, body.packed(), controls, gesture_code(seed, 0, frames))


def write_clips(path: Path, clips: list[Clip]) -> None:
    """One shard, half precision; it appears whole or not at all."""
    tensors = {field.name: torch.cat([getattr(clip, field.name) for clip in clips]).half() for field in fields(Clip)}
    partial = path.with_suffix(".partial")
    save_file(tensors, str(partial), {"frames": json.dumps([len(clip.face) for clip in clips])})
    partial.replace(path)


def read_clips(path: Path) -> list[Clip]:
    """All clips of a shard."""
    with safe_open(str(path), framework="pt") as file:
        counts = json.loads(file.metadata()["frames"])
        columns = {field.name: file.get_tensor(field.name).split(counts) for field in fields(Clip)}
    return [Clip(**{name: parts[i] for name, parts in columns.items()}) for i in range(len(counts))]


class ClipStore:
    """All clips as one row of frames, each with `LEAD` frames of rest (zeros) in front.

    Attributes:
        data: name of a `Clip` field → `[rows, channels]`, half precision.
        first: `[N]` row of each clip's frame 0; frames: `[N]`.
        style_expression, style_pose: `[N, 4]`, `[N, 6]` ranges of each clip.
    """

    def __init__(self, clips: Iterable[Clip]) -> None:
        clips = list(clips)
        if not clips:
            raise ValueError("Expected training clips, got none; make them with tools/make_motion_clips.py.")
        self.frames = torch.tensor([len(clip.face) for clip in clips])
        self.first = torch.cumsum(self.frames + LEAD, 0) - self.frames
        self.data = {field.name: _joined([getattr(clip, field.name) for clip in clips]) for field in fields(Clip)}
        styles = [style_range(FaceMotion.unpack(clip.face.float())) for clip in clips]
        self.style_expression, self.style_pose = stack_styles(styles)

    @classmethod
    def load(cls, folder: Path, split: str = "train", limit: int | None = None) -> ClipStore:
        """All (or the first `limit`) shards of a split."""
        paths = sorted(Path(folder).glob(f"{split}_*.safetensors"))[:limit]
        return cls(clip for path in paths for clip in read_clips(path))

    def draw(self, batch: int, margin: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Random `(clip, frame)` pairs `[batch]` such that `margin` frames from there on exist."""
        clip = torch.randint(len(self.frames), (batch,), generator=generator)
        room = (self.frames[clip] - margin).clamp(min=1)
        frame = (torch.rand(batch, generator=generator) * room).long()
        return clip, frame

    def cut(self, name: str, clip: Tensor, frame: Tensor, first: int, count: int) -> Tensor:
        """Rows `frame + first … + count` of a field, `[batch, count, channels]`, float32."""
        rows = (self.first[clip] + frame)[:, None] + torch.arange(first, first + count)
        return self.data[name][rows].float()

    def spread(self, name: str, clip: Tensor, frames: int, count: int, generator: torch.Generator) -> Tensor:
        """`count` rows of a field, evenly over a random stretch of at most `frames` of each clip, `[batch, count, C]`."""
        span = self.frames[clip].clamp(max=frames)
        start = (torch.rand(len(clip), generator=generator) * (self.frames[clip] - span + 1)).long()
        steps = (torch.linspace(0, 1, count) * (span - 1)[:, None]).round().long()
        return self.data[name][(self.first[clip] + start)[:, None] + steps].float()

    def moments(self, name: str, floor: float) -> tuple[Tensor, Tensor]:
        """Mean and deviation `[channels]` over all frames of the clips, the deviation at least `floor`."""
        inside = torch.zeros(len(self.data[name]), dtype=torch.bool)
        for start, count in zip(self.first.tolist(), self.frames.tolist()):
            inside[start:start + count] = True
        rows = self.data[name][inside].float()
        return rows.mean(0), rows.std(0).clamp(min=floor)


def _joined(parts: list[Tensor]) -> Tensor:
    """One after the other with rest in front of each."""
    rest = torch.zeros(LEAD, parts[0].shape[1], dtype=torch.half)
    return torch.cat([piece for part in parts for piece in (rest, part.half())])
