"""A folder of finished items, so that an evaluation can be stopped and resumed, and only what changed is done again.

An item is a JSON file of numbers. Its key is a hash over everything it depends on: weights, settings, the code that makes
films, the code that measures, and the input files' contents.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any

from chatanyone import build
from chatanyone.checkpoints import read_info
from chatanyone.config import LIVE_SPEECH, LOOPY, RANDOM, Config

ROOT = Path(__file__).resolve().parents[2]
# What no film depends on.
_ELSEWHERE = ("training", "evaluation", "commands", "serve", "talk", "stream")
_RATES = ("device", "threads")  # settings that change how fast, not what


class Work:
    """Items by key.

    Args: folder of the items; fresh: do everything again.
    """

    def __init__(self, folder: Path, fresh: bool = False) -> None:
        self.folder, self.fresh = folder, fresh
        self.made = self.found = 0

    def item(self, kind: str, name: str, key: dict[str, Any], make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """What `make` gives, from the folder where it lies there already. Must survive JSON."""
        path = self.folder / kind / f"{name}-{digest(key)[:16]}.json"
        if path.is_file() and not self.fresh:
            self.found += 1
            return dict(json.loads(path.read_text(encoding="utf-8")))
        value = make()
        self.made += 1
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(f".{os.getpid()}.partial")
        partial.write_text(json.dumps(value), encoding="utf-8")
        partial.replace(path)
        return value


def digest(value: Any) -> str:
    """SHA-256 of anything JSON can hold."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()


def engine_key(config: Config) -> dict[str, Any]:
    """Weights, settings and code behind a film."""
    settings = {name: value for name, value in asdict(config).items() if name not in _RATES}
    return {"settings": settings, "weights": weights_hashes(config), "code": code_hash()}


def weights_hashes(config: Config) -> dict[str, str]:
    """Kind → SHA-256 of the tensors in use."""
    given = {"audio_encoder": config.audio.weights, "body": config.motion.body_weights, "render": config.render.weights}
    motion = config.motion
    own = {LIVE_SPEECH: ("live_speech_portraits", motion.lsp_weights), LOOPY: ("loopy", str(motion.loopy_weights))}
    kind, weights = own.get(motion.backend, ("face", motion.face_weights))
    given[kind] = weights
    if config.audio.manifold:
        given["live_speech_portraits"] = config.motion.lsp_weights
    return {kind: weights if weights == RANDOM else read_info(build.weights_path(kind, weights)).sha256
            for kind, weights in given.items()}


@lru_cache(maxsize=1)
def code_hash() -> str:
    """Over the packages' sources, but for what no film depends on."""
    sources = sorted(path for package in ("motion", "render", "chatanyone") for path in (ROOT / package).rglob("*.py")
                     if not set(_ELSEWHERE) & set(path.relative_to(ROOT).parts))
    whole = hashlib.sha256()
    for path in sources:
        whole.update(str(path.relative_to(ROOT)).encode() + path.read_bytes())
    return whole.hexdigest()


def module_hash(*modules: ModuleType) -> str:
    """Over the sources of modules that measure."""
    return hashlib.sha256(b"".join(Path(str(module.__file__)).read_bytes() for module in modules)).hexdigest()


@lru_cache(maxsize=None)
def file_hash(path: Path) -> str:
    """SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
