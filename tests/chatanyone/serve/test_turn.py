"""A call through a real relay: coturn on loopback, with the credentials that the server mints, and nothing but the relay."""

from __future__ import annotations

import asyncio
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiortc import RTCConfiguration, RTCIceServer, RTCPeerConnection, RTCSessionDescription

from tests.helpers.rtc_client import base, stand_in_server

SECRET = "a secret that only both servers know"
TURNSERVER = shutil.which("turnserver")
RELAYED = range(49_160, 49_200)  # ports of the relay

pytestmark = pytest.mark.skipif(TURNSERVER is None, reason="no turnserver here; on Debian: apt-get install coturn")


@pytest.fixture
def relay(tmp_path: Path) -> Iterator[int]:
    """Its port."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as found:
        found.bind(("127.0.0.1", 0))
        port = int(found.getsockname()[1])
    arguments = [str(TURNSERVER), "-n", "--use-auth-secret", f"--static-auth-secret={SECRET}", "--realm=example.org",
                 "--listening-ip=127.0.0.1", f"--listening-port={port}", "--relay-ip=127.0.0.1", "--allow-loopback-peers",
                 f"--min-port={RELAYED[0]}", f"--max-port={RELAYED[-1]}", "--no-tls", "--no-dtls", "--no-cli",
                 "--log-file=stdout", f"--pidfile={tmp_path / 'pid'}", f"--userdb={tmp_path / 'db'}", "--cli-password=unused"]
    with open(tmp_path / "log", "w") as log:
        process = subprocess.Popen(arguments, stdout=log, stderr=log, cwd=tmp_path)
    try:
        end = time.monotonic() + 20
        while not _listens(port):
            assert process.poll() is None and time.monotonic() < end, (tmp_path / "log").read_text()[-2000:]
            time.sleep(0.05)
        yield port
    finally:
        process.terminate()
        process.wait(10)


def _listens(port: int) -> bool:
    with socket.socket() as tcp:
        return tcp.connect_ex(("127.0.0.1", port)) == 0


def _only_relayed(sdp: str) -> str:
    """An SDP whose only addresses are the relay's, as a browser with `iceTransportPolicy: relay` makes it."""
    return "".join(line for line in sdp.splitlines(keepends=True)
                   if not line.startswith("a=candidate:") or " typ relay" in line)


async def _call(port: int, spoil: str = "") -> dict[str, Any]:
    """What came through the relay; `spoil` is added to the password."""
    seen: dict[str, Any] = {"video": 0, "audio": 0, "pairs": []}
    address = f"turn:127.0.0.1:{port}?transport=udp"
    # A public address keeps the server itself off the relay: it is the client that cannot be reached.
    async with stand_in_server(ice__turn=[address], ice__turn_secret=SECRET, ice__public_address="127.0.0.1") as server:
        async with aiohttp.ClientSession() as http:
            async with http.get(base(server) + "/v1/ice") as answer:
                found = (await answer.json())["iceServers"][0]
            ours = RTCIceServer(found["urls"][0], found["username"], found["credential"] + spoil)
            connection = RTCPeerConnection(RTCConfiguration([ours]))
            connection.on("track", lambda track: pumps.append(asyncio.create_task(_count(track, seen))))
            pumps: list[asyncio.Task[None]] = []
            connection.addTransceiver("video", direction="recvonly")
            connection.addTransceiver("audio", direction="recvonly")
            connection.createDataChannel("oai-events")
            await connection.setLocalDescription(await connection.createOffer())
            offer = _only_relayed(connection.localDescription.sdp)
            seen["offered"] = re.findall(r"^a=candidate:.*", offer, re.MULTILINE)
            location = ""
            try:
                if seen["offered"]:
                    ways = [transport._connection for transport
                            in connection._RTCPeerConnection__iceTransports]  # type: ignore[attr-defined]
                    for way in ways:  # the client's own sockets are not used either
                        way._protocols = [one for one in way._protocols if one.local_candidate.type == "relay"]
                    async with http.post(base(server) + "/v1/realtime/calls", json={"sdp": offer, "session": {}}) as answer:
                        assert answer.status == 201, await answer.text()
                        location, text = answer.headers["Location"], await answer.text()
                    await connection.setRemoteDescription(RTCSessionDescription(text, "answer"))
                    end = asyncio.get_running_loop().time() + 40
                    while min(seen["video"], seen["audio"]) < 20 and asyncio.get_running_loop().time() < end:
                        await asyncio.sleep(0.05)
                    seen["pairs"] = [pair.local_candidate.type for way in ways for pair in way._nominated.values()]
            finally:
                if location:
                    await http.delete(base(server) + location)
                await connection.close()
                await asyncio.gather(*pumps, return_exceptions=True)
    return seen


async def _count(track: Any, seen: dict[str, Any]) -> None:
    while True:
        await track.recv()
        seen[track.kind] += 1


def test_a_call_through_the_relay_alone(relay: int) -> None:
    seen = asyncio.run(_call(relay))
    assert seen["offered"] and all(" typ relay" in line for line in seen["offered"])
    assert {int(line.split()[5]) for line in seen["offered"]} <= set(RELAYED)
    assert seen["video"] >= 20 and seen["audio"] >= 20, seen
    assert set(seen["pairs"]) == {"relay"}


def test_the_relay_lets_nobody_in_with_another_password(relay: int) -> None:
    assert not asyncio.run(_call(relay, spoil="x"))["offered"]
