"""What the user said: a transcription server, or nobody who understands."""

from __future__ import annotations

import io
import json
import wave
from typing import Protocol

import aiohttp
import numpy as np
from numpy.typing import NDArray

from chatanyone.talk.service import Service, ServiceError
from chatanyone.timebase import SAMPLE_RATE_HZ


class Ear(Protocol):
    """Holds no state of a conversation."""

    @property
    def understands(self) -> bool:
        """False: `transcribe` always answers nothing, so nothing follows from an empty answer."""

    async def transcribe(self, samples: NDArray[np.float32], language: str) -> str:
        """The words in ``[n]`` samples, 16 kHz; empty when there are none.

        Raises:
            ServiceError: the ear failed, with the sentence that says how.
        """


class NoEar:
    """Offline: speech is noticed, words are not understood."""

    understands = False

    async def transcribe(self, samples: NDArray[np.float32], language: str) -> str:
        return ""


class OpenAIEar:
    """`/v1/audio/transcriptions`, a WAV file per utterance: speaches, LocalAI, vLLM with Whisper, and others."""

    understands = True

    def __init__(self, service: Service, model: str) -> None:
        self._service, self._model = service, model

    async def transcribe(self, samples: NDArray[np.float32], language: str) -> str:
        form = aiohttp.FormData()
        form.add_field("file", wav(samples), filename="speech.wav", content_type="audio/wav")
        form.add_field("model", self._model)
        form.add_field("response_format", "json")
        form.add_field("language", language.split("-")[0])
        answer = await self._service.whole(data=form)
        try:
            text = json.loads(answer)["text"]
        except (ValueError, LookupError, TypeError, RecursionError):
            text = None
        if not isinstance(text, str):
            raise ServiceError(f"{self._service.name} sent no transcript")
        text = " ".join(text.encode("utf-8", "replace").decode().split())
        return text if any(letter.isalnum() for letter in text) else ""


def wav(samples: NDArray[np.float32]) -> bytes:
    """16-bit mono WAV at 16 kHz."""
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(SAMPLE_RATE_HZ)
        writer.writeframes(np.round(np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes())
    return file.getvalue()
