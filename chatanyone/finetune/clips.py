"""Films of one person → what they did and said, frame by frame: tracked once, kept, and checked.

A film that cannot teach is left out with a sentence, not with an error, as long as others remain.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from chatanyone.errors import ChatAnyoneError, ConfigError, MediaError
from chatanyone.evaluation.lips import loudness
from chatanyone.media.audio import SAMPLE_RATE, read_audio
from chatanyone.media.video import VideoReader
from chatanyone.tracking import track_file
from motion.training.face_task import aperture
from motion.types import FaceMotion

FPS = Fraction(30)  # of the motion nets
FILMS = frozenset({".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg"})
MINIMUM_S = 1.5
LEAST_SEEN = 0.8  # part of the frames with a face
LEAST_LOUD = 1e-3  # RMS; below, there is no speech in it
# Lips that follow their own sound gave r = 0.40 to 0.59 on our clips, dubbed or delayed ones at most 0.14.
LEAST_SYNC, MOST_LAG = 0.2, 5  # correlation of lip opening and loudness; frames
HELD_OUT = 0.2  # part of the films
LEAST_FRAMES = 45  # of a part of a film
_VERSION = "1"

Report = Callable[[str], None]


@dataclass
class PersonClip:
    """What one film holds. face ``[T, 58]``, body ``[T, 144]`` packed motion at 30 fps; samples ``[N]`` 16 kHz."""

    path: Path
    face: Tensor
    body: Tensor
    samples: Tensor
    first: int = 0  # frame of the film where it begins, when it is part of one

    def __len__(self) -> int:
        return len(self.face)

    def part(self, start: int, end: int) -> PersonClip:
        """Frames ``start … end`` with their sound."""
        edges = [int(frame * SAMPLE_RATE / FPS) for frame in (start, end)]
        return PersonClip(self.path, self.face[start:end], self.body[start:end], self.samples[slice(*edges)], start)


def films(folder: Path) -> list[Path]:
    """All films of a folder, in order."""
    found = sorted(path for path in folder.iterdir() if path.suffix.lower() in FILMS)
    if not found:
        raise ConfigError(f"the folder {folder} holds no films ({', '.join(sorted(FILMS))}); put the person's clips there")
    return found


def gather(folder: Path, kept: Path, *, report: Report = logging.info) -> list[PersonClip]:
    """The usable films of a folder, tracked.

    Args:
        folder: of films; kept: where tracked films are remembered.

    Raises:
        ConfigError: none is usable; the message names the last reason.
    """
    clips: list[PersonClip] = []
    reason = ""
    for path in films(folder):
        try:
            clip = _remembered(path, kept, report)
            _check(clip)
            clips.append(clip)
        except ChatAnyoneError as error:
            reason = str(error)
            report(f"left out: {reason}")
    if not clips:
        raise ConfigError(f"none of the films in {folder} can be used; the last one: {reason}")
    report(f"{len(clips)} films, {sum(map(len, clips)) / float(FPS):.0f} seconds")
    return clips


def glance(folder: Path, report: Report = logging.info) -> list[PersonClip]:
    """The films of a folder, not tracked (motion and sound are empty): enough for pictures.

    Raises:
        ConfigError: none can be read and is long enough.
    """
    clips: list[PersonClip] = []
    for path in films(folder):
        try:
            frames = sum(1 for _ in VideoReader(path, FPS))
            digest = torch.frombuffer(bytearray(hashlib.sha256(path.read_bytes()).digest()), dtype=torch.uint8)
            clip = PersonClip(path, torch.zeros(frames, 58), torch.zeros(frames, 144), digest.float())
            _check(clip, lips_matter=False)
            clips.append(clip)
        except ChatAnyoneError as error:
            report(f"left out: {error}")
    if not clips:
        raise ConfigError(f"none of the films in {folder} can be used; give films of at least {MINIMUM_S} s")
    return clips


def split(clips: list[PersonClip]) -> tuple[list[PersonClip], list[PersonClip]]:
    """Training and held-out films; which are held out depends on their contents alone. One film is cut in two.

    Raises:
        ConfigError: one film, and too short to cut.
    """
    if len(clips) > 1:
        order = sorted(clips, key=lambda clip: hashlib.sha256(clip.samples.numpy().tobytes()).hexdigest())
        count = max(1, round(HELD_OUT * len(clips)))
        return order[count:], order[:count]
    clip = clips[0]
    held = max(LEAST_FRAMES, round(HELD_OUT * len(clip)))
    if len(clip) < held + 2 * LEAST_FRAMES:
        raise ConfigError(f"{clip.path.name} alone is too short ({len(clip) / float(FPS):.1f} s); give more films, or one "
                          f"of at least {3 * LEAST_FRAMES / float(FPS):.1f} s")
    return [clip.part(0, len(clip) - held)], [clip.part(len(clip) - held, len(clip))]


def sync(face: Tensor, samples: Tensor) -> float:
    """Highest correlation of lip opening with loudness within `MOST_LAG` frames: ``[T, 58]``, ``[N]``."""
    lips = aperture(FaceMotion.unpack(face)).numpy()
    loud = loudness(samples.numpy(), len(lips))
    return max(_pearson(lips[max(lag, 0):len(lips) + min(lag, 0)], loud[max(-lag, 0):len(loud) - max(lag, 0)])
               for lag in range(-MOST_LAG, MOST_LAG + 1))


def _pearson(one: np.ndarray, other: np.ndarray) -> float:
    one, other = one - one.mean(), other - other.mean()
    scale = np.sqrt((one ** 2).sum() * (other ** 2).sum())
    return float((one * other).sum() / scale) if scale > 1e-9 else 0.0


def _check(clip: PersonClip, lips_matter: bool = True) -> None:
    name, seconds = clip.path.name, len(clip) / float(FPS)
    if seconds < MINIMUM_S:
        raise MediaError(f"{name} is too short ({seconds:.1f} s, at least {MINIMUM_S} s)")
    if not lips_matter:
        return
    if float(clip.samples.square().mean().sqrt()) < LEAST_LOUD:
        raise MediaError(f"{name} is silent; training needs the person's voice")
    found = sync(clip.face, clip.samples)
    if found < LEAST_SYNC:
        raise MediaError(f"the lips in {name} do not follow its sound (r = {found:.2f}, at least {LEAST_SYNC}); is it "
                         "dubbed, or does somebody else speak?")


def _remembered(path: Path, kept: Path, report: Report) -> PersonClip:
    """Tracked now or before; what is kept belongs to the film's bytes."""
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    file = kept / f"{path.stem}-{digest[:12]}-{_VERSION}.safetensors"
    if file.is_file():
        try:
            values = load_file(file)
            return PersonClip(path, values["face"], values["body"], values["samples"])
        except (SafetensorError, KeyError, OSError):
            file.unlink()  # damaged: made again
    clip = _tracked(path, report)
    kept.mkdir(parents=True, exist_ok=True)
    partial = file.with_suffix(".part")
    save_file({"face": clip.face, "body": clip.body, "samples": clip.samples}, partial)
    partial.rename(file)
    return clip


def _tracked(path: Path, report: Report) -> PersonClip:
    """Motion from the picture, samples from the sound, of the same length."""
    samples = torch.from_numpy(read_audio(path))
    report(f"tracking {path.name}")
    document = track_file(path, fps=FPS, progress=False)
    seen = float(document.valid.mean())
    if seen < LEAST_SEEN:
        raise MediaError(f"a face is seen in only {seen:.0%} of {path.name} (at least {LEAST_SEEN:.0%})")
    T = min(len(document), int(len(samples) * FPS / SAMPLE_RATE))
    face, body = document.face_motion().packed()[:T], document.body_motion().packed()[:T]
    return PersonClip(path, face.float().contiguous(), body.float().contiguous(),
                      samples[:int(T * SAMPLE_RATE / FPS)].contiguous())


def total_seconds(clips: Iterable[PersonClip]) -> float:
    """Of all together."""
    return sum(map(len, clips)) / float(FPS)
