from __future__ import annotations

from fractions import Fraction
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from chatanyone.serve.encode import (OPUS_LOOKAHEAD, SOUND_WAIT, UNIT_TICKS, Packet, SoundEncoder, VideoCodec, VideoEncoder,
                                     fair_kbps, picture_pts)
from chatanyone.stream.standin import burn_number, read_number
from chatanyone.stream.types import UNIT_S, UNIT_SAMPLES, SessionState, Unit

SIZE = (128, 192)
CODECS: tuple[VideoCodec, ...] = ("h264", "vp8")


def picture(number: int) -> NDArray[np.uint8]:
    frame = np.random.default_rng(number).integers(90, 160, (SIZE[1], SIZE[0], 3), dtype=np.uint8)
    burn_number(frame, number)
    return frame


def encoder(codec: VideoCodec = "h264", kbps: int = 400, key_s: float = 10.0) -> VideoEncoder:
    return VideoEncoder(codec, SIZE, Fraction(30), kbps, key_s)


def decoded(codec: VideoCodec, packets: list[Packet]) -> list[int | None]:
    context: Any = av.CodecContext.create({"h264": "h264", "vp8": "libvpx"}[codec], "r")
    frames = [frame for packet in packets for frame in context.decode(av.Packet(packet.data))]
    return [read_number(frame.to_ndarray(format="rgb24")) for frame in [*frames, *context.decode(None)]]


@pytest.mark.parametrize("codec", CODECS)
def test_each_picture_comes_out_at_once_and_in_order(codec: VideoCodec) -> None:
    coder = encoder(codec)
    packets = [coder.encode(picture(number), number * 3000, number // 4) for number in range(12)]
    assert all(packet.data for packet in packets)
    assert [packet.key for packet in packets] == [True] + [False] * 11
    assert [packet.pts for packet in packets] == [3000 * number for number in range(12)]
    assert decoded(codec, packets) == list(range(12))


@pytest.mark.parametrize("codec", CODECS)
def test_key_frame_on_request_begins_a_stream(codec: VideoCodec) -> None:
    coder = encoder(codec)
    packets = [coder.encode(picture(number), number * 3000, 0, key=number == 5) for number in range(9)]
    assert [index for index, packet in enumerate(packets) if packet.key] == [0, 5]
    assert decoded(codec, packets[5:]) == [5, 6, 7, 8]


def test_h264_is_what_browsers_must_take() -> None:
    packet = encoder().encode(picture(0), 0, 0)
    start = packet.data.index(b"\x00\x00\x01\x67") + 4  # the sequence parameter set, in the key frame itself
    profile, constraints, level = packet.data[start:start + 3]
    assert profile == 66 and constraints & 0x40 and level <= 31  # constrained baseline, RFC 7742 section 6.2


@pytest.mark.parametrize("codec", CODECS)
def test_rate_can_be_lowered_on_the_way(codec: VideoCodec) -> None:
    coder = encoder(codec, kbps=1200)
    before = sum(len(coder.encode(picture(number), number * 3000, 0).data) for number in range(60))
    coder.kbps = 150
    after = sum(len(coder.encode(picture(number), number * 3000, 0).data) for number in range(60, 120))
    assert coder.kbps == 150 and after < before / 3


def test_time_stamps_derive_from_the_unit() -> None:
    for count in (1, 2, 3, 4):
        unit = Unit(7, 0, np.zeros(UNIT_SAMPLES, np.int16), np.zeros((count, 2, 2, 3), np.uint8), SessionState.LISTENING)
        assert picture_pts(unit) == [7 * UNIT_TICKS + UNIT_TICKS // count * j for j in range(count)]


def test_sound_packets_are_even_and_on_the_clock() -> None:
    coder = SoundEncoder(48)
    packets = [packet for unit in range(6) for packet in coder.encode(np.zeros(UNIT_SAMPLES, np.int16), unit)]
    assert [packet.pts for packet in packets] == [960 * index - OPUS_LOOKAHEAD for index in range(40)]  # 6·6400 / 960
    for packet in packets:  # none is due before its unit is there
        assert packet.due_s >= float(packet.unit * UNIT_S) - 1e-9
        assert packet.due_s == pytest.approx((packet.pts + OPUS_LOOKAHEAD + SOUND_WAIT) / 48_000)


def test_sound_lies_where_its_time_stamp_says() -> None:
    coder = SoundEncoder(64)
    decoder: Any = av.CodecContext.create("libopus", "r")
    sound = np.zeros(6 * UNIT_SAMPLES, np.int16)
    sound[10_000:10_200] = 20_000
    heard = np.zeros(6 * UNIT_SAMPLES + 960, np.float32)
    for unit in range(6):
        for packet in coder.encode(sound[unit * UNIT_SAMPLES:(unit + 1) * UNIT_SAMPLES], unit):
            for frame in decoder.decode(av.Packet(packet.data)):
                samples = frame.to_ndarray().reshape(-1, len(frame.layout.channels))[:, 0]
                heard[packet.pts + 960:packet.pts + 960 + len(samples)] += samples
    loud = np.flatnonzero(np.abs(heard) > 8000) - 960
    assert abs(loud.mean() - 10_100) < 60  # 1¼ ms


def test_a_missing_unit_is_a_gap_not_a_shift() -> None:
    coder = SoundEncoder(48)
    stamps = [packet.pts for unit in (0, 1, 4) for packet in coder.encode(np.zeros(UNIT_SAMPLES, np.int16), unit)]
    assert stamps[-6:] == [4 * UNIT_SAMPLES + 960 * index - OPUS_LOOKAHEAD for index in range(6)]
    assert len(stamps) == 14 + 6 and stamps == sorted(stamps)  # 13⅓ packets, the last one filled up with silence


@pytest.mark.parametrize(("size", "fps", "kbps"), [((512, 768), 30, 1500), ((1024, 1536), 30, 1500), ((256, 384), 30, 750),
                                                   ((256, 384), 7.5, 375), ((64, 96), 7.5, 100)])
def test_smaller_sessions_take_less(size: tuple[int, int], fps: float, kbps: int) -> None:
    assert fair_kbps(size, Fraction(fps), 1500) == kbps
