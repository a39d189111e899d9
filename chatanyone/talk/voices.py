"""How the avatar sounds: espeak-ng in a process of its own, or a speech server."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from chatanyone.media.audio import resample
from chatanyone.talk.espeak import EspeakProcess, NoSuchVoice
from chatanyone.talk.resampling import PcmStream
from chatanyone.talk.service import Service, ServiceError
from chatanyone.timebase import SAMPLE_RATE_HZ

_OPENAI_HZ = 24_000  # of response_format pcm
_PAUSES_S = {".": 0.3, "!": 0.3, "?": 0.3, "…": 0.4, ",": 0.12, ";": 0.2, ":": 0.2}  # espeak-ng ends a text without one
_WORDS_A_MINUTE = 160  # espeak-ng's own 175 is hurried (our choice)
_RANGE = 60  # of pitch; espeak-ng's own 50 is flat (our choice)
_VARIANTS = {"female": "+f2", "male": "+m3"}
_LANGUAGES = {"en": "en-us", "en-gb": "en", "zh": "cmn", "zh-cn": "cmn", "zh-tw": "cmn", "zh-hk": "yue", "pt": "pt-br",
              "pt-pt": "pt", "es-mx": "es-419", "no": "nb"}
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9+_-]{0,40}")  # espeak-ng opens files by this name


class Voice(Protocol):
    """Holds no state of a conversation."""

    def speak(self, text: str, language: str, name: str) -> AsyncIterator[NDArray[np.float32]]:
        """One piece of text as sound, 16 kHz mono in [-1, 1], in pieces of any length; close it to stop.

        Args:
            language: BCP 47.
            name: of the voice, as the engine calls it; ``female`` or ``male``; empty for the configured one.

        Raises:
            ServiceError: the voice failed, with the sentence that says how.
        """


class EspeakVoice:
    """espeak-ng: offline, some hundred languages, not a human voice. Needs the package `espeakng-loader`."""

    def __init__(self, process: EspeakProcess, *, name: str = "", sex: str = "female", speed: float = 1.0) -> None:
        self._process, self._name, self._sex = process, name, sex
        self._rate = round(min(max(_WORDS_A_MINUTE * speed, 80), 450))

    async def speak(self, text: str, language: str, name: str) -> AsyncIterator[NDArray[np.float32]]:
        sound, rate_hz = await self._first(text, espeak_voices(language, name or self._name, self._sex))
        yield resample(sound.astype(np.float32) / 32768, rate_hz)
        if pause_s := _PAUSES_S.get(text.rstrip()[-1:], 0.0):
            yield np.zeros(round(pause_s * SAMPLE_RATE_HZ), np.float32)

    async def _first(self, text: str, voices: list[str]) -> tuple[NDArray[np.int16], int]:
        """By the first voice that exists."""
        for voice in voices[:-1]:
            try:
                return await self._process.speak(text, voice, rate=self._rate, pitch_range=_RANGE)
            except NoSuchVoice:
                continue
        return await self._process.speak(text, voices[-1], rate=self._rate, pitch_range=_RANGE)


class OpenAIVoice:
    """`/v1/audio/speech`, streamed as PCM: speaches, LocalAI, Kokoro servers and others."""

    def __init__(self, service: Service, model: str, *, name: str = "", speed: float = 1.0) -> None:
        self._service, self._model, self._name, self._speed = service, model, name or "alloy", speed

    async def speak(self, text: str, language: str, name: str) -> AsyncIterator[NDArray[np.float32]]:
        voice = self._name if name in _VARIANTS else name or self._name  # a server has names, not sexes
        body = {"model": self._model, "input": text, "voice": voice, "response_format": "pcm",
                "speed": self._speed}
        stream = PcmStream(_OPENAI_HZ)
        async with aclosing(self._service.stream(json=body)) as chunks:  # type: ignore[type-var]
            async for chunk in chunks:
                _refuse_container(self._service.name, chunk, stream)
                if len(samples := stream.push(chunk)):
                    yield samples
        if stream.fresh:
            raise ServiceError(f"{self._service.name} sent no sound")
        yield stream.flush()


def espeak_voices(language: str, name: str, sex: str) -> list[str]:
    """espeak-ng's names to try: `name` if it is one, otherwise by language and sex, at last English.

    Raises:
        ServiceError: the name has letters that no voice has.
    """
    if name and name not in _VARIANTS:
        if not _NAME.fullmatch(name):
            raise ServiceError("espeak-ng's voices have names such as de or en-us+f2; choose another voice")
        return [name]
    language = language.lower()
    base = language.split("-")[0]
    wanted = [_LANGUAGES.get(language, language), base if "-" in language else "", "en-us"]
    return [voice + _VARIANTS[name or sex] for voice in dict.fromkeys(wanted) if _NAME.fullmatch(voice)]


def _refuse_container(name: str, chunk: bytes, stream: PcmStream) -> None:
    """A server that ignores `response_format` sends a file; played as samples it would be noise."""
    if stream.fresh and chunk[:4] in (b"RIFF", b"OggS", b"fLaC", b"ID3\x04", b"ID3\x03", b'{"er'):
        raise ServiceError(f"{name} sent a file where raw samples (response_format pcm) were asked for")
