"""What settings are held against; each refusal is one sentence that names the setting."""

from __future__ import annotations

from collections.abc import Sequence

from chatanyone.errors import ConfigError


def one_of(name: str, value: str, choices: Sequence[str]) -> None:
    """Refuses what is not among the choices."""
    if value not in choices:
        raise ConfigError(f"{name} must be {' or '.join(choices)}, not '{value}'")


def between(name: str, value: float, low: float, high: float) -> None:
    """Refuses what is out of range."""
    if not low <= value <= high:
        raise ConfigError(f"{name} must be between {low} and {high}, not {value}")
