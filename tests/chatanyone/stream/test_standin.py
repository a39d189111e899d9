"""What the stand-in burns in is read back from compressed video and sound."""

from __future__ import annotations

import asyncio
import io
from fractions import Fraction
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from chatanyone.stream.engine import Made, Step
from chatanyone.stream.standin import StandInEngine, burn_number, chirp, find_chirps, read_level, read_number
from chatanyone.stream.types import SessionState
from chatanyone.stream.units import speech_before
from tests.helpers.virtual_time import run


@pytest.mark.parametrize("size", [(32, 48), (64, 96), (256, 384), (511, 767)])
def test_numbers_are_read_back(size: tuple[int, int]) -> None:
    width, height = size
    for number in (0, 1, 59, 60, 12_345, 2 ** 24 - 1):
        frame = np.full((height, width, 3), 90, np.uint8)
        burn_number(frame, number)
        assert read_number(frame) == number


def test_other_pictures_bear_no_number() -> None:
    random = np.random.default_rng(0)
    found = [read_number(random.integers(0, 256, (96, 64, 3), dtype=np.uint8)) for _ in range(500)]
    assert sum(number is not None for number in found) < 20
    for level in (0, 90, 255):
        assert read_number(np.full((96, 64, 3), level, np.uint8)) is None


@pytest.mark.parametrize("codec", ["libx264", "libvpx"])
def test_numbers_and_mouth_survive_a_megabit(codec: str) -> None:
    """256 × 384 at 30 pictures a second."""
    frames = _frames(60)
    back = _through(frames, codec, 1_000_000)
    assert len(back) == 60
    assert [read_number(frame) for frame in back] == list(range(60))
    levels = [(read_level(a), read_level(b)) for a, b in zip(frames, back)]
    assert max(abs(a - b) for a, b in levels) < 0.1 and max(a for a, _ in levels) > 0.3


def test_chirps_survive_opus_and_speech() -> None:
    random = np.random.default_rng(0)
    sound = np.zeros(6 * 48_000, np.float32)
    sound += 0.05 * random.standard_normal(len(sound)).astype(np.float32)
    at = [0.5, 2.5, 4.5]
    for second in at:
        start = round(48_000 * second)
        sound[start:start + len(chirp())] += chirp()
    assert find_chirps(sound) == pytest.approx(at, abs=0.0005)
    back = _through_opus((sound * 20_000).astype(np.int16))
    found = np.array(find_chirps(back))
    assert len(found) == 3
    delay = found - at
    assert np.ptp(delay) < 0.001 and abs(delay.mean()) < 0.03  # the codec's own delay
    assert find_chirps(np.zeros(48_000, np.int16)) == [] and find_chirps(np.zeros(10, np.int16)) == []


def _frames(count: int) -> list[NDArray[np.uint8]]:
    """What the stand-in draws of a voice that swells."""
    made: list[Made] = []

    async def main() -> None:
        engine = StandInEngine()
        await engine.start(made.append, lambda reason: None)
        for number in range(count // 4):
            start, end = speech_before(number), speech_before(number + 1)
            voice = 0.4 * np.sin(np.arange(start, end) / 3000) * np.sin(np.arange(start, end) * 0.5)
            engine.step(Step(number, voice.astype(np.float32), SessionState.SPEAKING, np.zeros(4, np.float32), 4))
        await asyncio.sleep(10)

    run(main())
    return [frame for answer in made for frame in answer.frames]


def _through(frames: list[NDArray[np.uint8]], codec: str, bits_per_s: int) -> list[NDArray[np.uint8]]:
    encoder: Any = av.CodecContext.create(codec, "w")
    encoder.width, encoder.height, encoder.pix_fmt = frames[0].shape[1], frames[0].shape[0], "yuv420p"
    encoder.bit_rate, encoder.time_base, encoder.framerate = bits_per_s, Fraction(1, 30), Fraction(30)
    encoder.options = {"preset": "veryfast", "tune": "zerolatency"} if codec == "libx264" else {
        "deadline": "realtime", "cpu-used": "8", "lag-in-frames": "0"}
    decoder: Any = av.CodecContext.create("h264" if codec == "libx264" else "vp8", "r")
    packets = [packet for frame in frames
               for packet in encoder.encode(av.VideoFrame.from_ndarray(frame, format="rgb24"))] + encoder.encode(None)
    decoded = [frame for packet in packets for frame in decoder.decode(packet)] + decoder.decode(None)
    return [frame.to_ndarray(format="rgb24") for frame in decoded]


def _through_opus(sound: NDArray[np.int16]) -> NDArray[np.int16]:
    memory = io.BytesIO()
    with av.open(memory, "w", format="ogg") as container:
        stream: av.AudioStream = container.add_stream("libopus", rate=48_000, layout="mono")  # type: ignore[assignment]
        stream.bit_rate = 48_000
        for start in range(0, len(sound) - 959, 960):
            frame = av.AudioFrame.from_ndarray(sound[None, start:start + 960], format="s16", layout="mono")
            frame.sample_rate, frame.pts = 48_000, start
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    memory.seek(0)
    with av.open(memory) as container:
        resampler = av.AudioResampler("s16", "mono", 48_000)
        parts = [part.to_ndarray()[0] for frame in container.decode(audio=0) for part in resampler.resample(frame)]
    return np.concatenate(parts)
