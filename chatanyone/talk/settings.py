"""Settings of the talk, section `live.talk`. Addresses and names of keys come from here alone, never from a page."""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import urlsplit

from chatanyone.config_checks import between, one_of
from chatanyone.errors import ConfigError
from chatanyone.talk.commands import MODES

PERSONA = ("You are the person in the picture, in a live video chat. Answer in one to three short spoken sentences, without "
           "lists, markup or emoji. If asked, say openly that you are an animated picture driven by a language model.")


@dataclass
class TurnConfig:
    """When somebody's turn begins and ends."""

    threshold: float = 0.5  # of the voice detector, 0.05 to 0.95
    echo_margin: float = 0.1  # added to the threshold while the avatar speaks: its own voice may reach the microphone
    echo_floor: float = 0.02  # while it speaks, quieter sound (root mean square) is nobody: what echo cancelling leaves over
    speech_ms: int = 64  # voice shorter than this is not speech
    silence_ms: int = 500  # a pause this long ends the user's turn
    confirm_ms: int = 400  # without an ear, speech longer than this is an interruption and not a cough
    confirm_s: float = 1.5  # no words within this time after the avatar was stopped: it goes on
    jitter_ms: int = 60  # mirror: sound kept back against a microphone that comes unevenly

    def __post_init__(self) -> None:
        between("live.talk.turns.threshold", self.threshold, 0.05, 0.95)
        between("live.talk.turns.echo_margin", self.echo_margin, 0, 0.5)
        between("live.talk.turns.echo_floor", self.echo_floor, 0, 1)
        between("live.talk.turns.speech_ms", self.speech_ms, 32, 1000)
        between("live.talk.turns.silence_ms", self.silence_ms, 100, 5000)
        between("live.talk.turns.confirm_ms", self.confirm_ms, 32, 5000)
        between("live.talk.turns.confirm_s", self.confirm_s, 0.2, 10)
        between("live.talk.turns.jitter_ms", self.jitter_ms, 0, 1000)


@dataclass
class MindConfig:
    """The language model of mode `chat`: any server with /v1/chat/completions."""

    url: str | None = None  # up to and with /v1, such as http://127.0.0.1:11434/v1; None: no chat mode
    model: str = ""  # the server's name for it
    key_env: str | None = None  # name of the environment variable that holds the key
    timeout_s: float = 15.0  # to the first word, and between words
    max_tokens: int = 300
    instructions: str = PERSONA

    def __post_init__(self) -> None:
        _service("live.talk.mind", self.url, self.model, self.timeout_s)
        between("live.talk.mind.max_tokens", self.max_tokens, 1, 4096)


@dataclass
class EarConfig:
    """Speech to text: any server with /v1/audio/transcriptions."""

    url: str | None = None  # None: no ear; words that are spoken stay unknown
    model: str = ""
    key_env: str | None = None
    timeout_s: float = 10.0

    def __post_init__(self) -> None:
        _service("live.talk.ear", self.url, self.model, self.timeout_s)


@dataclass
class VoiceConfig:
    """Text to speech: espeak-ng on this machine, or any server with /v1/audio/speech."""

    engine: str = "espeak"  # espeak (the package espeakng-loader) | openai | none
    name: str = ""  # of the voice; empty: espeak picks by language and sex, a server uses its `alloy`
    sex: str = "female"  # of espeak's voice: female | male
    speed: float = 1.0  # 0.5 to 2
    url: str | None = None
    model: str = ""
    key_env: str | None = None
    timeout_s: float = 10.0  # to the first sound, and between sounds

    def __post_init__(self) -> None:
        one_of("live.talk.voice.engine", self.engine, ("espeak", "openai", "none"))
        one_of("live.talk.voice.sex", self.sex, ("female", "male"))
        between("live.talk.voice.speed", self.speed, 0.5, 2)
        _service("live.talk.voice", self.url, self.model, self.timeout_s)
        if self.engine == "openai" and self.url is None:
            raise ConfigError("live.talk.voice.engine is openai, so live.talk.voice.url must be the server's address")


@dataclass
class TalkConfig:
    """Who talks and how."""

    mode: str = "companion"  # at the start: mirror | say | companion | chat
    language: str = "en"  # BCP 47: en, de, zh, pt-BR
    greet: bool = True  # companion and chat speak first
    turns: TurnConfig = field(default_factory=TurnConfig)
    mind: MindConfig = field(default_factory=MindConfig)
    ear: EarConfig = field(default_factory=EarConfig)
    voice: VoiceConfig = field(default_factory=VoiceConfig)

    def __post_init__(self) -> None:
        one_of("live.talk.mode", self.mode, MODES)
        if self.mode == "chat" and self.mind.url is None:
            raise ConfigError("live.talk.mode is chat, so live.talk.mind.url must be the address of a language model")


def _service(name: str, url: str | None, model: str, timeout_s: float) -> None:
    between(f"{name}.timeout_s", timeout_s, 0.1, 120)
    if url is None:
        return
    try:
        parts = urlsplit(url)
        fine = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        fine = False
    if not fine:
        raise ConfigError(f"{name}.url must look like http://127.0.0.1:8000/v1, not '{url}'")
    if parts.username or parts.password:
        raise ConfigError(f"{name}.url must not hold a password; name the key's environment variable in {name}.key_env")
    if not model:
        raise ConfigError(f"{name}.url is set, so {name}.model must name the model")
