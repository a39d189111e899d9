"""espeak-ng in its process, and a process that misbehaves; what a server offers."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import sys
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from chatanyone.errors import ConfigError
from chatanyone.talk.espeak import EspeakProcess, NoSuchVoice
from chatanyone.talk.parts import Parts
from chatanyone.talk.resampling import PcmStream
from chatanyone.talk.service import ServiceError
from chatanyone.talk.settings import EarConfig, MindConfig, TalkConfig, TurnConfig, VoiceConfig
from chatanyone.talk.voices import EspeakVoice, espeak_voices

needs_espeak = pytest.mark.skipif(importlib.util.find_spec("espeakng_loader") is None, reason="espeakng-loader is not there")

# Answers {"rate_hz": 8000, "samples": 4} and four samples; words make it misbehave.
WORKER = r"""
import json, sys, time
for line in sys.stdin:
    text = json.loads(line)["text"]
    if text == "die": sys.exit(3)
    if text == "hang": time.sleep(60)
    if text == "garbage": answer = b"\xff\xfe what\n"
    elif text == "huge": answer = json.dumps({"rate_hz": 8000, "samples": 10**12}).encode() + b"\n"
    elif text == "short": answer = json.dumps({"rate_hz": 8000, "samples": 4}).encode() + b"\nab"; text = "die"
    elif text == "no voice": answer = json.dumps({"error": "no such voice"}).encode() + b"\n"
    else: answer = json.dumps({"rate_hz": 8000, "samples": 4}).encode() + b"\n" + bytes([len(text), 0] * 4)
    sys.stdout.buffer.write(answer); sys.stdout.buffer.flush()
    if text == "die": sys.exit(3)
"""


def run(work: Any) -> Any:
    return asyncio.run(asyncio.wait_for(work, 30))


async def say(process: EspeakProcess, text: str) -> NDArray[np.int16]:
    return (await process.speak(text, "en", rate=160, pitch_range=50))[0]


@pytest.mark.parametrize(("text", "sentence"), [
    ("die", "the voice broke off; it starts again with the next words"),
    ("hang", "the voice hung; it starts again with the next words"),
    ("garbage", "the voice broke off; it starts again with the next words"),
    ("huge", "the voice broke off; it starts again with the next words"),
    ("short", "the voice broke off; it starts again with the next words"),
    ("no voice", "no such voice"),
])
def test_a_worker_that_fails_is_a_sentence_and_is_replaced(text: str, sentence: str) -> None:
    async def main() -> None:
        process = EspeakProcess((sys.executable, "-c", WORKER), timeout_s=0.5 if text == "hang" else 10)
        try:
            with pytest.raises(ServiceError, match=sentence):
                await say(process, text)
            process._timeout_s = 10
            assert list(await say(process, "abc")) == [3, 3, 3, 3]
        finally:
            await process.close()

    run(main())


def test_answers_stay_with_their_questions_when_one_is_cancelled() -> None:
    async def main() -> None:
        process = EspeakProcess((sys.executable, "-c", WORKER))
        first = asyncio.ensure_future(say(process, "a"))
        others = [asyncio.ensure_future(say(process, "b" * count)) for count in (2, 3, 4)]
        await asyncio.sleep(0.001)
        first.cancel()
        assert [list(sound)[0] for sound in await asyncio.gather(*others)] == [2, 3, 4]
        worker = process._worker
        await process.close()
        await process.close()
        assert worker is not None and worker.returncode is not None

    run(main())


def test_a_program_that_cannot_start_is_a_sentence() -> None:
    with pytest.raises(ServiceError, match="the voice broke off"):
        run(say(EspeakProcess((os.devnull,)), "a"))


@needs_espeak
@pytest.mark.parametrize("language", ["en", "de", "zh", "xx"])
def test_espeak_speaks(language: str) -> None:
    async def main() -> list[NDArray[np.float32]]:
        process = EspeakProcess()
        try:
            return [sound async for sound in EspeakVoice(process).speak("One two three four.", language, "")]
        finally:
            await process.close()

    speech, pause = run(main())
    assert speech.dtype == np.float32 and 0.8 < len(speech) / 16_000 < 4 and 0.2 < np.abs(speech).max() <= 1
    assert len(pause) == 4800 and not pause.any()


@needs_espeak
def test_a_voice_that_is_named_must_exist() -> None:
    async def main() -> None:
        process = EspeakProcess()
        try:
            with pytest.raises(NoSuchVoice, match="espeak-ng has no voice 'nobody'"):
                [sound async for sound in EspeakVoice(process).speak("Hello.", "en", "nobody")]
        finally:
            await process.close()

    run(main())


@pytest.mark.parametrize(("language", "name", "voices"), [
    ("en", "", ["en-us+f2"]), ("en", "male", ["en-us+m3"]), ("de-AT", "", ["de-at+f2", "de+f2", "en-us+f2"]),
    ("zh-TW", "", ["cmn+f2", "zh+f2", "en-us+f2"]), ("en", "en-us+Annie", ["en-us+Annie"]), ("../x", "", ["en-us+f2"]),
])
def test_voices_by_language_and_sex(language: str, name: str, voices: list[str]) -> None:
    assert espeak_voices(language, name, "female") == voices


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "a b", "x" * 50, "-x"])
def test_names_that_open_files_elsewhere_are_refused(name: str) -> None:
    with pytest.raises(ServiceError, match="choose another voice"):
        espeak_voices("en", name, "female")


def test_samples_cut_anywhere_resample_the_same() -> None:
    raw = (8000 * np.sin(np.arange(24_000) / 10)).astype("<i2").tobytes()

    def through(size: int) -> NDArray[np.float32]:
        stream = PcmStream(24_000)
        return np.concatenate([*(stream.push(raw[at:at + size]) for at in range(0, len(raw), size)), stream.flush()])

    whole = through(len(raw))
    assert abs(len(whole) - 16_000) <= 1
    for size in (1001, 480):
        assert np.array_equal(through(size), whole)


def test_without_the_package_only_the_mirror_is_offered(monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "espeakng_loader" else found(name))

    async def main() -> tuple[str, ...]:
        async with Parts(TalkConfig()) as parts:
            return parts.modes

    assert run(main()) == ("mirror",)


@pytest.mark.parametrize(("make", "sentence"), [
    (lambda: TalkConfig(mode="sing"), "live.talk.mode must be mirror or say or companion or chat, not 'sing'"),
    (lambda: TalkConfig(mode="chat"), "live.talk.mode is chat, so live.talk.mind.url must be"),
    (lambda: MindConfig(url="127.0.0.1:8000"), "live.talk.mind.url must look like http://127.0.0.1:8000/v1, not"),
    (lambda: MindConfig(url="http://[::1", model="m"), "live.talk.mind.url must look like"),
    (lambda: MindConfig(url="http://me:pass@host/v1", model="m"), "live.talk.mind.url must not hold a password"),
    (lambda: EarConfig(url="http://host/v1"), "live.talk.ear.url is set, so live.talk.ear.model must name the model"),
    (lambda: VoiceConfig(engine="openai"), "live.talk.voice.engine is openai, so live.talk.voice.url"),
    (lambda: TurnConfig(threshold=2), "live.talk.turns.threshold must be between 0.05 and 0.95, not 2"),
])
def test_settings_that_cannot_be_are_sentences(make: Any, sentence: str) -> None:
    with pytest.raises(ConfigError) as caught:
        make()
    assert str(caught.value).startswith(sentence) and "pass@" not in str(caught.value)


def test_a_mode_without_a_voice_is_refused() -> None:
    async def main() -> None:
        async with Parts(TalkConfig(voice=VoiceConfig(engine="none"))):
            pass

    with pytest.raises(ConfigError, match="live.talk.mode companion needs a voice"):
        run(main())
