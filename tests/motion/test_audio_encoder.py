"""The streaming quartet for `motion.audio.encoder`: causal, chunked == whole, restore, budget."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from motion.audio.encoder import (
    DEBUG_CONFIG, AudioEncoder, EncoderConfig, count_gflop, log_energy, rotary_table, rotate,
)


@pytest.fixture
def encoder() -> AudioEncoder:
    return AudioEncoder(**vars(DEBUG_CONFIG)).eval()


def _mel(frames: int) -> Tensor:
    return torch.randn(1, frames, 80, generator=torch.Generator().manual_seed(frames))


def _stream(encoder: AudioEncoder, mel: Tensor) -> Tensor:
    state, rows = encoder.init_state(), []
    with torch.no_grad():
        for block in mel.split(2 * encoder.block, dim=1):
            row, state = encoder.step(block, state)
            rows.append(row)
    return torch.cat(rows, dim=1)


def test_shapes(encoder: AudioEncoder) -> None:
    features = encoder(_mel(40))
    assert features.shape == (1, 20, encoder.feature_dim)
    assert encoder.phoneme_logits(features).shape == (1, 20, 43)
    assert encoder.curves(features).shape == (1, 20, 52)


def test_stream_equals_whole_beyond_the_context(encoder: AudioEncoder) -> None:
    mel = _mel(8 * encoder.context)
    with torch.no_grad():
        assert torch.allclose(_stream(encoder, mel), encoder(mel), atol=2e-5)


def test_a_row_hears_no_future_and_a_bounded_past(encoder: AudioEncoder) -> None:
    mel = _mel(160).requires_grad_()
    row = 60
    encoder(mel)[0, row, : encoder.dim].square().sum().backward()
    assert mel.grad is not None
    heard = torch.nonzero(mel.grad[0].abs().sum(1))[:, 0]
    assert int(heard.max()) == 2 * row + 1
    assert int(heard.min()) >= 2 * (row - encoder.context * len(encoder.blocks)) - 3


def test_energy_is_about_the_rows_own_instant(encoder: AudioEncoder) -> None:
    mel = torch.full((1, 60, 80), -0.5)
    mel[:, 20:] = 1.0
    energy = encoder(mel)[0, encoder.delay:, -1]
    assert torch.allclose(energy[:10], torch.tensor(-0.5)) and torch.allclose(energy[10:], torch.tensor(1.0))


def test_log_energy_of_two_bands() -> None:
    mel = torch.tensor([[[0.0, 0.5], [9.0, 9.0]]])  # powers 1e-4 and 1e-2; the second frame is not read
    assert float(log_energy(mel)) == pytest.approx((torch.tensor(5.05e-3).log10().item() + 4) / 4, abs=1e-6)


def test_step_refuses_other_block_sizes(encoder: AudioEncoder) -> None:
    with pytest.raises(ValueError, match="blocks of 4 mel frames, got 5"):
        encoder.step(_mel(5), encoder.init_state())


def test_odd_head_width_is_refused() -> None:
    with pytest.raises(ValueError, match="multiple of twice the heads"):
        AudioEncoder(dim=18, heads=2)


def test_rotation_depends_on_distance_only() -> None:
    table = rotary_table(20, 8)
    query, key = torch.randn(8), torch.randn(8)

    def product(at: int, to: int) -> Tensor:
        return (rotate(query, table[:, at]) * rotate(key, table[:, to])).sum()

    assert torch.allclose(product(5, 2), product(19, 16), atol=1e-5)
    assert not torch.allclose(product(5, 2), product(5, 4), atol=1e-3)


def test_budgets_of_the_default() -> None:
    encoder = AudioEncoder()
    assert sum(parameter.numel() for parameter in encoder.parameters()) < 3.0e6
    assert count_gflop(EncoderConfig()) < 2.0


def test_every_parameter_gets_a_gradient(encoder: AudioEncoder) -> None:
    torch.nn.init.normal_(encoder.curve_head.weight)
    features = encoder(_mel(20))
    loss = encoder.phoneme_logits(features).square().mean() + encoder.curves(features).square().mean()
    loss.backward()
    assert all(parameter.grad is not None and parameter.grad.abs().sum() > 0
               for name, parameter in encoder.named_parameters() if not name.endswith("curve_head.bias"))
