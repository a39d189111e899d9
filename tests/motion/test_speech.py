"""`motion.training.speech` and its espeak-ng worker: real synthesis, labels, joins."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from motion.training.espeak import SpeakRequest
from motion.training.phonemes import PHONEME_CLASSES, SILENCE
from motion.training.speech import (
    HELD_OUT_VARIANTS, Espeak, Phone, Speech, join, phoneme_labels, random_speech, random_voice, segments, silence,
    trim,
)
from motion.training.text import LANGUAGES, random_sentence

pytest.importorskip("espeakng_loader")


@pytest.fixture(scope="module")
def client() -> Iterator[Espeak]:
    with Espeak() as espeak:
        yield espeak


def _labels(speech: Speech) -> list[str]:
    return [PHONEME_CLASSES[label] for label in phoneme_labels(speech)]


def test_says_the_phonemes_in_order(client: Espeak) -> None:
    speech = client.say(SpeakRequest("Papa.", "en-us"))
    said = [PHONEME_CLASSES[part.phoneme] for part in segments(speech.phonemes)]
    assert [name for name in said if name != "sil"] == ["p", "ɑ", "p", "ə"]
    assert max(phone.stress for phone in speech.phonemes) == 2


def test_phonemes_cover_the_speech_without_gaps(client: Espeak) -> None:
    speech = client.say(SpeakRequest("How are you? Fine, thanks.", "en-us+f3"))
    assert speech.phonemes[0].start_s == 0.0
    assert speech.phonemes[-1].end_s == pytest.approx(speech.duration_s)
    for one, two in zip(speech.phonemes[:-1], speech.phonemes[1:]):
        assert one.end_s == two.start_s
    assert speech.samples.dtype == np.float32 and 0.05 < np.abs(speech.samples).max() <= 1.0


def test_labels_lie_on_the_sound(client: Espeak) -> None:
    """The vowel is loud and the pauses at the ends are quiet, so times and samples belong together."""
    speech = client.say(SpeakRequest("Ah. Ah.", "en-us"))
    energy = [float(np.abs(speech.samples[k * 320:k * 320 + 320]).mean()) for k in range(len(_labels(speech)))]
    vowel = np.array([label == "ɑ" for label in _labels(speech)])
    assert vowel.sum() > 5
    assert np.mean(np.array(energy)[vowel]) > 5 * np.mean(np.array(energy)[~vowel])


def test_rate_and_pitch_are_heard(client: Espeak) -> None:
    slow, fast = (client.say(SpeakRequest("one two three four", "en-us", rate=rate)) for rate in (100, 250))
    assert slow.duration_s > 1.6 * fast.duration_s


def test_unknown_voice_is_refused_and_the_worker_lives_on(client: Espeak) -> None:
    with pytest.raises(ValueError, match="no voice 'nowhere'"):
        client.say(SpeakRequest("hello", "nowhere"))
    assert client.say(SpeakRequest("hello", "en-us")).duration_s > 0.2


@pytest.mark.parametrize("voice", LANGUAGES)
def test_every_language_speaks(client: Espeak, voice: str) -> None:
    speech = client.say(SpeakRequest(random_sentence(voice, np.random.default_rng(0)), voice))
    assert len({label for label in _labels(speech)} - {"sil"}) >= 4


def test_same_seed_same_speech(client: Espeak) -> None:
    one, two = (random_speech(client, np.random.default_rng(5), 3.0) for _ in range(2))
    assert one.text == two.text and one.voice == two.voice
    assert [phone.ipa for phone in one.phonemes] == [phone.ipa for phone in two.phonemes]
    starts = np.array([[phone.start_s for phone in speech.phonemes] for speech in (one, two)])
    assert np.abs(starts[0] - starts[1]).max() < 0.01  # espeak-ng itself wavers by a millisecond
    assert len(one.samples) == 48000 and len(phoneme_labels(one)) == 150


def test_held_out_voices_are_held_out() -> None:
    rng = np.random.default_rng(0)
    assert all(random_voice(rng).variant not in HELD_OUT_VARIANTS for _ in range(200))
    assert all(random_voice(rng, held_out=True).variant in HELD_OUT_VARIANTS for _ in range(50))


def test_join_and_trim_move_the_times() -> None:
    voice = Speech(np.ones(1600, np.float32), [Phone(0.0, 0.1, "a", 2)], text="a")
    joined = join([silence(0.2), voice, silence(0.1)])
    assert [(phone.start_s, phone.end_s, phone.ipa) for phone in joined.phonemes] == [
        (0.0, 0.2, ""), (0.2, pytest.approx(0.3), "a"), (pytest.approx(0.3), pytest.approx(0.4), "")]
    short = trim(joined, 0.25)
    assert len(short.samples) == 4000 and short.phonemes[-1].end_s == 0.25
    assert joined.text == "a"


def test_labels_of_a_diphthong_by_hand() -> None:
    phones = [Phone(0.0, 0.05, ""), Phone(0.05, 0.15, "ˈaɪ", 2), Phone(0.15, 0.2, "")]
    speech = Speech(np.zeros(3200, np.float32), phones)
    # 60 % of the diphthong is its first vowel: a until 0.11 s, ɪ until 0.15 s
    assert _labels(speech) == ["sil", "sil", "sil", "a", "a", "a", "ɪ", "ɪ", "sil", "sil"]


def test_silence_is_silent() -> None:
    nothing = silence(0.5)
    assert not nothing.samples.any() and set(phoneme_labels(nothing)) == {SILENCE}
    assert len(silence(0.0).phonemes) == 0
