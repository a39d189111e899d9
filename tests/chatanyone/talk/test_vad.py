from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from chatanyone.errors import ConfigError
from chatanyone.media.audio import read_audio
from chatanyone.talk.microphone import LONGEST, Microphone
from chatanyone.talk.vad import Vad, VadEvent
from tests.helpers.talk import LoudIsVoice, hum, silence

pytest.importorskip("silero_vad")


@pytest.fixture(scope="module")
def vad() -> Vad:
    return Vad()


def test_speech_with_pauses(vad: Vad, shared_data: Path) -> None:
    """A minute of speech: it begins and ends in turn, and what lies between is quieter than what lies inside."""
    sound = read_audio(shared_data / "speech" / "silero_test.flac")
    events, _ = vad.step(sound, vad.init_state())
    assert [event.kind for event in events] == ["start", "stop"] * 7 + ["start"]
    assert all(one.sample < two.sample for one, two in zip(events, events[1:]))
    inside = np.zeros(len(sound), bool)
    for start, stop in zip(events[::2], [*events[1::2], VadEvent("stop", len(sound))]):
        inside[start.sample:stop.sample] = True
    assert 0.6 < inside.mean() < 0.95
    assert np.sqrt((sound[~inside] ** 2).mean()) < 0.1 * np.sqrt((sound[inside] ** 2).mean())


def test_any_chunking_gives_the_same(vad: Vad, shared_data: Path) -> None:
    sound = read_audio(shared_data / "speech" / "silero_test.flac")[:16_000 * 10]
    whole, _ = vad.step(sound, vad.init_state())
    for size in (1, 320, 512, 777, 5000):
        state, found = vad.init_state(), []
        for start in range(0, len(sound) if size > 1 else 4000, size):
            events, state = vad.step(sound[start:start + size], state)
            found += events
        assert found == [event for event in whole if size > 1 or event.sample < 2000]


@pytest.mark.parametrize("loud", [0.0, 0.001, 0.01, 0.1, 0.5])
def test_silence_and_noise_are_nobody(vad: Vad, loud: float) -> None:
    noise = (loud * np.random.default_rng(1).standard_normal(160_000)).astype(np.float32)
    assert vad.step(noise, vad.init_state())[0] == []


def test_tones_clicks_and_broken_numbers_are_nobody(vad: Vad) -> None:
    tone = (0.3 * np.sin(2 * np.pi * 440 * np.arange(80_000) / 16_000)).astype(np.float32)
    clicks = np.zeros(80_000, np.float32)
    clicks[::8000] = 1
    broken = np.full(16_000, np.nan, np.float32)
    assert vad.step(np.concatenate([tone, clicks, broken, np.full(16_000, np.inf, np.float32)]), vad.init_state())[0] == []


def test_a_state_is_a_value(vad: Vad, shared_data: Path) -> None:
    sound = read_audio(shared_data / "speech" / "silero_test.flac")[:16_000 * 6]
    _, middle = vad.step(sound[:40_000], vad.init_state())
    once = vad.step(sound[40_000:], middle)
    again = vad.step(sound[40_000:], middle)
    assert once[0] == again[0] and np.array_equal(once[1].net, again[1].net)


def test_durations_and_thresholds() -> None:
    vad = LoudIsVoice(speech_ms=96)

    def starts(sound: np.ndarray, threshold: float = 0.5) -> int:
        events, _ = vad.step(sound, vad.init_state(), threshold=threshold, silence_ms=300)
        return sum(event.kind == "start" for event in events)

    assert starts(np.concatenate([silence(0.512), hum(0.064), silence(0.5)])) == 0  # shorter than speech
    assert starts(np.concatenate([silence(0.512), hum(0.128), silence(0.5)])) == 1
    assert starts(np.concatenate([hum(0.5), silence(0.2), hum(0.5), silence(1)])) == 1  # a pause shorter than silence
    assert starts(np.concatenate([hum(0.5), silence(0.5), hum(0.5), silence(1)])) == 2
    weak = hum(1.0, loud=0.06 * 2 ** 0.5)  # probability 0.6
    assert starts(weak, 0.5) == 1 and starts(weak, 0.7) == 0
    # Probability 0.4 lies between the thresholds: still speech.
    dips = np.concatenate([hum(0.5, 0.1), hum(1.0, 0.04 * 2 ** 0.5), silence(1)])
    events, _ = vad.step(dips, vad.init_state(), threshold=0.5, silence_ms=300)
    assert [event.kind for event in events] == ["start", "stop"] and events[1].sample == pytest.approx(24_000, abs=600)


def test_the_package_and_torch_stay_unloaded() -> None:
    code = ("import sys; from chatanyone.talk.vad import Vad; Vad(); "
            "sys.exit(any(name in sys.modules for name in ('torch', 'torchaudio', 'silero_vad')))")
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).resolve().parents[3]).returncode == 0


def test_a_missing_package_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="needs the package silero-vad; install chatanyone.serve."):
        Vad()


def test_the_microphone_keeps_no_more_than_it_needs() -> None:
    microphone = Microphone(LoudIsVoice(), 500)
    for _ in range(500):
        microphone.push(silence(0.1), 0.5)
    assert microphone.end - microphone.first <= 16_000
    kinds = [spoke.kind for _ in range(800) for spoke in microphone.push(hum(0.1), 0.5)]
    assert kinds.count("start") >= 2 and kinds.count("stop") == 1  # sixty seconds are the longest utterance
    assert microphone.end - microphone.first <= LONGEST + 16_000


def test_the_microphone_gives_back_what_came() -> None:
    microphone, sound = Microphone(LoudIsVoice(), 500, by_button=True), hum(1.0)
    microphone.push(hum(0.3, 0.1), 0.5)
    microphone.press()
    for start in range(0, len(sound), 700):
        assert not microphone.push(sound[start:start + 700], 0.5)
    assert np.array_equal(microphone.since(microphone.start or 0), sound)
    assert np.array_equal(microphone.since(microphone.end - 1000), sound[-1000:])
    assert len(microphone.since(microphone.end)) == 0
