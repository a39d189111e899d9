"""What the page may say: a JSON message → a typed command, or `CommandError` with one sentence.

The names and the shapes are OpenAI Realtime's client events; `mode`, `style`, `dials` and `language` inside `session` are
ours. Unknown names and unknown settings are refused: a slider that silently does nothing is worse than a sentence.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, get_args, Literal

from chatanyone.talk.fields import CommandError, flag, known, number, section, shown, text_of

Mode = Literal["mirror", "say", "companion", "chat"]
MODES: tuple[Mode, ...] = get_args(Mode)
MAX_MESSAGE_CHARS = 32_768
MAX_DIAL = 2.0  # strengths of groups go down to its negative: some turn a frown into a smile


@dataclass(frozen=True)
class TurnDetection:
    """Voice activity detection; None keeps what is in force.

    threshold: 0 to 1; silence_ms: how long a pause ends the user's turn; answer, interrupt: whether the end of speech asks
    for an answer and its start stops the avatar
    """

    threshold: float | None = None
    silence_ms: int | None = None
    answer: bool | None = None
    interrupt: bool | None = None


class PushToTalk:
    """No detection: `ClearInput` begins the user's turn, `CommitInput` ends it, `CreateResponse` asks for the answer."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PushToTalk)

    def __hash__(self) -> int:
        return 0


@dataclass(frozen=True)
class SessionChanges:
    """Settings to change; None (and an absent dial) keeps what is in force; an empty `style` is the default style."""

    mode: Mode | None = None
    instructions: str | None = None
    language: str | None = None
    voice: str | None = None
    turns: TurnDetection | PushToTalk | None = None
    style: str | None = None
    dials: Mapping[str, float] = field(default_factory=dict)  # expression, pose, gesture
    groups: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class UpdateSession:
    """`session.update`"""

    changes: SessionChanges


@dataclass(frozen=True)
class AddText:
    """`conversation.item.create`: a typed message; `CreateResponse` asks for the answer."""

    text: str


@dataclass(frozen=True)
class CreateResponse:
    """`response.create`"""

    instructions: str | None = None


@dataclass(frozen=True)
class CancelResponse:
    """`response.cancel` and `output_audio_buffer.clear`: be silent now."""


@dataclass(frozen=True)
class ClearInput:
    """`input_audio_buffer.clear`"""


@dataclass(frozen=True)
class CommitInput:
    """`input_audio_buffer.commit`"""


Command = UpdateSession | AddText | CreateResponse | CancelResponse | ClearInput | CommitInput


def parse(message: str | bytes) -> tuple[Command, str | None]:
    """The command in one message of the data channel, and the message's own id if it has one.

    Raises:
        CommandError: not JSON, not an object, unknown, too long, or a field that cannot be.
    """
    event = _object(message)
    given = event.get("event_id")
    event_id = given[:100] if isinstance(given, str) else None
    try:
        name = event.get("type")
        if not isinstance(name, str) or name not in _READERS:
            raise CommandError(f"unknown event {shown(name)}; known here: {', '.join(_READERS)}", code="unknown_event",
                               param="type")
        return _READERS[name](event), event_id
    except CommandError as fault:
        fault.event_id = event_id
        raise


def read_changes(session: Mapping[str, Any]) -> SessionChanges:
    """The `session` object of `session.update` and of the call that opens the session.

    Raises:
        CommandError: an unknown setting, or a value that cannot be.
    """
    known(session, ("type", "mode", "instructions", "language", "audio", "style", "dials"), "session")
    audio = section(session, "audio", ("input", "output"), "session.audio")
    heard = section(audio, "input", ("turn_detection",), "session.audio.input")
    voice = section(audio, "output", ("voice",), "session.audio.output")
    dials = dict(section(session, "dials", ("expression", "pose", "gesture", "groups"), "session.dials"))
    groups = dials.pop("groups", {})
    mode = session.get("mode")
    if mode is not None and mode not in MODES:
        raise CommandError(f"session.mode must be {' or '.join(MODES)}, not {shown(mode)}", param="session.mode")
    style = session.get("style", ...)
    return SessionChanges(
        mode=mode, instructions=text_of(session, "instructions", "session.instructions"),
        language=text_of(session, "language", "session.language", 35),
        voice=text_of(voice, "voice", "session.audio.output.voice", 100),
        turns=_turns(heard), style="" if style is None else text_of(session, "style", "session.style", 100),
        dials=_dials(dials, "session.dials", 0), groups=_dials(groups, "session.dials.groups", -MAX_DIAL))


def _object(message: str | bytes) -> dict[str, Any]:
    if len(message) > MAX_MESSAGE_CHARS:
        raise CommandError(f"a message may have {MAX_MESSAGE_CHARS} characters, this one has {len(message)}; send less",
                           code="too_long")
    try:
        event = json.loads(message)
    except (ValueError, RecursionError):
        raise CommandError("a message must be one JSON object, this is not JSON", code="not_json") from None
    if not isinstance(event, dict):
        raise CommandError("a message must be one JSON object with a 'type'", code="not_json")
    return event


def _update(event: Mapping[str, Any]) -> UpdateSession:
    session = event.get("session")
    if not isinstance(session, dict):
        raise CommandError("session.update needs an object 'session' with the settings to change", param="session")
    return UpdateSession(read_changes(session))


def _add_text(event: Mapping[str, Any]) -> AddText:
    item = event.get("item")
    content = item.get("content") if isinstance(item, dict) else None
    if not isinstance(item, dict) or item.get("type") != "message" or item.get("role") != "user" \
            or not isinstance(content, list) or len(content) != 1 or not isinstance(content[0], dict) \
            or content[0].get("type") != "input_text":
        raise CommandError("conversation.item.create takes a user's message with one part of type input_text", param="item")
    text = text_of(content[0], "text", "item.content.text")
    if not (text or "").strip():
        raise CommandError("the message is empty; type some words", param="item.content.text")
    return AddText(str(text).strip())


def _create(event: Mapping[str, Any]) -> CreateResponse:
    asked = section(event, "response", ("instructions",), "response")
    return CreateResponse(text_of(asked, "instructions", "response.instructions"))


def _append(event: Mapping[str, Any]) -> Command:
    raise CommandError("sound comes over the call's audio track, not in messages; add the microphone's track to the call",
                       code="unsupported_event", param="type")


_READERS: dict[str, Callable[[Mapping[str, Any]], Command]] = {
    "session.update": _update,
    "conversation.item.create": _add_text,
    "response.create": _create,
    "response.cancel": lambda event: CancelResponse(),
    "output_audio_buffer.clear": lambda event: CancelResponse(),
    "input_audio_buffer.clear": lambda event: ClearInput(),
    "input_audio_buffer.commit": lambda event: CommitInput(),
    "input_audio_buffer.append": _append,
}


def _turns(heard: Mapping[str, Any]) -> TurnDetection | PushToTalk | None:
    if "turn_detection" not in heard:
        return None
    if heard["turn_detection"] is None:
        return PushToTalk()
    where = "session.audio.input.turn_detection"
    names = ("type", "threshold", "silence_duration_ms", "create_response", "interrupt_response", "prefix_padding_ms")
    given = section(heard, "turn_detection", names, where)
    if given.get("type", "server_vad") != "server_vad":
        raise CommandError(f"{where}.type must be server_vad, or turn_detection null for push-to-talk",
                           param=f"{where}.type")
    silence = number(given, "silence_duration_ms", f"{where}.silence_duration_ms", 100, 5000)
    return TurnDetection(threshold=number(given, "threshold", f"{where}.threshold", 0.05, 0.95),
                         silence_ms=None if silence is None else round(silence),
                         answer=flag(given, "create_response", f"{where}.create_response"),
                         interrupt=flag(given, "interrupt_response", f"{where}.interrupt_response"))


def _dials(given: Any, where: str, low: float) -> dict[str, float]:
    if not isinstance(given, dict) or len(given) > 32:
        raise CommandError(f"{where} must be an object of names and strengths", param=where)
    numbers = {str(name): number(given, name, f"{where}.{name}"[:100], low, MAX_DIAL) for name in given}
    return {name: value for name, value in numbers.items() if value is not None}
