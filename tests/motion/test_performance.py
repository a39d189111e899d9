"""The performer: what a person would notice, in numbers."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from motion.training.gestures import perform_body
from motion.training.performance import (
    Accent, PerformanceStyle, Prosody, follow, kernel_sum, perform_face, prosody, smooth,
)
from motion.training.speech import SAMPLE_RATE, Phone, Speech
from motion.types import ARKIT_INDEX, BODY_KEYPOINTS, BodyMotion, FaceMotion

FPS = 30


def speech(seconds: float = 20.0, speaking: bool = True) -> Speech:
    """A stressed syllable every 0.6 s, with the last quarter silent."""
    count = int(seconds * SAMPLE_RATE)
    samples = np.zeros(count, np.float32)
    phones, syllables = [], int(0.75 * seconds / 0.6) if speaking else 0
    for time in [0.6 * index for index in range(syllables)]:
        phones += [Phone(time, time + 0.25, "t", 0), Phone(time + 0.25, time + 0.45, "a", 2),
                   Phone(time + 0.45, time + 0.6, "n", 0)]
        samples[int((time + 0.25) * SAMPLE_RATE):int((time + 0.45) * SAMPLE_RATE)] = 0.3
    return Speech(samples, phones + [Phone(0.6 * syllables, seconds, "")])


def performed(
    said: Prosody, seed: int = 0, style: PerformanceStyle = PerformanceStyle(),
) -> tuple[np.ndarray, BodyMotion]:
    mouth = np.zeros((len(said.time), 52))
    face = perform_face(said, mouth, seed, style)
    return face, perform_body(said, FaceMotion.unpack(torch.from_numpy(face)), seed)


def wrist(body: BodyMotion, side: str) -> np.ndarray:
    return body.delta[:, BODY_KEYPOINTS.index(f"wrist{side}")].numpy()


def test_prosody_by_hand() -> None:
    said = prosody(speech(), 600)
    assert len(said.accents) == 25 and said.accents[0].time_s == pytest.approx(0.35)
    assert said.accents[-1].strength > 1.2 * said.accents[0].strength  # the last before the pause
    assert said.activity[300] > 0.9 and said.activity[-1] < 0.05


def test_no_speech_no_accents() -> None:
    said = prosody(speech(speaking=False), 600)
    assert said.accents == [] and said.activity.max() == 0
    assert prosody(Speech(np.zeros(0, np.float32), []), 0).time.shape == (0,)


def test_silence_still_lives() -> None:
    """No speech: the mouth rests, and the person blinks, looks around, moves the head and breathes."""
    face, body = performed(prosody(speech(60, speaking=False), 1800))
    lids = face[:, ARKIT_INDEX["eyeBlinkLeft"]]
    assert 8 <= int(((lids[1:] > 0.5) & (lids[:-1] <= 0.5)).sum()) <= 20 and lids.max() > 0.9
    assert 0.3 < np.degrees(face[:, 52:55].std(0)).min() and np.degrees(np.abs(face[:, 52:55])).max() < 12
    assert face[:, ARKIT_INDEX["jawOpen"]].max() == 0
    chest = body.delta[60:, BODY_KEYPOINTS.index("chest"), 1]
    assert 0.003 < float(chest.std()) < 0.02
    assert np.abs(wrist(body, "Left")).max() < 0.08  # hands rest


def test_head_ranges_and_smoothness() -> None:
    faces = [performed(prosody(speech(), 600), seed)[0] for seed in range(6)]
    degrees = np.degrees(np.concatenate(faces)[:, 52:55].std(0))
    assert (degrees > 0.8).all() and (degrees < 4).all()
    assert max(np.degrees(np.abs(np.diff(face[:, 52:55], axis=0)).max()) for face in faces) < 1.6  # a frame
    assert np.concatenate(faces)[:, 55:].std(0).max() < 0.006


def test_nods_fall_on_stresses() -> None:
    said = prosody(speech(40), 1200)
    pitch = np.mean([performed(said, seed)[0][:, 52] for seed in range(8)], axis=0)
    at = [int(a.time_s * FPS) for a in said.accents[2:-1]]
    between = [int((a.time_s - 0.3) * FPS) for a in said.accents[2:-1]]
    assert np.degrees(pitch[at].mean() - pitch[between].mean()) > 0.5


def test_hands_beat_on_stresses_and_differ() -> None:
    bodies = [performed(prosody(speech(), 600), seed)[1] for seed in range(6)]
    for body in bodies:
        left, right = wrist(body, "Left"), wrist(body, "Right")
        assert torch.equal(body.hands[:, 0, -3:], body.delta[:, BODY_KEYPOINTS.index("wristLeft")])
        assert torch.equal(body.hands[:, 1, -3:], body.delta[:, BODY_KEYPOINTS.index("wristRight")])
        assert np.abs(np.concatenate([left, right])).max() < 0.35
        assert np.corrcoef(left[:450, 1], right[:450, 1])[0, 1] < 0.99
    spread = np.mean([wrist(body, "Left")[:450].std(0) for body in bodies], axis=0)
    assert (spread[:2] > 0.015).all() and (spread[:2] < 0.12).all()
    ends = np.mean([np.abs(wrist(body, "Left")[-30:]).max() for body in bodies])
    assert ends < 0.06  # back at rest in silence


def test_nothing_jitters() -> None:
    """At least 97 % of the power of head and hands is below 4 Hz."""
    face, body = performed(prosody(speech(), 600), 3)
    for curve in (face[:, 52:58], wrist(body, "Left"), wrist(body, "Right"), body.hands[:, 0, :6].numpy()):
        power = np.abs(np.fft.rfft(curve - curve.mean(0), axis=0)) ** 2
        low = np.fft.rfftfreq(len(curve), 1 / FPS) < 4
        assert power[low].sum() > 0.97 * power.sum()


def test_shoulders_follow_the_head() -> None:
    said = Prosody(np.arange(300) / FPS, np.zeros(300))
    still = FaceMotion(torch.zeros(300, 52), torch.zeros(300, 3), torch.zeros(300, 3))
    moved = FaceMotion(still.expression, still.rotation, still.translation + torch.tensor([0.01, 0.0, 0.0]))
    shift = perform_body(said, moved, 1).delta - perform_body(said, still, 1).delta
    assert float(shift[-1, BODY_KEYPOINTS.index("shoulderLeft"), 0]) == pytest.approx(0.5 * 0.01 / 0.38, rel=0.01)


def test_style_scales_and_clips_start_at_rest() -> None:
    said = prosody(speech(), 600)
    calm, lively = (performed(said, 1, PerformanceStyle(pose=pose))[0] for pose in (0.5, 1.5))
    np.testing.assert_allclose(lively[:, 52:55], 3 * calm[:, 52:55], atol=1e-6)
    face, body = performed(said, 1)
    assert np.abs(face[0, 52:]).max() < 1e-3 and body.packed()[0].abs().max() < 1e-2
    assert face[:, :52].min() >= 0 and face[:, :52].max() <= 1


def test_kernels_by_hand() -> None:
    time = np.array([0.0, 0.5, 1.0, 1.5, 2.0, 3.0])
    bump = kernel_sum(time, [Accent(1.0, 2.0)], rise_s=1.0, fall_s=2.0)
    np.testing.assert_allclose(bump, [0, 1, 2, 1 + np.cos(np.pi / 4), 1, 0], atol=1e-12)
    assert kernel_sum(time, [], rise_s=1, fall_s=1).max() == 0
    np.testing.assert_allclose(smooth(np.ones(9), 0.1), np.ones(9))
    rising = follow(np.ones(60), attack_s=0.2, release_s=1.0)
    assert 0.5 < rising[5] < 0.9 and rising[-1] > 0.99
