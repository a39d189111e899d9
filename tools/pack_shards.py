r"""Pack training data into tar shards (WebDataset), for many machines or object storage.

    python tools/pack_shards.py --kind motion --data clips --output shards
    chatanyone train motion-face --data 'shards/train-{000000..000007}.tar' --held-out shards/held_out-000000.tar \
        --run runs/face

Members are safetensors, PNG and JSON; chatanyone/training/streams.py says which. The patterns to give to --data and
--held-out are printed at the end.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from torch import Tensor
from tqdm import tqdm
from webdataset import TarWriter

from chatanyone.training.streams import encode_sample
from motion.training.motion_data import Clip, read_clips

Item = tuple[dict[str, Tensor], dict[str, Any]]  # tensors, notes


def motion_items(folder: Path, split: str) -> Iterator[Item]:
    """The clips of `tools/make_motion_clips.py`, one by one."""
    encoder = folder / "encoder.sha256"
    notes = {"encoder": encoder.read_text()} if encoder.is_file() else {}
    for path in sorted(folder.glob(f"{split}_*.safetensors")):
        for index, clip in enumerate(read_clips(path)):
            tensors = {item.name: getattr(clip, item.name) for item in fields(Clip)}
            yield tensors, {**notes, "source": path.name, "index": index, "frames": len(clip.face)}


def render_items(folder: Path, split: str) -> Iterator[Item]:
    """The pairs of `tools/make_render_pairs.py`."""
    for path in sorted(folder.glob(f"{split}_*.safetensors")):
        yield load_file(path), {"source": path.name}


ITEMS = {"motion": motion_items, "render": render_items}


def pack(items: Iterator[Item], target: Path, split: str, size: int) -> list[Path]:
    """Shards of `size` samples; each appears whole or not at all."""
    shards: list[Path] = []
    writer: TarWriter | None = None
    for number, (tensors, notes) in enumerate(items):
        if number % size == 0:
            _close(writer, shards)
            shards.append(target / f"{split}-{number // size:06d}.tar")
            writer = TarWriter(str(_partial(shards[-1])))
        assert writer is not None
        writer.write(encode_sample(f"{split}-{number:08d}", tensors, notes))
    _close(writer, shards)
    return shards


def _partial(path: Path) -> Path:
    return path.with_suffix(".tar.part")


def _close(writer: TarWriter | None, shards: list[Path]) -> None:
    if writer is not None:
        writer.close()
        _partial(shards[-1]).rename(shards[-1])


def pattern(shards: list[Path]) -> str:
    """What --data takes."""
    first, last = (path.stem.rpartition("-")[2] for path in (shards[0], shards[-1]))
    name = shards[0].stem.rpartition("-")[0]
    return str(shards[0].with_name(f"{name}-{{{first}..{last}}}.tar" if len(shards) > 1 else shards[0].name))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kind", choices=sorted(ITEMS), required=True)
    parser.add_argument("--data", type=Path, required=True, help="folder of make_motion_clips.py or make_render_pairs.py")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--size", type=int, help="samples a shard (motion 256, render 64: about 30 and 100 MB)")
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    size = arguments.size or {"motion": 256, "render": 64}[arguments.kind]
    for split in ("train", "held_out"):
        items = tqdm(ITEMS[arguments.kind](arguments.data, split), desc=split, unit="sample")
        shards = pack(iter(items), arguments.output, split, size)
        print(f"{split}: {pattern(shards)}" if shards else f"{split}: nothing in {arguments.data}")


if __name__ == "__main__":
    main()
