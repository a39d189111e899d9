"""Make a corpus of synthetic speech with phonemes and mouth curves: shards of ten minutes, resumable, seeded.

    python tools/make_speech_corpus.py --hours 3 --output corpus --seed 0

``--flite-hours`` adds speech of CMU Flite's voices, where that program is installed. Real recordings with transcripts in LJ
Speech's form (``metadata.csv``: id|text|normalised text) are aligned and added with ``--real FOLDER…``; the last
`REAL_HELD_OUT` of the first folder are kept for validation. English is aligned by PocketSphinx; what it cannot align is
matched with espeak-ng's reading, whose borders an encoder trained before (``--encoder WEIGHTS``) then moves to where it
hears them. Recordings shorter than `JOINED_S` are joined.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
from tqdm import tqdm

from chatanyone.checkpoints import load_weights
from chatanyone.media.audio import read_audio
from motion.audio.encoder import AudioEncoder
from motion.training import flite
from motion.training.align import align, refine
from motion.training.articulation import mouth_curves
from motion.training.audio_task import log_phonemes
from motion.training.corpus import Utterance, make_utterance, write_shard
from motion.training.espeak import SpeakRequest
from motion.training.force import ForcedAligner
from motion.training.phonemes import parse_ipa
from motion.training.speech import Espeak, Speech, join, phoneme_labels, silence

SHARD_S = 600
UTTERANCE_S = 10.0
REAL_HELD_OUT = 6
JOINED_S = 8.0
FLITE_FIRST = 10_000  # number of the first shard of flite's voices
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


def pronouncer(client: Espeak) -> Callable[[str], list[str]]:
    """A word → its phoneme classes, as espeak-ng says it."""
    return lambda word: [name for phone in client.say(SpeakRequest(word, REAL_VOICES[0])).phonemes
                         for name in parse_ipa(phone.ipa)]


def align_recording(client: Espeak, aligner: ForcedAligner, path: Path, text: str, encoder: AudioEncoder | None) -> Speech:
    """A recording with its phonemes: forced alignment, else those of the synthetic voice that matches it best."""
    samples = read_audio(path)
    found = aligner.align(samples, text, path.stem)
    if found is not None:
        return found
    matches = [align(samples, client.say(SpeakRequest(text, voice, 165))) for voice in REAL_VOICES]
    speech, _ = min(matches, key=lambda match: match[1])
    speech.voice = path.stem
    # Bounded: an encoder that is sure and wrong must not outweigh all the rest.
    return speech if encoder is None else refine(speech, np.maximum(log_phonemes(encoder, samples), -9))


def joined(parts: Iterable[Speech], duration_s: float = JOINED_S) -> Iterator[Speech]:
    """Short recordings one after the other, until each piece is long enough."""
    waiting: list[Speech] = []
    for part in parts:
        waiting += [part, silence(0.2)]
        if sum(piece.duration_s for piece in waiting) >= duration_s:
            yield join(waiting)
            waiting = []
    if waiting:
        yield join(waiting)


def as_utterance(speech: Speech) -> Utterance:
    """With labels and neutral mouth."""
    return Utterance(speech, phoneme_labels(speech), mouth_curves(speech).astype(np.float16))


def make_real(folders: list[Path], output: Path, client: Espeak, encoder: AudioEncoder | None) -> None:
    """The shards ``real_*`` and ``real_held_out_*``."""
    aligner = ForcedAligner(pronouncer(client))
    for number, folder in enumerate(folders):
        rows = [line.split("|") for line in (folder / "metadata.csv").read_text(encoding="utf-8").splitlines() if line]
        items = [align_recording(client, aligner, folder / f"{row[0]}.flac", row[-1], encoder)
                 for row in tqdm(rows, folder.name, unit="recording")]
        held_out = REAL_HELD_OUT if number == 0 else 0
        kept = items[:len(items) - held_out]
        write_shard(output / f"real_{number:05d}.safetensors", [as_utterance(speech) for speech in joined(kept)])
        if held_out:
            write_shard(output / "real_held_out_00000.safetensors", [as_utterance(speech) for speech in items[-held_out:]])


def make_flite(hours: float, output: Path, seed: int) -> None:
    """Shards ``real_10000`` and on: nearer to people than formants are, so they count among the real ones."""
    count = max(1, round(hours * 3600 / SHARD_S))
    for index in tqdm(range(count), "flite", unit="shard"):
        path = output / f"real_{FLITE_FIRST + index:05d}.safetensors"
        if not path.exists():
            rng = np.random.default_rng((seed, index))
            speeches = [flite.random_speech(rng, UTTERANCE_S) for _ in range(round(SHARD_S / UTTERANCE_S))]
            write_shard(path, [as_utterance(speech) for speech in speeches])


def main(argv: list[str] | None = None) -> int:
    """Make every shard that is not there yet."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--hours", type=float, required=True, help="hours of training speech")
    parser.add_argument("--output", type=Path, required=True, help="folder for the shards")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--real", type=Path, nargs="+", help="folders of recordings with metadata.csv to align and add")
    parser.add_argument("--flite-hours", type=float, default=0.0, help="hours of CMU Flite's voices to add")
    parser.add_argument("--encoder", type=Path, help="weights of an audio encoder that refines the alignment")
    arguments = parser.parse_args(argv)
    for folder in arguments.real or []:
        if not (folder / "metadata.csv").is_file():
            parser.error(f"{folder} holds no metadata.csv; its lines are 'id|text|normalised text', one a recording")
    if arguments.flite_hours and not flite.available():
        parser.error("flite is not installed; install Debian's package flite, or leave --flite-hours out")
    arguments.output.mkdir(parents=True, exist_ok=True)
    todo = [shard for shard in plan(arguments.hours, arguments.output, arguments.seed) if not shard[0].exists()]
    with Espeak() as client:
        for path, seed, held_out in tqdm(todo, unit="shard"):
            make_shard(path, client, seed, held_out, min(SHARD_S, arguments.hours * 3600))
        if arguments.real is not None:
            encoder = None if arguments.encoder is None else load_encoder(arguments.encoder)
            make_real(arguments.real, arguments.output, client, encoder)
    if arguments.flite_hours:
        make_flite(arguments.flite_hours, arguments.output, arguments.seed)
    return 0


if __name__ == "__main__":
    sys.exit(main())
