"""How many calls this machine holds: the server with the stand-in, one call more at a time, until a deadline is missed.

    python tools/load_sessions.py --size 256x384 --most 12

Server and callers are two processes, so that the callers' decoding is not counted as the server's work (but it takes cores
too: read the result as a lower bound). A call holds when within the last seconds nothing left later than a unit, 133 ms,
no unit was made up for a missing one, and nothing was dropped. The stand-in's drawing costs what `--work-ms` says; the
transport, the coding and the clock are the real ones. At the end one more than the server's limit must be refused.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import subprocess
import sys
from contextlib import AsyncExitStack

import aiohttp
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import MediaStreamError, MediaStreamTrack

LATE_MS = 133.0


async def swallow(track: MediaStreamTrack) -> None:
    """Takes what comes."""
    try:
        while True:
            await track.recv()
    except MediaStreamError:
        pass


async def open_call(http: aiohttp.ClientSession, url: str, stack: AsyncExitStack, messages: list[dict]) -> int:
    """One caller more; the answer's status."""
    connection = RTCPeerConnection(RTCConfiguration([]))
    stack.push_async_callback(connection.close)
    connection.addTransceiver("video", direction="recvonly")
    connection.addTransceiver("audio", direction="recvonly")
    channel = connection.createDataChannel("oai-events")
    channel.on("message", lambda text: note(text, messages))
    connection.on("track", lambda track: asyncio.ensure_future(swallow(track)))
    await connection.setLocalDescription(await connection.createOffer())
    async with http.post(f"{url}v1/realtime/calls", json={"sdp": connection.localDescription.sdp}) as answer:
        text = await answer.text()
        if answer.status == 201:
            await connection.setRemoteDescription(RTCSessionDescription(text, "answer"))
        else:
            print(f"refused with {answer.status}, Retry-After {answer.headers.get('Retry-After')}: {text}")
        return answer.status


def note(text: str, messages: list[dict]) -> None:
    """Keeps the statistics."""
    event = json.loads(text)
    if event["type"] == "chatanyone.stats":
        messages.append(event["stats"])


def misses(before: list[dict], after: list[dict]) -> list[str]:
    """What did not hold between two rounds of statistics, one entry a call."""
    found = []
    for number, (old, new) in enumerate(zip(before, after)):
        late_ms = max(new["transport_video_late_ms"], new["transport_audio_late_ms"])
        if late_ms > LATE_MS:
            found.append(f"call {number}: {late_ms:.0f} ms late")
        for name in ("underruns", "dropped_units", "transport_video_dropped", "transport_audio_dropped"):
            if new.get(name, 0) > old.get(name, 0):
                found.append(f"call {number}: {name} {old.get(name, 0):.0f} to {new[name]:.0f}")
    return found


async def measure(url: str, most: int, seconds: float) -> int:
    """Calls that held."""
    held = 0
    async with AsyncExitStack() as stack:
        http = await stack.enter_async_context(aiohttp.ClientSession())
        callers: list[list[dict]] = []
        for number in range(1, most + 1):
            callers.append([])
            if await open_call(http, url, stack, callers[-1]) != 201:
                break
            await asyncio.sleep(3)  # until it runs evenly
            before = [messages[-1] for messages in callers if messages]
            await asyncio.sleep(seconds)
            after = [messages[-1] for messages in callers if messages]
            found = misses(before, after) if len(after) == number else ["a call sent no statistics"]
            late = max((stats["transport_video_late_ms"] for stats in after), default=float("nan"))
            print(f"{number:3} calls: {'held' if not found else '; '.join(found)}; pictures leave {late:.0f} ms late at most, "
                  f"load {os.getloadavg()[0]:.1f}", flush=True)
            if found:
                break
            held = number
        if held == most:
            await open_call(http, url, stack, [])  # the one too many
    return held


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", default="256x384", help="pixels of the stand-in's pictures (256x384)")
    parser.add_argument("--pictures", type=int, default=4, choices=(4, 2, 1), help="in 133 ms (4)")
    parser.add_argument("--work-ms", type=float, default=0.0, help="that drawing a unit is pretended to take (0)")
    parser.add_argument("--most", type=int, default=16, help="calls (16)")
    parser.add_argument("--seconds", type=float, default=6.0, help="to watch each number of calls (6)")
    options = parser.parse_args()
    code = SERVER.format(size=tuple(int(side) for side in options.size.split("x")), pictures=options.pictures,
                         work_s=options.work_ms / 1000, most=options.most)
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as server:
        try:
            line = server.stdout.readline() if server.stdout else ""
            found = re.search(r"http://\S+", line)
            if not found:
                sys.exit("the server did not start")
            held = asyncio.run(measure(found[0], options.most, options.seconds))
        finally:
            server.terminate()
    print(f"{held} calls of {options.size} at {options.pictures * 7.5:g} pictures a second hold on {os.cpu_count()} cores")


SERVER = """
import asyncio
from pathlib import Path
import tempfile
from chatanyone.config import load_config
from chatanyone.serve.engines import StandInEngines
from chatanyone.serve.portraits import as_it_is
from chatanyone.serve.server import run
from chatanyone.serve.styles import no_style
from chatanyone.stream.standin import open_standin

class Working(StandInEngines):
    async def open(self, portrait, events):
        return await open_standin(events, self.size, self.pictures, lambda number: {work_s}, self.chirps)

config = load_config(None, {{"live.server.port": 0, "live.limits.sessions": {most}, "live.limits.requests": 1000,
                             "live.server.drain_s": 0.1, "live.talk.greet": False}})
with tempfile.TemporaryDirectory() as folder:
    asyncio.run(run(config, Working({size}, {pictures}), as_it_is, no_style, Path(folder)))
"""

if __name__ == "__main__":
    main()
