"""Calls over aiortc on both sides, with the stand-in: the receiver's clock, faults of the network, who sees what."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np
import pytest
from aiortc import RTCConfiguration, RTCPeerConnection

from chatanyone.serve.broadcast import Broadcast
from chatanyone.serve.engines import StandInEngines
from chatanyone.serve.rtc import AiortcPeer
from chatanyone.serve.sdp import with_address, without_local_names
from chatanyone.serve.server import Server
from chatanyone.serve.transport import PeerEvents, SignallingError
from tests.helpers.rtc_client import (SMALL, Client, Tone, ask_key_frame, calling, lose, stand_in_server, vanish)


def offsets_ms(client: Client) -> list[float]:
    """Pictures later than their chirp, by the sender's clock as the receiver knows it."""
    shown = {number: client.stamps["video"].sender_s(pts) for pts, number in client.numbers if number is not None}
    pairs = [(chirp_s, [at_s for number, at_s in shown.items() if number % 60 == 0 and abs(at_s - chirp_s) < 0.9])
             for chirp_s in client.chirps_s()]
    return [1000 * (seen[0] - chirp_s) for chirp_s, seen in pairs if seen]


def in_order(numbers: list[int]) -> bool:
    """Never back; a picture is held where the machine was too slow."""
    return all(later >= earlier for earlier, later in zip(numbers, numbers[1:]))


def seen(client: Client) -> list[int]:
    return [number for _, number in client.numbers if number is not None]


def with_server(body: Callable[[Server], Awaitable[None]], engines: Any = None, **settings: Any) -> None:
    async def run() -> None:
        async with stand_in_server(engines, **settings) as server:
            await body(server)

    asyncio.run(run())


def test_sound_and_pictures_are_on_one_clock() -> None:
    async def body(server: Server) -> None:
        async with calling(server, microphone=Tone(), keep_pictures=False) as client:
            await client.until(lambda: len(client.sounds) > 200 and client.stamps["video"].report
                               and client.stamps["audio"].report)
            found = offsets_ms(client)
            assert len(found) >= 2 and max(map(abs, found)) < 2, found
            assert in_order(seen(client)) and len(seen(client)) > 0.98 * len(client.numbers)

    with_server(body)


@pytest.mark.slow
def test_sound_and_pictures_stay_together_for_twenty_seconds_with_losses() -> None:
    async def body(server: Server) -> None:
        async with calling(server, microphone=Tone(), keep_pictures=False) as client:
            await client.until(lambda: client.numbers)
            lose(client, 0.03)
            await client.until(lambda: len(client.sounds) > 1000)
            found = offsets_ms(client)
            p95 = float(np.percentile(np.abs(found), 95))
            print(f"A/V offset at the receiver over {len(client.sounds) / 50:.0f} s: p95 {p95:.2f} ms, n = {len(found)}")
            assert len(found) >= 8 and p95 <= 40, found

    with_server(body)


@pytest.mark.parametrize("codec", ["H264", "VP8"])
def test_what_the_client_offers_decides_the_codec(codec: str) -> None:
    async def body(server: Server) -> None:
        async with calling(server, codec=codec) as client:
            await client.until(lambda: len(seen(client)) > 20)
            assert client.codec == codec and in_order(seen(client))
            assert client.pictures[0][1].width == SMALL[0]

    with_server(body)


def test_a_picture_loss_indication_gets_a_key_frame() -> None:
    async def body(server: Server) -> None:
        async with calling(server, keep_pictures=True) as client:
            await client.until(lambda: len(client.pictures) > 15)
            keys = [index for index, (_, frame) in enumerate(client.pictures) if frame.key_frame]
            before = len(client.pictures)
            await ask_key_frame(client)
            await client.until(lambda: any(frame.key_frame for _, frame in client.pictures[before:]), 3)
            assert keys == [0]

    with_server(body)


def test_a_lost_key_frame_is_sent_again() -> None:
    """Everything is lost until after the first key frame; aiortc's receiver cannot decode, asks, and gets another."""
    async def body(server: Server) -> None:
        async with calling(server) as client:
            stop = lose(client, 1.0)
            await asyncio.sleep(0.6)
            stop()
            await client.until(lambda: len(seen(client)) > 20)
            assert client.pictures[0][1].key_frame and in_order(seen(client))

    with_server(body)


@pytest.mark.parametrize(("part", "least"), [(0.05, 0.6), (0.2, 0.2)])
def test_losses(part: float, least: float) -> None:
    """Pictures go on, in order; what is lost is sent again or replaced by a key frame. Sound keeps its time."""
    async def body(server: Server) -> None:
        async with calling(server, keep_pictures=False) as client:
            await client.until(lambda: len(client.numbers) > 5)
            counts = next(iter(server.calls.running.values())).broadcast.counts  # type: ignore[union-attr]
            lose(client, part)
            lose(client, part, "audio", seed=1)
            made, shown = counts["pictures"], len(set(seen(client)))
            await client.until(lambda: counts["pictures"] >= made + 45)
            await client.until(lambda: len(set(seen(client))) - shown > least * 45)
            before = len(client.numbers)
            await client.until(lambda: len(client.numbers) > before + 10)
            assert in_order(seen(client))

    with_server(body)


def test_the_microphone_arrives_and_losses_do_not_stall_it() -> None:
    async def body(server: Server) -> None:
        heard: list[np.ndarray] = []
        async with calling(server, microphone=Tone(440)) as client:
            await client.until(lambda: "session.created" in client.kinds())
            call = next(iter(server.calls.running.values()))
            call._talker.hear = heard.append  # type: ignore[union-attr, method-assign, assignment]
            sender = next(t.sender for t in client.connection.getTransceivers() if t.kind == "audio")
            send, count = sender.transport._send_rtp, 0

            async def lossy(data: bytes) -> None:
                nonlocal count
                count += 1
                if count % 10:
                    await send(data)

            sender.transport._send_rtp = lossy  # type: ignore[method-assign]
            await client.until(lambda: sum(map(len, heard)) > 3 * 16_000)
        sound = np.concatenate(heard)
        assert float(np.abs(np.fft.rfft(sound)).argmax() * 16_000 / len(sound)) == pytest.approx(440, abs=3)

    with_server(body)


def test_watchers_see_what_the_caller_sees_from_one_encode() -> None:
    async def body(server: Server) -> None:
        async with calling(server) as caller:
            await caller.until(lambda: len(seen(caller)) > 5)
            call = next(iter(server.calls.running.values()))
            path = caller.location + "/whep"
            async with calling(server, channel=False, path=path) as one, calling(server, channel=False, path=path) as two:
                await one.until(lambda: len(seen(one)) > 20 and len(seen(two)) > 20)
                assert abs(seen(one)[-1] - seen(caller)[-1]) < 30 and abs(seen(two)[-1] - seen(one)[-1]) < 30
                assert len(call.watchers) == 2
                counts = call.broadcast.counts  # type: ignore[union-attr]
                assert counts["pictures"] <= 4 * counts["units"]
            await caller.until(lambda: not call.watchers)
            before = len(seen(caller))
            await caller.until(lambda: len(seen(caller)) > before + 5)

    with_server(body)


class _Numbered(StandInEngines):
    """Each session has its own size, so that a picture of another one would be seen at once."""

    opened = 0

    async def open(self, portrait: Any, events: Any) -> Any:
        self.opened += 1
        return await StandInEngines((128, 192) if self.opened == 1 else (192, 256), chirps=self.opened == 1).open(
            portrait, events)


def test_two_sessions_never_mix() -> None:
    async def body(server: Server) -> None:
        async with calling(server) as one:
            await one.until(lambda: len(seen(one)) > 70)
            async with calling(server) as two:
                await two.until(lambda: len(seen(two)) > 65 and len(two.sounds) > 100)
                assert {frame.width for _, frame in one.pictures} == {128}
                assert {frame.width for _, frame in two.pictures} == {192}
                assert in_order(seen(one)) and in_order(seen(two)) and min(seen(one)[-1], seen(two)[-1]) > 0
                one.messages.clear()
                two.channel.send(json.dumps({"type": "session.update", "session": {"dials": {"pose": 0.5}}}))
                await two.until(lambda: "session.updated" in two.kinds())
                assert "session.updated" not in one.kinds()
            await one.until(lambda: one.stamps["audio"].report)
            assert len(one.chirps_s()) >= 2
            await asyncio.sleep(0)
            two.stamps["audio"].report = two.stamps["audio"].report or (0.0, 0)
            assert two.chirps_s() == []  # the other one's chirps are not heard here

    with_server(body, _Numbered(), limits__sessions=2)


def test_a_client_that_vanishes_is_noticed_and_all_is_freed() -> None:
    async def body(server: Server) -> None:
        async with calling(server, microphone=Tone(), hang_up=False) as client:
            await client.until(lambda: len(seen(client)) > 3)
            call = next(iter(server.calls.running.values()))
            await vanish(client)
            await asyncio.wait_for(call.closed.wait(), 30)
            assert call.reason == "Nothing came from the browser any more." and not server.calls.running
            assert server.calls.admission.taken == 0

    with_server(body, limits__idle_s=2.0)


def test_a_client_that_hangs_up_by_closing_is_noticed_at_once() -> None:
    async def body(server: Server) -> None:
        async with calling(server, hang_up=False) as client:
            await client.until(lambda: len(seen(client)) > 3)
            call = next(iter(server.calls.running.values()))
        await asyncio.wait_for(call.closed.wait(), 5)
        assert call.reason == "The connection was closed."

    with_server(body)


def test_a_client_that_never_connects_gives_its_place_back() -> None:
    async def body(server: Server) -> None:
        connection = RTCPeerConnection(RTCConfiguration([]))
        connection.addTransceiver("video", direction="recvonly")
        await connection.setLocalDescription(await connection.createOffer())
        call, _ = await server.calls.open("somebody", None, connection.localDescription.sdp, {})
        await connection.close()
        await asyncio.wait_for(call.closed.wait(), 30)
        assert "No way was found" in str(call.reason) and server.calls.admission.taken == 0

    with_server(body, limits__connect_s=1.0)


@pytest.mark.parametrize(("offer", "message"), [
    ("", "must be SDP"), ("hello", "must be SDP"), ("v=0\r\n", "at least one m= line"),
    ("v=0\r\nm=audio 9 X 1\r\nm=audio 9 X 1\r\n", "one audio, one video and one data section"),
    ("v=0\r\nm=image 9 X 1\r\n", "one audio, one video"),
    ("v=0\r\nm=video 9 UDP/TLS/RTP/SAVPF 96\r\n", "not answerable SDP"),
    ("v=0\r\n" + "a=candidate:1 1 udp 1 1.2.3.4 5 typ host\r\n" * 41 + "m=video 9 X 1\r\n", "more than 40 candidates")])
def test_offers_that_cannot_be_answered(offer: str, message: str) -> None:
    async def body() -> None:
        peer = AiortcPeer(Broadcast.__new__(Broadcast), PeerEvents())
        with pytest.raises(SignallingError, match=message):
            await peer.answer(offer)
        await peer.close()

    asyncio.run(body())


def test_a_codec_nobody_has_in_common_is_refused() -> None:
    async def body(server: Server) -> None:
        with pytest.raises(AssertionError, match="not answerable"):
            async with calling(server, codec="VP8"):
                pass
        assert server.calls.admission.taken == 0

    with_server(body, carriage__codec="h264")


def test_candidates_with_local_names_are_left_out() -> None:
    offer = ("v=0\r\na=candidate:1 1 udp 1 abc.local 5 typ host\r\na=candidate:2 1 udp 1 1.2.3.4 5 typ host\r\n"
             "a=end-of-candidates\r\n")
    assert without_local_names(offer) == "v=0\r\na=candidate:2 1 udp 1 1.2.3.4 5 typ host\r\n"


def test_a_public_address_is_offered_too() -> None:
    sdp = "v=0\r\na=candidate:ab 1 udp 99 10.0.0.1 5000 typ host\r\na=candidate:cd 1 udp 99 fd00::1 5000 typ host\r\n"
    assert with_address(sdp, "203.0.113.9").splitlines()[2] == "a=candidate:ab1 1 udp 99 203.0.113.9 5000 typ host"
    assert len(with_address(sdp, "203.0.113.9").splitlines()) == 4
