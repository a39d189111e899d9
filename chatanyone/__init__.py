"""The application: joins motion and render; owns files, time, network and the command line.

For programs: `from chatanyone import Avatar`, see `chatanyone/avatar.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from chatanyone.avatar import Avatar

__all__ = ["Avatar"]


def __getattr__(name: str) -> Any:
    """Loaded when it is asked for: importing the package must stay cheap."""
    if name == "Avatar":
        from chatanyone.avatar import Avatar

        return Avatar
    raise AttributeError(f"module 'chatanyone' has no attribute '{name}'")
