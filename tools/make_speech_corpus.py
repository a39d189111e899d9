"""Make a corpus of speech with phonemes and mouth curves: espeak-ng, Flite, Festival's voices, aligned recordings.

    python tools/make_speech_corpus.py --hours 3 --output corpus --seed 0

Shards of ten minutes, resumable, seeded. ``--flite-hours`` adds speech of CMU Flite's voices, ``--festival-minutes`` as much
of each installed voice of Festival, where these programs are installed. Real recordings with transcripts in LJ Speech's form
(``metadata.csv``: id|text|normalised text) are aligned and added with ``--real FOLDER…``; the last `REAL_HELD_OUT` of the
first folder are kept for validation. English is aligned by PocketSphinx; what it cannot align is matched with espeak-ng's
reading, whose borders an encoder trained before (``--encoder WEIGHTS``) then moves to where it hears them. ``--real
FOLDER:VOICE`` names a voice of espeak-ng that speaks the recordings' language (``prompts_es:es-419``): they are matched with
its reading and left out where the encoder hardly hears the text in them. Short recordings are joined; ``--real-first N``
numbers the shards from N, to add folders to a corpus.
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
from motion.training import festival, flite
from motion.training.align import align, refine
from motion.training.articulation import mouth_curves
from motion.training.audio_task import log_phonemes
from motion.training.corpus import Utterance, make_utterance, write_shard
from motion.training.espeak import SpeakRequest
from motion.training.force import ForcedAligner
from motion.training.phonemes import SILENCE, parse_ipa
from motion.training.speech import Espeak, Speech, join, phoneme_labels, silence

SHARD_S = 600
UTTERANCE_S = 10.0  # when not told
REAL_HELD_OUT = 6
JOINED_SHARE = 0.8  # of an utterance: so long is what is joined of recordings
FLITE_FIRST = 10_000  # number of the first shard of flite's voices
FESTIVAL_FIRST = 20_000  # and of Festival's: a shard a voice, numbered as in `festival.VOICES`
ENGLISH = "en-us"
REAL_VARIANTS = ("", "+f3", "+f5", "+Annie", "+m3")  # of espeak-ng's voice, tried against a recording
LEAST_FIT = -3.0  # mean log probability of the placed phonemes; a guess among all of them has −3.8


def make_shard(path: Path, client: Espeak, seed: int, held_out: bool, seconds: float, utterance_s: float) -> None:
    """One shard; the seeds of its utterances follow from its own."""
    count = max(1, round(seconds / utterance_s))
    items = [make_utterance(client, seed * 10_000 + index, utterance_s, held_out=held_out) for index in range(count)]
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
    return lambda word: [name for phone in client.say(SpeakRequest(word, ENGLISH)).phonemes
                         for name in parse_ipa(phone.ipa)]


def align_recording(client: Espeak, aligner: ForcedAligner, path: Path, text: str, encoder: AudioEncoder | None,
                    voice: str = ENGLISH) -> Speech | None:
    """A recording with its phonemes: forced alignment of English, else those of the synthetic voice that matches best.

    None where the encoder hardly hears another language's text in it.
    """
    samples = read_audio(path)
    found = aligner.align(samples, text, path.stem) if voice == ENGLISH else None
    if found is not None:
        return found
    variants = REAL_VARIANTS if voice == ENGLISH else REAL_VARIANTS[:2]
    matches = [align(samples, client.say(SpeakRequest(text, voice + variant, 165))) for variant in variants]
    speech, _ = min(matches, key=lambda match: match[1])
    speech.voice = path.stem
    if encoder is None:
        return speech
    # Bounded: an encoder that is sure and wrong must not outweigh all the rest.
    heard = np.maximum(log_phonemes(encoder, samples), -9)
    speech = refine(speech, heard)
    return speech if voice == ENGLISH or fit(speech, heard) > LEAST_FIT else None


def fit(speech: Speech, log_probabilities: np.ndarray) -> float:
    """Mean log probability of the phonemes where they were placed, silence left out; −9 where there is nothing else."""
    labels = phoneme_labels(speech)
    spoken = labels != SILENCE
    return float(log_probabilities[np.arange(len(labels)), labels][spoken].mean()) if spoken.any() else -9.0


def named(folder: str) -> tuple[Path, str]:
    """``FOLDER`` or ``FOLDER:VOICE`` → the folder and espeak-ng's voice of its language."""
    path, _, voice = folder.rpartition(":")
    return (Path(path), voice) if path and not Path(folder).is_dir() else (Path(folder), ENGLISH)


def joined(parts: Iterable[Speech], duration_s: float = JOINED_SHARE * UTTERANCE_S) -> Iterator[Speech]:
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


def make_real(folders: list[tuple[Path, str]], output: Path, client: Espeak, encoder: AudioEncoder | None,
              first: int = 0, utterance_s: float = UTTERANCE_S) -> None:
    """The shards ``real_*`` and ``real_held_out_*`` of `(folder, espeak-ng's voice)`."""
    aligner = ForcedAligner(pronouncer(client))
    for number, (folder, voice) in enumerate(folders, first):
        rows = [line.split("|") for line in (folder / "metadata.csv").read_text(encoding="utf-8").splitlines() if line]
        found = [align_recording(client, aligner, folder / f"{row[0]}.flac", row[-1], encoder, voice)
                 for row in tqdm(rows, folder.name, unit="recording")]
        items = [speech for speech in found if speech is not None]
        held_out = REAL_HELD_OUT if number == 0 else 0
        kept = items[:len(items) - held_out]
        tqdm.write(f"{folder.name}: {len(items)} of {len(rows)}, {sum(speech.duration_s for speech in kept) / 60:.1f} min")
        pieces = joined(kept, JOINED_SHARE * utterance_s)
        write_shard(output / f"real_{number:05d}.safetensors", [as_utterance(speech) for speech in pieces])
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


def make_festival(minutes: float, output: Path, seed: int) -> None:
    """A shard ``real_2xxxx`` for each installed voice: cut from recordings, so each counts as a person."""
    for voice in tqdm(festival.installed(), "festival", unit="voice"):
        number = festival.VOICES.index(voice)
        path = output / f"real_{FESTIVAL_FIRST + number:05d}.safetensors"
        if not path.exists():
            rng = np.random.default_rng((seed, FESTIVAL_FIRST + number))
            speeches = festival.random_speeches(voice, rng, UTTERANCE_S, max(1, round(minutes * 60 / UTTERANCE_S)))
            write_shard(path, [as_utterance(speech) for speech in speeches])


def main(argv: list[str] | None = None) -> int:
    """Make every shard that is not there yet."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--hours", type=float, required=True, help="hours of training speech")
    parser.add_argument("--output", type=Path, required=True, help="folder for the shards")
    parser.add_argument("--utterance", type=float, default=UTTERANCE_S, metavar="SECONDS",
                        help="of espeak-ng's utterances and of joined recordings, about (10); motion-loopy looks 34 s back")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--real", type=named, nargs="+", metavar="FOLDER[:VOICE]",
                        help="folders of recordings with metadata.csv to align and add; espeak-ng's voice, if not English")
    parser.add_argument("--real-first", type=int, default=0, metavar="N", help="number of the first shard of --real (0)")
    parser.add_argument("--flite-hours", type=float, default=0.0, help="hours of CMU Flite's voices to add")
    parser.add_argument("--festival-minutes", type=float, default=0.0, help="minutes of each of Festival's voices to add")
    parser.add_argument("--encoder", type=Path, help="weights of an audio encoder that refines the alignment")
    arguments = parser.parse_args(argv)
    for folder, _ in arguments.real or []:
        if not (folder / "metadata.csv").is_file():
            parser.error(f"{folder} holds no metadata.csv; its lines are 'id|text|normalised text', one a recording")
    if arguments.utterance <= 0:
        parser.error(f"--utterance takes more than 0 seconds, not {arguments.utterance:g}")
    if arguments.flite_hours and not flite.available():
        parser.error("flite is not installed; install Debian's package flite, or leave --flite-hours out")
    if arguments.festival_minutes and not (festival.available() and festival.installed()):
        parser.error("festival has no voice here; install Debian's packages festival and festvox-*, or leave "
                     "--festival-minutes out")
    arguments.output.mkdir(parents=True, exist_ok=True)
    todo = [shard for shard in plan(arguments.hours, arguments.output, arguments.seed) if not shard[0].exists()]
    with Espeak() as client:
        for path, seed, held_out in tqdm(todo, unit="shard"):
            make_shard(path, client, seed, held_out, min(SHARD_S, arguments.hours * 3600), arguments.utterance)
        if arguments.real is not None:
            encoder = None if arguments.encoder is None else load_encoder(arguments.encoder)
            make_real(arguments.real, arguments.output, client, encoder, arguments.real_first, arguments.utterance)
    if arguments.flite_hours:
        make_flite(arguments.flite_hours, arguments.output, arguments.seed)
    if arguments.festival_minutes:
        make_festival(arguments.festival_minutes, arguments.output, arguments.seed)
    return 0


if __name__ == "__main__":
    sys.exit(main())
