"""Phonemes → ARKit mouth, jaw and tongue curves, by dominance functions.

Cohen & Massaro, "Modeling coarticulation in synthetic visual speech" (1993): each phoneme pulls every articulator to
its target with a dominance that falls off exponentially around it, and the curve is the weighted mean
``F(t) = Σ D_i(t) T_i / Σ D_i(t)``, ``D_i(t) = α_i exp(−θ |t − t_i|)``. Departures, our choice: the distance is measured
from the phoneme's interval rather than its centre (long vowels reach their target and hold it), articulators have their
own θ, and lip closures are added as gestures of their own that win over the rest, so that p, b, m truly close.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from motion.training.phonemes import ARTICULATIONS, PHONEME_CLASSES, SILENCE, VOWELS, Articulation
from motion.training.speech import SAMPLE_RATE, Segment, Speech, segments
from motion.types import ARKIT_INDEX, EXPRESSION_DIM

CURVE_HZ = 120  # the model runs at this rate; frames are read off at their centres


@dataclass(frozen=True)
class MouthStyle:
    """How a person moves the mouth; the defaults are a neutral speaker. All are our choice.

    expression: scales every movement, 0.5 mumbles, 1.5 declaims
    lips, jaw: scale lip shapes and jaw opening on top
    smile: constant lift of the mouth corners, -0.15 (down) … 0.35
    lag_s: how far the mouth trails the sound
    asymmetry: -0.3 … 0.3, positive moves the person's left side more
    variation: spread of the targets from one phoneme to the next of its kind
    """

    expression: float = 1.0
    lips: float = 1.0
    jaw: float = 1.0
    smile: float = 0.0
    lag_s: float = 0.0
    asymmetry: float = 0.0
    variation: float = 0.0


def random_style(rng: np.random.Generator) -> MouthStyle:
    """A random person."""
    return MouthStyle(
        expression=float(rng.uniform(0.5, 1.5)), lips=float(rng.uniform(0.8, 1.25)), jaw=float(rng.uniform(0.8, 1.2)),
        smile=float(np.clip(rng.normal(0.05, 0.1), -0.1, 0.35)), lag_s=float(rng.normal(0.0, 0.006)),
        asymmetry=float(np.clip(rng.normal(0.0, 0.08), -0.25, 0.25)), variation=0.12,
    )


# Per articulator: name in `Articulation`, whose dominance it obeys, and θ (1/s) before and after the phoneme: lips
# start rounding earlier than the jaw moves.
_TRACKS: tuple[tuple[str, str, float, float], ...] = (
    ("jaw", "hold_jaw", 22.0, 18.0), ("pucker", "hold_lips", 15.0, 16.0), ("funnel", "hold_lips", 15.0, 16.0),
    ("spread", "hold_lips", 14.0, 14.0), ("raise_upper", "hold_lips", 20.0, 18.0),
    ("lower_down", "hold_lips", 20.0, 18.0), ("tongue", "hold_jaw", 40.0, 35.0),
)
_CLOSURES = {"close": 0.045, "tuck": 0.05, "narrow": 0.06}  # gesture → seconds its ramps take
_TRAIL_S = 0.015  # lips trail the phonemes' borders by so much (calibrated as `motion.training.phonemes` says)
_SHORT_PAUSE_S = 0.12  # shorter silences are stop gaps or breath marks: the mouth does not rest in them


def _targets(parts: list[Segment], style: MouthStyle, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Target of each articulator and its dominance per segment, each ``[S]``, with stress and personal variation."""
    rows = [ARTICULATIONS[PHONEME_CLASSES[part.phoneme]] for part in parts]
    names = [name for name in Articulation.__dataclass_fields__]
    values = {name: np.array([getattr(row, name) for row in rows]) for name in names}
    vowel = np.array([PHONEME_CLASSES[part.phoneme] in VOWELS for part in parts])
    stress = np.array([(0.85, 1.0, 1.18)[part.stress] for part in parts])
    values["jaw"] = values["jaw"] * np.where(vowel, stress, 1.0)
    for name, *_ in _TRACKS:
        values[name] = values[name] * np.exp(style.variation * rng.standard_normal(len(parts)))
    pause = np.array([part.phoneme == SILENCE and part.end_s - part.start_s < _SHORT_PAUSE_S for part in parts])
    for name in ("hold_jaw", "hold_lips", "hold_close"):
        values[name] = np.where(pause, 0.15 * values[name], values[name])
    return values


def _blend(times: np.ndarray, parts: list[Segment], target: np.ndarray, hold: np.ndarray, before: float,
           after: float) -> np.ndarray:
    """Weighted mean of the targets at each time: ``[T]``."""
    starts, ends = np.array([part.start_s for part in parts]), np.array([part.end_s for part in parts])
    # A consonant is a point in time, a vowel a plateau: shrink the interval by a fixed run-in on both sides.
    margin = np.minimum(0.035, 0.45 * (ends - starts))
    starts, ends = starts + margin, ends - margin
    total, weight = np.zeros(len(times)), np.full(len(times), 1e-9)
    for start, end, value, strength in zip(starts, ends, target, hold):
        low, high = np.searchsorted(times, [start - 0.5, end + 0.5])
        near = times[low:high]
        distance = before * np.maximum(start - near, 0) + after * np.maximum(near - end, 0)
        dominance = strength * np.exp(-distance)
        total[low:high] += dominance * value
        weight[low:high] += dominance
    return total / weight


def _gesture(times: np.ndarray, parts: list[Segment], size: np.ndarray, ramp_s: float) -> np.ndarray:
    """A closure: 1 through the segment, smooth ramps around it, the maximum where two meet: ``[T]``."""
    result = np.zeros(len(times))
    for part, value in zip(parts, size):
        if value <= 0:
            continue
        # Lips meet a little before the sound stops; at least 60 ms, so that some frame of 30 fps shows it closed.
        start, end = part.start_s - 0.01, max(part.end_s - 0.01, part.start_s + 0.05)
        low, high = np.searchsorted(times, [start - ramp_s, end + ramp_s])
        distance = np.maximum(start - times[low:high], 0) + np.maximum(times[low:high] - end, 0)
        shape = 0.5 + 0.5 * np.cos(np.pi * np.clip(distance / ramp_s, 0, 1))
        result[low:high] = np.maximum(result[low:high], value * shape)
    return result


def _loudness(samples: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Loudness around each time relative to the clip's own speaking level, as a factor near 1: ``[T]``.

    Relative, because the level of a recording says nothing about the mouth; ±6 dB change the opening by about ±20 %.
    """
    hop = SAMPLE_RATE // CURVE_HZ
    count = -(-len(samples) // hop)
    power = np.pad(samples.astype(np.float64), (0, count * hop - len(samples))).reshape(count, hop) ** 2
    smooth = np.convolve(power.mean(1), np.hanning(15) / np.hanning(15).sum(), mode="same")
    spoken = smooth[smooth > 1e-6]
    if not len(spoken):
        return np.ones(len(times))
    level_db = 10 * np.log10(np.maximum(smooth, 1e-9) / np.median(spoken))
    factor = 1 + np.clip(level_db, -6, 6) / 30
    return np.interp(times, np.arange(count) / CURVE_HZ, factor)


def _articulators(speech: Speech, times: np.ndarray, style: MouthStyle, rng: np.random.Generator
                  ) -> dict[str, np.ndarray]:
    parts = segments(speech.phonemes)
    values = _targets(parts, style, rng)
    tracks = {name: _blend(times, parts, values[name], values[hold], before, after)
              for name, hold, before, after in _TRACKS}
    tracks["jaw"] = tracks["jaw"] * _loudness(speech.samples, times)
    for name, ramp_s in _CLOSURES.items():
        tracks[name] = _gesture(times, parts, values[name], ramp_s)
    return tracks


def _sided(curves: np.ndarray, name: str, value: np.ndarray, asymmetry: float) -> None:
    curves[:, ARKIT_INDEX[name + "Left"]] = value * (1 + asymmetry)
    curves[:, ARKIT_INDEX[name + "Right"]] = value * (1 - asymmetry)


def _to_arkit(tracks: dict[str, np.ndarray], style: MouthStyle) -> np.ndarray:
    """Articulators → ``[T, 52]``. Closing the lips multiplies away what would hold them open."""
    close, tuck = tracks["close"], tracks["tuck"]
    near = np.maximum(close, tracks["narrow"])  # how far the lips are towards each other, touching or not
    gain, lips = style.expression, style.expression * style.lips
    parted = (1 - near) * (1 - 0.8 * tuck)
    curves = np.zeros((len(close), EXPRESSION_DIM))

    def put(name: str, value: np.ndarray) -> None:
        curves[:, ARKIT_INDEX[name]] = value

    jaw = gain * style.jaw * tracks["jaw"] * (1 - 0.75 * near) * (1 - 0.45 * tuck)
    put("jawOpen", jaw)
    put("mouthClose", np.minimum(near * (jaw + 0.02 * (close >= near)), jaw))  # ARKit's mouthClose undoes jawOpen at the lips
    put("mouthPucker", lips * tracks["pucker"] * (1 - 0.3 * tuck))
    put("mouthFunnel", lips * tracks["funnel"] * (1 - 0.6 * close) * (1 - 0.5 * tuck))
    put("mouthRollLower", np.clip(0.16 * close + 0.5 * tuck, 0, 1) * (0.6 + 0.4 * gain))
    put("mouthRollUpper", 0.12 * close * (0.6 + 0.4 * gain))
    put("mouthShrugLower", 0.1 * close + 0.12 * tuck)
    put("tongueOut", lips * tracks["tongue"] * (1 - close) * 0.6)
    put("jawForward", 0.06 * tuck + 0.1 * tracks["funnel"])
    sides = {
        "mouthPress": 0.32 * close * (0.6 + 0.4 * gain),
        "mouthStretch": 0.55 * lips * tracks["spread"] * (1 - 0.4 * close),
        "mouthSmile": max(style.smile, 0.0) * (1 - 0.35 * tracks["pucker"]) + 0.22 * lips * tracks["spread"],
        "mouthFrown": max(-style.smile, 0.0) * np.ones_like(close),
        "mouthLowerDown": lips * tracks["lower_down"] * parted,
        "mouthUpperUp": lips * tracks["raise_upper"] * (1 - near),
        "mouthDimple": 0.12 * close * gain,
    }
    for name, value in sides.items():
        _sided(curves, name, value, style.asymmetry)
    return np.clip(curves, 0, 1)


def mouth_curves(
    speech: Speech, fps: Fraction | int = 30, style: MouthStyle | None = None, rng: np.random.Generator | None = None
) -> np.ndarray:
    """The mouth, jaw and tongue of `EXPRESSION_GROUPS["mouth"]` over time; all other columns are 0.

    Args:
        speech: what is said
        fps: frame rate; frame ``i`` is read at its centre, ``(i + ½) / fps``
        style: the person; None is neutral
        rng: draws the personal variation; None repeats the same draw

    Returns:
        float32 ``[ceil(N·fps/16000), 52]`` ARKit weights in [0, 1]
    """
    style, rng, fps = style or MouthStyle(), rng or np.random.default_rng(0), Fraction(fps)
    count = -(-len(speech.samples) * fps.numerator // (SAMPLE_RATE * fps.denominator))
    if not count:
        return np.zeros((0, EXPRESSION_DIM), np.float32)
    fine = np.arange(-12, int(count / fps * CURVE_HZ) + 13) / CURVE_HZ
    curves = _to_arkit(_articulators(speech, fine, style, rng), style)
    kernel = np.hanning(7)[1:-1] / np.hanning(7).sum()  # 40 ms: muscles do not jump
    curves = np.stack([np.convolve(column, kernel, mode="same") for column in curves.T], axis=1)
    centres = (np.arange(count) + 0.5) / float(fps) - style.lag_s - _TRAIL_S
    return np.stack([np.interp(centres, fine, column) for column in curves.T], axis=1).astype(np.float32)
