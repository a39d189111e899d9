from __future__ import annotations

from fractions import Fraction

import pytest

from chatanyone import timebase
from chatanyone.errors import ConfigError

RATES = [pytest.param(Fraction(r), id=r) for r in ("25", "30", "30000/1001")]


@pytest.mark.parametrize("fps", RATES)
@pytest.mark.parametrize("samples", [0, 1, 533, 534, 1067, 15_999, 16_000, 16_001, 999_983])
def test_frames_for_samples_is_the_exact_ceiling(fps: Fraction, samples: int) -> None:
    frames = timebase.frames_for_samples(samples, fps)
    assert (frames - 1) * Fraction(16_000) / fps < samples or frames == 0
    assert frames * Fraction(16_000) / fps >= samples


@pytest.mark.parametrize(("samples", "frames"), [(0, 0), (1, 1), (533, 1), (534, 2), (1066, 2), (1067, 3), (1600, 3)])
def test_frames_by_hand_at_30_fps(samples: int, frames: int) -> None:
    assert timebase.frames_for_samples(samples, Fraction(30)) == frames


@pytest.mark.parametrize(("samples", "frames"), [(0, 0), (533, 0), (534, 1), (1066, 1), (1067, 2), (1600, 3)])
def test_a_frame_is_covered_once_its_last_sample_is_there(samples: int, frames: int) -> None:
    assert timebase.frames_covered(samples, Fraction(30)) == frames


@pytest.mark.parametrize("fps", RATES)
def test_first_samples_tile_the_clip(fps: Fraction) -> None:
    starts = [timebase.first_sample(i, fps) for i in range(2000)]
    steps = {b - a for a, b in zip(starts, starts[1:])}
    assert starts[0] == 0 and steps <= {int(16_000 / fps), int(16_000 / fps) + 1}
    assert all(timebase.frames_for_samples(s + 1, fps) == i + 1 for i, s in enumerate(starts))


@pytest.mark.parametrize("fps", RATES)
def test_no_drift_in_an_hour(fps: Fraction) -> None:
    hour = 3600 * 16_000
    pushed = frames = 0
    while pushed < hour:  # a stream that counts in chunks of an awkward size ends where the whole clip ends
        pushed = min(hour, pushed + 104_729)
        frames = timebase.frames_for_samples(pushed, fps)
    assert frames == -(-3600 * fps.numerator // fps.denominator)
    skew_s = timebase.frame_time_s(frames, fps) - timebase.sample_time_s(hour)
    assert 0 <= skew_s < 1 / fps


@pytest.mark.parametrize(("text", "fps"), [
    ("30", Fraction(30)), (25, Fraction(25)), ("30000/1001", Fraction(30000, 1001)), (29.97, Fraction(30000, 1001)),
    ("23.976", Fraction(24000, 1001)), ("12.5", Fraction(25, 2)),
])
def test_parse_fps(text: str | float, fps: Fraction) -> None:
    assert timebase.parse_fps(text) == fps


@pytest.mark.parametrize("text", ["fast", "0", "-5", "30/0", "1000", "nan", ""])
def test_parse_fps_refuses_nonsense_in_a_sentence(text: str) -> None:
    with pytest.raises(ConfigError, match="frame rate must be"):
        timebase.parse_fps(text)


def test_picking_source_frames_repeats_or_drops_evenly() -> None:
    assert [timebase.source_frame(i, Fraction(30), Fraction(15)) for i in range(5)] == [0, 0, 1, 1, 2]
    assert [timebase.source_frame(i, Fraction(30), Fraction(60)) for i in range(4)] == [0, 2, 4, 6]
