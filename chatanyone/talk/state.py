"""The settings of one conversation, as the page may change them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from chatanyone.stream.types import Dials
from chatanyone.talk.commands import Mode, PushToTalk, SessionChanges
from chatanyone.talk.fields import CommandError, shown
from chatanyone.talk.settings import TalkConfig


_MOST_GROUPS = 64  # against a page that makes up names


@dataclass(frozen=True)
class TalkState:
    """What is in force. `instructions` None: the server's own. `answer`, `interrupt`: see `TurnDetection`."""

    mode: Mode
    language: str
    threshold: float
    silence_ms: int
    instructions: str | None = None
    voice: str = ""
    push_to_talk: bool = False
    answer: bool = True
    interrupt: bool = True
    style: str = ""
    dials: Dials = field(default_factory=Dials)

    def public(self) -> dict[str, Any]:
        """As `session.created` shows it; the server's own instructions are not shown."""
        detection = {"type": "server_vad", "threshold": self.threshold, "silence_duration_ms": self.silence_ms,
                     "create_response": self.answer, "interrupt_response": self.interrupt}
        dials = {"expression": self.dials.expression, "pose": self.dials.pose, "gesture": self.dials.gesture,
                 "groups": dict(self.dials.groups)}
        return {"object": "realtime.session", "type": "realtime", "mode": self.mode, "language": self.language,
                "instructions": self.instructions, "style": self.style or None, "dials": dials,
                "audio": {"input": {"turn_detection": None if self.push_to_talk else detection},
                          "output": {"voice": self.voice or None}}}


def first_state(config: TalkConfig, modes: tuple[Mode, ...]) -> TalkState:
    """The configured mode, or the first one that works here."""
    mode = next((mode for mode in modes if mode == config.mode), modes[0])
    return TalkState(mode, config.language, config.turns.threshold, config.turns.silence_ms)


def changed(state: TalkState, changes: SessionChanges, modes: tuple[Mode, ...],
            groups: tuple[str, ...] | None = None) -> TalkState:
    """The state after `changes`; `groups`: the dials of groups that exist, None when nobody knows.

    Raises:
        CommandError: a mode that does not work here, an unknown group.
    """
    for name in changes.groups:
        if groups is not None and name not in groups:
            raise CommandError(f"unknown dial {shown(name)}; known here: {', '.join(groups)}", code="unknown_parameter",
                               param="session.dials.groups")
    if len({*state.dials.groups, *changes.groups}) > _MOST_GROUPS:
        raise CommandError(f"there are at most {_MOST_GROUPS} dials of groups", param="session.dials.groups")
    if changes.mode is not None and changes.mode not in modes:
        raise CommandError(f"mode {changes.mode} does not work on this server; it can do {', '.join(modes)}",
                           code="unavailable_mode", param="session.mode")
    plain = {name: value for name in ("mode", "instructions", "language", "voice", "style")
             if (value := getattr(changes, name)) is not None}
    return replace(state, **plain, **_turns(changes), dials=_dials(state.dials, changes.dials, changes.groups))


def _turns(changes: SessionChanges) -> dict[str, Any]:
    if changes.turns is None:
        return {}
    if isinstance(changes.turns, PushToTalk):
        return {"push_to_talk": True}
    names = ("threshold", "silence_ms", "answer", "interrupt")
    return {"push_to_talk": False} | {name: value for name in names if (value := getattr(changes.turns, name)) is not None}


def _dials(dials: Dials, strengths: Mapping[str, float], groups: Mapping[str, float]) -> Dials:
    return replace(dials, **dict(strengths), groups={**dials.groups, **groups})
