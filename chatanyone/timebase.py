"""Samples, frames and seconds: the only rate arithmetic of the application, in exact fractions.

Audio positions are absolute sample indices at 16 kHz, video positions are frame indices. 16 000 Hz / 30 fps is 533⅓
samples a frame, so any rounded step drifts (0.6 frames a minute); here nothing is rounded before the last step.
"""

from __future__ import annotations

from fractions import Fraction

from chatanyone.errors import ConfigError

SAMPLE_RATE_HZ = 16_000
MIN_FPS, MAX_FPS = 1, 240


def parse_fps(value: str | int | float | Fraction) -> Fraction:
    """A frame rate as an exact fraction: ``30``, ``"25"``, ``"30000/1001"``; 29.97 means 30000/1001.

    Raises:
        ConfigError: not a number, or outside 1 to 240.
    """
    try:
        fps = Fraction(str(value))
    except (ValueError, ZeroDivisionError):
        raise ConfigError(f"the frame rate must be a number or a fraction such as 30000/1001, not '{value}'") from None
    if not MIN_FPS <= fps <= MAX_FPS:
        raise ConfigError(f"the frame rate must be {MIN_FPS} to {MAX_FPS} frames per second, not {value}")
    return _ntsc(fps)


def _ntsc(fps: Fraction) -> Fraction:
    """Decimal spellings of the NTSC rates (23.976, 29.97, 59.94) are shorthand for n·1000/1001."""
    exact = Fraction(round(fps * 1001 / 1000) * 1000, 1001)
    return exact if fps.denominator != 1 and abs(fps - exact) < Fraction(1, 500) else fps


def frames_for_samples(samples: int, fps: Fraction, rate_hz: int = SAMPLE_RATE_HZ) -> int:
    """Frames of a clip of `samples` samples: ⌈samples · fps / rate⌉."""
    return -(-samples * fps.numerator // (fps.denominator * rate_hz))


def frames_covered(samples: int, fps: Fraction, rate_hz: int = SAMPLE_RATE_HZ) -> int:
    """Frames whose samples have all arrived: ⌊samples · fps / rate⌋."""
    return samples * fps.numerator // (fps.denominator * rate_hz)


def first_sample(frame: int, fps: Fraction, rate_hz: int = SAMPLE_RATE_HZ) -> int:
    """The first sample inside frame `frame`, which stands for [frame · rate / fps, (frame + 1) · rate / fps)."""
    return -(-frame * rate_hz * fps.denominator // fps.numerator)


def frame_time_s(frame: int, fps: Fraction) -> Fraction:
    """When frame `frame` starts, seconds."""
    return frame / fps


def sample_time_s(sample: int, rate_hz: int = SAMPLE_RATE_HZ) -> Fraction:
    """When sample `sample` starts, seconds."""
    return Fraction(sample, rate_hz)


def frame_at(time_s: Fraction, fps: Fraction) -> int:
    """The frame on screen at `time_s`: the last one that has started."""
    return int(time_s * fps // 1)


def source_frame(frame: int, fps: Fraction, source_fps: Fraction) -> int:
    """Frame-rate conversion by picking: which source frame is on screen when output frame `frame` starts."""
    return frame_at(frame_time_s(frame, fps), source_fps)
