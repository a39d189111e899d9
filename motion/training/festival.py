"""A third synthesiser for training speech: Festival, whose voices are cut from recordings of real people.

Festival and its voices are programs and data of their own (Debian's packages `festival` and `festvox-*`); they are called
where they are installed and tell the end of every segment. Diphone and cluster voices repeat a person's own throat, with
joins every few hundredths of a second; statistical ones (HTS) average it.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
import wave
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from motion.training.festival_phones import ipa
from motion.training.festival_words import WORDS
from motion.training.speech import Phone, Speech, join, resample, silence, trim
from motion.training.text import LANGUAGES, random_sentence

VOICES_FOLDER = Path("/usr/share/festival/voices")  # Debian's; each language has a folder of voices
BLEND_SHARE = 0.3  # of words glued from the halves of two others, so that every sound meets every other
_TIMEOUT_S = 600
_NUMBER = re.compile(r"\d+\.\d+")


@dataclass(frozen=True)
class Voice:
    """A voice of Festival.

    name: Festival's, without ``voice_``
    package: Debian's, which carries the licence
    language: what it speaks, a key of `text.LANGUAGES` or of `festival_words.WORDS`
    phone_set: a key of `festival_phones.PHONE_SETS`
    encoding: in which Festival reads its text
    """

    name: str
    package: str
    language: str
    phone_set: str
    encoding: str = "utf-8"


VOICES: tuple[Voice, ...] = (
    Voice("kal_diphone", "festvox-kallpc16k", "en-us", "radio"),
    Voice("ked_diphone", "festvox-kdlpc16k", "en-us", "radio"),
    Voice("cmu_us_slt_arctic_hts", "festvox-us-slt-hts", "en-us", "radio"),
    Voice("lp_diphone", "festvox-italp16k", "it", "italian", "iso-8859-1"),
    Voice("pc_diphone", "festvox-itapc16k", "it", "italian", "iso-8859-1"),
    Voice("suo_fi_lj_diphone", "festvox-suopuhe-lj", "fi", "finnish", "iso-8859-1"),
    Voice("hy_fi_mv_diphone", "festvox-suopuhe-mv", "fi", "finnish", "iso-8859-1"),
    Voice("czech_dita", "festvox-czech-dita", "cs", "czech", "iso-8859-2"),
    Voice("czech_krb", "festvox-czech-krb", "cs", "czech", "iso-8859-2"),
    Voice("czech_machac", "festvox-czech-machac", "cs", "czech", "iso-8859-2"),
    Voice("czech_ph", "festvox-czech-ph", "cs", "czech", "iso-8859-2"),
    Voice("msu_ru_nsh_clunits", "festvox-ru", "ru", "russian"),
    Voice("upc_ca_ona_hts", "festvox-ca-ona-hts", "ca", "catalan", "iso-8859-1"),
    Voice("hindi_NSK_diphone", "festvox-hi-nsk", "hi", "indian"),
)

# Prints every segment as "name end stress" and saves the sound; a factor on the pitch is applied to the intonation's targets.
_PROLOGUE = """
(define (scale_pitch utt)
  (if (utt.relation.present utt 'Target)
    (mapcar (lambda (item) (if (item.feat item "f0") (if (> (item.feat item "f0") 0)
              (item.set_feat item "f0" (* pitch_factor (item.feat item "f0")))))) (utt.relation.items utt 'Target)))
  utt)
(define (tell number text path)
  (let ((utt (utt.synth (eval (list 'Utterance 'Text text)))))
    (utt.save.wave utt path 'riff)
    (format t "@@ %d\\n" number)
    (mapcar (lambda (item) (format t "%s %f %s\\n" (item.name item) (item.feat item "end")
              (item.feat item "R:SylStructure.parent.stress"))) (utt.relation.items utt 'Segment))
    (format t "@@ end\\n")))
"""


@dataclass(frozen=True)
class Request:
    """A text to speak; `stretch` above 1 is slower, `pitch` multiplies the voice's own (statistical voices ignore it)."""

    text: str
    stretch: float = 1.0
    pitch: float = 1.0


def available() -> bool:
    """Whether the program is there."""
    return shutil.which("festival") is not None


@lru_cache
def installed() -> tuple[Voice, ...]:
    """The voices whose packages are installed."""
    names = {path.name for path in VOICES_FOLDER.glob("*/*")}
    return tuple(voice for voice in VOICES if voice.name in names)


def say(voice: Voice, requests: Sequence[Request]) -> list[Speech]:
    """Speak texts with one voice, in one run of the program; what it cannot say is left out.

    Raises:
        ValueError: Festival is not installed, or said nothing at all.
    """
    with tempfile.TemporaryDirectory() as folder:
        lines = [_PROLOGUE, f"(voice_{voice.name})", "(set! after_analysis_hooks (list scale_pitch))"]
        for number, request in enumerate(requests):
            text = request.text.replace("\\", " ").replace('"', " ")
            lines += [f"(set! pitch_factor {request.pitch:.3f})", f"(Parameter.set 'Duration_Stretch {request.stretch:.3f})",
                      f'(unwind-protect (tell {number} "{text}" "{folder}/{number}.wav") (format t "@@ failed\\n"))']
        script = Path(folder) / "say.scm"
        script.write_bytes("\n".join(lines).encode(voice.encoding, "ignore"))
        try:
            done = subprocess.run(["festival", "-b", str(script)], capture_output=True, timeout=_TIMEOUT_S, check=False)
        except FileNotFoundError:
            raise ValueError("festival is not installed; install Debian's package festival, or leave its voices out") from None
        told = read_segments(done.stdout.decode("utf-8", "replace"))
        result = [_speech(Path(folder) / f"{number}.wav", segments, voice, requests[number].text)
                  for number, segments in told.items()]
    if requests and not result:
        problem = done.stderr.decode("utf-8", "replace").strip().splitlines() or ["no reason given"]
        raise ValueError(f"festival's voice {voice.name} said nothing: {problem[-1]}")
    return result


def read_segments(printed: str) -> dict[int, list[tuple[str, float, int]]]:
    """What the script printed → by number of the text `(phone, end_s, stress)`; unfinished texts are left out."""
    result: dict[int, list[tuple[str, float, int]]] = {}
    number = -1
    found: list[tuple[str, float, int]] = []
    for line in printed.splitlines():
        parts = line.split()
        if parts[:1] == ["@@"]:
            if parts[1] == "end" and number >= 0:
                result[number] = found
            number, found = int(parts[1]) if parts[1].isdigit() else -1, []
        elif number >= 0 and len(parts) == 3 and _NUMBER.fullmatch(parts[1]):
            found.append((parts[0], float(parts[1]), 0 if parts[2] == "0" else 2))
    return result


def phones(segments: Sequence[tuple[str, float, int]], phone_set: str, duration_s: float) -> list[Phone]:
    """`(phone, end_s, stress)` in time order → phonemes without gaps from 0 to the end."""
    result: list[Phone] = []
    clock = 0.0
    for name, end_s, stress in segments:
        end_s = min(end_s, duration_s)
        if end_s - clock > 1e-4:
            result.append(Phone(clock, end_s, ipa(name, phone_set), stress))
            clock = end_s
    if duration_s - clock > 1e-4:
        result.append(Phone(clock, duration_s, ""))
    return result


def _speech(path: Path, segments: list[tuple[str, float, int]], voice: Voice, text: str) -> Speech:
    with wave.open(str(path), "rb") as file:
        data, rate_hz = file.readframes(file.getnframes()), file.getframerate()
    samples = resample(np.frombuffer(data, "<i2").astype(np.float32) / 32768, rate_hz)
    made = phones(segments, voice.phone_set, len(samples) / 16000)
    return Speech(samples, made, f"festival-{voice.name}", voice.language, text)


def sentence(language: str, rng: np.random.Generator) -> str:
    """Random words of a language, some of them blends; English has sentences of its own."""
    if language.startswith("en"):
        return random_sentence(language, rng)
    words = WORDS[language] if language in WORDS else LANGUAGES[language].words
    chosen = [str(word) for word in rng.choice(words, int(rng.integers(2, 10)))]
    if language != "hi":  # a blend could leave a vowel sign without its consonant
        chosen = [blend(word, str(rng.choice(words))) if rng.random() < BLEND_SHARE else word for word in chosen]
    return " ".join(chosen) + str(rng.choice([".", ".", "?"]))


def blend(one: str, other: str) -> str:
    """The beginning of a word and the end of another."""
    return one[:(len(one) + 1) // 2] + other[len(other) // 2:]


def random_speeches(voice: Voice, rng: np.random.Generator, duration_s: float, count: int) -> list[Speech]:
    """`count` pieces of exactly `duration_s` with pauses, as `motion.training.speech.random_speech`."""
    requests = [Request(sentence(voice.language, rng), float(np.exp(rng.normal(0, 0.15))), float(np.exp(rng.normal(0, 0.12))))
                for _ in range(max(2, round(count * duration_s / 2)))]
    waiting = say(voice, requests)
    result: list[Speech] = []
    at = 0
    for _ in range(count):
        parts = [silence(float(rng.choice([0.1, 0.4, rng.uniform(0.1, 1.0)])))]
        while sum(part.duration_s for part in parts) < duration_s:
            parts += [waiting[at % len(waiting)], silence(float(rng.choice([0.0, 0.1, rng.exponential(0.3)])))]
            at += 1
        result.append(trim(join(parts), duration_s))
    return result
