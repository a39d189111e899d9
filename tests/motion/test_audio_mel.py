"""`motion.audio.mel` against transformers' feature extractor, and the stream against the whole."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from motion.audio.mel import MelState, MelStream, log_mel, mel_filters, normalise, normalise_stream

LENGTHS = [0, 1, 160, 200, 201, 399, 401, 1000, 8001]


def _noise(samples: int) -> Tensor:
    return 0.1 * torch.randn(samples, generator=torch.Generator().manual_seed(samples))


def _stream(stream: MelStream, samples: Tensor, chunk: int) -> Tensor:
    state, frames = stream.init_state(), []
    for part in samples.split(chunk):
        more, state = stream.step(part, state)
        frames.append(more)
    return torch.cat([*frames, stream.flush(state)])


@pytest.mark.parametrize("n_mels", [80, 128])
@pytest.mark.parametrize("samples", [401, 8001, 16000])
def test_equals_whisper_feature_extractor(samples: int, n_mels: int) -> None:
    transformers = pytest.importorskip("transformers")
    wave = _noise(samples)
    wave[: samples // 3] *= 1e-6  # so that the clamp has something to clamp
    extractor = transformers.WhisperFeatureExtractor(feature_size=n_mels)
    expected = extractor(wave.numpy(), sampling_rate=16000, padding=False, return_tensors="np")["input_features"][0].T
    assert np.abs(log_mel(wave, n_mels).numpy() - expected).max() < 1e-4


def test_batch_equals_single() -> None:
    waves = torch.stack([_noise(4000), 0.01 * _noise(4000)])
    assert torch.allclose(log_mel(waves)[1], log_mel(waves[1]), atol=1e-6)


def test_filters_have_unit_area() -> None:
    filters = mel_filters()
    assert filters.shape == (201, 80)
    area = filters[:, 45:].sum(0) * 40  # bins are 40 Hz apart; narrow low bands are sampled too coarsely for this
    assert torch.allclose(area, torch.ones(35), atol=0.05)


@pytest.mark.parametrize("samples", LENGTHS)
@pytest.mark.parametrize("mirrored", [True, False])
def test_any_chunking_gives_the_same_bits(samples: int, mirrored: bool) -> None:
    stream, wave = MelStream(mirrored=mirrored), _noise(samples)
    whole = _stream(stream, wave, max(samples, 1))
    assert whole.shape == (samples // 160, 80)
    for chunk in (37, 160, 533):
        assert torch.equal(_stream(stream, wave, chunk), whole)


@pytest.mark.parametrize("samples", LENGTHS)
def test_stream_equals_offline(samples: int) -> None:
    wave = _noise(samples)
    streamed = _stream(MelStream(), wave, 533)
    if len(streamed):
        assert torch.allclose(normalise(streamed), log_mel(wave), atol=1e-6)


def test_state_restores() -> None:
    stream, wave = MelStream(), _noise(3000)
    _, state = stream.step(wave[:1111], stream.init_state())
    saved: MelState = state.clone()
    first, _ = stream.step(wave[1111:], state)
    second, _ = stream.step(wave[1111:], saved)
    assert torch.equal(first, second) and len(first)


def test_stream_normalisation_does_not_look_at_the_rest() -> None:
    quiet = torch.full((3, 80), -5.5)
    loud = torch.cat([quiet, torch.full((1, 80), 3.0)])
    assert torch.equal(normalise_stream(loud)[:3], normalise_stream(quiet))
    assert not torch.equal(normalise(loud)[:3], normalise(quiet))
    assert float(normalise_stream(torch.full((1, 80), -10.0)).max()) == -0.5
