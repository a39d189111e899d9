"""The fast paths of the CPU: what torch computes, and sharp look-ups."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from render import fast
from render.fast import enlarged, max_filter, mean_filter, prepare_layer, sample_layer
from render.warp import identity_flow, sample


def layer(generator: torch.Generator, H: int = 16, W: int = 24) -> torch.Tensor:
    """Colours times alpha, and alpha, in whole bytes."""
    alpha = torch.rand(1, H, W, generator=generator)
    return (torch.cat([torch.rand(3, H, W, generator=generator) * alpha, alpha]) * 255).round() / 255


def test_looking_up_is_exact_at_rest_and_keeps_detail_between_pixels(generator: torch.Generator) -> None:
    picture = layer(generator)
    fine, flow = prepare_layer(picture), identity_flow((16, 24))
    torch.testing.assert_close(sample_layer(fine, flow)[0], picture, atol=1e-6, rtol=0)
    for shift in (0.25, 0.5):
        place = flow + torch.tensor([shift, 0.0])[:, None, None]
        sharp, soft = sample_layer(fine, place), sample(picture[None], place)
        assert sharp[:, :3].std() > 1.04 * soft[:, :3].std()
        assert (sharp[:, :3] <= sharp[:, 3:]).all() and sharp.min() >= 0 and sharp.max() <= 1


def test_detail_does_not_breathe_with_the_fraction_of_a_pixel(generator: torch.Generator) -> None:
    """White noise, the worst there is: bicubic reading keeps 0.72 of its energy at half a pixel and 0.85 at a quarter."""
    picture = torch.cat([0.5 + 0.1 * torch.randn(3, 64, 64, generator=generator), torch.ones(1, 64, 64)])
    fine, flow = prepare_layer(picture), identity_flow((64, 64))
    energy = [float(sample_layer(fine, flow + torch.tensor([shift / 12, 0.0])[:, None, None])[0, 0, :, 8:-8].var())
              / float(picture[0, :, 8:-8].var()) for shift in range(1, 12)]
    assert min(energy) > 0.85 and max(energy) < 1.02 and sum(energy) / len(energy) > 0.92


@pytest.mark.parametrize("finer", [2, 3, 4])
@pytest.mark.parametrize("frequency", [0.3, 0.5, 0.75])
def test_reading_between_fine_pixels_keeps_energy_on_the_average(finer: int, frequency: float) -> None:
    """Of a wave, as a part of the finest there is."""
    taps = fast.kernel(finer, 16).double()
    pixels, omega = torch.arange(-15, 17).double(), math.pi * frequency
    wave = torch.polar(torch.ones(32, dtype=torch.float64), omega * pixels)
    nodes = torch.cat([taps.to(wave.dtype) @ wave, wave[pixels == 1]])
    share = (torch.arange(64) + 0.5) / 64
    read = torch.lerp(nodes[:-1, None], nodes[1:, None], share.to(wave.dtype))
    assert float(read.abs().square().mean()) == pytest.approx(1, abs=0.01)


def test_only_what_is_seen_is_made_finer(generator: torch.Generator) -> None:
    small = torch.zeros(4, 40, 48)
    small[:, 16:24, 12:30] = layer(generator, 8, 18)
    whole = small.clone()
    whole[:, [0, 0, -1, -1], [0, -1, 0, -1]] = 1  # seen up to every edge
    inner = slice(3 * 8, 3 * 32), slice(3 * 8, 3 * 40)
    made = prepare_layer(small)
    assert made.any() and (made[inner].int() - prepare_layer(whole)[inner].int()).abs().max() <= 1
    assert not prepare_layer(torch.zeros(4, 16, 24)).any()


@pytest.mark.parametrize("what", ["look up", "enlarge", "mean", "max"])
def test_opencv_and_torch_agree(generator: torch.Generator, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    fine = prepare_layer(layer(generator))
    flow = identity_flow((16, 24)) + 3 * torch.randn(2, 2, 16, 24, generator=generator)
    x = torch.randn(2, 3, 12, 18, generator=generator)[..., 2:16]  # a part of another tensor
    compute = {"look up": lambda: sample_layer(fine, flow), "enlarge": lambda: enlarged(x, 4),
               "mean": lambda: mean_filter(x, 5, 3), "max": lambda: max_filter(x, 3, 5)}[what]
    quick = compute()
    monkeypatch.setattr(fast, "plain", lambda x: False)
    slow = compute()
    tolerance = 5 / 255 if what == "look up" else 1e-5  # 1/96 px on white noise, and rounding to bytes
    torch.testing.assert_close(quick, slow, atol=tolerance, rtol=0)


def test_gradients_pass_where_they_are_asked_for(generator: torch.Generator) -> None:
    x = torch.randn(1, 2, 6, 8, generator=generator, requires_grad=True)
    for y in (enlarged(x, 2), mean_filter(x, 3, 3), max_filter(x, 3, 3)):
        (gradient,) = torch.autograd.grad(y.square().sum(), x)
        assert gradient.any()
    torch.testing.assert_close(enlarged(x.detach(), 2), F.interpolate(x, scale_factor=2, mode="bilinear").detach())
