"""`motion.audio.whisper` with a tiny Whisper of random weights."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest
import torch
from torch import Tensor

from motion.audio.resample import at_frames, frame_count
from motion.audio.whisper import WhisperState, WhisperStream

transformers = pytest.importorskip("transformers")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    config = transformers.WhisperConfig(
        d_model=16, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2, decoder_attention_heads=2,
        encoder_ffn_dim=32, decoder_ffn_dim=32, max_source_positions=50, vocab_size=20, max_target_positions=8,
        pad_token_id=0, bos_token_id=1, eos_token_id=2, decoder_start_token_id=1, begin_suppress_tokens=None,
    )
    path = tmp_path_factory.mktemp("whisper")
    transformers.WhisperModel(config).save_pretrained(path)
    return path


def _wave(samples: int) -> Tensor:
    return 0.1 * torch.randn(samples, generator=torch.Generator().manual_seed(samples))


def _stream(folder: Path) -> WhisperStream:
    return WhisperStream(folder, 30, hop_s=0.4, lookahead_s=0.1)  # the tiny model's window is 1 s


def test_one_window_is_whispers_own_output(folder: Path) -> None:
    stream, wave = WhisperStream(folder, 30, hop_s=0.9, lookahead_s=0.1), _wave(12000)
    model = transformers.WhisperModel.from_pretrained(folder).eval()
    extractor = transformers.WhisperFeatureExtractor(chunk_length=1)
    mel = extractor(wave.numpy(), sampling_rate=16000, return_tensors="pt")["input_features"]
    with torch.no_grad():
        rows = model.encoder(mel).last_hidden_state[0]
    count = frame_count(12000, Fraction(30))
    assert torch.allclose(stream(wave), at_frames(rows, 0, count, Fraction(30)), atol=1e-4)


def test_any_chunking_gives_the_same(folder: Path) -> None:
    stream, wave = _stream(folder), _wave(40000)
    whole = stream(wave)
    assert whole.shape == (75, 16) and stream.feature_dim == 16
    for chunk in (533, 7777):
        state, frames = stream.init_state(), []
        for part in wave.split(chunk):
            more, state = stream.step(part, state)
            frames.append(more)
        assert torch.equal(torch.cat([*frames, stream.flush(state)]), whole)


def test_state_restores_and_stays_small(folder: Path) -> None:
    stream, wave = _stream(folder), _wave(64000)
    _, state = stream.step(wave[:40000], stream.init_state())
    assert len(state.pending) <= 16000
    expected, _ = stream.step(wave[40000:], state)
    restored, _ = stream.step(wave[40000:], WhisperState.from_tensors(state.tensors()))
    assert torch.equal(expected, restored) and len(expected)


def test_closed_and_bad_windows_are_refused(folder: Path) -> None:
    stream = _stream(folder)
    state = stream.init_state()
    assert len(stream.flush(state)) == 0
    with pytest.raises(ValueError, match="flushed"):
        stream.step(_wave(5), state)
    with pytest.raises(ValueError, match=r"must lie in \(0, 1.0\], got 1.0 \+ 0.5"):
        WhisperStream(folder, 30, hop_s=1.0, lookahead_s=0.5)
