"""What a call needs of WebRTC, and nothing of how it is done; `chatanyone.serve.rtc` does it with aiortc."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from numpy.typing import NDArray

from chatanyone.errors import ChatAnyoneError
from chatanyone.serve.broadcast import Broadcast


class SignallingError(ChatAnyoneError):
    """The offer cannot be answered."""


def _nothing(*arguments: Any) -> None:
    return None


@dataclass
class PeerEvents:
    """What a peer reports, on the event loop; each is called with what its name says and must return at once."""

    opened: Callable[[], None] = _nothing  # the data channel can be used
    message: Callable[[str | bytes], None] = _nothing  # from the data channel
    sound: Callable[[NDArray[Any]], None] = _nothing  # the user's, 16 kHz float32
    estimate: Callable[[int], None] = _nothing  # kbit/s that the way bears, as the receiver sees it
    connected: Callable[[], None] = _nothing
    gone: Callable[[str], None] = _nothing  # why, a sentence; once


class Peer(Protocol):
    """One WebRTC connection that looks at a broadcast."""

    async def answer(self, offer: str) -> str:
        """SDP in, SDP out; media flows as soon as the ways are found.

        Raises:
            SignallingError: the offer cannot be read, or has nothing in common with what we send.
        """

    def send(self, message: str) -> bool:
        """One message to the data channel; False when there is none, or the client does not take any more."""

    def stats(self) -> Mapping[str, float]:
        """Names to numbers: packets, bytes, losses, round trip."""

    async def close(self) -> None:
        """Frees everything; may be called twice."""


PeerMaker = Callable[[Broadcast, PeerEvents], Peer]
