"""When a recording closes its lips: p, b, m from its transcript, placed by the shipped speech encoder.

Forced alignment: espeak-ng says which phonemes the words are made of, Viterbi over the encoder's posteriors says when.
`motion.training.align`, which starts from a synthetic voice, is not used: its pauses swallow quiet consonants in noisy
recordings.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from chatanyone import build
from chatanyone.checkpoints import load_weights
from chatanyone.config import SHIPPED
from chatanyone.errors import ConfigError
from motion.audio.encoder import AudioEncoder
from motion.training.align import best_states
from motion.training.phonemes import PHONEME_INDEX, SILENCE, parse_ipa
from motion.training.speech import LABEL_HZ

BILABIALS = frozenset(PHONEME_INDEX[name] for name in ("p", "b", "m"))
_LEAST_LOG_PROBABILITY = -9.0  # an encoder that is sure and wrong must not outweigh all the rest
_VOICE, _RATE = "en-us", 165


class Said(NamedTuple):
    """A phoneme class (index of `PHONEME_CLASSES`) and when it is said, s."""

    phoneme: int
    start_s: float
    end_s: float


def closure_instants(samples: NDArray[np.float32], text: str) -> list[float]:
    """Seconds: the middles of all p, b and m of a recording (mono, 16 kHz) of an English text.

    Raises:
        ConfigError: espeak-ng is not installed.
    """
    from motion.training.audio_task import log_phonemes

    return middles(place(log_phonemes(_encoder(), samples), phonemes_of(text)))


def phonemes_of(text: str) -> list[int]:
    """Classes of the phonemes espeak-ng would say, pauses left out."""
    from motion.training.espeak import SpeakRequest
    from motion.training.speech import Espeak

    try:
        with Espeak() as client:
            spoken = client.say(SpeakRequest(text, _VOICE, _RATE))
    except (ValueError, OSError) as error:
        raise ConfigError(f"transcripts become phonemes by espeak-ng ({error}); pip install 'chatanyone[evaluate]'"
                          ) from None
    return [PHONEME_INDEX[name] for phone in spoken.phonemes for name in parse_ipa(phone.ipa)]


def place(log_probabilities: NDArray[np.float32], phonemes: list[int]) -> list[Said]:
    """Each phoneme where the encoder hears it, in order, with silence allowed around each.

    Args: log probabilities ``[R, P]`` at 50 Hz; at least as many rows as phonemes.
    """
    states = np.full(2 * len(phonemes) + 1, SILENCE)
    states[1::2] = phonemes
    scores = np.maximum(log_probabilities, _LEAST_LOG_PROBABILITY)[:, states]
    path = best_states(scores, states == SILENCE)
    edges = np.r_[0, np.flatnonzero(np.diff(path)) + 1, len(path)]
    return [Said(int(states[path[a]]), a / LABEL_HZ, b / LABEL_HZ) for a, b in zip(edges[:-1], edges[1:])]


def middles(said: list[Said]) -> list[float]:
    """Middle of each bilabial, s; bilabials that touch ("p m") are one closure."""
    joined: list[list[float]] = []
    for part in said:
        if part.phoneme not in BILABIALS:
            continue
        if joined and part.start_s - joined[-1][1] < 1e-3:
            joined[-1][1] = part.end_s
        else:
            joined.append([part.start_s, part.end_s])
    return [0.5 * (start + end) for start, end in joined]


def _encoder() -> AudioEncoder:
    config, tensors = load_weights(build.weights_path("audio_encoder", SHIPPED), kind="audio_encoder")
    encoder = AudioEncoder(**config)
    encoder.load_state_dict(tensors)
    return encoder.eval()
