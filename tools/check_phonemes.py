"""Phoneme error of the audio encoder on recordings with transcripts.

    python tools/check_phonemes.py FOLDER… [--voice en-us] [--last N] [--weights FILE]

A folder holds ``metadata.csv`` in LJ Speech's form (id|text|normalised text) and ``<id>.flac``. What should be heard is
what espeak-ng says of the text, as phoneme classes; what is heard is the most likely class every 20 ms, repeats and single
rows dropped (no language model, no decoder). Error: edit distance ÷ number of phonemes, over all recordings; the same for
mouth shapes, where phonemes that look alike count as one.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from chatanyone import build
from chatanyone.checkpoints import load_weights
from chatanyone.config import SHIPPED
from chatanyone.media.audio import read_audio
from motion.audio.encoder import AudioEncoder
from motion.training.audio_task import log_phonemes
from motion.training.espeak import SpeakRequest
from motion.training.phonemes import PHONEME_CLASSES, SILENCE, parse_ipa
from motion.training.speech import Espeak

# Phonemes that look alike on the lips (our choice).
SHAPES = ("p b m", "f v", "w u ʊ o y ø ɔ", "ʃ ʒ tʃ dʒ ɹ", "θ ð t d n l r s z", "k ɡ ŋ x h j", "i ɪ e ɛ", "æ a ɑ ʌ ə ɜ")
_SHAPE = {name: group for group in SHAPES for name in group.split()}


def shapes(phonemes: Sequence[str]) -> list[str]:
    """Phonemes → mouth shapes, repeats dropped."""
    names = [_SHAPE[name] for name in phonemes]
    return [name for index, name in enumerate(names) if index == 0 or name != names[index - 1]]


def error(pairs: Sequence[tuple[Sequence[str], Sequence[str]]]) -> str:
    """Of `(heard, expected)` pairs."""
    wrong, total = sum(distance(*pair) for pair in pairs), sum(len(truth) for _, truth in pairs)
    return f"{100 * wrong / total:.1f} %"


def heard(log_probabilities: np.ndarray) -> list[str]:
    """Classes at 50 Hz ``[R, P]`` → the phonemes in order."""
    rows = log_probabilities.argmax(-1)
    edges = np.flatnonzero(np.diff(rows, prepend=-1, append=-1))
    runs = [(rows[start], end - start) for start, end in zip(edges[:-1], edges[1:])]
    kept = [int(row) for row, length in runs if length > 1 and row != SILENCE]
    return [PHONEME_CLASSES[row] for index, row in enumerate(kept) if index == 0 or row != kept[index - 1]]


def distance(one: Sequence[str], other: Sequence[str]) -> int:
    """Levenshtein's: insertions, deletions and replacements."""
    row = list(range(len(other) + 1))
    for i, a in enumerate(one, 1):
        previous, row[0] = row[0], i
        for j, b in enumerate(other, 1):
            previous, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, previous + (a != b))
    return row[-1]


def expected(client: Espeak, text: str, voice: str) -> list[str]:
    """What espeak-ng says of a text."""
    names = [name for phone in client.say(SpeakRequest(text, voice)).phonemes for name in parse_ipa(phone.ipa)]
    return [name for index, name in enumerate(names) if index == 0 or name != names[index - 1]]


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--voice", default="en-us", help="espeak-ng's voice of the transcripts (en-us)")
    parser.add_argument("--last", type=int, default=0, metavar="N", help="only the last N recordings of each folder")
    parser.add_argument("--weights", default=SHIPPED, help="of the encoder (shipped)")
    arguments = parser.parse_args()
    for folder in arguments.folders:
        if not (folder / "metadata.csv").is_file():
            parser.error(f"{folder} holds no metadata.csv; its lines are 'id|text|normalised text', one a recording")
    config, tensors = load_weights(build.weights_path("audio_encoder", arguments.weights), kind="audio_encoder")
    encoder = AudioEncoder(**config).eval()
    encoder.load_state_dict(tensors)
    print("| recordings | N | phonemes | error | mouth shapes |\n|---|---|---|---|---|")
    with Espeak() as client:
        for folder in arguments.folders:
            lines = (folder / "metadata.csv").read_text(encoding="utf-8").splitlines()
            rows = [line.split("|") for line in lines if line][-arguments.last:]
            pairs = [(heard(log_phonemes(encoder, read_audio(folder / f"{row[0]}.flac"))),
                      expected(client, row[-1], arguments.voice)) for row in rows]
            total, alike = sum(len(truth) for _, truth in pairs), [(shapes(one), shapes(other)) for one, other in pairs]
            print(f"| {folder.name} | {len(rows)} | {total} | {error(pairs)} | {error(alike)} |", flush=True)


if __name__ == "__main__":
    main()
