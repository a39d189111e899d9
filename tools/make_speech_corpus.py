"""Make a corpus of synthetic speech with phonemes and mouth curves: shards of ten minutes, resumable, seeded.

    python tools/make_speech_corpus.py --hours 3 --output corpus --seed 0
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tqdm import tqdm

from motion.training.corpus import make_utterance, write_shard
from motion.training.speech import Espeak

SHARD_S = 600
UTTERANCE_S = 10.0


def make_shard(path: Path, client: Espeak, seed: int, held_out: bool) -> None:
    """One shard of `SHARD_S` seconds; the seeds of its utterances follow from its own."""
    count = round(SHARD_S / UTTERANCE_S)
    items = [make_utterance(client, seed * 10_000 + index, UTTERANCE_S, held_out=held_out) for index in range(count)]
    write_shard(path, items)


def plan(hours: float, output: Path, seed: int) -> list[tuple[Path, int, bool]]:
    """(path, seed, held out) of every shard: one of voices that training never hears, then the rest."""
    count = max(1, round(hours * 3600 / SHARD_S))
    train = [(output / f"train_{index:05d}.safetensors", seed * 1_000 + index + 1, False) for index in range(count)]
    return [(output / "held_out_00000.safetensors", seed * 1_000, True), *train]


def main() -> int:
    """Make every shard that is not there yet."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--hours", type=float, required=True, help="hours of training speech")
    parser.add_argument("--output", type=Path, required=True, help="folder for the shards")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    todo = [shard for shard in plan(arguments.hours, arguments.output, arguments.seed) if not shard[0].exists()]
    with Espeak() as client:
        for path, seed, held_out in tqdm(todo, unit="shard"):
            make_shard(path, client, seed, held_out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
