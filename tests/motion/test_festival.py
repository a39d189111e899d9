"""`motion.training.festival`: phone sets, what the program prints, and, where it is installed, its voices."""

from __future__ import annotations

import runpy
from pathlib import Path

import numpy as np
import pytest

from motion.training import festival
from motion.training.festival_phones import PHONE_SETS, ipa
from motion.training.phonemes import PHONEME_INDEX, SILENCE, parse_ipa
from motion.training.speech import phoneme_labels


def test_every_phone_of_a_set_is_a_class() -> None:
    for name, phones in PHONE_SETS.items():
        for phone in phones:
            assert parse_ipa(ipa(phone, name)) or ipa(phone, name) == "", (name, phone)


@pytest.mark.parametrize("phone_set, phone, expected", [
    ("italian", "a1", ["a"]), ("italian", "tS", ["tʃ"]), ("italian", "E1", ["ɛ"]), ("finnish", "y:", ["y"]),
    ("finnish", "@:", ["æ"]), ("czech", "e:", ["ɛ"]), ("czech", "r~", ["r", "ʒ"]), ("russian", "nn", ["n"]),
    ("russian", "aa", ["a"]), ("russian", "sch", ["ʃ"]), ("catalan", "o1", ["o"]), ("indian", "tth", ["t"]),
    ("radio", "ax", ["ə"]), ("radio", "dx", ["r"]), ("radio", "pau", []), ("czech", "#", []),
])
def test_phones_in_ipa(phone_set: str, phone: str, expected: list[str]) -> None:
    assert parse_ipa(ipa(phone, phone_set)) == expected


def test_what_the_program_prints() -> None:
    printed = ("noise\n@@ 0\npau 0.2 0\nm 0.3 1\nax 0.45 1\n@@ end\n"
               "@@ 1\nm 0.1 0\nSIOD ERROR: unknown\n@@ failed\n@@ 2\na 0.5 0\n@@ end\n")
    told = festival.read_segments(printed)
    assert set(told) == {0, 2}
    phones = festival.phones(told[0], "radio", 0.6)
    assert [(phone.ipa, phone.stress) for phone in phones] == [("", 0), ("m", 2), ("ə", 2), ("", 0)]
    assert phones[0].start_s == 0 and phones[-1].end_s == 0.6
    assert all(one.end_s == other.start_s for one, other in zip(phones, phones[1:]))


def test_sentences_in_every_language() -> None:
    rng = np.random.default_rng(0)
    for voice in festival.VOICES:
        assert len(festival.sentence(voice.language, rng).encode(voice.encoding, "strict")) > 2 or voice.language == "en-us"
    assert festival.blend("mama", "strom") == "marom"


def test_a_voice_says_what_it_tells() -> None:
    voices = festival.installed() if festival.available() else ()
    if not voices:
        pytest.skip("festival has no voice here")
    slow, fast = festival.say(voices[0], [festival.Request("mama mama", 1.3), festival.Request("mama mama", 0.8)])
    assert slow.duration_s > 1.2 * fast.duration_s and 0.02 < np.abs(fast.samples).max() <= 1
    labels = phoneme_labels(fast)
    assert PHONEME_INDEX["m"] in labels
    loud = np.abs(fast.samples[:len(labels) // 2 * 640].reshape(-1, 640)).max(1)
    spoken = (labels[:len(loud) * 2].reshape(-1, 2) != SILENCE).all(1)
    assert loud[spoken].mean() > 5 * loud[~spoken].mean()
    speech, = festival.random_speeches(voices[0], np.random.default_rng(0), 2.0, 1)
    assert speech.duration_s == 2.0


def test_the_tool_says_what_is_missing(tmp_path: Path, repository: Path, monkeypatch: pytest.MonkeyPatch,
                                       capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(festival, "available", lambda: False)
    tool = runpy.run_path(str(repository / "tools" / "make_speech_corpus.py"))
    with pytest.raises(SystemExit):
        tool["main"](["--hours", "0.003", "--output", str(tmp_path), "--festival-minutes", "1"])
    assert "install Debian's packages festival and festvox-*" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
