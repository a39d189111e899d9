"""Makes the films that are measured: one engine for each variant, portraits prepared once."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from chatanyone import build
from chatanyone.config import LIVE_SPEECH as _LIVE_SPEECH
from chatanyone.config import Config
from chatanyone.errors import ConfigError
from chatanyone.media.image import read_image
from chatanyone.pipeline import AvatarPipeline, Frame, Strengths, Style
from chatanyone.portrait import Portrait, default_cache_dir, prepare_portrait
from chatanyone.prefetch import ahead
from motion.types import BodyMotion, FaceMotion

_PORTRAITS_KEPT = 8  # in memory, some 15 MB each; the rest is read from the portrait cache again
HEAD, UPPER_BODY = (512, 512), (512, 768)  # width, height px
Motion = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Variant:
    """An engine to measure: its name and which settings it changes (dotted keys)."""

    name: str
    changes: dict[str, Any] = field(default_factory=dict)


NETWORKS = Variant("networks", {"render.use_filter": True})  # as the program ships
GEOMETRY = Variant("geometry", {"render.use_filter": False, "render.use_networks": False})
ALL_NETWORKS = Variant("all networks", {"render.use_filter": True, "render.use_networks": True})
LINEAR_HEAD = Variant("linear head", {"motion.anchor": 1.0})
DENOISER = Variant("denoiser alone", {"motion.anchor": 0.0})
LIVE_SPEECH = Variant("live speech portraits", {"motion.backend": _LIVE_SPEECH})
LIVE_SPEECH_ALONE = Variant("live speech portraits alone", {"motion.backend": _LIVE_SPEECH, "motion.anchor": 0.0})
MANIFOLD = Variant("on the manifold", {"audio.manifold": 1.0})
NO_HAND_INJECTION = Variant("w/o hand injection", {**ALL_NETWORKS.changes, "render.hand_injection": False})
NO_FACE_REFINE = Variant("w/o face refine", {**ALL_NETWORKS.changes, "render.face_refine": False})
NO_IMPLICIT_OFFSET = Variant("w/o implicit offset", {**ALL_NETWORKS.changes, "render.implicit_offset": False})


def changed(config: Config, changes: dict[str, Any]) -> Config:
    """A copy with some settings changed.

    Raises:
        ConfigError: there is no such setting.
    """
    result = copy.deepcopy(config)
    for key, value in changes.items():
        owner: Any = result
        *sections, name = key.split(".")
        for section in sections:
            owner = getattr(owner, section, None)
        if not hasattr(owner, name):
            raise ConfigError(f"this version has no setting {key}")
        setattr(owner, name, value)
    return result


def available(config: Config, variant: Variant) -> bool:
    """Whether all settings of a variant exist."""
    try:
        changed(config, variant.changes)
    except ConfigError:
        return False
    return True


class Studio:
    """Films of portraits under variants of one configuration."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self._engines: dict[str, AvatarPipeline] = {}
        self._portraits: dict[tuple[Path, tuple[int, int]], Portrait] = {}

    def settings(self, variant: Variant) -> Config:
        return changed(self.config, variant.changes)

    def engine(self, variant: Variant) -> AvatarPipeline:
        """Built once, nets loaded."""
        if variant.name not in self._engines:
            self._engines[variant.name] = build.pipeline(self.settings(variant))
        return self._engines[variant.name]

    def portrait(self, path: Path, size: tuple[int, int] = UPPER_BODY) -> Portrait:
        """Prepared once, kept in the program's own portrait cache too."""
        if (path, size) not in self._portraits:
            if len(self._portraits) >= _PORTRAITS_KEPT:
                self._portraits.pop(next(iter(self._portraits)))
            folder = Path(self.config.render.cache) if self.config.render.cache else default_cache_dir()
            folder.mkdir(parents=True, exist_ok=True)
            self._portraits[path, size] = prepare_portrait(read_image(path), size, None, folder)
        return self._portraits[path, size]

    def film(self, variant: Variant, portrait: Portrait, samples: NDArray[np.float32], *, seed: int | None = None,
             strengths: Strengths | None = None, style: Style = Style(), motion: Motion | None = None) -> Iterator[Frame]:
        """Frames as they are made; `motion` is filled with expression ``[T, 52]``, rotation ``[T, 3]``, translation
        ``[T, 3]``, body ``[T, 14, 3]`` and hands ``[T, 2, 51]`` when the film ends."""
        engine, recorder = self.engine(variant), _Recorder()
        engine.on_motion = recorder
        state = engine.init(portrait, self.config.motion.seed if seed is None else seed, style, strengths or Strengths())
        yield from ahead(engine.run(samples, state))
        if motion is not None:
            motion.update(recorder.arrays())


class _Recorder:
    """Gathers motion while a film is made."""

    def __init__(self) -> None:
        self._faces: list[Tensor] = []
        self._bodies: list[Tensor] = []

    def __call__(self, face: FaceMotion, body: BodyMotion) -> None:
        self._faces.append(face.packed().cpu())
        self._bodies.append(body.packed().cpu())

    def arrays(self) -> Motion:
        face, body = FaceMotion.unpack(torch.cat(self._faces)), BodyMotion.unpack(torch.cat(self._bodies))
        return {"expression": face.expression.numpy(), "rotation": face.rotation.numpy(),
                "translation": face.translation.numpy(), "body": body.delta.numpy(), "hands": body.hands.numpy()}
