from __future__ import annotations

import asyncio
import socket
import threading
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from chatanyone.errors import ConfigError
from chatanyone.serve.encode import Packet, VideoEncoder
from chatanyone.serve.recorder import QUEUE, Camera, Outlet, Recorder, Rtmp
from chatanyone.stream.standin import burn_number, chirp, find_chirps, read_number
from chatanyone.stream.types import UNIT_SAMPLES

SIZE = (128, 192)


def feed(sink: Any, units: range, first_key: int = 0) -> None:
    """Numbered pictures and a chirp at every fifteenth unit, as a broadcast gives them."""
    encoder = VideoEncoder("h264", SIZE, Fraction(30), 500, 10.0)
    for unit in units:
        sound = np.zeros(UNIT_SAMPLES, np.int16)
        if unit % 15 == 0:
            sound[:len(chirp())] = (32767 * chirp()).astype(np.int16)
        sink.sound(sound, unit)
        for j in range(4):
            frame = np.full((SIZE[1], SIZE[0], 3), 120, np.uint8)
            burn_number(frame, 4 * unit + j)
            packet = encoder.encode(frame, 12000 * unit + 3000 * j, unit, key=4 * unit + j == first_key)
            if 4 * unit + j >= first_key or not packet.key:
                sink.packet(packet if 4 * unit + j >= first_key else Packet("video", b"", 0, 0, False, unit))


def number_of(frame: av.VideoFrame) -> int | None:
    return read_number(np.asarray(frame.to_ndarray(format="rgb24"), np.uint8))


def read(path: Path | str) -> tuple[list[tuple[float, int | None]], np.ndarray, float]:
    """(time, number) of the pictures; the sound at 48 kHz; the time of its first sample."""
    with av.open(str(path)) as container:
        pictures, sounds, start = [], [], None
        for frame in container.decode(container.streams.video[0], container.streams.audio[0]):
            if isinstance(frame, av.VideoFrame):
                pictures.append((float(frame.time or 0), number_of(frame)))
            elif isinstance(frame, av.AudioFrame):
                start = float(frame.time or 0) if start is None else start
                sounds.append(frame.to_ndarray().reshape(-1))
    return pictures, np.concatenate(sounds), start or 0.0


def test_a_recording_is_the_same_pictures_with_the_sound_in_place(tmp_path: Path) -> None:
    async def body() -> Path | None:
        recorder = Recorder(tmp_path / "call.mp4")
        feed(recorder, range(20, 50), first_key=81)
        return await recorder.close()

    path = asyncio.run(body())
    assert path == tmp_path / "call.mp4" and [one.name for one in tmp_path.iterdir()] == ["call.mp4"]
    pictures, sound, start_s = read(path)
    assert [number for _, number in pictures] == list(range(81, 200))
    times = {number: time_s for time_s, number in pictures}
    assert times[81] == pytest.approx(0, abs=1e-3) and times[111] == pytest.approx(1, abs=1e-3)
    chirps = [start_s + at_s for at_s in find_chirps(sound)]
    for at_s, number in zip(chirps, (120, 180), strict=True):  # units 30 and 45
        assert at_s == pytest.approx(times[number], abs=0.002)


def test_without_a_key_frame_there_is_no_file(tmp_path: Path) -> None:
    async def body() -> None:
        recorder = Recorder(tmp_path / "call.mp4")
        recorder.packet(Packet("video", b"x", 0, 0, False, 0))
        assert await recorder.close() is None

    asyncio.run(body())
    assert not list(tmp_path.iterdir())


def test_a_target_that_cannot_be_written_breaks_only_the_recording(tmp_path: Path) -> None:
    async def body() -> Recorder:
        recorder = Recorder(tmp_path / "missing" / "call.mp4")
        feed(recorder, range(3))
        assert await recorder.close() is None
        return recorder

    assert "No such file" in str(asyncio.run(body()).fault)


def test_until_it_is_whole_it_has_no_name(tmp_path: Path) -> None:
    async def body() -> None:
        recorder = Recorder(tmp_path / "call.mp4")
        feed(recorder, range(4))
        for _ in range(500):
            if list(tmp_path.iterdir()):
                break
            await asyncio.sleep(0.01)
        assert [one.name.startswith(".call.mp4.") for one in tmp_path.iterdir()] == [True]
        await recorder.close()

    asyncio.run(body())


def test_a_slow_output_drops_and_goes_on_with_a_key_frame() -> None:
    class Slow(Outlet):
        def __init__(self) -> None:
            self.gate = threading.Event()
            super().__init__("slow")

    async def body() -> None:
        sink = Slow()
        assert all(sink._put(lambda: None if sink.gate.wait() else None) for _ in range(QUEUE))
        accepted = [sink._put(lambda: None) for _ in range(5)]
        assert accepted.count(False) >= 4 and sink.dropped >= 4
        sink.gate.set()
        await sink.close()
        assert not sink._put(lambda: None)

    asyncio.run(body())


def test_rtmp_reaches_a_server() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        url = f"rtmp://127.0.0.1:{probe.getsockname()[1]}/live/key"
    got: list[int | None] = []

    def listen() -> None:
        with suppress(av.FFmpegError), av.open(url, options={"listen": "1", "timeout": "20"}, format="flv") as container:
            for frame in container.decode(container.streams.video[0]):  # ends with an error when the sender hangs up
                got.append(number_of(frame))

    async def body() -> str | None:
        await asyncio.sleep(0.3)
        sink = Rtmp(url)
        feed(sink, range(12))
        await sink.close()
        return sink.fault

    listener = threading.Thread(target=listen, daemon=True)
    listener.start()
    fault = asyncio.run(body())
    listener.join(20)
    assert fault is None and got[:40] == list(range(40))


def test_rtmp_to_nowhere_is_a_fault_of_its_own() -> None:
    async def body() -> str | None:
        sink = Rtmp("rtmp://127.0.0.1:1/live/key")
        feed(sink, range(2))
        await sink.close()
        return sink.fault

    assert "refused" in str(asyncio.run(body())).lower()


def test_no_camera_is_one_sentence() -> None:
    with pytest.raises(ConfigError, match="pip install 'chatanyone.camera.'|no virtual camera on this machine"):
        Camera(SIZE, 30.0)
