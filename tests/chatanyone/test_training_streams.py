"""Tar shards: what goes in comes out, without pickle, shared out without overlap, the same for the same seed."""

from __future__ import annotations

import io
import json
import pickle
import tarfile
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from chatanyone.checkpoints import read_info
from chatanyone.errors import ConfigError
from chatanyone.train import train
from chatanyone.training.streams import Shards, StreamedClips, is_stream, read_samples, shard_urls
from motion.training.motion_data import Clip, write_clips
from tools.pack_shards import motion_items, pack, pattern, render_items

CLIPS, C = 12, 6


def clip(number: int, frames: int = 60) -> Clip:
    """Told apart by its features."""
    time = torch.arange(frames)[:, None] / 3
    waves = [0.3 + 0.2 * torch.sin(time + torch.arange(channels)) for channels in (58, 144, 13, 8)]
    return Clip(torch.full((frames, C), float(number)) + 0.1 * torch.sin(time), *waves)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Clips and their shards of three."""
    path = tmp_path_factory.mktemp("shards")
    for index in range(3):
        write_clips(path / f"train_{index}.safetensors", [clip(4 * index + k) for k in range(4)])
    write_clips(path / "held_out_0.safetensors", [clip(20), clip(21)])
    (path / "encoder.sha256").write_text("abc")
    for split in ("train", "held_out"):
        pack(motion_items(path, split), path, split, size=3)
    return path


def urls(folder: Path) -> list[str]:
    return shard_urls(str(folder / "train-{000000..000003}.tar"))


def number(sample: dict[str, Tensor]) -> int:
    return round(float(sample["features"][0, 0]))


def test_clips_survive_packing(folder: Path) -> None:
    samples = list(read_samples(urls(folder)))
    assert [number(sample) for sample, _ in samples] == list(range(CLIPS))
    assert torch.equal(samples[5][0]["face"], clip(5).face.half())
    assert samples[5][1] == {"encoder": "abc", "source": "train_1.safetensors", "index": 1, "frames": 60}


def test_pictures_travel_as_png(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    picture = torch.randint(0, 256, (3, 20, 30), dtype=torch.uint8)
    tensors = {"target": picture, "matte": picture[:1].clone(), "flow": torch.randn(2, 5, 5), "box": torch.tensor([1, 2, 3])}
    save_file(tensors, tmp_path / "train_00000.safetensors")
    shards = pack(render_items(tmp_path, "train"), tmp_path, "train", size=4)
    with tarfile.open(shards[0]) as file:
        kinds = sorted(name.split(".", 1)[1] for name in file.getnames())
    assert kinds == ["json", "matte.png", "safetensors", "target.png"]
    (sample, _), = read_samples([str(shards[0])])
    assert sample.keys() == tensors.keys() and all(torch.equal(sample[name], tensors[name]) for name in tensors)


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> Any:
            return pytest.fail, ("unpickled",)

    path = tmp_path / "bad.tar"
    with tarfile.open(path, "w") as file:
        for name, data in (("a.pyd", pickle.dumps(Bomb())), ("a.json", json.dumps({}).encode())):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            file.addfile(info, io.BytesIO(data))
    assert list(read_samples([str(path)])) == [({}, {})]


@pytest.mark.parametrize("workers", (0, 2))
def test_processes_and_workers_share_without_overlap(folder: Path, workers: int) -> None:
    drawn = [[number(s) for s in islice(Shards(urls(folder), rank, 2, workers).samples(3), CLIPS // 2)] for rank in (0, 1)]
    assert sorted(drawn[0] + drawn[1]) == list(range(CLIPS)), "each clip once in a pass"


def test_the_same_seed_gives_the_same_stream(folder: Path) -> None:
    first, again, other = ([number(s) for s in islice(Shards(urls(folder)).samples(seed), 30)] for seed in (1, 1, 2))
    assert first == again != other
    assert sorted(first[:CLIPS]) == list(range(CLIPS)) and first[:CLIPS] != list(range(CLIPS))


def test_a_pool_renews_itself(folder: Path) -> None:
    store = StreamedClips(Shards(urls(folder)), pool=4, draws=2)
    assert store.moments("face", 0.0)[0].shape == (58,)
    runs: list[list[list[int]]] = []
    for seed in (7, 7):
        store.restart(seed)
        runs.append([])
        for index in range(40):
            chosen, frame = store.draw(8, 20, torch.Generator().manual_seed(index))
            runs[-1].append(store.cut("features", chosen, frame, 0, 1)[:, 0, 0].round().int().tolist())
    assert runs[0] == runs[1], "restarting repeats the stream"
    assert {number for row in runs[0] for number in row} == set(range(CLIPS))


def test_training_from_shards(folder: Path, tmp_path: Path) -> None:
    settings = tmp_path / "settings.yaml"
    settings.write_text("motion-face:\n  net: {width: 16, depth: 1, heads: 2, ratio: 2, previous: 8}\n")
    train("motion-face", [
        "--data", str(folder / "train-{000000..000003}.tar"), "--held-out", str(folder / "held_out-000000.tar"),
        "--config", str(settings), "--run", str(tmp_path / "run"), "--steps", "3", "--batch", "4", "--device", "cpu"])
    info = read_info(tmp_path / "run" / "weights.safetensors")
    assert info.extra["step"] == 3 and info.extra["encoder"] == "abc" and "aperture_r" in info.extra["validation"]


def test_too_few_shards_are_refused(folder: Path) -> None:
    with pytest.raises(ConfigError, match="4 shards cannot be shared out to 3 processes with 2 readers each"):
        Shards(urls(folder), 0, 3, 2)


def test_patterns(folder: Path, tmp_path: Path) -> None:
    assert is_stream("shards-{000000..000123}.tar") and not is_stream("clips")
    assert pattern([tmp_path / "train-000000.tar", tmp_path / "train-000004.tar"]).endswith("train-{000000..000004}.tar")
    assert pattern([tmp_path / "train-000000.tar"]).endswith("train-000000.tar")
    assert shard_urls("https://example.org/a-{0..1}.tar") == [f"https://example.org/a-{i}.tar" for i in (0, 1)]
