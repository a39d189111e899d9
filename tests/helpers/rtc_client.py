"""A browser's part of a call, played by aiortc in the same process; and faults of the network between the two."""

from __future__ import annotations

import asyncio
import json
import random
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import aiohttp
import av
import numpy as np
from aiortc import MediaStreamTrack, RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import MediaStreamError
from aiortc.rtp import RtcpSrPacket

from chatanyone.config import Config, load_config
from chatanyone.serve.engines import StandInEngines
from chatanyone.serve.server import Server, serving
from chatanyone.stream.standin import find_chirps, read_number

SMALL = (128, 192)


def live_config(**settings: Any) -> Config:
    """Defaults on a free port; names as in the `live` section, with two underscores for a dot."""
    given = {f"live.{name.replace('__', '.')}": value for name, value in settings.items()}
    return load_config(None, {"live.server.port": 0, "live.talk.greet": False} | given)


@asynccontextmanager
async def stand_in_server(engines: Any = None, **settings: Any) -> AsyncIterator[Server]:
    """A server with the stand-in."""
    async with serving(live_config(**settings), engines or StandInEngines(SMALL, pictures=2)) as server:
        yield server


class Tone(MediaStreamTrack):
    """A microphone that hears a sine; paced by the receiver's patience, that is 20 ms a frame."""

    kind = "audio"

    def __init__(self, hz: float = 440.0) -> None:
        super().__init__()
        self._hz, self._position = hz, 0
        self._start_s: float | None = None

    async def recv(self) -> av.AudioFrame:
        loop = asyncio.get_running_loop()
        self._start_s = loop.time() if self._start_s is None else self._start_s
        await asyncio.sleep(max(0.0, self._start_s + self._position / 48_000 - loop.time()))
        phase = 2 * np.pi * self._hz * (np.arange(960) + self._position) / 48_000
        frame = av.AudioFrame.from_ndarray((8000 * np.sin(phase)).astype(np.int16)[None], "s16", "mono")
        frame.sample_rate, frame.pts, frame.time_base = 48_000, self._position, Fraction(1, 48_000)
        self._position += 960
        return frame


@dataclass
class Stamps:
    """The receiver's view of one stream's clock: its first RTP time stamp, and the last sender report."""

    hz: int
    first: int | None = None
    report: tuple[float, int] | None = None  # sender's time in s, RTP time stamp

    def sender_s(self, pts: int) -> float:
        """The sender's time of a frame whose time stamp is `pts` after the first one's."""
        assert self.first is not None and self.report is not None
        stamp = (self.first + pts - self.report[1] + (1 << 31)) % (1 << 32) - (1 << 31)
        return self.report[0] + stamp / self.hz


@dataclass
class Client:
    """What came: `pictures` as (pts, frame), `sounds` as (pts, int16 mono), `messages` parsed."""

    connection: RTCPeerConnection
    pictures: list[tuple[int, av.VideoFrame]] = field(default_factory=list)
    sounds: list[tuple[int, np.ndarray]] = field(default_factory=list)
    messages: list[dict[str, Any]] = field(default_factory=list)
    stamps: dict[str, Stamps] = field(default_factory=lambda: {"video": Stamps(90_000), "audio": Stamps(48_000)})
    keep_pictures: bool = True
    numbers: list[tuple[int, int | None]] = field(default_factory=list)  # pts, burnt-in number
    channel: Any = None
    location: str = ""
    codec: str = ""

    def kinds(self) -> set[str]:
        """Types of the messages that came."""
        return {message["type"] for message in self.messages}

    async def until(self, condition: Callable[[], Any], within_s: float = 40.0) -> None:
        """Waits for something to become true."""
        async def wait() -> None:
            while not condition():
                await asyncio.sleep(0.01)

        await asyncio.wait_for(wait(), within_s)

    def chirps_s(self) -> list[float]:
        """Sender's times at which chirps begin."""
        start = self.sounds[0][0]
        sound = np.zeros(self.sounds[-1][0] - start + 4800, np.int16)
        for pts, samples in self.sounds:
            sound[pts - start:pts - start + len(samples)] = samples
        return [self.stamps["audio"].sender_s(start + round(at_s * 48_000)) for at_s in find_chirps(sound)]


@asynccontextmanager
async def calling(server: Server, session: dict[str, Any] | None = None, microphone: MediaStreamTrack | None = None,
                  channel: bool = True, path: str = "/v1/realtime/calls", codec: str | None = None,
                  hang_up: bool = True, keep_pictures: bool = True) -> AsyncIterator[Client]:
    """A call (or, with another path, a watcher) that is connected."""
    client = Client(RTCPeerConnection(RTCConfiguration([])), keep_pictures=keep_pictures)
    pumps: list[asyncio.Task[None]] = []
    client.connection.on("track", lambda track: pumps.append(asyncio.create_task(_pump(client, track))))
    _offer_media(client, microphone, channel, codec)
    async with aiohttp.ClientSession() as http:
        try:
            await client.connection.setLocalDescription(await client.connection.createOffer())
            _note_stamps(client)
            body = {"sdp": client.connection.localDescription.sdp, "session": session or {}}
            async with http.post(base(server) + path, json=body, headers=token(server)) as answer:
                text = await answer.text()
                assert answer.status == 201, text
                client.location = answer.headers["Location"]
            client.codec = _first_codec(text)
            await client.connection.setRemoteDescription(RTCSessionDescription(text, "answer"))
            yield client
        finally:
            if hang_up and client.location:
                async with http.delete(base(server) + client.location, headers=token(server)):
                    pass
            await client.connection.close()
            await asyncio.gather(*pumps, return_exceptions=True)


def base(server: Server) -> str:
    """The server's address without the page's token."""
    return server.url.split("/#")[0].rstrip("/")


def token(server: Server) -> dict[str, str]:
    """Headers that let one in."""
    return {"Authorization": f"Bearer {server.url.split('#token=')[1]}"} if "#token=" in server.url else {}


def lose(client: Client, part: float, kind: str = "video", seed: int = 0) -> Callable[[], None]:
    """Loses that part of the incoming RTP packets of a kind from now on; the returned function ends it."""
    chance = random.Random(seed)
    receiver = next(t.receiver for t in client.connection.getTransceivers() if t.kind == kind)
    handle = receiver._handle_rtp_packet

    async def maybe(packet: Any, arrival_time_ms: int) -> None:
        if chance.random() >= part:
            await handle(packet, arrival_time_ms=arrival_time_ms)

    setattr(receiver, "_handle_rtp_packet", maybe)
    return lambda: setattr(receiver, "_handle_rtp_packet", handle)


async def ask_key_frame(client: Client) -> None:
    """Sends a picture loss indication."""
    receiver = next(t.receiver for t in client.connection.getTransceivers() if t.kind == "video")
    ssrc = receiver.getSynchronizationSources()[0].source
    await receiver._send_rtcp_pli(ssrc)


async def vanish(client: Client) -> None:
    """As if the power went: no goodbye, no answer to anything."""
    for transport in client.connection._RTCPeerConnection__iceTransports:  # type: ignore[attr-defined]
        await transport._connection.close()


def _first_codec(answer: str) -> str:
    """The one that the server sends with."""
    payload = re.search(r"^m=video \d+ \S+ (\d+)", answer, re.MULTILINE)
    name = re.search(rf"^a=rtpmap:{payload[1] if payload else 0} (\w+)/", answer, re.MULTILINE)
    return name[1] if name else ""


def _offer_media(client: Client, microphone: MediaStreamTrack | None, channel: bool, codec: str | None) -> None:
    from aiortc import RTCRtpSender

    video = client.connection.addTransceiver("video", direction="recvonly")
    if codec:
        offered = RTCRtpSender.getCapabilities("video").codecs
        video.setCodecPreferences([one for one in offered if one.mimeType == f"video/{codec}"])
    if microphone is not None:
        client.connection.addTrack(microphone)
    else:
        client.connection.addTransceiver("audio", direction="recvonly")
    if channel:
        client.channel = client.connection.createDataChannel("oai-events")
        client.channel.on("message", lambda message: client.messages.append(json.loads(message)))


async def _pump(client: Client, track: MediaStreamTrack) -> None:
    try:
        while True:
            frame: Any = await track.recv()
            if track.kind == "video":
                client.numbers.append((frame.pts, read_number(frame.to_ndarray(format="rgb24"))))
                if client.keep_pictures:
                    client.pictures.append((frame.pts, frame))
            else:
                client.sounds.append((frame.pts, frame.to_ndarray().reshape(-1, 2)[:, 0]))
    except MediaStreamError:
        pass


def _note_stamps(client: Client) -> None:
    """Looks at packets before aiortc does: it keeps neither first time stamps nor reports."""
    for transceiver in client.connection.getTransceivers():
        receiver, stamps = transceiver.receiver, client.stamps[transceiver.kind]
        setattr(receiver, "_handle_rtp_packet", _first_stamp(receiver._handle_rtp_packet, stamps))
        setattr(receiver, "_handle_rtcp_packet", _last_report(receiver._handle_rtcp_packet, stamps))


def _first_stamp(handle: Any, stamps: Stamps) -> Any:
    async def note(packet: Any, arrival_time_ms: int) -> None:
        if stamps.first is None:
            stamps.first = packet.timestamp
        await handle(packet, arrival_time_ms=arrival_time_ms)

    return note


def _last_report(handle: Any, stamps: Stamps) -> Any:
    async def note(packet: Any) -> None:
        if isinstance(packet, RtcpSrPacket) and packet.sender_info.packet_count:
            info = packet.sender_info
            stamps.report = (info.ntp_timestamp / (1 << 32), info.rtp_timestamp)
        await handle(packet)

    return note
