"""Training data from tar shards (WebDataset), on disk or from a URL, shared out over processes and loader workers.

A sample is a group of members with one key: ``<key>.safetensors`` tensors, ``<key>.<name>.png`` pictures (tensors of bytes
``[1 or 3, H, W]``), ``<key>.json`` notes. Nothing is unpickled. `tools/pack_shards.py` writes them.

What resuming means: a stream's order depends on the seed it is started with, the shards, and the numbers of processes and
workers alone, and the solver starts a new one for every segment of steps. So a run that goes on under the same conditions
sees the same samples; it reads again what the broken segment had read. Under other conditions it goes on with other samples.
"""

from __future__ import annotations

import io
import itertools
import json
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from chatanyone.errors import ConfigError
from chatanyone.training.task import Task, companions
from motion.training.motion_data import Clip, ClipStore

SHUFFLE = 200  # samples held back to draw from
Sample = dict[str, Tensor]


def is_stream(data: str) -> bool:
    """Whether `--data` names tar shards and not a folder."""
    return ".tar" in data


def shard_urls(pattern: str) -> list[str]:
    """``shards-{000000..000123}.tar`` and the like (several joined by ``::``), in order; local files must be there."""
    from webdataset.shardlists import expand_urls

    urls: list[str] = list(expand_urls(pattern))
    missing = [url for url in urls if "://" not in url and not url.startswith("pipe:") and not Path(url).is_file()]
    if missing:
        raise ConfigError(f"the shard {missing[0]} does not exist ({len(missing)} of {len(urls)} are missing); check the "
                          "pattern, or write shards with tools/pack_shards.py")
    return urls


@dataclass(frozen=True)
class Shards:
    """Where samples come from, and which part of them is this process's.

    urls: all shards; rank, count: this process; workers: that read ahead, each shards of its own; 0 reads here
    """

    urls: Sequence[str]
    rank: int = 0
    count: int = 1
    workers: int = 0

    def __post_init__(self) -> None:
        if len(self.urls) < self.count * max(self.workers, 1):
            raise ConfigError(f"{len(self.urls)} shards cannot be shared out to {self.count} processes with "
                              f"{max(self.workers, 1)} readers each; write more and smaller ones with tools/pack_shards.py")

    def samples(self, seed: int) -> Iterator[Sample]:
        """Endless, shuffled by the seed."""
        endless = _Endless(self, seed)
        if not self.workers:
            return iter(endless)
        return iter(DataLoader(endless, batch_size=None, num_workers=self.workers, prefetch_factor=4))

    def first(self) -> Iterator[tuple[Sample, dict[str, Any]]]:
        """All samples once with their notes, in order, the same for every process."""
        return read_samples(self.urls)


class _Endless(IterableDataset[Sample]):
    """One pass after the other over this reader's shards."""

    def __init__(self, shards: Shards, seed: int) -> None:
        self.shards, self.seed = shards, seed

    def __iter__(self) -> Iterator[Sample]:
        worker = get_worker_info()
        index, workers = (0, 1) if worker is None else (worker.id, worker.num_workers)
        own = self.shards.urls[self.shards.rank::self.shards.count][index::workers]
        rng = random.Random(f"{self.seed} {self.shards.rank} {index}")
        for _ in itertools.count():
            yield from self._pass(own, rng)

    @staticmethod
    def _pass(urls: Sequence[str], rng: random.Random) -> Iterator[Sample]:
        """Every sample once: shards in random order, samples from a buffer."""
        from webdataset.filters import shuffle

        count = 0
        for sample, _ in shuffle(SHUFFLE, initial=SHUFFLE, rng=rng)(read_samples(rng.sample(urls, len(urls)))):
            count += 1
            yield sample
        if not count:
            raise ConfigError(f"the shards {urls[0]} … hold no samples; write them anew with tools/pack_shards.py")


def read_samples(urls: Sequence[str]) -> Iterator[tuple[Sample, dict[str, Any]]]:
    """Samples of the shards in order, with their notes."""
    from webdataset.tariterators import tarfile_samples

    for raw in tarfile_samples([{"url": url} for url in urls]):
        yield _decoded(raw), json.loads(raw.get("json", b"{}"))


def _decoded(raw: Mapping[str, Any]) -> Sample:
    sample: Sample = {}
    for name, data in raw.items():
        if name == "safetensors":
            sample |= safetensors.torch.load(data)
        elif name.endswith(".png"):
            pixels = np.asarray(Image.open(io.BytesIO(data)))
            sample[name.removesuffix(".png")] = torch.from_numpy(np.atleast_3d(pixels).copy()).permute(2, 0, 1).contiguous()
    return sample


def encode_sample(key: str, tensors: Mapping[str, Tensor], notes: Mapping[str, Any]) -> dict[str, Any]:
    """What `webdataset.TarWriter` writes: pictures of bytes as PNG, all other tensors together."""
    pictures = {name: value for name, value in tensors.items()
                if value.dtype == torch.uint8 and value.ndim == 3 and len(value) in (1, 3)}
    rest = {name: value.contiguous() for name, value in tensors.items() if name not in pictures}
    members = {f"{name}.png": _png(value) for name, value in pictures.items()}
    return {"__key__": key, "safetensors": safetensors.torch.save(rest), "json": json.dumps(dict(notes)).encode(), **members}


def _png(value: Tensor) -> bytes:
    pixels = value.permute(1, 2, 0).numpy()
    file = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).save(file, "png", compress_level=1)
    return file.getvalue()


class StreamedClips(ClipStore):
    """A `ClipStore` over a window on the stream: so many clips at a time, a quarter of them new every few batches.

    Args:
        shards: of motion clips.
        pool: clips held at a time (about 130 kB each).
        draws: batches between two renewals.
    """

    def __init__(self, shards: Shards, pool: int = 256, draws: int = 16) -> None:
        self.shards, self.draws = shards, draws
        # The moments of the data must be the same for all, so all begin with the same clips.
        self.pool = [_clip(sample) for sample, _ in itertools.islice(shards.first(), pool)]
        self.stream: Iterator[Clip] = iter(())
        self.drawn = 0
        super().__init__(self.pool)

    def restart(self, seed: int) -> None:
        """A new stream of the given seed and a pool from it."""
        self.stream = map(_clip, self.shards.samples(seed))
        self.pool, self.drawn = list(itertools.islice(self.stream, len(self.pool))), 0
        super().__init__(self.pool)

    def draw(self, batch: int, margin: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        self.drawn += 1
        if self.drawn % self.draws == 0:
            fresh = list(itertools.islice(self.stream, max(len(self.pool) // 4, 1)))
            self.pool = self.pool[len(fresh):] + fresh
            super().__init__(self.pool)
        return super().draw(batch, margin, generator)


def _clip(sample: Sample) -> Clip:
    names = [item.name for item in fields(Clip)]
    if missing := set(names) - sample.keys():
        raise ConfigError(f"a motion sample lacks {', '.join(sorted(missing))}; write the shards anew with "
                          "tools/pack_shards.py --kind motion")
    return Clip(*(sample[name] for name in names))


def clips_of(pattern: str) -> Iterator[Clip]:
    """All clips of some shards, once."""
    return (_clip(sample) for sample, _ in read_samples(shard_urls(pattern)))


def encoder_of(shards: Shards) -> str:
    """The hash of the speech encoder that made the clips' features, as their notes say."""
    return str(next(shards.first())[1].get("encoder", ""))


def unpack_shards(folder: Path, train: Iterator[tuple[Sample, dict[str, Any]]], held_out: str) -> None:
    """Samples as the files of a data folder; those that are there stay."""
    folder.mkdir(parents=True, exist_ok=True)
    for split, samples in (("train", train), ("held_out", read_samples(shard_urls(held_out)))):
        for index, (sample, _) in enumerate(samples):
            path = folder / f"{split}_{index:05d}.safetensors"
            if not path.exists():
                partial = path.with_suffix(".part")
                safetensors.torch.save_file(sample, partial)
                partial.rename(path)


class StreamedTask:
    """A task whose batches come from a stream: everything but `batches` is the inner task's."""

    def __init__(self, inner: Task, batches: Callable[[int], Iterator[Sample]]) -> None:
        self.inner, self.kind, self.config, self._batches = inner, inner.kind, inner.config, batches

    def build(self) -> nn.Module:
        return self.inner.build()

    def companions(self) -> Mapping[str, nn.Module]:
        return companions(self.inner)

    def batches(self, seed: int) -> Iterator[Sample]:
        return self._batches(seed)

    def loss(self, model: nn.Module, batch: Sample, step: int) -> tuple[Tensor, dict[str, float]]:
        return self.inner.loss(model, batch, step)

    def validate(self, model: nn.Module) -> dict[str, float]:
        return self.inner.validate(model)
