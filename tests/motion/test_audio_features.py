"""`motion.audio.features`: frame counts, the same bits for any chunking, restore, bounded memory and look-ahead."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import Tensor

from motion.audio.encoder import DEBUG_CONFIG, AudioEncoder
from motion.audio.features import AudioState, AudioStream
from motion.audio.resample import FrameSampler, at_frames, frame_count, row_before

RATES = [Fraction(30), Fraction(25), Fraction(30000, 1001), Fraction(60), Fraction(7)]


def _wave(samples: int) -> Tensor:
    return 0.1 * torch.randn(samples, generator=torch.Generator().manual_seed(samples))


def _stream(fps: Fraction = Fraction(30)) -> AudioStream:
    torch.manual_seed(3)
    return AudioStream(AudioEncoder(**vars(DEBUG_CONFIG)), fps)


def _run(stream: AudioStream, samples: Tensor, chunk: int) -> Tensor:
    state, frames = stream.init_state(), []
    for part in samples.split(chunk):
        more, state = stream.step(part, state)
        frames.append(more)
    return torch.cat([*frames, stream.flush(state)])


@pytest.mark.parametrize("fps", RATES, ids=str)
@pytest.mark.parametrize("samples", [0, 1, 533, 534, 16000])
def test_frame_count_is_exact(samples: int, fps: Fraction) -> None:
    stream = _stream(fps)
    assert stream(_wave(samples)).shape == (frame_count(samples, fps), stream.feature_dim)


def test_frame_count_by_hand() -> None:
    assert [frame_count(n, Fraction(30)) for n in (0, 1, 533, 534, 1600, 1601)] == [0, 1, 1, 2, 3, 4]


@pytest.mark.parametrize("fps", RATES, ids=str)
def test_any_chunking_gives_the_same_bits(fps: Fraction) -> None:
    stream, wave = _stream(fps), _wave(9000)
    whole = stream(wave)
    for chunk in (97, 160, 533, 4096):
        assert torch.equal(_run(stream, wave, chunk), whole)
    short = wave[:700]
    assert torch.equal(_run(stream, short, 1), stream(short))


@pytest.mark.parametrize("fps", RATES, ids=str)
def test_parallel_equals_stream(fps: Fraction) -> None:
    stream, wave = _stream(fps), _wave(20001)
    assert torch.allclose(stream.parallel(wave), stream(wave), atol=2e-5)


def test_state_saves_to_a_file_and_restores(tmp_path: Path) -> None:
    stream, wave = _stream(), _wave(12000)
    _, state = stream.step(wave[:5000], stream.init_state())
    safetensors.torch.save_file(state.tensors(), tmp_path / "state.safetensors")
    expected, _ = stream.step(wave[5000:], state)
    loaded = AudioState.from_tensors(safetensors.torch.load_file(tmp_path / "state.safetensors"))
    restored, _ = stream.step(wave[5000:], loaded)
    assert torch.equal(restored, expected) and len(expected)


def test_step_leaves_the_given_state_as_it_was() -> None:
    stream, wave = _stream(), _wave(6000)
    _, state = stream.step(wave[:3000], stream.init_state())
    before = state.clone().tensors()
    stream.step(wave[3000:], state)
    assert all(torch.equal(value, before[name]) for name, value in state.tensors().items())


def test_flush_closes_the_stream() -> None:
    stream = _stream()
    _, state = stream.step(_wave(1000), stream.init_state())
    stream.flush(state)
    with pytest.raises(ValueError, match="flushed: start a new one"):
        stream.step(_wave(10), state)


def test_memory_does_not_grow() -> None:
    stream, state = _stream(), None
    sizes = []
    for _ in range(6):
        _, state = stream.step(_wave(16000), state or stream.init_state())
        sizes.append(sum(value.numel() for value in state.tensors().values()))
    assert max(sizes[1:]) <= sizes[0] + 1280 + 8 * stream.feature_dim


@pytest.mark.parametrize("fps", RATES, ids=str)
def test_lookahead_is_kept_and_needed(fps: Fraction) -> None:
    """Every frame is out once `lookahead_samples` past its centre have come."""
    stream, state, received, emitted = _stream(fps), None, 0, 0
    for part in _wave(16000).split(80):
        frames, state = stream.step(part, state or stream.init_state())
        received, emitted = received + len(part), emitted + len(frames)
        centre = Fraction(2 * emitted + 1, 2) * 16000 / fps  # of the first frame that is not out yet
        assert received < centre + stream.lookahead_samples + 80
    assert emitted > 0


def test_a_frame_does_not_depend_on_what_comes_after_the_lookahead() -> None:
    stream, wave = _stream(), _wave(16000)
    frame = 12
    centre = int(Fraction(2 * frame + 1, 2) * 16000 / 30)
    other = wave.clone()
    other[centre + stream.lookahead_samples:] = 0
    assert torch.equal(stream(wave)[: frame + 1], stream(other)[: frame + 1])


def test_the_default_looks_ahead_at_most_160_ms() -> None:
    assert AudioStream(AudioEncoder()).lookahead_samples <= 2560


def test_a_ramp_is_read_at_the_frame_centres() -> None:
    rows = torch.arange(60, dtype=torch.float32)[:, None]  # row k has the value k, at k / 50 s
    for fps in RATES:
        count = int(Fraction(59, 50) * fps - Fraction(1, 2))
        expected = torch.tensor([float((i + Fraction(1, 2)) / fps * 50) for i in range(count)])
        assert torch.allclose(at_frames(rows, 0, count, fps)[:, 0], expected, atol=1e-4)


def test_sampler_needs_both_neighbours() -> None:
    sampler = FrameSampler(Fraction(30))
    assert row_before(0, Fraction(30)) == 0 and row_before(1, Fraction(30)) == 2
    frames, state = sampler.step(torch.zeros(1, 1), sampler.init_state(1))
    assert len(frames) == 0
    frames, state = sampler.step(torch.ones(1, 1), state)
    assert frames[:, 0].tolist() == pytest.approx([5 / 6])


def test_bad_input_is_refused() -> None:
    with pytest.raises(ValueError, match="frame rate must be positive"):
        _stream(Fraction(0))
    stream = _stream()
    with pytest.raises(ValueError, match=r"mono samples of shape \[N\], got \[2, 10\]"):
        stream.step(torch.zeros(2, 10), stream.init_state())
