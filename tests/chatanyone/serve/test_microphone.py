from __future__ import annotations

import random

import numpy as np
import pytest
from numpy.typing import NDArray

from chatanyone.serve.encode import SoundEncoder
from chatanyone.serve.microphone import HEARD_HZ, REORDER, Microphone, Sorter, opus_samples
from chatanyone.stream.types import UNIT_SAMPLES

DATA = bytes([0x7c | 3 << 3, 1, 2, 3])  # config 31: CELT, 20 ms
RtpLike = tuple[int, int, bytes]


def packets(count: int, first: int = 0) -> list[RtpLike]:
    return [((first + index) % 65536, 960 * index % (1 << 32), DATA + bytes([index])) for index in range(count)]


def sort(given: list[RtpLike], sorter: Sorter | None = None) -> list[int]:
    """Indices that came out."""
    sorter = sorter or Sorter()
    return [piece.data[-1] for packet in given for piece in sorter.push(*packet)]


def test_in_order_nothing_waits() -> None:
    sorter = Sorter()
    for index, packet in enumerate(packets(9)):
        assert sort([packet], sorter) == [index]


def test_overtaken_packets_are_put_in_order() -> None:
    given = packets(10)
    given[3], given[5] = given[5], given[3]
    assert sort(given) == list(range(10))


def test_doubled_packets_count_once() -> None:
    sorter = Sorter()
    assert sort([packet for packet in packets(6) for _ in range(2)], sorter) == list(range(6))
    assert sorter.late == 6  # a second copy of what went on already is late
    held = Sorter()
    given = packets(4)
    assert sort([given[0], given[2], given[2], given[1], given[3]], held) == [0, 1, 2, 3]
    assert held.doubled == 1


def test_a_lost_packet_is_waited_for_shortly_and_becomes_silence() -> None:
    sorter, given = Sorter(), packets(10)
    out = [piece for packet in given[:3] + given[4:] for piece in sorter.push(*packet)]
    assert [piece.data[-1] for piece in out] == [0, 1, 2, 4, 5, 6, 7, 8, 9]
    assert [piece.silence for piece in out] == [0, 0, 0, 960, 0, 0, 0, 0, 0]
    assert sorter.lost == 1
    waited = Sorter()
    assert sort(given[:3] + given[4:4 + REORDER], waited) == [0, 1, 2]  # so long and no longer
    assert sort([given[4 + REORDER]], waited) == [4, 5, 6, 7]


def test_too_late_is_too_late() -> None:
    sorter, given = Sorter(), packets(12)
    assert sort(given[:2] + given[3:] + [given[2]], sorter) == [0, 1, *range(3, 12)]
    assert (sorter.late, sorter.lost) == (1, 1)


def test_numbers_wrap() -> None:
    assert sort(packets(200, first=65_500)) == list(range(200))
    sorter = Sorter()
    out = list(sorter.push(65_535, (1 << 32) - 960, DATA)) + list(sorter.push(0, 0, DATA))
    assert [piece.silence for piece in out] == [0, 0]


def test_a_client_that_starts_again() -> None:
    sorter = Sorter()
    assert sort(packets(5), sorter) == list(range(5))
    assert sort(packets(5, first=30_000), sorter) == list(range(5))


@pytest.mark.parametrize("seed", range(5))
def test_any_disorder_within_the_window_is_undone(seed: int) -> None:
    chance = random.Random(seed)
    given = packets(200)
    shuffled = sorted(range(200), key=lambda index: index + (index > 0) * chance.uniform(1, 1 + REORDER))
    assert sort([given[index] for index in shuffled]) == list(range(200))


@pytest.mark.parametrize(("first", "samples"), [(0b11111_000, 960), (0b00000_000, 480), (0b01111_000, 960),
                                                (0b00011_000, 2880), (0b11100_001, 240)])
def test_length_of_opus_packets(first: int, samples: int) -> None:
    assert opus_samples(bytes([first])) == samples
    assert opus_samples(b"") == 960


def coded_tone(units: int = 8, hz: float = 440.0) -> list[RtpLike]:
    coder = SoundEncoder(48)
    out: list[RtpLike] = []
    for unit in range(units):
        phase = 2 * np.pi * hz * (np.arange(UNIT_SAMPLES) + unit * UNIT_SAMPLES) / 48_000
        for packet in coder.encode((9000 * np.sin(phase)).astype(np.int16), unit):
            out.append((len(out), packet.pts % (1 << 32), packet.data))
    return out


def hear(given: list[RtpLike]) -> tuple[NDArray[np.float32], Microphone]:
    microphone = Microphone()
    return np.concatenate([microphone.push(*packet) for packet in given]), microphone


def peak_hz(sound: NDArray[np.float32]) -> float:
    return float(np.abs(np.fft.rfft(sound)).argmax() * HEARD_HZ / len(sound))


def test_a_tone_stays_a_tone() -> None:
    given = coded_tone()
    sound, _ = hear(given)
    assert abs(len(sound) - len(given) * 320) < 32
    assert peak_hz(sound) == pytest.approx(440, abs=2)
    assert np.sqrt((sound[1000:] ** 2).mean()) == pytest.approx(9000 / 32768 / 2 ** 0.5, rel=0.03)


def test_time_goes_on_through_losses() -> None:
    """Voice activity detection counts time by samples: what was lost must still take its time."""
    given = coded_tone()
    whole, _ = hear(given)
    sound, microphone = hear([packet for packet in given if packet[0] % 7 != 3])
    assert abs(len(sound) - len(whole)) <= 320
    assert microphone.sorter.lost >= 6


def test_garbage_is_survived() -> None:
    given = coded_tone()
    garbage = [(number, stamp, bytes(range(200))[number:] if number % 3 == 0 else data) for number, stamp, data in given]
    sound, _ = hear(garbage)
    assert np.isfinite(sound).all() and np.abs(sound).max() <= 1.5
