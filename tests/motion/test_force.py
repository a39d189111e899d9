"""Forced alignment and Flite: what they say about when a phone is said."""

from __future__ import annotations

import numpy as np
import pytest

from motion.training import flite, force
from motion.training.phonemes import parse_ipa
from motion.training.speech import SAMPLE_RATE, phoneme_labels


def test_phones_leave_no_gap() -> None:
    made = force.phones([("SIL", 0.0, 0.1), ("AY", 0.1, 0.3), ("B", 0.35, 0.4)], 0.6)
    assert [(p.start_s, p.end_s, p.ipa) for p in made] == [
        (0.0, 0.1, ""), (0.1, 0.3, "aɪ"), (0.3, 0.35, ""), (0.35, 0.4, "b"), (0.4, 0.6, "")]


def test_phones_are_cut_at_the_end() -> None:
    assert force.phones([("AA", 0.0, 2.0)], 1.0)[-1].end_s == 1.0


def test_every_arpabet_phone_has_a_class() -> None:
    for name, symbol in force._IPA.items():
        assert name == "PAU" or parse_ipa(symbol), name


def test_words() -> None:
    assert force.words("It’s twenty-two, isn't it?") == ["it's", "twenty", "two", "isn't", "it"]


@pytest.mark.parametrize("printed, expected", [
    ("pau:0.1 b:0.3", [("pau", 0.0, 0.1), ("b", 0.1, 0.3)]),
    ("b:0.3 pau:0.5 k:0.2", [("b", 0.0, 0.3), ("pau", 0.3, 0.5), ("k", 0.5, 0.7)]),  # a second utterance counts from 0
])
def test_ends_of_flite(printed: str, expected: list[tuple[str, float, float]]) -> None:
    found = flite._ends(printed)
    assert [name for name, *_ in found] == [name for name, *_ in expected]
    np.testing.assert_allclose([times for _, *times in found], [times for _, *times in expected])


def test_flite_speaks_and_is_aligned() -> None:
    """Two independent sources agree: Flite's own times and PocketSphinx's."""
    pytest.importorskip("pocketsphinx")
    if not flite.available():
        pytest.skip("flite is not installed")
    speech = flite.say("My brother bought a paper boat.", "rms")
    found = force.ForcedAligner().align(speech.samples, speech.text)
    assert found is not None and found.duration_s == pytest.approx(len(speech.samples) / SAMPLE_RATE)
    assert np.mean(phoneme_labels(speech) == phoneme_labels(found)) > 0.5


def test_unknown_words_are_pronounced() -> None:
    pytest.importorskip("pocketsphinx")
    assert force.ForcedAligner().missing("hello xyzzyq") == ["xyzzyq"]
    assert force.ForcedAligner(lambda word: ["z", "ɪ", "z", "i"]).missing("hello xyzzyq") == []
