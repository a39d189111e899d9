"""What conversations of one server share: the voice detector, the mind's, ear's and voice's services, one HTTP client."""

from __future__ import annotations

import logging
from contextlib import AsyncExitStack
from types import TracebackType

import aiohttp

from chatanyone.errors import ConfigError
from chatanyone.talk.commands import Mode
from chatanyone.talk.companion import CompanionMind
from chatanyone.talk.ears import Ear, NoEar, OpenAIEar
from chatanyone.talk.espeak import EspeakProcess
from chatanyone.talk.minds import EchoMind, Mind, OpenAIMind
from chatanyone.talk.service import Service
from chatanyone.talk.settings import TalkConfig, VoiceConfig
from chatanyone.talk.vad import Vad
from chatanyone.talk.voices import EspeakVoice, OpenAIVoice, Voice

_log = logging.getLogger(__name__)

# Bytes of one answer (our choice): a mind's four minutes of talk, a transcript of a minute, two minutes of raw sound.
_MIND_BYTES, _EAR_BYTES, _VOICE_BYTES = 4 << 20, 1 << 18, 24_000 * 2 * 120


class Parts:
    """Opened once per server (``async with``) and given to every `Conversation`; holds no state of any conversation.

    Raises (on entering):
        ConfigError: a named key is not set, or the voice detector's package is missing.

    Attributes:
        vad, ear, voice: shared; `voice` None where there is none.
        instructions: the configured ones.
    """

    def __init__(self, config: TalkConfig) -> None:
        self.config, self.instructions = config, config.mind.instructions
        self.ear: Ear = NoEar()
        self.voice: Voice | None = None
        self._minds: dict[Mode, Mind] = {"mirror": EchoMind(), "say": EchoMind(), "companion": CompanionMind()}
        self._open = AsyncExitStack()

    async def __aenter__(self) -> Parts:
        async with AsyncExitStack() as stack:
            await self._enter(stack)
            self._open = stack.pop_all()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None,
                        trace: TracebackType | None) -> None:
        await self.close()

    @property
    def modes(self) -> tuple[Mode, ...]:
        """Those that can be chosen here: mirror always, say and companion with a voice, chat with a mind and a voice."""
        if self.voice is None:
            return ("mirror",)
        return ("mirror", "say", "companion", "chat") if "chat" in self._minds else ("mirror", "say", "companion")

    def mind(self, mode: Mode) -> Mind:
        """Who answers in a mode of `modes`."""
        return self._minds[mode]

    async def close(self) -> None:
        """Ends the voice's process and the HTTP client; may be called twice."""
        await self._open.aclose()

    async def _enter(self, stack: AsyncExitStack) -> None:
        config = self.config
        self.vad = Vad(config.turns.speech_ms)
        # The environment's proxies are ignored: a service on this machine must not be asked through one.
        client = await stack.enter_async_context(aiohttp.ClientSession(trust_env=False))
        if (mind := config.mind).url:
            service = Service(client, "the language model", mind.url, "/chat/completions", key_env=mind.key_env,
                              timeout_s=mind.timeout_s, limit_bytes=_MIND_BYTES)
            self._minds["chat"] = OpenAIMind(service, mind.model, mind.max_tokens)
        if (ear := config.ear).url:
            service = Service(client, "the transcription service", ear.url, "/audio/transcriptions", key_env=ear.key_env,
                              timeout_s=ear.timeout_s, limit_bytes=_EAR_BYTES)
            self.ear = OpenAIEar(service, ear.model)
        self.voice = self._voice(config.voice, client, stack)
        if config.voice.engine == "none" and config.mode != "mirror":
            raise ConfigError(f"live.talk.mode {config.mode} needs a voice; set live.talk.voice.engine, or the mode to mirror")

    def _voice(self, config: VoiceConfig, client: aiohttp.ClientSession, stack: AsyncExitStack) -> Voice | None:
        if config.engine == "none":
            return None
        if config.engine == "openai" and config.url:
            service = Service(client, "the speech service", config.url, "/audio/speech", key_env=config.key_env,
                              timeout_s=config.timeout_s, limit_bytes=_VOICE_BYTES)
            return OpenAIVoice(service, config.model, name=config.name, speed=config.speed)
        try:
            process = EspeakProcess()
        except ConfigError as error:
            _log.warning("only the mirror is offered: %s", error)
            return None
        stack.push_async_callback(process.close)
        process.warm()
        return EspeakVoice(process, name=config.name, sex=config.sex, speed=config.speed)
