"""Weights files: what goes in comes out; what is damaged is refused with a sentence."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from chatanyone import checkpoints
from chatanyone.checkpoints import load_weights, read_info, save_weights
from chatanyone.errors import CheckpointError

TENSORS = {
    "a.weight": torch.arange(6.0).reshape(2, 3), "b": torch.tensor(3, dtype=torch.int64),
    "c": torch.ones(2, dtype=torch.bfloat16), "empty": torch.zeros(0, 4), "flag": torch.tensor([True, False]),
}


def saved(folder: Path) -> Path:
    path = folder / "new" / "net.safetensors"
    save_weights(path, TENSORS, kind="face", config={"width": 8}, extra={"step": 3})
    return path


def test_round_trip(tmp_path: Path) -> None:
    path = saved(tmp_path)
    config, tensors = load_weights(path, kind="face")
    assert config == {"width": 8}
    assert read_info(path).extra == {"step": 3}
    assert set(tensors) == set(TENSORS)
    for name, tensor in TENSORS.items():
        assert tensors[name].dtype == tensor.dtype and torch.equal(tensors[name], tensor)


def test_other_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="Expected weights of kind 'body' but .* holds 'face'"):
        load_weights(saved(tmp_path), kind="body")


def test_changed_bytes_are_refused(tmp_path: Path) -> None:
    path = saved(tmp_path)
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(CheckpointError, match="do not match the hash"):
        load_weights(path, kind="face")


@pytest.mark.parametrize("data", [b"", b"not a safetensors file", b"\xff" * 64], ids=["empty", "text", "header"])
def test_damaged_file_is_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "net.safetensors"
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match="not a readable safetensors file"):
        load_weights(path, kind="face")


def test_missing_and_foreign_files_are_refused(tmp_path: Path) -> None:
    import safetensors.torch
    with pytest.raises(CheckpointError, match="there is none"):
        load_weights(tmp_path / "absent.safetensors", kind="face")
    safetensors.torch.save_file({"x": torch.ones(1)}, str(tmp_path / "foreign.safetensors"))
    with pytest.raises(CheckpointError, match="without this project's metadata"):
        load_weights(tmp_path / "foreign.safetensors", kind="face")


def test_newer_format_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoints, "FORMAT_VERSION", 2)
    path = saved(tmp_path)
    monkeypatch.setattr(checkpoints, "FORMAT_VERSION", 1)
    with pytest.raises(CheckpointError, match="has format 2, this program reads up to 1"):
        load_weights(path, kind="face")


def test_keys_are_renamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(checkpoints.KEY_RENAMES, "face", (("a.", "first."),))
    _, tensors = load_weights(saved(tmp_path), kind="face")
    assert "first.weight" in tensors and "a.weight" not in tensors


def test_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(tmp_path)
    before = path.read_bytes()

    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(OSError, match="disk full"):
        save_weights(path, {"a": torch.zeros(1)}, kind="face", config={})
    assert path.read_bytes() == before and list(path.parent.iterdir()) == [path]
