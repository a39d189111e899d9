"""Where else a call's frames go: an MP4 file, an RTMP server, a virtual camera; each with a thread and a bounded queue."""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import os
import queue
import signal
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chatanyone.errors import ConfigError
from chatanyone.serve.encode import Packet, VideoCodec
from chatanyone.serve.remux import Remux

END_S = 2.0
QUEUE = 128  # pieces, about a second and a half; over it everything up to the next key frame is lost
_log = logging.getLogger(__name__)
_Work = Callable[[], None]


class Outlet:
    """Work done in order by a thread of its own; what does not fit into the queue is dropped and counted."""

    codec: VideoCodec = "h264"

    def __init__(self, name: str) -> None:
        self.dropped = 0
        self.fault: str | None = None
        self.closed = False
        self._queue: queue.Queue[_Work | None] = queue.Queue(QUEUE)
        self._needs_key = True
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def pictures(self, frames: NDArray[np.uint8], unit: int) -> None:
        """See `Sink`; most outlets want coded ones."""

    def sound(self, samples: NDArray[np.int16], unit: int) -> None:
        """See `Sink`."""

    def packet(self, packet: Packet) -> None:
        """See `Sink`."""

    def _put(self, work: _Work) -> bool:
        if self.fault is not None or self.closed:
            return False
        try:
            self._queue.put_nowait(work)
        except queue.Full:
            self.dropped += 1
            return False
        return True

    def _run(self) -> None:
        while (work := self._queue.get()) is not None:
            if self.fault is None:
                try:
                    work()
                except Exception as error:  # a full disk, a server that hung up: the call goes on without this output
                    self.fault = f"{type(error).__name__}: {error}"
                    _log.warning("an output of a call broke", extra={"output": self._thread.name, "fault": self.fault})
        try:
            self._finish()
        except Exception as error:
            self.fault = self.fault or f"{type(error).__name__}: {error}"

    def _finish(self) -> None:
        """In the thread, at the end."""

    async def close(self) -> Any:
        """Waits for what is queued."""
        if not self.closed:
            self.closed = True
            await asyncio.to_thread(self._queue.put, None)
        await asyncio.to_thread(self._thread.join)


class _Remuxed(Outlet):
    def __init__(self, name: str, remux: Remux) -> None:
        self._remux = remux
        super().__init__(name)

    def sound(self, samples: NDArray[np.int16], unit: int) -> None:
        self._put(lambda: self._remux.sound(samples, unit))

    def packet(self, packet: Packet) -> None:
        if self._needs_key and not packet.key:
            return
        self._needs_key = not self._put(lambda: self._remux.picture(packet))

    def _finish(self) -> None:
        self._remux.close()


class Recorder(_Remuxed):
    """An MP4 of the coded pictures. It grows under a hidden name and takes its name when it is whole."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
        super().__init__("recorder", Remux(str(self._partial), "mp4", {"movflags": "+faststart"}))

    def _finish(self) -> None:
        try:
            super()._finish()
            if self._remux.pictures and self.fault is None:
                os.replace(self._partial, self.path)
        finally:
            self._partial.unlink(missing_ok=True)

    async def close(self) -> Path | None:
        """The finished file; None when there is none (`fault` says why, or nothing was sent)."""
        await super().close()
        return self.path if self._remux.pictures and self.fault is None else None


class Rtmp(Outlet):
    """The coded pictures to an RTMP server, as FLV. A server that does not take them breaks only this output.

    In a process of its own: PyAV holds Python's lock while it opens an output, and with an address that does not answer
    that would stop every call of the server.
    """

    def __init__(self, url: str) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_send_rtmp, args=(url, theirs), name="rtmp", daemon=True)
        self._process.start()
        theirs.close()
        super().__init__("rtmp")

    def sound(self, samples: NDArray[np.int16], unit: int) -> None:
        self._put(partial(self._pass, (samples, unit)))

    def packet(self, packet: Packet) -> None:
        if self._needs_key and not packet.key:
            return
        self._needs_key = not self._put(partial(self._pass, packet))

    def _pass(self, piece: Packet | tuple[NDArray[np.int16], int]) -> None:
        """In the thread; waits while the pipe is full."""
        try:
            if self._pipe.poll():
                raise OSError(self._pipe.recv())
            self._pipe.send(piece)
        except (EOFError, BrokenPipeError, ConnectionResetError):
            raise OSError("the process that sends to the RTMP server ended") from None

    def _finish(self) -> None:
        try:
            self._pipe.send(None)
            if self.fault is None and self._pipe.poll(END_S):
                self.fault = self._pipe.recv()
        except (EOFError, OSError):
            pass

    async def close(self) -> None:
        """Gives the server `END_S` to take the rest."""
        self.closed = True
        ending = asyncio.gather(asyncio.to_thread(self._queue.put, None), asyncio.to_thread(self._thread.join))
        await asyncio.wait([ending], timeout=2 * END_S)
        self._process.kill()  # frees a thread that waits for the pipe
        await ending
        await asyncio.to_thread(self._process.join)
        self._process.close()
        self._pipe.close()


def _send_rtmp(url: str, pipe: Any) -> None:
    """In the other process: a fault goes back as a sentence, a good end as None."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    remux = Remux(url, "flv", {"flvflags": "no_duration_filesize"})
    fault = None
    try:
        while (piece := pipe.recv()) is not None:
            if isinstance(piece, Packet):
                remux.picture(piece)
            else:
                remux.sound(*piece)
        remux.close()
    except EOFError:
        return
    except Exception as error:
        fault = f"{type(error).__name__}: {error}"
    pipe.send(fault)


class Camera(Outlet):
    """The plain pictures as a webcam of this machine (v4l2loopback on Linux, OBS elsewhere).

    Raises:
        ConfigError: pyvirtualcam is missing, or there is no such device.
    """

    def __init__(self, size: tuple[int, int], fps: float) -> None:
        try:
            import pyvirtualcam
        except ImportError:
            raise ConfigError("live.output.camera needs pyvirtualcam; pip install 'chatanyone[camera]'") from None
        try:
            self._camera = pyvirtualcam.Camera(width=size[0], height=size[1], fps=fps)
        except RuntimeError as error:
            raise ConfigError(f"no virtual camera on this machine ({error}); on Linux load v4l2loopback") from None
        super().__init__("camera")

    def pictures(self, frames: NDArray[np.uint8], unit: int) -> None:
        for frame in frames:
            self._put(partial(self._show, frame))

    def packet(self, packet: Packet) -> None:
        """It wants plain pictures."""

    def _show(self, frame: NDArray[np.uint8]) -> None:
        self._camera.send(frame)
        self._camera.sleep_until_next_frame()

    def _finish(self) -> None:
        self._camera.close()
