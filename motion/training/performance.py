"""What a speaker's face and head do beyond the mouth: the training data's performer.

From speech, its phonemes and the seeded controls of `motion.impulses`: brows on accents, blinks and gaze, cheeks that
follow the smile, nods on stressed syllables, sway of the head, small translations. `gestures.py` adds shoulders, arms
and hands. Nothing else is random, so the net is given all it needs to tell what comes.

All curves are sums of smooth kernels and of band-limited noise, read at frame centres, so nothing jitters. Amplitudes
and rates are our choice. For comparison, the real tracks in echomimic_v2's pose data (24 fps, five speakers) have head
rotations of 0.5 to 1.2° and wrists of 0.05 to 0.17 shoulder widths (standard deviations), with half of the wrists'
power below 0.3 Hz and 90 % below 0.6 to 1.1 Hz; ours is a livelier head.

Convention: rotation about +X is a nod down, about +Y a turn to the image's right, about +Z a tilt to the image's left.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from motion.impulses import FPS, face_controls
from motion.training.speech import SAMPLE_RATE, Phone, Speech
from motion.types import ARKIT_INDEX, FACE_DIM

Curve = np.ndarray  # float [T], one value a frame

EASE_IN_S = 0.7  # a clip starts at the picture's own pose
FULL_GAZE_RAD = 0.52  # eyeLook weight 1 is about 30°


@dataclass(frozen=True)
class Accent:
    """A stressed syllable: when, and how prominent (about 0.3…2)."""

    time_s: float
    strength: float


@dataclass(frozen=True)
class PerformanceStyle:
    """How lively somebody is, where 1 is the middle, and what the face does at rest, in weights: the manner that a
    reference clip shows and the sound does not tell."""

    brows: float = 1.0
    pose: float = 1.0
    gaze: float = 1.0
    smile: float = 0.0  # warmth on top of the mouth's own smile, 0…1
    smile_beats: float = 0.0  # smiles on accents, 0…0.3
    brow_rest: float = 0.0  # -0.3 lowered … 0.35 raised
    squint: float = 0.0  # 0…0.4
    wide: float = 0.0  # eyes wide, 0…0.25
    press: float = 0.0  # lips pressed when they are not needed, 0…0.35
    crooked: float = 0.0  # mouth drawn to one side, -0.2…0.2; positive to the person's left
    sneer: float = 0.0  # nose wrinkled, 0…0.2


@dataclass
class Prosody:
    """What the performance follows.

    time: frame centres, s; activity: 0 silent … 1 speaking, smoothed; accents: in time order
    """

    time: Curve
    activity: Curve
    accents: list[Accent] = field(default_factory=list)


def random_performance_style(rng: np.random.Generator) -> PerformanceStyle:
    """A random person."""
    return PerformanceStyle(brows=float(rng.uniform(0.3, 1.6)), pose=float(rng.uniform(0.4, 1.6)),
                            gaze=float(rng.uniform(0.6, 1.3)), smile=float(rng.uniform(0, 1) ** 2),
                            **_random_rest(rng))


def _random_rest(rng: np.random.Generator) -> dict[str, float]:
    """Resting offsets; most people have few of them."""
    def some(share: float, deviation: float, limit: float) -> float:
        return float(np.clip(abs(rng.normal(0, deviation)), 0, limit)) if rng.random() < share else 0.0

    squint = some(0.35, 0.18, 0.4)
    return {
        "smile_beats": some(0.3, 0.18, 0.3), "brow_rest": some(0.3, 0.18, 0.35) - some(0.3, 0.15, 0.3), "squint": squint,
        "wide": 0.0 if squint else some(0.3, 0.12, 0.25), "press": some(0.3, 0.18, 0.35),
        "crooked": some(0.2, 0.1, 0.2) - some(0.2, 0.1, 0.2), "sneer": some(0.15, 0.1, 0.2),
    }


def prosody(speech: Speech, frames: int) -> Prosody:
    """Accents and speech activity of an utterance."""
    time = (np.arange(frames) + 0.5) / FPS
    spoken = np.zeros(frames)
    for phone in speech.phonemes:
        if phone.ipa:
            spoken[(time >= phone.start_s) & (time < phone.end_s)] = 1.0
    return Prosody(time, follow(spoken, attack_s=0.25, release_s=0.6), _accents(speech))


def _accents(speech: Speech) -> list[Accent]:
    """Stressed phones; louder ones and the last of a phrase are more prominent."""
    phones = speech.phonemes
    levels = np.array([_level(speech.samples, phone) for phone in phones])
    stressed = [i for i, phone in enumerate(phones) if phone.stress > 0 and phone.ipa]
    if not stressed:
        return []
    reference = float(np.median(levels[stressed])) + 1e-6
    accents = []
    for i in stressed:
        loudness = float(np.clip(levels[i] / reference, 0.4, 1.6))
        strength = loudness * (1.0 if phones[i].stress > 1 else 0.5) * (1.4 if _is_last(phones, i) else 1.0)
        accents.append(Accent(0.5 * (phones[i].start_s + phones[i].end_s), strength))
    return accents


def _level(samples: np.ndarray, phone: Phone) -> float:
    """RMS of a phone's sound."""
    part = samples[int(phone.start_s * SAMPLE_RATE):int(phone.end_s * SAMPLE_RATE)]
    return float(np.sqrt(np.mean(part ** 2))) if len(part) else 0.0


def _is_last(phones: Sequence[Phone], index: int) -> bool:
    """Whether a pause comes before the next stress."""
    for phone in phones[index + 1:]:
        if not phone.ipa and phone.end_s - phone.start_s > 0.12:
            return True
        if phone.stress > 0:
            return False
    return True


def perform_face(said: Prosody, mouth: np.ndarray, seed: int, style: PerformanceStyle) -> np.ndarray:
    """Face and head `[T, 58]` (packed `FaceMotion`) around the given mouth curves `[T, 52]`.

    Args:
        said: accents and activity.
        mouth: expression weights with the mouth filled in.
        seed: of `face_controls`, which the net is given as well.
        style: of the person.
    """
    frames = len(said.time)
    controls = face_controls(seed, 0, frames, gaze=style.gaze).numpy().astype(np.float64)
    eyes, sway = controls[:, :3], controls[:, 3:]
    pose = head_pose(said, eyes, sway, style)
    face = np.zeros((frames, FACE_DIM))
    face[:, :mouth.shape[1]] = mouth
    _add_brows(face, said, eyes[:, 0], sway, style)
    _add_cheeks(face, said, sway, style)
    _add_eyes(face, eyes, pose)
    _add_rest(face, said, style)
    face[:, :mouth.shape[1]] = np.clip(face[:, :mouth.shape[1]], 0, 1)
    face[:, mouth.shape[1]:] = pose
    return face.astype(np.float32)


def head_pose(said: Prosody, eyes: np.ndarray, sway: np.ndarray, style: PerformanceStyle) -> np.ndarray:
    """Rotation (rad) and translation (m) `[T, 6]`: sway, nods, turns after the gaze."""
    active = 0.55 + 0.45 * said.activity
    degrees = sway[:, :3] * (1.5, 2.4, 1.4) * active[:, None]
    emphasis = np.exp(0.35 * sway[:, 9] - 0.1)
    nods = [Accent(a.time_s + 0.02, a.strength * at(said, emphasis, a.time_s)) for a in said.accents]
    degrees[:, 0] += 1.5 * kernel_sum(said.time, nods, rise_s=0.16, fall_s=0.34) - 0.8 * said.activity
    turns = [Accent(a.time_s, a.strength * at(said, sway[:, 8], a.time_s)) for a in said.accents]
    degrees[:, 1] += 0.6 * kernel_sum(said.time, turns, rise_s=0.3, fall_s=0.6)
    degrees[:, 2] += 0.4 * kernel_sum(said.time, turns, rise_s=0.35, fall_s=0.7)
    degrees[:, 1] += 5.0 * smooth(eyes[:, 1], 0.35)
    degrees[:, 0] -= 3.0 * smooth(eyes[:, 2], 0.35)
    degrees *= style.pose
    metres = sway[:, 3:6] * (0.0022, 0.0014, 0.0025) * style.pose
    metres[:, 0] += 0.0006 * degrees[:, 1]  # a turning head also shifts
    metres[:, 1] -= 0.0004 * degrees[:, 0]
    metres[:, 2] += 0.0005 * degrees[:, 0]
    ease = np.clip(said.time / EASE_IN_S, 0, 1)
    return np.concatenate([np.radians(degrees), metres], axis=1) * _smoothstep(ease)[:, None]


def _add_brows(face: np.ndarray, said: Prosody, lids: Curve, sway: np.ndarray, style: PerformanceStyle) -> None:
    """Raised on some accents, a slow mood, a little frown now and then; they dip with a blink."""
    wish = np.clip(0.5 + 0.8 * sway[:, 6], 0, 2)
    raised = [Accent(a.time_s, a.strength * at(said, wish, a.time_s)) for a in said.accents]
    beat = 0.20 * kernel_sum(said.time, raised, rise_s=0.2, fall_s=0.45)
    mood = 0.05 + 0.06 * sway[:, 6]
    lift = np.clip(style.brows * (beat + mood * (0.5 + 0.5 * said.activity)), 0, 0.9) * (1 - 0.25 * lids)
    frown = np.clip(style.brows * 0.12 * (sway[:, 7] - 0.6), 0, 0.4)
    side = 1 + 0.12 * sway[:, 7]
    _put(face, 1.0 * lift, "browInnerUp")
    _put(face, 0.8 * lift * side, "browOuterUpLeft")
    _put(face, 0.8 * lift * (2 - side), "browOuterUpRight")
    _put(face, frown, "browDownLeft", "browDownRight")
    _put(face, 0.25 * lift, "eyeWideLeft", "eyeWideRight")


def _add_cheeks(face: np.ndarray, said: Prosody, sway: np.ndarray, style: PerformanceStyle) -> None:
    """Warmth that comes and goes, cheeks that follow the smile, a nose that follows strong accents."""
    warmth = style.smile * np.clip(0.08 + 0.12 * sway[:, 8], 0, 0.4)
    for side in ("Left", "Right"):
        _put(face, warmth, f"mouthSmile{side}")
        smile = face[:, ARKIT_INDEX[f"mouthSmile{side}"]]
        _put(face, 0.45 * smile + 0.02, f"cheekSquint{side}")
        _put(face, 0.25 * smile, f"eyeSquint{side}")
        _put(face, 0.04 * kernel_sum(said.time, said.accents, rise_s=0.15, fall_s=0.25) * style.brows,
             f"noseSneer{side}")


def _add_rest(face: np.ndarray, said: Prosody, style: PerformanceStyle) -> None:
    """What the face does when it does nothing. Pressed lips give way to speech; the rest stays."""
    ease = _smoothstep(np.clip(said.time / EASE_IN_S, 0, 1))
    beats = style.smile_beats * kernel_sum(said.time, said.accents, rise_s=0.2, fall_s=0.6)
    shut = np.clip(1 - 4 * (face[:, ARKIT_INDEX["jawOpen"]] - face[:, ARKIT_INDEX["mouthClose"]]), 0, 1)
    _put(face, max(style.brow_rest, 0.0) * ease, "browInnerUp", "browOuterUpLeft", "browOuterUpRight")
    _put(face, max(-style.brow_rest, 0.0) * ease, "browDownLeft", "browDownRight")
    _put(face, style.squint * ease, "eyeSquintLeft", "eyeSquintRight")
    _put(face, 0.5 * style.squint * ease, "cheekSquintLeft", "cheekSquintRight")
    _put(face, style.wide * ease, "eyeWideLeft", "eyeWideRight")
    _put(face, style.press * ease * shut, "mouthPressLeft", "mouthPressRight", "mouthShrugLower")
    _put(face, max(style.crooked, 0.0) * ease, "mouthLeft")
    _put(face, max(-style.crooked, 0.0) * ease, "mouthRight")
    _put(face, style.sneer * ease, "noseSneerLeft", "noseSneerRight")
    _put(face, beats, "mouthSmileLeft", "mouthSmileRight")


def _add_eyes(face: np.ndarray, eyes: np.ndarray, pose: np.ndarray) -> None:
    """Lids from the blink, gaze from the glance; eyes turn against the head, as people hold a gaze."""
    right = 0.5 * eyes[:, 1] - pose[:, 1] / FULL_GAZE_RAD
    up = 0.5 * eyes[:, 2] + pose[:, 0] / FULL_GAZE_RAD
    _put(face, np.maximum(right, 0), "eyeLookOutLeft", "eyeLookInRight")
    _put(face, np.maximum(-right, 0), "eyeLookInLeft", "eyeLookOutRight")
    _put(face, np.maximum(up, 0), "eyeLookUpLeft", "eyeLookUpRight")
    _put(face, np.maximum(-up, 0), "eyeLookDownLeft", "eyeLookDownRight")
    lids = 0.03 + 0.97 * eyes[:, 0] + 0.25 * np.maximum(-up, 0) * (1 - eyes[:, 0])
    _put(face, lids, "eyeBlinkLeft")
    _put(face, 0.98 * lids, "eyeBlinkRight")
    _put(face, 0.12 * eyes[:, 0], "eyeSquintLeft", "eyeSquintRight", "cheekSquintLeft", "cheekSquintRight")


def _put(face: np.ndarray, curve: Curve, *names: str) -> None:
    """Adds a curve to shapes."""
    for name in names:
        face[:, ARKIT_INDEX[name]] += curve


def kernel_sum(time: Curve, accents: Sequence[Accent], *, rise_s: float, fall_s: float) -> Curve:
    """A bump of height `strength` at each accent: cosine flanks, `rise_s` before and `fall_s` after."""
    total = np.zeros_like(time)
    for accent in accents:
        after = time - accent.time_s
        before = np.where(after < 0, 1 + after / rise_s, 1 - after / fall_s)
        total += accent.strength * _smoothstep(np.clip(before, 0, 1))
    return total


def _smoothstep(x: Curve) -> Curve:
    """0 → 1 with flat ends."""
    return 0.5 - 0.5 * np.cos(np.pi * x)


def at(said: Prosody, curve: Curve, time_s: float) -> float:
    """A curve's value at a time."""
    return float(np.interp(time_s, said.time, curve)) if len(curve) else 0.0


def smooth(curve: Curve, width_s: float) -> Curve:
    """Gaussian of standard deviation `width_s`, ends held."""
    reach = int(3 * width_s * FPS) + 1
    weight = np.exp(-0.5 * (np.arange(-reach, reach + 1) / (width_s * FPS)) ** 2)
    return np.convolve(np.pad(curve, reach, mode="edge"), weight / weight.sum(), mode="valid")


def follow(curve: Curve, *, attack_s: float, release_s: float) -> Curve:
    """Causal two-pole follower: rises in about `attack_s`, falls in about `release_s`."""
    first = second = 0.0
    result = np.empty_like(curve)
    for i, value in enumerate(curve):
        rate = 1 - np.exp(-2 / (FPS * (attack_s if value > first else release_s)))
        first += rate * (value - first)
        second += rate * (first - second)
        result[i] = second
    return result
