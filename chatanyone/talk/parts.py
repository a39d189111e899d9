"""What conversations of one server share: the voice detector, the mind's, ear's and voice's services, one HTTP client."""

from __future__ import annotations

from types import TracebackType

from chatanyone.talk.commands import Mode
from chatanyone.talk.settings import TalkConfig


class Parts:
    """Opened once per server and given to every `Conversation`; holds no state of any conversation.

    Raises (on entering):
        ConfigError: a named key is not set, or a package is missing.
    """

    def __init__(self, config: TalkConfig) -> None:
        self.config = config

    async def __aenter__(self) -> Parts:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None,
                        trace: TracebackType | None) -> None:
        await self.close()

    @property
    def modes(self) -> tuple[Mode, ...]:
        """Those that can be chosen here: mirror always, say and companion with a voice, chat with a mind and a voice."""
        return ("mirror",)

    async def close(self) -> None:
        """Ends the voice's process and the HTTP client."""
