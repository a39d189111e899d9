"""When a real English voice says each phoneme: forced alignment by PocketSphinx, whose wheel carries its acoustic model.

Two passes (Viterbi): words with optional silences, then phones inside the words, at 10 ms. PocketSphinx is an option of
the extra `train`; other languages and words that its dictionary lacks are aligned by `motion.training.align`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from motion.training.speech import SAMPLE_RATE, Phone, Speech

FRAME_S = 0.01

# ARPAbet (CMU dictionary, without stress) → IPA.
_IPA: dict[str, str] = {
    "AA": "ɑ", "AE": "æ", "AH": "ʌ", "AO": "ɔ", "AW": "aʊ", "AY": "aɪ", "EH": "ɛ", "ER": "ɜ", "EY": "eɪ", "IH": "ɪ",
    "IY": "i", "OW": "oʊ", "OY": "ɔɪ", "UH": "ʊ", "UW": "u", "AX": "ə", "B": "b", "CH": "tʃ", "D": "d", "DH": "ð",
    "F": "f", "G": "ɡ", "HH": "h", "JH": "dʒ", "K": "k", "L": "l", "M": "m", "N": "n", "NG": "ŋ", "P": "p", "R": "ɹ",
    "S": "s", "SH": "ʃ", "T": "t", "TH": "θ", "V": "v", "W": "w", "Y": "j", "Z": "z", "ZH": "ʒ", "PAU": "",
}
# Phoneme class → the ARPAbet phone that sounds nearest, to pronounce words which the dictionary lacks.
_ARPABET: dict[str, str] = {
    "p": "P", "b": "B", "m": "M", "f": "F", "v": "V", "θ": "TH", "ð": "DH", "t": "T", "d": "D", "n": "N", "l": "L",
    "r": "R", "ɹ": "R", "s": "S", "z": "Z", "ʃ": "SH", "ʒ": "ZH", "tʃ": "CH", "dʒ": "JH", "k": "K", "ɡ": "G", "ŋ": "NG",
    "x": "HH", "h": "HH", "j": "Y", "w": "W", "i": "IY", "ɪ": "IH", "y": "UW", "e": "EY", "ɛ": "EH", "ø": "ER", "æ": "AE",
    "a": "AA", "ɑ": "AA", "ə": "AH", "ɜ": "ER", "ʌ": "AH", "ɔ": "AO", "o": "OW", "ʊ": "UH", "u": "UW",
}
_VOWELS = frozenset("AA AE AO AW AY EH ER EY IY OW OY UW".split())  # AH, IH, UH may be unstressed and are left at 0


def ipa(name: str) -> str:
    """One ARPAbet phone in IPA; whatever is no phone (SIL, noises) is silence."""
    return _IPA.get(name.rstrip("012").upper(), "")


def stress(name: str) -> int:
    """A guess: the dictionary of PocketSphinx has no stress, and full vowels mostly carry it."""
    return 1 if name.rstrip("012").upper() in _VOWELS else 0


def words(text: str) -> list[str]:
    """As the dictionary spells them."""
    return re.findall(r"[a-z']+", text.lower().replace("’", "'").replace("-", " "))


def phones(names: Iterable[tuple[str, float, float]], duration_s: float) -> list[Phone]:
    """`(name, start_s, end_s)` in time order → phonemes without gaps from 0 to the end."""
    result: list[Phone] = []
    clock = 0.0
    for name, start_s, end_s in names:
        start_s, end_s = max(start_s, clock), min(end_s, duration_s)
        if end_s <= start_s:
            continue
        if start_s - clock > 1e-6:
            result.append(Phone(clock, start_s, ""))
        result.append(Phone(start_s, end_s, ipa(name), stress(name)))
        clock = end_s
    if duration_s - clock > 1e-6:
        result.append(Phone(clock, duration_s, ""))
    return result


class ForcedAligner:
    """PocketSphinx with its own English model. Not thread-safe.

    Args:
        pronounce: a word → its phoneme classes, for words that the dictionary lacks; None refuses such texts.
    """

    def __init__(self, pronounce: Callable[[str], list[str]] | None = None) -> None:
        from pocketsphinx import Decoder

        self._decoder: Any = Decoder(lm=None, samprate=float(SAMPLE_RATE), loglevel="FATAL")
        self._pronounce = pronounce

    def missing(self, text: str) -> list[str]:
        """The words that the dictionary lacks and nobody could pronounce."""
        return [word for word in words(text) if self._decoder.lookup_word(word) is None and not self._learn(word)]

    def _learn(self, word: str) -> bool:
        names = [_ARPABET[name] for name in self._pronounce(word) if name in _ARPABET] if self._pronounce else []
        if names:
            self._decoder.add_word(word, " ".join(names), True)
        return bool(names)

    def align(self, samples: np.ndarray, text: str, voice: str = "") -> Speech | None:
        """A recording ``[N]`` (float32, 16 kHz) with its phonemes; None when the words cannot be found in it."""
        if not words(text) or self.missing(text):
            return None
        pcm = (np.clip(samples, -1, 1) * 32767).astype(np.int16).tobytes()
        decoder = self._decoder
        try:
            decoder.set_align_text(" ".join(words(text)))
            self._decode(pcm)
            if decoder.hyp() is None:
                return None
            decoder.set_alignment()
            self._decode(pcm)
            alignment = decoder.get_alignment()
        except RuntimeError:
            return None
        if alignment is None:
            return None
        found = [(phone.name, phone.start * FRAME_S, (phone.start + phone.duration) * FRAME_S)
                 for word in alignment for phone in word]
        return Speech(samples, phones(found, len(samples) / SAMPLE_RATE), voice, "en", text)

    def _decode(self, pcm: bytes) -> None:
        self._decoder.start_utt()
        self._decoder.process_raw(pcm, full_utt=True)
        self._decoder.end_utt()
