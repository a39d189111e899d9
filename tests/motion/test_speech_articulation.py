"""`motion.training.articulation`: what a person would see."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from motion.training.articulation import MouthStyle, mouth_curves, random_style
from motion.training.speech import Phone, Speech, silence
from motion.types import ARKIT_INDEX, ARKIT_NAMES, EXPRESSION_GROUPS


def _say(*phones: tuple[str, float]) -> Speech:
    """Made-up speech: (IPA, seconds) with a steady tone as sound, half a second of silence around it."""
    at, result = 0.5, [Phone(0.0, 0.5, "")]
    for ipa, seconds in phones:
        result.append(Phone(at, at + seconds, ipa, 2 if ipa in "aɑiuɔ" else 0))
        at += seconds
    result.append(Phone(at, at + 0.5, ""))
    samples = np.zeros(round((at + 0.5) * 16000), np.float32)
    samples[8000:round(at * 16000)] = 0.1 * np.sin(np.arange(round(at * 16000) - 8000) * 0.05)
    return Speech(samples, result)


def _curve(speech: Speech, name: str, style: MouthStyle | None = None) -> np.ndarray:
    return mouth_curves(speech, 30, style)[:, ARKIT_INDEX[name]]


def _frame(seconds: float) -> int:
    return int(seconds * 30)


def test_shape_range_and_only_the_mouth() -> None:
    curves = mouth_curves(_say(("m", 0.1), ("a", 0.2)), Fraction(30000, 1001), random_style(np.random.default_rng(0)))
    assert curves.dtype == np.float32 and curves.shape == (-(-20800 * 30000 // (1001 * 16000)), 52)
    assert curves.min() >= 0 and curves.max() <= 1
    others = [index for index, name in enumerate(ARKIT_NAMES) if name not in EXPRESSION_GROUPS["mouth"]]
    assert not curves[:, others].any()


@pytest.mark.parametrize("bilabial", ["p", "b", "m"])
def test_bilabials_close_between_open_vowels(bilabial: str) -> None:
    speech = _say(("a", 0.2), (bilabial, 0.06), ("a", 0.2))
    jaw, close, press = (_curve(speech, name) for name in ("jawOpen", "mouthClose", "mouthPressLeft"))
    closed, opened = _frame(0.73), _frame(0.6)
    assert jaw[opened] - close[opened] > 0.35  # the vowel
    assert jaw[closed] - close[closed] < 0.03 and press[closed] > 0.25


def test_labiodentals_tuck_the_lower_lip() -> None:
    speech = _say(("a", 0.2), ("f", 0.1), ("a", 0.2))
    roll, jaw = _curve(speech, "mouthRollLower"), _curve(speech, "jawOpen")
    assert roll[_frame(0.75)] > 0.4 and roll[_frame(0.6)] < 0.05
    assert jaw[_frame(0.75)] < 0.4 * jaw[_frame(0.6)]


def test_vowels_have_their_shapes() -> None:
    wide, round_, open_ = (mouth_curves(_say((vowel, 0.3)))[_frame(0.65)] for vowel in "iua")
    pucker, stretch, jaw = (ARKIT_INDEX[name] for name in ("mouthPucker", "mouthStretchLeft", "jawOpen"))
    assert round_[pucker] > 0.6 > 5 * max(wide[pucker], open_[pucker])
    assert wide[stretch] > 0.25 > round_[stretch]
    assert 0.3 < open_[jaw] < 0.65 and open_[jaw] > 2 * max(wide[jaw], round_[jaw])


def test_rounding_is_anticipated() -> None:
    """In /su/ the lips round during the s, in /si/ they do not (coarticulation)."""
    rounded, spread = _say(("s", 0.12), ("u", 0.2)), _say(("s", 0.12), ("i", 0.2))
    during = _frame(0.6)
    assert _curve(rounded, "mouthPucker")[during] > _curve(spread, "mouthPucker")[during] + 0.15


def test_the_mouth_rests_in_silence() -> None:
    assert not mouth_curves(silence(1.0)).any()
    after = mouth_curves(_say(("a", 0.3)))[_frame(0.8 + 0.35):]
    assert len(after) and after.max() < 0.03
    smiling = mouth_curves(silence(1.0), style=MouthStyle(smile=0.2))
    assert smiling[:, ARKIT_INDEX["mouthSmileLeft"]] == pytest.approx(0.2, abs=1e-6)


def test_style_scales_the_movement() -> None:
    speech = _say(("a", 0.3))
    small, normal, large = (_curve(speech, "jawOpen", MouthStyle(expression=gain)).max() for gain in (0.5, 1.0, 1.5))
    assert small == pytest.approx(normal / 2, rel=0.01) and large == pytest.approx(normal * 1.5, rel=0.01)
    jaw_only = MouthStyle(jaw=1.2)
    assert _curve(speech, "jawOpen", jaw_only).max() == pytest.approx(1.2 * normal, rel=0.01)


def test_lag_and_asymmetry() -> None:
    speech = _say(("a", 0.3))
    late = _curve(speech, "jawOpen", MouthStyle(lag_s=1 / 30))
    assert np.allclose(late[1:], _curve(speech, "jawOpen")[:-1], atol=2e-3)
    uneven = MouthStyle(asymmetry=0.2)
    left, right = (_curve(speech, f"mouthLowerDown{side}", uneven).max() for side in ("Left", "Right"))
    assert left / right == pytest.approx(1.2 / 0.8, rel=0.01)


def test_loud_speech_opens_more_than_soft() -> None:
    speech = _say(("a", 0.2), ("t", 0.05), ("a", 0.2))
    half = round(0.72 * 16000)
    speech.samples[half:] *= 0.3
    jaw = _curve(speech, "jawOpen")
    assert jaw[_frame(0.6)] > 1.1 * jaw[_frame(0.85)]


def test_movement_is_smooth() -> None:
    curves = mouth_curves(_say(("m", 0.08), ("a", 0.15), ("s", 0.1), ("u", 0.15), ("p", 0.06), ("i", 0.2)), 120)
    assert np.abs(np.diff(curves, axis=0)).max() < 0.12  # weight per 1/120 s


def test_rounding_nears_the_lips_without_closing_them() -> None:
    """Tracked speakers' lips nearly meet in [w] and stand apart in [a]; only p, b, m close."""
    def opening(ipa: str) -> float:
        phones = [Phone(0.0, 0.3, ""), Phone(0.3, 0.6, ipa), Phone(0.6, 0.9, "")]
        curves = mouth_curves(Speech(np.zeros(round(0.9 * 16000), np.float32), phones))
        frame = curves[14]
        return float(frame[ARKIT_INDEX["jawOpen"]] - frame[ARKIT_INDEX["mouthClose"]])

    assert opening("m") < 0.005 < opening("w") < 0.25 * opening("u") + 0.02 < opening("a")
