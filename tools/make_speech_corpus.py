"""Make a corpus of synthetic speech with phonemes and mouth curves: shards of ten minutes, resumable, seeded.

    python tools/make_speech_corpus.py --hours 3 --output corpus --seed 0

Real recordings with transcripts in LJ Speech's form (``metadata.csv``: id|text|normalised text) are aligned and added
with ``--real FOLDER``; the last `REAL_HELD_OUT` of them are kept for validation. With ``--encoder WEIGHTS`` an encoder
trained before then moves the borders of their phonemes to where it hears them.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
from tqdm import tqdm

from chatanyone.checkpoints import load_weights
from chatanyone.media.audio import read_audio
from motion.audio.encoder import AudioEncoder
from motion.training.align import align, refine
from motion.training.articulation import mouth_curves
from motion.training.audio_task import log_phonemes
from motion.training.corpus import Utterance, make_utterance, write_shard
from motion.training.espeak import SpeakRequest
from motion.training.speech import Espeak, phoneme_labels

SHARD_S = 600
UTTERANCE_S = 10.0
REAL_HELD_OUT = 6
REAL_VOICES = ("en-us", "en-us+f3", "en-us+f5", "en-us+Annie", "en-us+m3")


def make_shard(path: Path, client: Espeak, seed: int, held_out: bool, seconds: float) -> None:
    """One shard; the seeds of its utterances follow from its own."""
    count = max(1, round(seconds / UTTERANCE_S))
    items = [make_utterance(client, seed * 10_000 + index, UTTERANCE_S, held_out=held_out) for index in range(count)]
    write_shard(path, items)


def plan(hours: float, output: Path, seed: int) -> list[tuple[Path, int, bool]]:
    """(path, seed, held out) of every shard: one of voices that training never hears, then the rest."""
    count = max(1, round(hours * 3600 / SHARD_S))
    train = [(output / f"train_{index:05d}.safetensors", seed * 1_000 + index + 1, False) for index in range(count)]
    return [(output / "held_out_00000.safetensors", seed * 1_000, True), *train]


def load_encoder(path: Path) -> AudioEncoder:
    """From a weights file."""
    config, tensors = load_weights(path, kind="audio_encoder")
    encoder = AudioEncoder(**config)
    encoder.load_state_dict(tensors)
    return encoder.eval()


def align_recording(client: Espeak, path: Path, text: str, encoder: AudioEncoder | None) -> Utterance:
    """A recording with the phonemes of the synthetic voice that matches it best."""
    samples = read_audio(path)
    matches = [align(samples, client.say(SpeakRequest(text, voice, 165))) for voice in REAL_VOICES]
    speech, _ = min(matches, key=lambda match: match[1])
    speech.voice = path.stem
    if encoder is not None:
        # Bounded: an encoder that is sure and wrong must not outweigh all the rest.
        speech = refine(speech, np.maximum(log_phonemes(encoder, samples), -9))
    return Utterance(speech, phoneme_labels(speech), mouth_curves(speech).astype(np.float16))


def make_real(folder: Path, output: Path, client: Espeak, encoder: AudioEncoder | None) -> None:
    """The shards ``real_*`` and ``real_held_out_*``."""
    rows = [line.split("|") for line in (folder / "metadata.csv").read_text(encoding="utf-8").splitlines() if line]
    items = [align_recording(client, folder / f"{row[0]}.flac", row[-1], encoder)
             for row in tqdm(rows, unit="recording")]
    write_shard(output / "real_00000.safetensors", items[:-REAL_HELD_OUT])
    write_shard(output / "real_held_out_00000.safetensors", items[-REAL_HELD_OUT:])


def main(argv: list[str] | None = None) -> int:
    """Make every shard that is not there yet."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--hours", type=float, required=True, help="hours of training speech")
    parser.add_argument("--output", type=Path, required=True, help="folder for the shards")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--real", type=Path, help="folder of recordings with metadata.csv to align and add")
    parser.add_argument("--encoder", type=Path, help="weights of an audio encoder that refines the alignment")
    arguments = parser.parse_args(argv)
    arguments.output.mkdir(parents=True, exist_ok=True)
    todo = [shard for shard in plan(arguments.hours, arguments.output, arguments.seed) if not shard[0].exists()]
    with Espeak() as client:
        for path, seed, held_out in tqdm(todo, unit="shard"):
            make_shard(path, client, seed, held_out, min(SHARD_S, arguments.hours * 3600))
        if arguments.real is not None:
            encoder = None if arguments.encoder is None else load_encoder(arguments.encoder)
            make_real(arguments.real, arguments.output, client, encoder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
