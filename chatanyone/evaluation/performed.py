"""Two utterances of one synthetic person: what a style reference shows, and what the same person does with other words."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import torch
from numpy.typing import NDArray

from chatanyone.errors import ConfigError
from motion.training.articulation import mouth_curves, random_style
from motion.training.performance import perform_face, prosody, random_performance_style
from motion.training.speech import Espeak, Speech, Voice, join, random_voice, silence, trim
from motion.training.text import random_sentence
from motion.types import FaceMotion

FIRST_SEED = 7_000_000  # training draws from far smaller seeds
SECONDS = 6.0
FPS = Fraction(30)


@dataclass(frozen=True)
class Pair:
    """reference, target: motion of the same person; reference_samples, samples: their sounds, 16 kHz; seed: of the target's
    blinks and sway."""

    name: str
    reference: FaceMotion
    target: FaceMotion
    samples: NDArray[np.float32]
    seed: int
    reference_samples: NDArray[np.float32]


def pair(index: int) -> Pair:
    """Person number `index`: a voice and a manner that training never met.

    Raises:
        ConfigError: espeak-ng is not installed.
    """
    seed = FIRST_SEED + 10 * index
    try:
        with Espeak() as client:
            reference, sound = _performed(client, seed, seed + 1)
            target, samples = _performed(client, seed, seed + 2)
    except (ValueError, OSError) as error:
        raise ConfigError(f"the performer speaks by espeak-ng ({error}); pip install 'chatanyone[evaluate]'") from None
    return Pair(f"person {index}", reference, target, samples, seed + 2, sound)


def _performed(client: Espeak, person: int, words: int) -> tuple[FaceMotion, NDArray[np.float32]]:
    """Motion and sound of some sentences; `person` draws voice and manner, `words` the sentences."""
    who = np.random.default_rng(person)
    voice, mouth_style, style = random_voice(who, held_out=True), random_style(who), random_performance_style(who)
    said = _speech(client, np.random.default_rng(words), voice)
    mouth = mouth_curves(said, FPS, mouth_style, np.random.default_rng(words))
    face = perform_face(prosody(said, len(mouth)), mouth.astype(np.float64), words, style)
    return FaceMotion.unpack(torch.from_numpy(face).float()), said.samples.astype(np.float32)


def _speech(client: Espeak, rng: np.random.Generator, voice: Voice) -> Speech:
    """`SECONDS` of one voice."""
    parts = [silence(0.2)]
    while sum(part.duration_s for part in parts) < SECONDS:
        parts += [client.say(voice.request(random_sentence(voice.language, rng), rng)), silence(0.3)]
    return trim(join(parts), SECONDS)
