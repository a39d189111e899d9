"""`chatanyone.serve.transport.Peer` by aiortc: tracks that send what a broadcast coded, a data channel, the microphone."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from functools import partial

from aiortc import (MediaStreamTrack, RTCConfiguration, RTCDataChannel, RTCIceServer, RTCPeerConnection, RTCRtpSender,
                    RTCRtpTransceiver, RTCSessionDescription)
from aiortc.exceptions import InvalidStateError
from aiortc.rtcconfiguration import RTCBundlePolicy

from chatanyone.serve import aiortc_hooks as hooks
from chatanyone.serve.broadcast import Broadcast
from chatanyone.serve.encode import VideoCodec
from chatanyone.serve.microphone import Microphone
from chatanyone.serve.sdp import wanted_kinds, with_address, without_local_names
from chatanyone.serve.tracks import PacketTrack
from chatanyone.serve.transport import PeerEvents, SignallingError

CHANNEL_BYTES = 256 * 1024  # our choice: a client that leaves so much unread gets no more messages
CLOSE_S = 5.0


class AiortcPeer:
    """See `chatanyone.serve.transport.Peer`.

    Args:
        broadcast: what is sent; None takes offers without media only.
        events: who is told.
        servers: STUN and TURN addresses for the server's own side.
        codec: auto, h264 or vp8.
        speaks: whether the other side's sound is taken.
        loopback: also offer 127.0.0.1.
        public_address: also offered as the server's own.
    """

    def __init__(self, broadcast: Broadcast | None, events: PeerEvents, servers: list[RTCIceServer] | None = None,
                 codec: str = "auto", speaks: bool = True, loopback: bool = False, public_address: str | None = None) -> None:
        self._broadcast, self._events = broadcast, events
        self._codec, self._speaks = codec, speaks
        self._loopback, self._public_address = loopback, public_address
        # An empty list is meant: without one, aiortc asks a public STUN server.
        self._connection = RTCPeerConnection(RTCConfiguration(list(servers or []), bundlePolicy=RTCBundlePolicy.MAX_BUNDLE))
        self._tracks: dict[str, PacketTrack] = {}
        self._channel: RTCDataChannel | None = None
        self._microphone: Microphone | None = None
        self._closing: asyncio.Task[None] | None = None
        self._gone = False
        self._connection.on("connectionstatechange", self._on_state)
        self._connection.on("datachannel", self._on_channel)
        self._connection.on("track", self._on_track)

    async def answer(self, offer: str) -> str:
        """See `Peer.answer`."""
        kinds = wanted_kinds(offer)
        for kind in kinds:
            self._add_track(kind)
        try:
            await self._connection.setRemoteDescription(RTCSessionDescription(without_local_names(offer), "offer"))
            self._wire()
            if self._loopback:
                hooks.add_host_address(self._connection, "127.0.0.1")
            await self._connection.setLocalDescription(await self._connection.createAnswer())
        except SignallingError:
            raise
        except Exception as error:  # aiortc's parser raises whatever its line of code does on what it did not expect
            raise SignallingError(f"the offer is not answerable SDP ({type(error).__name__}: {error}); send what "
                                  "RTCPeerConnection.createOffer gives") from None
        sdp: str = self._connection.localDescription.sdp
        return with_address(sdp, self._public_address) if self._public_address else sdp

    def _add_track(self, kind: str) -> None:
        if self._broadcast is None:
            raise SignallingError("this connection carries no media; offer a data channel only")
        track = self._tracks[kind] = PacketTrack(kind, self._broadcast)
        track.sender = self._connection.addTrack(track)
        transceiver = next(t for t in self._connection.getTransceivers() if t.sender is track.sender)
        if kind == "video" or not self._speaks:
            transceiver.direction = "sendonly"
        if kind == "video":
            names = {"auto": ("H264", "VP8"), "h264": ("H264",), "vp8": ("VP8",)}[self._codec]
        else:
            names = ("opus",)
        offered = RTCRtpSender.getCapabilities(kind).codecs
        preferred = [codec for name in names for codec in offered if codec.mimeType.lower() == f"{kind}/{name.lower()}"]
        transceiver.setCodecPreferences([*preferred, *(codec for codec in offered if codec.mimeType.endswith("/rtx"))])

    def _wire(self) -> None:
        """After the codecs are agreed on."""
        for transceiver in self._connection.getTransceivers():
            if transceiver.kind == "video" and self._broadcast is not None:
                codec = self._tracks["video"].codec = _agreed(transceiver)
                hooks.on_key_request(transceiver.sender, partial(self._broadcast.ask_key, codec))
                hooks.on_estimate(transceiver.sender, self._events.estimate)

    def send(self, message: str) -> bool:
        """See `Peer.send`."""
        channel = self._channel
        if channel is None or channel.readyState != "open" or channel.bufferedAmount > CHANNEL_BYTES:
            return False
        try:
            channel.send(message)
        except (InvalidStateError, ConnectionError):
            return False
        return True

    def stats(self) -> Mapping[str, float]:
        """See `Peer.stats`."""
        numbers: dict[str, float] = {"bytes_received": float(hooks.bytes_received(self._connection))}
        for kind, track in self._tracks.items():
            if track.sender is not None:
                numbers[f"{kind}_packets"] = float(hooks.packets_sent(track.sender))
                numbers[f"{kind}_dropped"] = float(track.dropped)
                numbers[f"{kind}_late_ms"] = 1000 * track.late_s
                if (trip_s := hooks.round_trip_s(track.sender)) is not None:
                    numbers["round_trip_ms"] = 1000 * trip_s
        if len(self._tracks) == 2:
            numbers["av_offset_ms"] = numbers["video_late_ms"] - numbers["audio_late_ms"]
        if self._microphone is not None:
            sorter = self._microphone.sorter
            numbers |= {"sound_lost": sorter.lost, "sound_late": sorter.late, "sound_doubled": sorter.doubled}
        return numbers

    async def close(self) -> None:
        """See `Peer.close`."""
        self._gone = True
        if self._closing is None:
            self._closing = asyncio.create_task(self._close())
        await asyncio.shield(self._closing)

    async def _close(self) -> None:
        for track in self._tracks.values():
            track.stop()
        try:
            await asyncio.wait_for(self._connection.close(), CLOSE_S)
        except (asyncio.TimeoutError, ConnectionError):
            pass  # the other side does not answer; the sockets are closed with their transports
        await hooks.settle()
        self._tracks.clear()
        self._channel = self._microphone = None

    def _on_state(self) -> None:
        state = self._connection.connectionState
        if state == "connected":
            self._events.connected()
        elif state in ("failed", "closed") and not self._gone:
            self._gone = True
            self._events.gone("the connection was closed" if state == "closed" else "the connection was lost")

    def _on_channel(self, channel: RTCDataChannel) -> None:
        if self._channel is not None:
            channel.close()
            return
        self._channel = channel
        channel.on("message", lambda message: self._events.message(message))
        self._events.opened()

    def _on_track(self, track: MediaStreamTrack) -> None:
        if track.kind != "audio":
            return
        receiver = next(t.receiver for t in self._connection.getTransceivers() if t.receiver.track is track)
        self._microphone = Microphone()
        hooks.on_sound_packet(receiver, self._on_sound)

    def _on_sound(self, sequence: int, stamp: int, data: bytes) -> None:
        if self._microphone is None or not data:
            return
        samples = self._microphone.push(sequence, stamp, data)
        if len(samples):
            self._events.sound(samples)


def _agreed(transceiver: RTCRtpTransceiver) -> VideoCodec:
    name = transceiver._codecs[0].name.lower()
    return "h264" if name == "h264" else "vp8"
