"""Synthetic speech with its phonemes: a client of the espeak-ng worker process, random voices, pauses, resampling."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from motion.training.espeak import SpeakRequest, request_line
from motion.training.phonemes import PHONEME_INDEX, SILENCE, VOWELS, parse_ipa, stress_of
from motion.training.text import LANGUAGES, random_sentence

SAMPLE_RATE = 16000
LABEL_HZ = 50  # phoneme classes are given every 20 ms, the rate of the encoder

# espeak-ng's own variants that sound like people; the robots are left out, the whisperers stay for the unvoiced.
VARIANTS: tuple[str, ...] = (
    "f1", "f2", "f3", "f4", "f5", "m1", "m2", "m3", "m4", "m5", "m6", "m7", "m8", "Alex", "Alicia", "Andrea", "Andy",
    "Annie", "Denis", "Diogo", "Gene", "Henrique", "Hugo", "Jacky", "Lee", "Marco", "Mario", "Michael", "Mike",
    "Nguyen", "Reed", "Storm", "Tweaky", "adam", "anika", "antonio", "aunty", "belinda", "benjamin", "boris", "caleb",
    "david", "ed", "edward", "grandma", "grandpa", "gustave", "ian", "iven", "iven3", "john", "kaukovalta", "klatt",
    "klatt2", "klatt3", "klatt4", "linda", "marcelo", "max", "michel", "miguel", "pablo", "paul", "pedro", "quincy",
    "rob", "robert", "sandro", "shelby", "steph", "steph2", "travis", "victor", "whisper", "whisperf", "zac",
)
# Never used for training: the encoder is judged on them.
HELD_OUT_VARIANTS: tuple[str, ...] = ("f2", "m3", "Annie", "Michael", "john", "linda")


@dataclass(frozen=True)
class Phone:
    """One phoneme as espeak-ng tells it; `stress` 0 none, 1 secondary, 2 primary; an empty `ipa` is a pause."""

    start_s: float
    end_s: float
    ipa: str
    stress: int = 0


@dataclass(frozen=True)
class Segment:
    """A stretch of one phoneme class (an index of `PHONEME_CLASSES`)."""

    start_s: float
    end_s: float
    phoneme: int
    stress: int = 0


@dataclass
class Speech:
    """Speech and what is said when.

    samples: float32 ``[N]``, 16 kHz, in [-1, 1]
    phonemes: in time order, without gaps, from 0 to the end
    """

    samples: np.ndarray
    phonemes: list[Phone]
    voice: str = ""
    language: str = ""
    text: str = ""
    meta: dict[str, Any] = field(default_factory=dict)

    @property
    def duration_s(self) -> float:
        return len(self.samples) / SAMPLE_RATE


def segments(phonemes: list[Phone]) -> list[Segment]:
    """Phones as phoneme classes; a diphthong becomes two (60 % and 40 %), a cluster equal parts."""
    result: list[Segment] = []
    for phone in phonemes:
        names = parse_ipa(phone.ipa) or ["sil"]
        vowels = [name in VOWELS for name in names]
        shares = [0.6, 0.4] if len(names) == 2 and all(vowels) else [1.0 / len(names)] * len(names)
        edges = phone.start_s + (phone.end_s - phone.start_s) * np.concatenate([[0.0], np.cumsum(shares)])
        for name, start, end in zip(names, edges[:-1], edges[1:]):
            result.append(Segment(float(start), float(end), PHONEME_INDEX[name], phone.stress))
    return result


def phoneme_labels(speech: Speech) -> np.ndarray:
    """The phoneme class at each instant ``k / 50`` s: uint8 ``[ceil(N / 320)]``."""
    count = -(-len(speech.samples) * LABEL_HZ // SAMPLE_RATE)
    parts = segments(speech.phonemes)
    labels = np.full(count, SILENCE, np.uint8)
    if parts:
        ends = np.array([part.end_s for part in parts])
        index = np.searchsorted(ends, np.arange(count) / LABEL_HZ, side="right")
        inside = index < len(parts)
        labels[inside] = np.array([part.phoneme for part in parts], np.uint8)[index[inside]]
    return labels


class Espeak:
    """Client of the worker process; use it as a context manager. Not thread-safe: one client per thread."""

    def __init__(self) -> None:
        root = str(Path(__file__).resolve().parents[2])  # the worker finds this package from any folder
        path = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
        self._process = subprocess.Popen(
            [sys.executable, "-m", "motion.training.espeak"], env={**os.environ, "PYTHONPATH": path},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )

    def __enter__(self) -> Espeak:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """End the worker."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(timeout=10)
        self._process.stdout.close()

    def _exchange(self, request: SpeakRequest) -> tuple[dict[str, Any], np.ndarray]:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(request_line(request))
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise ValueError("the espeak-ng worker ended; install the package espeakng-loader to make training speech")
        header = json.loads(line)
        if "error" in header:
            raise ValueError(header["error"])
        data = self._process.stdout.read(2 * header["samples"])
        return header, np.frombuffer(data, "<i2").astype(np.float32) / 32768

    def say(self, request: SpeakRequest) -> Speech:
        """Speak one text."""
        header, wave = self._exchange(request)
        samples = resample(wave, header["rate_hz"])
        return Speech(samples, _phones(header["phones"], len(samples) / SAMPLE_RATE), request.voice,
                      request.voice.split("+")[0], request.text)


def resample(wave: np.ndarray, rate_hz: int) -> np.ndarray:
    """A whole wave ``[N]`` at `rate_hz` → float32 at 16 kHz, in [-1, 1]."""
    from scipy.signal import resample_poly

    common = int(np.gcd(rate_hz, SAMPLE_RATE))
    if not len(wave):
        return wave
    return np.clip(resample_poly(wave, SAMPLE_RATE // common, rate_hz // common), -1, 1).astype(np.float32)


def _phones(events: list[tuple[int, str]], duration_s: float) -> list[Phone]:
    """Start times to intervals; each phoneme lasts until the next one begins."""
    starts = [0.0] + [min(ms / 1000, duration_s) for ms, _ in events] + [duration_s]
    names = [""] + [ipa for _, ipa in events]
    phones = [Phone(start, end, ipa, stress_of(ipa)) for start, end, ipa in zip(starts[:-1], starts[1:], names)]
    return [phone for phone in phones if phone.end_s > phone.start_s]


def silence(duration_s: float) -> Speech:
    """Nothing said."""
    count = round(duration_s * SAMPLE_RATE)
    return Speech(np.zeros(count, np.float32), [Phone(0.0, count / SAMPLE_RATE, "")] if count else [])


def join(parts: list[Speech]) -> Speech:
    """One after the other; voice, language and text are those of the parts that speak."""
    offset, phones = 0, []
    for part in parts:
        shift = offset / SAMPLE_RATE
        phones += [replace(phone, start_s=phone.start_s + shift, end_s=phone.end_s + shift) for phone in part.phonemes]
        offset += len(part.samples)
    spoken = [part for part in parts if part.text]
    first = spoken[0] if spoken else parts[0]
    samples = np.concatenate([part.samples for part in parts])
    return Speech(samples, phones, first.voice, first.language, " ".join(part.text for part in spoken))


@dataclass(frozen=True)
class Voice:
    """A speaker of the corpus: espeak-ng's language and variant, and how fast, how high, how lively."""

    language: str
    variant: str
    rate: int
    pitch: int
    range: int

    def request(self, text: str, rng: np.random.Generator) -> SpeakRequest:
        """This voice saying a text, with the small changes of tempo and pitch between one sentence and the next."""
        rate, pitch = self.rate * rng.uniform(0.92, 1.08), self.pitch + rng.uniform(-5, 5)
        gap = int(rng.choice([0, 0, 0, 1, 3]))
        name = f"{self.language}+{self.variant}" if self.variant else self.language
        return SpeakRequest(text, name, round(rate), round(np.clip(pitch, 0, 99)), self.range, gap)


def random_voice(rng: np.random.Generator, held_out: bool = False) -> Voice:
    """A random speaker; `held_out` draws from the voices that training never hears."""
    variants = HELD_OUT_VARIANTS if held_out else tuple(name for name in VARIANTS if name not in HELD_OUT_VARIANTS)
    names, weights = zip(*((language.voice, language.weight) for language in LANGUAGES.values()))
    language = str(rng.choice(names, p=np.array(weights) / sum(weights)))
    rate = int(np.clip(rng.normal(160, 28), 95, 260))
    return Voice(language, str(rng.choice(variants)), rate, int(rng.integers(15, 85)), int(rng.integers(25, 90)))


def random_speech(client: Espeak, rng: np.random.Generator, duration_s: float = 10.0, held_out: bool = False) -> Speech:
    """A random speaker for exactly `duration_s`: sentences, pauses, silence at the ends; 4 % say nothing."""
    if rng.random() < 0.04:
        return silence(duration_s)
    voice = random_voice(rng, held_out)
    parts = [silence(float(rng.choice([0.1, 0.4, rng.uniform(0.1, 2.0)])))]
    while sum(part.duration_s for part in parts) < duration_s:
        parts.append(client.say(voice.request(random_sentence(voice.language, rng), rng)))
        parts.append(silence(float(rng.choice([0.0, 0.1, 0.3, rng.exponential(0.7)], p=[0.35, 0.3, 0.2, 0.15]))))
    return trim(replace(join(parts), meta={"voice": vars(voice)}), duration_s)


def trim(speech: Speech, duration_s: float) -> Speech:
    """The first `duration_s` of it."""
    count = round(duration_s * SAMPLE_RATE)
    end = count / SAMPLE_RATE
    phones = [replace(phone, end_s=min(phone.end_s, end)) for phone in speech.phonemes if phone.start_s < end]
    return replace(speech, samples=speech.samples[:count], phonemes=phones)
