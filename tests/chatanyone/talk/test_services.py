"""Minds, ears and voices over HTTP, against a server that behaves and misbehaves."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Coroutine
from typing import Any, TypeVar

import aiohttp
import numpy as np
import pytest
from numpy.typing import NDArray

from chatanyone.errors import ConfigError
from chatanyone.stream.standin import open_standin
from chatanyone.talk.conversation import Conversation
from chatanyone.talk.ears import OpenAIEar
from chatanyone.talk.history import Message
from chatanyone.talk.minds import CUT_OFF, MOST_CHARS, OpenAIMind, messages
from chatanyone.talk.parts import Parts
from chatanyone.talk.service import Service, ServiceError
from chatanyone.talk.settings import EarConfig, MindConfig, TalkConfig, VoiceConfig
from chatanyone.talk.voices import OpenAIVoice
from tests.helpers.services import KEY, TRANSCRIPT, WORDS, OpenAIServer, event, serve
from tests.helpers.talk import hum

T = TypeVar("T")
SLOW = ("hang", "hang in the middle", "comments")  # faults that only a time limit ends
HELLO = [Message("user", "hello")]

EVERYWHERE = {
    "dead": "the service cannot be reached; check that its server runs",
    "hang": "the service did not answer within 0.2 s",
    "status 500": "the service refused with status 500: <b>out of memory</b>",
    "echo of the key": "the service refused with status 500: Bearer …",
    "redirect": "the service refused with status 302",
    "break off": "the service broke off its answer",
    "hang in the middle": "the service did not answer within 0.2 s",
}
MIND = EVERYWHERE | {
    "garbage": "the service answered without an event stream; check its URL",
    "html": "the service answered without an event stream; check its URL",
    "empty": "the service answered without an event stream; check its URL",
    "broken json": "the service sent an event that cannot be read",
    "wrong shape": "the service sent an event that cannot be read",
    "not text": "the service sent an event that cannot be read",
    "list": "the service sent an event that cannot be read",
    "error event": "the service reports an error: model not found",
    "comments": "the service had not finished after 1.6 s; it was cut off",
}
EAR = EVERYWHERE | {
    "garbage": "the service sent no transcript",
    "html": "the service sent no transcript",
    "empty": "the service sent no transcript",
    "not text": "the service sent no transcript",
    "too much": "the service sent more than 100000 bytes; it was cut off",
    "comments": "the service did not answer within 0.2 s",
}
VOICE = EVERYWHERE | {
    "wav file": "the service sent a file where raw samples (response_format pcm) were asked for",
    "empty": "the service sent no sound",
    "too much": "the service sent more than 100000 bytes; it was cut off",
}


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_KEY", KEY)


def service(client: aiohttp.ClientSession, server: OpenAIServer, path: str, key_env: str | None = "TEST_KEY") -> Service:
    return Service(client, "the service", server.url, path, key_env=key_env, timeout_s=0.2 if server.fault in SLOW else 10,
                   limit_bytes=100_000)


def run(work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(asyncio.wait_for(work, 20))


async def reply(fault: str) -> tuple[str, OpenAIServer]:
    async with serve(fault) as server, aiohttp.ClientSession() as client:
        mind = OpenAIMind(service(client, server, "/chat/completions"), "small", 50)
        return "".join([words async for words in mind.reply(HELLO, "be kind")]), server


async def transcribe(fault: str, samples: NDArray[np.float32] = hum(0.5)) -> tuple[str, OpenAIServer]:
    async with serve(fault) as server, aiohttp.ClientSession() as client:
        ear = OpenAIEar(service(client, server, "/audio/transcriptions"), "whisper")
        return await ear.transcribe(samples, "de-AT"), server


async def speak(fault: str) -> tuple[NDArray[np.float32], OpenAIServer]:
    async with serve(fault) as server, aiohttp.ClientSession() as client:
        voice = OpenAIVoice(service(client, server, "/audio/speech"), "kokoro", speed=1.2)
        return np.concatenate([sound async for sound in voice.speak("Hello. ", "en", "male")]), server


def test_a_mind_streams_its_words() -> None:
    said, server = run(reply(""))
    assert said == "".join(WORDS)
    path, headers, body = server.asked[0]
    assert path == "/v1/chat/completions" and headers["Authorization"] == f"Bearer {KEY}"
    assert body == {"model": "small", "stream": True, "max_tokens": 50, "messages": [
        {"role": "system", "content": "be kind"}, {"role": "user", "content": "hello"}]}


def test_an_ear_gets_a_wav_file() -> None:
    words, server = run(transcribe(""))
    assert words == TRANSCRIPT
    body = server.asked[0][2]
    assert (body["model"], body["language"], body["response_format"]) == ("whisper", "de", "json")
    assert body["file"][:4] == b"RIFF" and len(body["file"]) == 44 + 2 * 8000
    assert np.array_equal(np.frombuffer(body["file"][44:], "<i2"), np.round(hum(0.5) * 32767).astype(np.int16))


def test_a_voice_is_resampled_without_a_seam() -> None:
    """The server cuts its bytes inside a sample; what comes out is one hum of half a second."""
    sound, server = run(speak(""))
    assert server.asked[0][2] == {"model": "kokoro", "input": "Hello. ", "voice": "alloy", "response_format": "pcm",
                                  "speed": 1.2}
    assert len(sound) == pytest.approx(8000, abs=2)
    expected = 10_000 / 32768 * np.sin(2 * np.pi * 200 * np.arange(len(sound)) / 16_000)
    assert np.abs(sound - expected)[100:-100].max() < 0.002


@pytest.mark.parametrize("fault", MIND)
def test_a_mind_that_fails_says_how(fault: str) -> None:
    begun = time.monotonic()
    with pytest.raises(ServiceError) as caught:
        run(reply(fault))
    assert str(caught.value).startswith(MIND[fault]) and KEY not in str(caught.value)
    assert time.monotonic() - begun < 5


@pytest.mark.parametrize("fault", EAR)
def test_an_ear_that_fails_says_how(fault: str) -> None:
    with pytest.raises(ServiceError) as caught:
        run(transcribe(fault))
    assert str(caught.value).startswith(EAR[fault]) and KEY not in str(caught.value)


@pytest.mark.parametrize("fault", VOICE)
def test_a_voice_that_fails_says_how(fault: str) -> None:
    with pytest.raises(ServiceError) as caught:
        run(speak(fault))
    assert str(caught.value).startswith(VOICE[fault]) and KEY not in str(caught.value)


def test_a_mind_that_never_ends_is_cut() -> None:
    said, _ = run(reply("too much"))
    assert len(said) == MOST_CHARS


def test_a_mind_that_is_no_longer_wanted_is_hung_up_on() -> None:
    async def main() -> None:
        async with serve("hang in the middle") as server, aiohttp.ClientSession() as client:
            patient = Service(client, "the service", server.url, "/chat/completions", key_env=None, timeout_s=30,
                              limit_bytes=1000)
            words = OpenAIMind(patient, "small", 50).reply(HELLO, "")
            assert await anext(words) == WORDS[0]
            waiting = asyncio.ensure_future(anext(words))
            await asyncio.sleep(0.05)
            begun = time.monotonic()
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
            await asyncio.wait_for(server.hung_up.wait(), 5)
            assert time.monotonic() - begun < 1
            assert "Authorization" not in server.asked[0][1]

    run(main())


def test_keys_are_never_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        run(reply(""))
        with pytest.raises(ServiceError):
            run(reply("echo of the key"))
    assert KEY not in caplog.text


@pytest.mark.parametrize("key", ["", "  ", "two\nlines", "ключ"])
def test_a_key_that_is_not_set_is_refused_at_the_start(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_KEY", key)
    config = TalkConfig(mind=MindConfig(url="http://127.0.0.1:1/v1", model="m", key_env="TEST_KEY"),
                        voice=VoiceConfig(engine="none"), mode="mirror")

    async def main() -> None:
        async with Parts(config):
            pass

    with pytest.raises(ConfigError, match="the language model needs its key in the environment variable TEST_KEY"):
        run(main())


@pytest.mark.parametrize("cut", [1, 3, 7, 1000])
def test_thoughts_are_not_spoken(cut: int) -> None:
    class Canned(OpenAIMind):
        async def _deltas(self, body: Any) -> Any:
            text = "<think>hm, < 3</think>Yes < 4 <thin ice>.<think>more"
            for start in range(0, len(text), cut):
                yield text[start:start + cut]

    async def main() -> str:
        return "".join([words async for words in Canned(None, "m", 1).reply(HELLO, "")])  # type: ignore[arg-type]

    assert run(main()) == "Yes < 4 <thin ice>."


def test_the_history_as_a_mind_gets_it() -> None:
    history = [Message("assistant", "Hi!"), Message("user", "one"), Message("user", "", speech_s=2.0), Message("user", "two"),
               Message("assistant", "I thin", cut=True), Message("user", "stop")]
    assert messages(history, "")[1:] == [
        {"role": "assistant", "content": "Hi!"}, {"role": "user", "content": "one\ntwo"},
        {"role": "assistant", "content": f"I thin {CUT_OFF}"}, {"role": "user", "content": "stop"}]
    assert [message["role"] for message in messages([], "be kind")] == ["system", "user"]


def test_errors_and_events_of_the_wire_are_what_the_helper_sends() -> None:
    assert event("a") == b'data: {"choices": [{"delta": {"content": "a"}}]}\n\n'


def test_a_chat_from_microphone_to_voice() -> None:
    """Ear, mind and voice over HTTP and a live session: once in real time."""
    async def main() -> tuple[list[dict[str, Any]], OpenAIServer, float]:
        async with serve() as server:
            config = TalkConfig(
                mode="chat", greet=False, mind=MindConfig(url=server.url, model="m"), ear=EarConfig(url=server.url, model="e"),
                voice=VoiceConfig(engine="openai", url=server.url, model="v"))
            async with Parts(config) as parts:
                assert parts.modes == ("mirror", "say", "companion", "chat")
                told: list[dict[str, Any]] = []
                conversation = Conversation(parts, told.append)
                session = await open_standin(conversation, size=(32, 48), chirps=False)
                conversation.begin(session)
                conversation.receive('{"type": "session.update", "session": {"audio": {"input": {"turn_detection": null}}}}')
                conversation.receive('{"type": "input_audio_buffer.clear"}')
                conversation.hear(hum(1.0))
                conversation.receive('{"type": "input_audio_buffer.commit"}')
                conversation.receive('{"type": "response.create"}')
                begun = time.monotonic()
                while not any(event["type"] == "output_audio_buffer.started" for event in told):
                    await asyncio.sleep(0.01)
                first = time.monotonic() - begun
                while not any(event["type"] == "response.done" for event in told):
                    await asyncio.sleep(0.01)
                await conversation.close()
                await session.close()
                return told, server, first

    told, server, first = run(main())
    assert [path for path, _, _ in server.asked] == ["/v1/audio/transcriptions", "/v1/chat/completions", "/v1/audio/speech"]
    assert server.asked[1][2]["messages"][-1] == {"role": "user", "content": TRANSCRIPT}
    done = [event for event in told if event["type"] == "response.done"][0]["response"]
    assert done["status"] == "completed" and done["output"][0]["content"][0]["transcript"] == "Hello from the model."
    assert first < 1.5
