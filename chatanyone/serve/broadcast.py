"""One session's units, coded once, to all who look: bounded queues; who is slow loses pictures up to a key frame."""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from chatanyone.live_config import CarriageConfig
from chatanyone.serve.encode import Packet, SoundEncoder, VideoCodec, VideoEncoder, fair_kbps, picture_pts
from chatanyone.stream.types import UNIT_S, LiveSession, Unit

T = TypeVar("T")
KEY_PAUSE_S = 0.3  # our choice: forced key frames are at least so far apart, or one bad viewer costs all the others bits
_EPOCH_UNITS = 75  # 10 s
_SOUND_PACKETS = 50  # of 20 ms


class Ended(Exception):
    """No packet will come any more."""


class PacketQueue:
    """What one viewer has not fetched yet. Pictures begin with a key frame; over `limit` all go and a key frame is asked."""

    def __init__(self, limit: int, ask_key: Callable[[], None] | None = None) -> None:
        self.dropped = 0
        self._limit, self._ask_key = limit, ask_key
        self._needs_key = ask_key is not None
        self._packets: deque[Packet] = deque()
        self._arrived = asyncio.Event()
        self._ended = False

    def __len__(self) -> int:
        return len(self._packets)

    def put(self, packet: Packet) -> None:
        """Never waits."""
        if len(self._packets) >= self._limit:
            self._overflow()
        if self._needs_key and not packet.key:
            self.dropped += 1
            return
        self._needs_key = False
        self._packets.append(packet)
        self._arrived.set()

    def _overflow(self) -> None:
        if self._ask_key is None:  # sound: the oldest goes
            self._packets.popleft()
            self.dropped += 1
            return
        self.dropped += len(self._packets)
        self._packets.clear()
        self._needs_key = True
        self._ask_key()

    async def get(self) -> Packet:
        """The oldest packet.

        Raises:
            Ended: after `end`.
        """
        while not self._packets:
            if self._ended:
                raise Ended
            self._arrived.clear()
            await self._arrived.wait()
        return self._packets.popleft()

    def end(self) -> None:
        """`get` raises from now on."""
        self._ended = True
        self._packets.clear()
        self._arrived.set()


class Sink(Protocol):
    """Takes coded pictures and plain sound to a file, a service or a device; called on the event loop, returns at once."""

    codec: VideoCodec

    def sound(self, samples: NDArray[np.int16], unit: int) -> None: ...

    def pictures(self, frames: NDArray[np.uint8], unit: int) -> None: ...

    def packet(self, packet: Packet) -> None: ...


class Broadcast:
    """Reads a session's units and hands packets to viewers and sinks.

    Args:
        session: whose units.
        settings: rates and queue lengths.
        coders: threads that code; each session's work is in order, one piece at a time.
        clock: seconds, monotonic.
        measured: told how long a stage took, in seconds: ``encode_sound``, ``encode_picture``.
    """

    def __init__(self, session: LiveSession, settings: CarriageConfig, coders: Executor,
                 clock: Callable[[], float] = time.monotonic,
                 measured: Callable[[str, float], None] = lambda stage, seconds: None) -> None:
        self.counts: Counter[str] = Counter()
        self.last_unit_s: float | None = None
        self.sinks: list[Sink] = []
        self._session, self._settings, self._coders = session, settings, coders
        self._clock, self._measured = clock, measured
        self._sound = SoundEncoder(settings.sound_kbps)
        self._encoders: dict[VideoCodec, VideoEncoder] = {}
        self._viewers: dict[VideoCodec, list[PacketQueue]] = {"h264": [], "vp8": []}
        self._listeners: list[PacketQueue] = []
        self._key_asked: dict[VideoCodec, bool] = {}
        self._key_made_s: dict[VideoCodec, float] = {}
        self._kbps: int | None = None
        self._starts: deque[float] = deque(maxlen=_EPOCH_UNITS)

    @property
    def epoch_s(self) -> float:
        """When, on the clock, the session's t0 was: the earliest that recent units came, less their index's time."""
        return min(self._starts, default=self._clock())

    def watch(self, codec: VideoCodec) -> PacketQueue:
        """Pictures from the next key frame on, which is asked for."""
        limit = self._settings.queue_units * max(1, round(self._session.fps * UNIT_S))
        queue = PacketQueue(limit, lambda: self.ask_key(codec))
        self._viewers[codec].append(queue)
        self.ask_key(codec)
        return queue

    def listen(self) -> PacketQueue:
        """Sound from now on."""
        queue = PacketQueue(_SOUND_PACKETS)
        self._listeners.append(queue)
        return queue

    def leave(self, queue: PacketQueue) -> None:
        """Ends a queue of `watch` or `listen`."""
        queue.end()
        for queues in (*self._viewers.values(), self._listeners):
            if queue in queues:
                queues.remove(queue)

    def ask_key(self, codec: VideoCodec) -> None:
        """The next picture will be a key frame, `KEY_PAUSE_S` after the last one at the earliest."""
        self.counts["key_asked"] += 1
        self._key_asked[codec] = True

    def set_kbps(self, kbps: int) -> None:
        """What the way to the caller bears; kept within the configured limits."""
        size, settings = self._session.size, self._settings
        most = fair_kbps(size, self._session.fps, settings.video_kbps)
        self._kbps = max(min(settings.video_min_kbps, most), min(most, kbps))
        for encoder in self._encoders.values():
            encoder.kbps = self._kbps

    async def run(self) -> None:
        """Until the session's units end; the queues end with it."""
        try:
            async for unit in self._session.units():
                self.last_unit_s = self._clock()
                self._starts.append(self.last_unit_s - float(unit.index * UNIT_S))
                await self._carry(unit)
        finally:
            for queue in (*self._listeners, *self._viewers["h264"], *self._viewers["vp8"]):
                queue.end()

    async def _carry(self, unit: Unit) -> None:
        """Sound first: it must not wait for pictures."""
        self.counts["units"] += 1
        for packet in await self._in_thread("encode_sound", lambda: self._sound.encode(unit.sound, unit.index)):
            for queue in self._listeners:
                queue.put(packet)
        for sink in self.sinks:
            sink.sound(unit.sound, unit.index)
            sink.pictures(unit.frames, unit.index)
        for frame, pts in zip(unit.frames, picture_pts(unit)):
            for codec in self._wanted():
                self._hand_out(codec, await self._code(codec, frame, pts, unit))

    def _wanted(self) -> list[VideoCodec]:
        return [codec for codec, queues in self._viewers.items()
                if queues or any(sink.codec == codec for sink in self.sinks)]

    async def _code(self, codec: VideoCodec, frame: NDArray[np.uint8], pts: int, unit: Unit) -> Packet:
        encoder, key = self._encoder(codec, frame, unit), self._key_due(codec)
        packet = await self._in_thread("encode_picture", lambda: encoder.encode(frame, pts, unit.index, key))
        if packet.key:
            self.counts["key_frames"] += 1
            self._key_made_s[codec] = self._clock()
        self.counts["pictures"] += 1
        return packet

    def _key_due(self, codec: VideoCodec) -> bool:
        long_ago = self._clock() - self._key_made_s.get(codec, -KEY_PAUSE_S) >= KEY_PAUSE_S
        return long_ago and self._key_asked.pop(codec, False)

    def _encoder(self, codec: VideoCodec, frame: NDArray[np.uint8], unit: Unit) -> VideoEncoder:
        """The session's coder; another one when the pictures' size or rate changed."""
        size, fps = (frame.shape[1], frame.shape[0]), len(unit.frames) / UNIT_S
        encoder = self._encoders.get(codec)
        if encoder is None or encoder.size != size or encoder.fps != fps:
            kbps = self._kbps or fair_kbps(size, fps, self._settings.video_kbps)
            encoder = self._encoders[codec] = VideoEncoder(codec, size, fps, kbps, self._settings.key_s)
        return encoder

    def _hand_out(self, codec: VideoCodec, packet: Packet) -> None:
        for queue in self._viewers[codec]:
            queue.put(packet)
        for sink in self.sinks:
            if sink.codec == codec:
                sink.packet(packet)

    async def _in_thread(self, stage: str, work: Callable[[], T]) -> T:
        begun = self._clock()
        result = await asyncio.get_running_loop().run_in_executor(self._coders, work)
        self._measured(stage, self._clock() - begun)
        return result
