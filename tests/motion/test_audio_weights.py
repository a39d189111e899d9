"""The shipped audio encoder: it rests in silence, hears phonemes, and its mouth follows real speech."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from chatanyone.checkpoints import load_weights
from chatanyone.media.audio import read_audio
from motion.audio.encoder import AudioEncoder
from motion.audio.features import AudioStream
from motion.training.audio_task import MEASURES, aperture, evaluate, make_clip
from motion.training.espeak import SpeakRequest
from motion.training.speech import HELD_OUT_VARIANTS, Espeak

SENTENCE = "Maybe five people will move above the river tomorrow."


@pytest.fixture(scope="module")
def stream(repository: Path) -> AudioStream:
    config, tensors = load_weights(repository / "motion" / "weights" / "audio_encoder.safetensors", kind="audio_encoder")
    encoder = AudioEncoder(**config)
    encoder.load_state_dict(tensors)
    return AudioStream(encoder)


@pytest.mark.parametrize("noise", [0.0, 0.003])
def test_rests_in_silence_and_in_faint_noise(stream: AudioStream, noise: float) -> None:
    features = stream.parallel(noise * torch.randn(32000))
    curves = stream.encoder.curves(features).detach().numpy()
    assert float(features[:, -2].max()) < 0.3
    assert np.abs(curves).max() < 0.12 and np.abs(aperture(curves)).max() < 0.1


def test_hears_voices_it_never_trained_on(stream: AudioStream) -> None:
    pytest.importorskip("espeakng_loader")
    with Espeak() as client:
        said = [client.say(SpeakRequest(SENTENCE, f"en-us+{variant}")) for variant in HELD_OUT_VARIANTS[:3]]
    clips = [make_clip(speech) for speech in said]
    scores = evaluate(stream.encoder, clips)
    assert scores["accuracy"] > 0.6 and scores["jaw"] > 0.75 and scores["aperture"] > 0.7
    assert set(MEASURES) <= set(scores)


def test_level_of_the_recording_hardly_matters(stream: AudioStream, shared_data: Path) -> None:
    samples = torch.from_numpy(read_audio(shared_data / "speech" / "jfk.flac")[:96000])
    curves = [stream.encoder.curves(stream.parallel(gain * samples)).detach().numpy() for gain in (1.0, 0.2)]
    loud, soft = map(aperture, curves)
    assert np.corrcoef(loud, soft)[0, 1] > 0.9


def test_streams_as_it_was_trained(stream: AudioStream) -> None:
    samples = 0.1 * torch.randn(64000)  # four seconds: longer than the context
    assert torch.allclose(stream(samples), stream.parallel(samples), atol=1e-3)
