"""The shipped face and body weights: silence rests and lives, a real voice moves the mouth in time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from chatanyone.checkpoints import load_weights, read_info
from chatanyone.media.audio import read_audio
from chatanyone.runtime import compile_motion
from motion.audio.encoder import AudioEncoder
from motion.audio.features import AudioStream
from motion.body import BodyTransformer
from motion.body_sampler import BodySampler
from motion.face import FaceDenoiser
from motion.live_speech_portraits.net import LiveSpeechPortraits
from motion.live_speech_portraits.sampler import LiveSpeechSampler
from motion.sampler import FaceSampler
from motion.template.head import HeadTemplate
from motion.training.face_task import aperture, pearson
from motion.training.sizes import complete
from motion.types import ARKIT_INDEX, BODY_KEYPOINTS, BodyMotion, FaceMotion

SECONDS = 8


def net(kind: str, build: type[torch.nn.Module], repository: Path) -> torch.nn.Module:
    config, tensors = load_weights(repository / "motion" / "weights" / f"{kind}.safetensors", kind=kind)
    model = build(**config)
    model.load_state_dict(tensors)
    return model.eval()


@pytest.mark.parametrize("kind, build", [
    ("audio_encoder", AudioEncoder), ("face", FaceDenoiser), ("body", BodyTransformer),
    ("live_speech_portraits", LiveSpeechPortraits)])
def test_weights_carry_their_whole_configuration(kind: str, build: type[torch.nn.Module], repository: Path) -> None:
    config = read_info(repository / "motion" / "weights" / f"{kind}.safetensors").config
    missing = complete(build, {}).keys() - config.keys() - {"dropout"}  # dropout is a matter of training
    assert not missing


class Chain:
    """Features → face → body, all shipped, the face net compiled as the program runs it."""

    def __init__(self, repository: Path, backend: str = "face") -> None:
        encoder, face, body = (net(kind, build, repository) for kind, build in (
            ("audio_encoder", AudioEncoder), ("face", FaceDenoiser), ("body", BodyTransformer)))
        assert isinstance(encoder, AudioEncoder) and isinstance(face, FaceDenoiser)
        assert isinstance(body, BodyTransformer)
        self.stream, self.body = AudioStream(encoder), BodySampler(body)
        self.face: Any = FaceSampler(face)
        if backend == "live_speech_portraits":
            live = net(backend, LiveSpeechPortraits, repository)
            assert isinstance(live, LiveSpeechPortraits)
            self.face = LiveSpeechSampler(live)
        compile_motion(None, self.face)

    def __call__(self, samples: Tensor, seed: int = 1) -> tuple[FaceMotion, BodyMotion]:
        features = self.stream.parallel(samples)
        face, _ = self.face.step(features, self.face.init_state(seed))
        points = HeadTemplate.load().keypoints(face.expression, face.rotation, face.translation)
        body, _ = self.body.step(points, features, self.body.init_state(seed))
        return face, body


@pytest.fixture(scope="module")
def chain(repository: Path) -> Chain:
    return Chain(repository)


@pytest.fixture(scope="module", params=["face", "live_speech_portraits"])
def either(request: pytest.FixtureRequest, chain: Chain, repository: Path) -> Chain:
    """With the face net, and with the other backend."""
    return chain if request.param == "face" else Chain(repository, request.param)


@pytest.mark.parametrize("kind", ["face", "body", "live_speech_portraits"])
def test_weights_belong_to_the_shipped_encoder(kind: str, repository: Path) -> None:
    """Features of another encoder mean something else: the motion nets must be trained anew, or measured, with it."""
    folder = repository / "motion" / "weights"
    encoder = read_info(folder / "audio_encoder.safetensors").sha256
    assert read_info(folder / f"{kind}.safetensors").extra["encoder"] == encoder


def test_silence_rests_and_lives(either: Chain) -> None:
    face, body = either(torch.zeros(16000 * SECONDS))
    assert float(aperture(face).max()) < 0.08
    assert float(face.expression[:, ARKIT_INDEX["eyeBlinkLeft"]].max()) > 0.7
    assert 0.2 < float(face.rotation.std(0).rad2deg().max()) < 4
    assert float(body.delta[:, BODY_KEYPOINTS.index("chest")].std(0).max()) > 0.002
    assert float(body.delta[:, BODY_KEYPOINTS.index("wristLeft")].abs().max()) < 0.08


def test_a_real_voice_moves_the_mouth_in_time(either: Chain, shared_data: Path) -> None:
    samples = torch.from_numpy(read_audio(shared_data / "speech" / "jfk.flac"))[:16000 * SECONDS]
    face, body = either(samples)
    opening = aperture(face)
    frames = samples[:len(opening) * 1600 // 3].numpy()
    edges = np.arange(len(opening) + 1) * 1600 // 3
    power = np.add.reduceat(frames.astype(np.float64) ** 2, edges[:-1])
    loudness = torch.from_numpy(np.log10(power + 0.1)).float()
    by_lag = {lag: pearson(opening[max(lag, 0):len(opening) + min(lag, 0)],
                           loudness[max(-lag, 0):len(opening) - max(lag, 0)]) for lag in range(-4, 5)}
    best, _ = max(by_lag.items(), key=lambda item: item[1])
    assert by_lag[0] > 0.5 and abs(best) <= 1
    assert float(opening.max()) > 0.3
    wrists = [BODY_KEYPOINTS.index("wristLeft"), BODY_KEYPOINTS.index("wristRight")]
    assert float(body.delta[:, wrists].std(0).max()) > 0.01
    torch.testing.assert_close(body.delta[:, wrists], body.hands[..., -3:], atol=0.01, rtol=0)


def test_a_smile_nobody_asked_for_does_not_grow(chain: Chain, shared_data: Path) -> None:
    """Each window goes on from the last: without a hold the smile drifted from 0.1 to 0.7 within 13 s."""
    voices = shared_data / "speech" / "ljspeech"
    samples = torch.cat([torch.from_numpy(read_audio(voices / f"LJ001-000{number}.flac")) for number in (1, 3)])
    face, _ = chain(samples, seed=3)
    smile = face.expression[-90:, ARKIT_INDEX["mouthSmileLeft"]].mean()
    assert smile < 0.3


def test_nobody_looks_worried_for_speaking(chain: Chain, shared_data: Path) -> None:
    """The net moves the inner ends of brows further than the outer ones."""
    face, _ = chain(torch.from_numpy(read_audio(shared_data / "speech" / "jfk.flac"))[:16000 * SECONDS], seed=2)
    inner, *outer = (face.expression[:, ARKIT_INDEX[n]] for n in ("browInnerUp", "browOuterUpLeft", "browOuterUpRight"))
    assert float(inner.max()) > 0.05 and bool((inner <= 0.5 * (outer[0] + outer[1]) / 2 + 1e-6).all())


def test_a_reference_sets_smile_and_brows(chain: Chain, shared_data: Path) -> None:
    features = chain.stream.parallel(torch.from_numpy(read_audio(shared_data / "speech" / "ljspeech" / "LJ001-0003.flac")))
    reference = torch.zeros(60, len(ARKIT_INDEX))
    shown = {"mouthSmileLeft": 0.4, "mouthSmileRight": 0.4, "browDownLeft": 0.25, "browDownRight": 0.25}
    for name, value in shown.items():
        reference[:, ARKIT_INDEX[name]] = value
    motion, _ = chain.face.step(features, chain.face.init_state(1, reference=reference))
    for name, value in shown.items():
        assert abs(float(motion.expression[90:, ARKIT_INDEX[name]].mean()) - value) < 0.12, name
