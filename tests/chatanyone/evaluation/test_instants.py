from __future__ import annotations

import numpy as np
import pytest

from chatanyone.evaluation.instants import Said, middles, phonemes_of, place
from motion.training.phonemes import PHONEME_CLASSES, PHONEME_DIM, PHONEME_INDEX


def heard(said: list[tuple[str, int]]) -> np.ndarray:
    """Log probabilities of an encoder that is sure: ``(class, rows)``."""
    rows = [PHONEME_INDEX[name] for name, count in said for _ in range(count)]
    scores = np.full((len(rows), PHONEME_DIM), -8.0, np.float32)
    scores[np.arange(len(rows)), rows] = -0.1
    return scores


def test_phonemes_are_placed_where_they_are_heard_and_silence_needs_no_word() -> None:
    scores = heard([("sil", 10), ("b", 4), ("ɪ", 6), ("n", 5), ("sil", 7), ("b", 3), ("l", 4), ("sil", 9)])
    said = place(scores, [PHONEME_INDEX[name] for name in ("b", "ɪ", "n", "b", "l")])
    assert [(PHONEME_CLASSES[part.phoneme], part.start_s, part.end_s) for part in said] == [
        ("sil", 0.0, 0.2), ("b", 0.2, 0.28), ("ɪ", 0.28, 0.4), ("n", 0.4, 0.5), ("sil", 0.5, 0.64), ("b", 0.64, 0.7),
        ("l", 0.7, 0.78), ("sil", 0.78, 0.96)]
    assert middles(said) == pytest.approx([0.24, 0.67])


def test_touching_bilabials_are_one_closure() -> None:
    m, p, a = (PHONEME_INDEX[name] for name in ("m", "p", "a"))
    assert middles([Said(m, 0.0, 0.1), Said(p, 0.1, 0.2), Said(a, 0.2, 0.3), Said(p, 0.3, 0.4)]) == pytest.approx([0.1, 0.35])


def test_words_become_phonemes() -> None:
    pytest.importorskip("espeakng_loader")
    names = [PHONEME_CLASSES[index] for index in phonemes_of("bin blue")]
    assert names[:2] == ["b", "ɪ"] and names.count("b") == 2 and "sil" not in names
