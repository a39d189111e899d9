"""A conversation on virtual time: the stand-in session, and a detector, minds, voices and ears that obey tests."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chatanyone.stream.session import Session
from chatanyone.stream.standin import open_standin
from chatanyone.stream.types import Unit
from chatanyone.talk.commands import Mode
from chatanyone.talk.conversation import Conversation
from chatanyone.talk.ears import Ear, NoEar
from chatanyone.talk.history import Message
from chatanyone.talk.minds import EchoMind, Mind
from chatanyone.talk.service import ServiceError
from chatanyone.talk.settings import MindConfig, TalkConfig, TurnConfig
from chatanyone.talk.vad import Vad

RATE = 16_000
MINDED = MindConfig(url="http://127.0.0.1:1/v1", model="scripted")  # never asked
PACKET = 320  # samples of a packet, 20 ms


class LoudIsVoice(Vad):
    """The detector with its windows, thresholds and durations, and a network that takes any sound for a voice."""

    def __init__(self, speech_ms: int = 64) -> None:
        self._net = self
        self._speech = speech_ms * RATE // 1000
        self._rate = np.array(RATE, np.int64)

    def run(self, names: None, inputs: dict[str, NDArray[np.float32]]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        loud = float(np.sqrt((inputs["input"][0, 64:] ** 2).mean()))
        return np.array([[min(loud * 10, 1.0)]], np.float32), inputs["state"]


@dataclass
class ScriptMind:
    """Says `words`, one every `pause_s`; `fault` comes after them."""

    words: list[str] = field(default_factory=lambda: ["One two three four five. ", "Six seven eight nine ten. "])
    pause_s: float = 0.05
    fault: str | None = None
    asked: list[list[Message]] = field(default_factory=list)
    closed: int = 0

    async def reply(self, history: Iterable[Message], instructions: str) -> AsyncIterator[str]:
        self.asked.append([Message(m.role, m.text, m.item_id, m.speech_s, m.cut) for m in history])
        try:
            for word in self.words:
                await asyncio.sleep(self.pause_s)
                yield word
            if self.fault is not None:
                raise ServiceError(self.fault)
        finally:
            self.closed += 1


@dataclass
class ToneVoice:
    """A hum, 0.1 s a letter."""

    first_s: float = 0.1
    fault: str | None = None
    said: list[str] = field(default_factory=list)
    open: int = 0

    async def speak(self, text: str, language: str, name: str) -> AsyncIterator[NDArray[np.float32]]:
        self.said.append(text)
        self.open += 1
        try:
            await asyncio.sleep(self.first_s)
            if self.fault is not None:
                raise ServiceError(self.fault)
            for _ in text.strip():
                yield hum(0.1)
        finally:
            self.open -= 1


@dataclass
class ScriptEar:
    """Answers `words` after `pause_s`."""

    words: str = "hello there"
    pause_s: float = 0.1
    fault: str | None = None
    heard: list[NDArray[np.float32]] = field(default_factory=list)
    understands = True

    async def transcribe(self, samples: NDArray[np.float32], language: str) -> str:
        self.heard.append(samples)
        await asyncio.sleep(self.pause_s)
        if self.fault is not None:
            raise ServiceError(self.fault)
        return self.words


class FakeParts:
    """What `Parts` gives, without services."""

    def __init__(self, mind: Mind | None = None, ear: Ear | None = None, voice: ToneVoice | None = None,
                 **config: Any) -> None:
        settings: dict[str, Any] = {"mode": "companion", "greet": False, "turns": TurnConfig(), "mind": MINDED} | config
        self.config = TalkConfig(**settings)
        self.instructions = "be kind"
        self.vad, self.ear, self.voice = LoudIsVoice(self.config.turns.speech_ms), ear or NoEar(), voice or ToneVoice()
        self.modes: tuple[Mode, ...] = ("mirror", "say", "companion", "chat")
        self.script = mind or ScriptMind()

    @property
    def asked(self) -> list[list[Message]]:
        """What the scripted mind was asked, each time."""
        assert isinstance(self.script, ScriptMind)
        return self.script.asked

    def mind(self, mode: Mode) -> Mind:
        return EchoMind() if mode in ("mirror", "say") else self.script


class Talk:
    """A conversation over a stand-in session; `events` with the time of each, `units` with the time of each."""

    def __init__(self, parts: Any, session: Session) -> None:
        self.session, self.parts = session, parts
        self.events: list[tuple[float, dict[str, Any]]] = []
        self.units: list[tuple[float, Unit]] = []
        self.conversation = Conversation(parts, lambda event: self.events.append((self.now, event)))
        session.events = self.conversation
        self._watching = asyncio.ensure_future(self._watch())

    @property
    def now(self) -> float:
        return asyncio.get_running_loop().time()

    async def _watch(self) -> None:
        async for unit in self.session.units():
            self.units.append((self.now, unit))

    def names(self) -> list[str]:
        return [event["type"] for _, event in self.events]

    def all(self, name: str) -> list[dict[str, Any]]:
        return [event for _, event in self.events if event["type"] == name]

    def when(self, name: str) -> float:
        """Time of the last event of that name."""
        return [time for time, event in self.events if event["type"] == name][-1]

    async def hear(self, samples: NDArray[np.float32]) -> None:
        """The microphone in real time: packets of 20 ms."""
        for start in range(0, len(samples), PACKET):
            await asyncio.sleep(PACKET / RATE)
            self.conversation.hear(samples[start:start + PACKET])

    async def until(self, true: Callable[[], object], within_s: float = 30.0) -> None:
        end = self.now + within_s
        while not true():
            assert self.now < end, f"never came; events so far: {self.names()}"
            await asyncio.sleep(0.005)

    async def speaking(self) -> None:
        """Waits until the avatar is heard."""
        await self.until(lambda: self.units and np.abs(self.units[-1][1].sound).max() > 1000)

    def sound(self) -> NDArray[np.float32]:
        return np.concatenate([unit.sound for _, unit in self.units]).astype(np.float32) / 32768

    async def close(self) -> None:
        await self.conversation.close()
        await self.session.close()
        await self._watching


async def open_talk(parts: Any, *, begin: bool = True) -> Talk:
    session = await open_standin(size=(32, 48), chirps=False, work_s=lambda number: 0.02)
    talk = Talk(parts, session)
    if begin:
        talk.conversation.begin(session)
    return talk


def hum(seconds: float, loud: float = 0.3) -> NDArray[np.float32]:
    return (loud * np.sin(2 * np.pi * 200 * np.arange(round(RATE * seconds)) / RATE)).astype(np.float32)


def silence(seconds: float) -> NDArray[np.float32]:
    return np.zeros(round(RATE * seconds), np.float32)


def typed(talk: Talk, text: str) -> None:
    """A message and the wish for an answer."""
    item = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]}
    talk.conversation.receive(json.dumps({"type": "conversation.item.create", "item": item}))
    talk.conversation.receive('{"type": "response.create"}')
