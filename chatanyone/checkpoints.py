"""Weights files: safetensors that carry their own kind, config and hash.

A weights file is one `.safetensors` file. Its metadata (strings) holds

=========  =======================================================================
format     version of this layout, `FORMAT_VERSION`
kind       which net the tensors belong to, such as ``"face"``
config     JSON: the keyword arguments that rebuild the net
extra      JSON: whatever the writer wants to remember (step, validation numbers)
sha256     over names, types, shapes and bytes of all tensors, in the order of names
=========  =======================================================================

Nothing is ever unpickled. Every rename of a key between versions lives here, in `KEY_RENAMES`.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from chatanyone.errors import CheckpointError

FORMAT_VERSION = 1

# kind -> (old prefix, new prefix) pairs, applied in order to every key of a file of that kind.
KEY_RENAMES: dict[str, tuple[tuple[str, str], ...]] = {}


class WeightsInfo(NamedTuple):
    """What a weights file says about itself."""

    kind: str
    config: dict[str, Any]
    extra: dict[str, Any]
    sha256: str


def save_weights(
    path: str | Path, state_dict: Mapping[str, Tensor], *, kind: str, config: Mapping[str, Any],
    extra: Mapping[str, Any] | None = None,
) -> None:
    """Writes tensors with their kind and config; the file appears whole or not at all.

    Args:
        path: where to; missing folders are made.
        state_dict: name → tensor of any dtype safetensors knows (moved to CPU, made contiguous).
        kind: which net this is; `load_weights` refuses another.
        config: keyword arguments that rebuild the net; must survive JSON.
        extra: further notes for the reader (step, scores); must survive JSON.
    """
    tensors = {name: tensor.detach().to("cpu").contiguous().clone() for name, tensor in state_dict.items()}
    metadata = {
        "format": str(FORMAT_VERSION), "kind": kind, "config": json.dumps(dict(config), sort_keys=True),
        "extra": json.dumps(dict(extra or {}), sort_keys=True), "sha256": tensors_sha256(tensors),
    }
    _write_atomically(Path(path), safetensors.torch.save(tensors, metadata))


def load_weights(path: str | Path, *, kind: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Reads what `save_weights` wrote and verifies kind and hash.

    Returns:
        ``(config, state_dict)`` with tensors on the CPU and keys renamed to today's names.

    Raises:
        CheckpointError: the file is missing, damaged, of another kind or of a newer format.
    """
    info, tensors = load_with_info(path, kind=kind)
    return info.config, tensors


def load_with_info(path: str | Path, *, kind: str) -> tuple[WeightsInfo, dict[str, Tensor]]:
    """`load_weights` with all that the file says of itself, read at once: another process may replace it meanwhile."""
    path = Path(path)
    with _opened(path) as file:
        info = _parse_metadata(path, file.metadata() or {})
        if info.kind != kind:
            raise CheckpointError(f"Expected weights of kind '{kind}' but {path} holds '{info.kind}'; give the right file.")
        tensors = {name: file.get_tensor(name) for name in file.keys()}
    if tensors_sha256(tensors) != info.sha256:
        raise CheckpointError(f"The tensors of {path} do not match the hash stored with them; fetch the file again.")
    return info, rename_keys(tensors, KEY_RENAMES.get(kind, ()))


def read_info(path: str | Path) -> WeightsInfo:
    """Kind, config, notes and hash of a weights file, without reading its tensors."""
    path = Path(path)
    with _opened(path) as file:
        return _parse_metadata(path, file.metadata() or {})


@contextmanager
def _opened(path: Path) -> Iterator[safe_open]:
    """The file, open for reading."""
    if not path.is_file():
        raise CheckpointError(f"Expected a weights file at {path} but there is none; train it or give another path.")
    try:
        with safe_open(str(path), framework="pt") as file:
            yield file
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path} is not a readable safetensors file ({error}); train or fetch it.") from error


def _parse_metadata(path: Path, metadata: Mapping[str, str]) -> WeightsInfo:
    """The checked form of a file's metadata."""
    try:
        version = int(metadata["format"])
        info = WeightsInfo(
            metadata["kind"], json.loads(metadata["config"]), json.loads(metadata["extra"]), metadata["sha256"],
        )
    except (KeyError, ValueError) as error:
        raise CheckpointError(
            f"{path} is a safetensors file without this project's metadata; give one written by 'chatanyone train'."
        ) from error
    if version > FORMAT_VERSION:
        raise CheckpointError(f"{path} has format {version}, this program reads up to {FORMAT_VERSION}; update it.")
    return info


def tensors_sha256(tensors: Mapping[str, Tensor]) -> str:
    """Hash over names, types, shapes and bytes, independent of the order in the mapping."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().to("cpu").contiguous()
        digest.update(f"{name}:{tensor.dtype}:{tuple(tensor.shape)};".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def rename_keys(tensors: Mapping[str, Tensor], renames: tuple[tuple[str, str], ...]) -> dict[str, Tensor]:
    """Replaces the first matching prefix of each pair, pair after pair."""
    renamed = dict(tensors)
    for old, new in renames:
        renamed = {new + name[len(old):] if name.startswith(old) else name: t for name, t in renamed.items()}
    return renamed


def _write_atomically(path: Path, data: bytes) -> None:
    """Through a temporary file in the same folder, so that a crash leaves the old file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name, suffix=".part")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        os.chmod(temporary, 0o644)  # mkstemp's 0600 would hide shipped weights from other users
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
