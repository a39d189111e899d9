"""Fields of a message: read with a check, refused with a sentence that names the field."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from chatanyone.errors import ChatAnyoneError

MAX_TEXT_CHARS = 4_000  # of one typed message or of the instructions


class CommandError(ChatAnyoneError):
    """A message was refused.

    code: for programs; param: the field at fault; event_id: the message's own id, if it had one
    """

    def __init__(self, sentence: str, *, code: str = "invalid_value", param: str | None = None,
                 event_id: str | None = None) -> None:
        super().__init__(sentence)
        self.code, self.param, self.event_id = code, param, event_id


def known(given: Mapping[str, Any], names: tuple[str, ...], where: str) -> None:
    """Refuses a name that is not among `names`."""
    for name in given:
        if name not in names:
            raise CommandError(f"unknown setting {shown(name)} in {where}; known here: {', '.join(names)}",
                               code="unknown_parameter", param=where)


def section(given: Mapping[str, Any], name: str, names: tuple[str, ...], where: str) -> Mapping[str, Any]:
    """An object inside an object; absent and null are empty."""
    inner = given.get(name)
    if inner is None:
        return {}
    if not isinstance(inner, dict):
        raise CommandError(f"{where} must be an object, not {shown(inner)}", param=where)
    known(inner, names, where)
    return inner


def text_of(given: Mapping[str, Any], name: str, where: str, limit: int = MAX_TEXT_CHARS) -> str | None:
    """Text of at most `limit` characters, None when absent; encodable as UTF-8."""
    value = given.get(name)
    if value is not None and not isinstance(value, str):
        raise CommandError(f"{where} must be text, not {shown(value)}", param=where)
    if value is not None and len(value) > limit:
        raise CommandError(f"{where} may have {limit} characters, this has {len(value)}", code="too_long", param=where)
    # A lone half of a surrogate pair is legal JSON and no text: nothing after this could encode it.
    return value if value is None else value.encode("utf-8", "replace").decode()


def number(given: Mapping[str, Any], name: str, where: str, low: float, high: float) -> float | None:
    """A number in [low, high], None when absent."""
    value = given.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
        raise CommandError(f"{where} must be a number from {low:g} to {high:g}, not {shown(value)}", param=where)
    return float(value)


def flag(given: Mapping[str, Any], name: str, where: str) -> bool | None:
    """True or false, None when absent."""
    value = given.get(name)
    if value is not None and not isinstance(value, bool):
        raise CommandError(f"{where} must be true or false, not {shown(value)}", param=where)
    return value


def shown(value: object) -> str:
    """A value in a sentence, short."""
    plain = value is None or isinstance(value, (str, int, float, bool))
    text = json.dumps(value, ensure_ascii=False) if plain else type(value).__name__
    return (text if len(text) <= 60 else text[:57] + "…").encode("utf-8", "replace").decode()
