"""What aiortc sends of a broadcast: coded packets, each when the session's clock says."""

from __future__ import annotations

import asyncio
import time
from fractions import Fraction

import av
from aiortc import MediaStreamTrack, RTCRtpSender
from aiortc.mediastreams import MediaStreamError

from chatanyone.serve import aiortc_hooks as hooks
from chatanyone.serve.broadcast import Broadcast, Ended, PacketQueue
from chatanyone.serve.encode import VIDEO_HZ, VideoCodec
from chatanyone.stream.types import SOUND_HZ, UNIT_S

# The RTP clock starts a unit after t0, so that no time stamp is negative (Opus' first one would be, by its look-ahead).
_SHIFT_S = float(UNIT_S)


class PacketTrack(MediaStreamTrack):
    """Packets of a broadcast, each when it is due. Waits for nothing but time and the broadcast."""

    def __init__(self, kind: str, broadcast: Broadcast) -> None:
        super().__init__()
        self.kind = kind
        self.sender: RTCRtpSender | None = None
        self.codec: VideoCodec = "h264"
        self._broadcast = broadcast
        self._queue: PacketQueue | None = None
        self._hz = VIDEO_HZ if kind == "video" else SOUND_HZ
        self._sent_s: float | None = None  # since t0: what was sent last belongs to this time
        self.late_s = 0.0  # by how much the last packet left after it was due

    async def recv(self) -> av.Packet:
        """The next packet, with its time stamp."""
        if self.readyState != "live":
            raise MediaStreamError
        self._correct_report()
        try:
            packet = await self._open().get()
        except Ended:
            self.stop()
            raise MediaStreamError from None
        due_s = self._broadcast.epoch_s + packet.due_s
        await asyncio.sleep(max(0.0, due_s - time.monotonic()))
        self.late_s = time.monotonic() - due_s
        self._sent_s = packet.pts / self._hz
        out = av.Packet(packet.data)
        out.pts, out.time_base = packet.pts + round(_SHIFT_S * self._hz), Fraction(1, self._hz)
        return out

    def stop(self) -> None:
        """Leaves the broadcast."""
        super().stop()
        if self._queue is not None:
            self._broadcast.leave(self._queue)

    @property
    def dropped(self) -> int:
        """Packets that this viewer was too slow for."""
        return self._queue.dropped if self._queue is not None else 0

    def _open(self) -> PacketQueue:
        """Watches from the first `recv` on, that is from when the way is open: nothing piles up before."""
        if self._queue is None:
            self._queue = self._broadcast.watch(self.codec) if self.kind == "video" else self._broadcast.listen()
        return self._queue

    def _correct_report(self) -> None:
        if self.sender is not None and self._sent_s is not None:
            t0_s = self._broadcast.epoch_s - time.monotonic() + time.time()
            hooks.set_report_clock(self.sender, t0_s + self._sent_s)
