"""Where aiortc 1.16 has no public door: every private name we touch stands in this file, and setup.cfg bounds the version.

* sender reports carry the wall clock of the moment a packet happened to leave; players align sound and pictures by them, so
  here they carry the time that the session's clock gives;
* requests for key frames reach aiortc's own coder only; ours is shared;
* incoming sound waits in a buffer for 80 ms, with a loss for 320 ms; ours (`chatanyone.serve.microphone`) does not;
* host addresses leave out 127.0.0.1, without which a laptop without network cannot talk to itself.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from typing import Any

from aiortc import RTCPeerConnection
from aiortc.rtcrtpreceiver import RTCRtpReceiver
from aiortc.rtcrtpsender import RTCRtpSender
from aiortc.rtp import RTCP_PSFB_APP, RtcpPsfbPacket, unpack_remb_fci

_NTP_EPOCH_S = 2_208_988_800  # 1900 to 1970


def set_report_clock(sender: RTCRtpSender, unix_s: float) -> None:
    """The next sender report says that the packet sent last belongs to this time (RFC 3550, section 6.4.1).

    To be called between two packets, that is at the start of the track's `recv`.
    """
    if getattr(sender, "_RTCRtpSender__packet_count"):
        setattr(sender, "_RTCRtpSender__ntp_timestamp", int((unix_s + _NTP_EPOCH_S) * (1 << 32)))


def on_key_request(sender: RTCRtpSender, callback: Callable[[], None]) -> None:
    """PLI and FIR of the receiver."""
    setattr(sender, "_send_keyframe", callback)


def on_estimate(sender: RTCRtpSender, callback: Callable[[int], None]) -> None:
    """REMB of the receiver, kbit/s."""
    handle = sender._handle_rtcp_packet

    async def handle_and_tell(packet: Any) -> None:
        if isinstance(packet, RtcpPsfbPacket) and packet.fmt == RTCP_PSFB_APP:
            try:
                callback(unpack_remb_fci(packet.fci)[0] // 1000)
            except ValueError:
                pass  # not REMB
        await handle(packet)

    setattr(sender, "_handle_rtcp_packet", handle_and_tell)


class _Tap:
    """In place of aiortc's jitter buffer: passes each packet on and never gives a frame back."""

    def __init__(self, callback: Callable[[int, int, bytes], None]) -> None:
        self._callback = callback

    def add(self, packet: Any) -> tuple[bool, None]:
        self._callback(packet.sequence_number, packet.timestamp, packet.payload)
        return False, None


def on_sound_packet(receiver: RTCRtpReceiver, callback: Callable[[int, int, bytes], None]) -> None:
    """Sequence number, time stamp and payload of each packet of sound, in the order of arrival."""
    setattr(receiver, "_RTCRtpReceiver__jitter_buffer", _Tap(callback))


def add_host_address(connection: RTCPeerConnection, address: str) -> None:
    """Also offers `address` as the server's own; before the candidates are gathered."""
    for transport in getattr(connection, "_RTCPeerConnection__iceTransports"):
        agent = transport.iceGatherer._connection
        gather = agent.get_component_candidates
        if isinstance(gather, functools.partial):
            continue

        async def with_address(gather: Any, component: int, addresses: list[str], **options: Any) -> Any:
            return await gather(component=component, addresses=[*addresses, address], **options)

        agent.get_component_candidates = functools.partial(with_address, gather)


def bytes_received(connection: RTCPeerConnection) -> int:
    """Of media and its reports, over all transports."""
    transports = getattr(connection, "_RTCPeerConnection__dtlsTransports")
    return sum(getattr(transport, "_RTCDtlsTransport__rx_bytes") for transport in transports)


def round_trip_s(sender: RTCRtpSender) -> float | None:
    """As the receiver's reports show it."""
    value = getattr(sender, "_RTCRtpSender__rtt")
    return None if value is None else float(value)


def packets_sent(sender: RTCRtpSender) -> int:
    """Since the start, without retransmissions."""
    return int(getattr(sender, "_RTCRtpSender__packet_count"))


async def settle() -> None:
    """Lets aiortc's own tasks, which `close` only cancels, come to their end."""
    for _ in range(3):
        await asyncio.sleep(0)
