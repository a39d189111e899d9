"""`motion.training.phonemes`: IPA to classes, and a target for each."""

from __future__ import annotations

import pytest

from motion.training.phonemes import ARTICULATIONS, PHONEME_CLASSES, SILENCE, VOWELS, parse_ipa, stress_of


@pytest.mark.parametrize("ipa, classes", [
    ("p", ["p"]), ("ˈaɪ", ["a", "ɪ"]), ("ˈɜː", ["ɜ"]), ("tʃ", ["tʃ"]), ("ts", ["t", "s"]), ("ɔ̃", ["ɔ"]), ("tʲ", ["t"]),
    ("oʊ", ["o", "ʊ"]), ("ɑːɹ", ["ɑ", "ɹ"]), ("ʈʂ", ["tʃ"]), ("ss", ["s"]), ("ɡ", ["ɡ"]), ("g", ["ɡ"]), ("", []),
    ("ː", []), ("5", []),
])
def test_parse(ipa: str, classes: list[str]) -> None:
    assert parse_ipa(ipa) == classes


def test_stress() -> None:
    assert [stress_of(ipa) for ipa in ("ˈa", "ˌa", "a")] == [2, 1, 0]


def test_every_class_has_a_target_within_range() -> None:
    assert set(ARTICULATIONS) == set(PHONEME_CLASSES) and PHONEME_CLASSES[SILENCE] == "sil"
    for articulation in ARTICULATIONS.values():
        shapes = {name: value for name, value in vars(articulation).items() if not name.startswith("hold")}
        assert all(0 <= value <= 1 for value in shapes.values())


def test_only_lips_that_must_close_close() -> None:
    assert {name for name, target in ARTICULATIONS.items() if target.close} == {"p", "b", "m"}
    assert {name for name, target in ARTICULATIONS.items() if target.tuck} == {"f", "v"}
    assert all(ARTICULATIONS[name].close == 0 for name in VOWELS)
