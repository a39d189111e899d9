"""Shards of training speech: a safetensors file with many utterances end to end and a JSON table of them in its header.

Tensors: ``samples`` int16 ``[N]`` (16 kHz), ``phonemes`` uint8 ``[ceil(N/320)]`` per utterance (20 ms), ``expression``
float16 ``[T, 52]`` mouth curves at the frame rate. Metadata: ``version``, ``fps``, ``utterances`` (JSON list: language,
voice, text, style, phones ``[start_s, end_s, ipa, stress]``, and the three lengths).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save_file

from motion.training.articulation import MouthStyle, mouth_curves, random_style
from motion.training.speech import Espeak, Phone, Speech, phoneme_labels, random_speech

SHARD_VERSION = "1"


@dataclass
class Utterance:
    """One item of a shard: the speech, its labels per 20 ms, its mouth per frame, whose mouth it is."""

    speech: Speech
    phonemes: np.ndarray  # uint8 [ceil(N/320)]
    expression: np.ndarray  # float16 [ceil(N·fps/16000), 52]
    style: MouthStyle = field(default_factory=MouthStyle)


def make_utterance(
    client: Espeak, seed: int, duration_s: float, fps: Fraction = Fraction(30), held_out: bool = False
) -> Utterance:
    """The utterance of a seed: the same voice, words and times again; espeak-ng's noise differs from run to run."""
    rng = np.random.default_rng(seed)
    speech = random_speech(client, rng, duration_s, held_out)
    style = random_style(rng)
    curves = mouth_curves(speech, fps, style, rng)
    return Utterance(speech, phoneme_labels(speech), curves.astype(np.float16), style)


def _describe(item: Utterance) -> dict[str, Any]:
    speech = item.speech
    return {
        "language": speech.language, "voice": speech.voice, "text": speech.text, "style": asdict(item.style),
        "phones": [[round(p.start_s, 4), round(p.end_s, 4), p.ipa, p.stress] for p in speech.phonemes],
        "samples": len(speech.samples), "labels": len(item.phonemes), "frames": len(item.expression),
    }


def write_shard(path: Path, items: list[Utterance], fps: Fraction = Fraction(30)) -> None:
    """Write atomically: a shard that exists is complete."""
    samples = np.concatenate([item.speech.samples for item in items])
    tensors = {
        "samples": np.round(np.clip(samples, -1, 1) * 32767).astype(np.int16),
        "phonemes": np.concatenate([item.phonemes for item in items]),
        "expression": np.concatenate([item.expression for item in items]),
    }
    table = json.dumps([_describe(item) for item in items], ensure_ascii=False)
    partial = path.with_suffix(".partial")
    save_file(tensors, partial, {"version": SHARD_VERSION, "fps": str(fps), "utterances": table})
    partial.replace(path)


def _restore(row: dict[str, Any], samples: np.ndarray, phonemes: np.ndarray, expression: np.ndarray) -> Utterance:
    phones = [Phone(*phone) for phone in row["phones"]]
    speech = Speech(samples.astype(np.float32) / 32767, phones, row["voice"], row["language"], row["text"])
    return Utterance(speech, phonemes, expression, MouthStyle(**row["style"]))


def read_shard(path: Path) -> list[Utterance]:
    """All utterances of a shard."""
    with safe_open(str(path), framework="np") as file:
        meta = file.metadata() or {}
        if meta.get("version") != SHARD_VERSION:
            raise ValueError(f"{path} is not a speech shard of version {SHARD_VERSION}: make it anew with "
                             "tools/make_speech_corpus.py")
        samples, phonemes, expression = (file.get_tensor(name) for name in ("samples", "phonemes", "expression"))
    rows = json.loads(meta["utterances"])
    edges = [np.cumsum([0] + [row[name] for row in rows]) for name in ("samples", "labels", "frames")]
    return [
        _restore(row, samples[a[i]:a[i + 1]], phonemes[b[i]:b[i + 1]], expression[c[i]:c[i + 1]])
        for a, b, c in [edges] for i, row in enumerate(rows)
    ]


def shard_paths(folder: Path, split: str = "train") -> list[Path]:
    """The complete shards of a split (``train``, ``held_out``, ``real``, ``real_held_out``), in order."""
    return sorted(Path(folder).glob(f"{split}_[0-9]*.safetensors"))


def read_corpus(folder: Path, split: str = "train") -> Iterator[Utterance]:
    """All utterances of a split, shard by shard."""
    for path in shard_paths(folder, split):
        yield from read_shard(path)
