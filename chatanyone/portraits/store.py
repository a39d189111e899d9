"""Portraits on disk: safetensors with JSON metadata, and a cache by content hash. Writes are atomic, no pickle."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from chatanyone.errors import PortraitError

FORMAT = "chatanyone.portrait"
VERSION = 8  # raised whenever the same picture would give another portrait: old cache entries are then not found


def cache_key(image: NDArray[np.uint8], **parameters: Any) -> str:
    """sha256 of the pixels, the parameters and `VERSION`, as hex."""
    digest = hashlib.sha256(np.ascontiguousarray(image).tobytes())
    digest.update(json.dumps([image.shape, VERSION, parameters], sort_keys=True).encode())
    return digest.hexdigest()


def default_cache_dir() -> Path:
    """``$XDG_CACHE_HOME/chatanyone/portraits``, or the same under ``~/.cache``."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "chatanyone" / "portraits"


def write(path: Path, tensors: dict[str, Tensor], metadata: dict[str, Any]) -> None:
    """Writes beside the target first, then renames: a reader never sees half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(handle)
    header = {"format": FORMAT, "version": str(VERSION), "portrait": json.dumps(metadata, sort_keys=True)}
    try:
        save_file({key: value.contiguous() for key, value in tensors.items()}, name, metadata=header)
        os.replace(name, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)
        raise


def read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and metadata of one file; `PortraitError` when it is not a portrait of this version."""
    try:
        with safe_open(str(path), framework="pt") as file:
            header = file.metadata() or {}
            tensors: dict[str, Tensor] = {key: file.get_tensor(key) for key in file.keys()}
    except FileNotFoundError as error:
        raise PortraitError(f"expected a prepared portrait at {path}, found no such file; check the path") from error
    except (SafetensorError, OSError) as error:
        raise PortraitError(f"expected a prepared portrait at {path}, but it is damaged; prepare it again") from error
    if header.get("format") != FORMAT or header.get("version") != str(VERSION):
        found = f"{header.get('format')} version {header.get('version')}"
        raise PortraitError(f"expected {FORMAT} version {VERSION} at {path}, found {found}; prepare it again")
    return tensors, json.loads(header["portrait"])


def to_bytes(image: Tensor) -> Tensor:
    """[0, 1] to 0-255; the inverse, `from_bytes`, is exact because portraits are quantised when they are made."""
    return (image * 255).round().clamp(0, 255).to(torch.uint8)


def from_bytes(image: Tensor) -> Tensor:
    """0-255 to [0, 1]."""
    return image.float() / 255
