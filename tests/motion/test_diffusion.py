"""Schedule and DDIM by hand, by golden numbers, and by what they must undo."""

from __future__ import annotations

import pytest
import torch

from motion.diffusion.ddim import DDIM, frame_noise
from motion.diffusion.guidance import guide, guide_twice
from motion.diffusion.schedule import add_noise, cosine_alpha_bar


def test_schedule_by_hand() -> None:
    alpha_bar = cosine_alpha_bar(1000)
    assert alpha_bar.shape == (1000,) and bool((alpha_bar.diff() <= 0).all())
    # f(1/2) / f(0) with s = 0.008: cos²(0.508/1.008·π/2) / cos²(0.008/1.008·π/2)
    assert float(alpha_bar[499]) == pytest.approx(0.49384, abs=1e-5)
    assert float(alpha_bar[0]) > 0.9999 and float(alpha_bar[-1]) == 1e-5


def test_timesteps_trail() -> None:
    ddim = DDIM()
    ddim.set_timesteps(5)
    assert ddim.timesteps == [999, 799, 599, 399, 199]
    ddim.set_timesteps(1)
    assert ddim.timesteps == [999]


@pytest.mark.parametrize("steps", [0, 1001])
def test_impossible_step_counts_are_refused(steps: int) -> None:
    with pytest.raises(ValueError, match=f"Expected 1 to 1000 sampling steps, got {steps}"):
        DDIM().set_timesteps(steps)


def test_foreign_timestep_is_refused() -> None:
    ddim = DDIM()
    ddim.set_timesteps(4)
    with pytest.raises(ValueError, match="Expected one of the timesteps .*, got 998"):
        ddim.step(torch.zeros(1), 998, torch.zeros(1))


def test_golden_loop() -> None:
    """A dummy net sample·t/(t+1) on made-up data: any change of the arithmetic moves these sums."""
    ddim = DDIM()
    ddim.set_timesteps(10)
    sample = torch.arange(24, dtype=torch.float64).reshape(4, 6) / 24
    for t in ddim.timesteps:
        sample = ddim.step(sample * t / (t + 1), t, sample)
    assert float(sample.sum()) == pytest.approx(GOLDEN_SUM, abs=1e-6)
    assert float(sample.abs().max()) == pytest.approx(GOLDEN_MAX, abs=1e-6)


GOLDEN_SUM, GOLDEN_MAX = 20.93575167881562, 1.7446459732346353


def test_true_x_0_is_recovered_on_the_way() -> None:
    """With the true x_0 predicted, every step lands exactly on q(x_s | x_0) with the same noise."""
    ddim, x_0, noise = DDIM(), torch.randn(3, 5, dtype=torch.float64), torch.randn(3, 5, dtype=torch.float64)
    ddim.set_timesteps(4)
    sample = add_noise(x_0, noise, ddim.alpha_bar[999])
    for index, t in enumerate(ddim.timesteps):
        sample = ddim.step(x_0, t, sample)
        if index < 3:
            torch.testing.assert_close(sample, add_noise(x_0, noise, ddim.alpha_bar[ddim.timesteps[index + 1]]))
    torch.testing.assert_close(sample, x_0)


def test_stochastic_steps_keep_the_variance() -> None:
    ddim = DDIM()
    ddim.set_timesteps(4)
    generator = torch.Generator().manual_seed(0)
    sample, noise = (torch.randn(20000, generator=generator, dtype=torch.float64) for _ in range(2))
    stepped = ddim.step(torch.zeros_like(sample), 999, sample, eta=1.0, noise=noise)
    expected = 1 - float(ddim.alpha_bar[ddim.timesteps[1]])
    assert float(stepped.var()) == pytest.approx(expected, rel=0.03)
    with pytest.raises(ValueError, match="Expected noise for a stochastic step"):
        ddim.step(sample, 999, sample, eta=1.0)


def test_frame_noise_belongs_to_frames() -> None:
    whole = frame_noise(3, 0, 40, 8)
    assert torch.equal(whole[10:15], frame_noise(3, 10, 5, 8))
    assert not torch.equal(whole, frame_noise(4, 0, 40, 8))
    assert not torch.equal(whole[0], whole[1])
    many = frame_noise(0, 0, 500, 58)
    assert abs(float(many.mean())) < 0.02 and float(many.std()) == pytest.approx(1, abs=0.02)


def test_guidance_of_one_is_none() -> None:
    a, b = torch.randn(3), torch.randn(3)
    torch.testing.assert_close(guide(a, b, 1.0), a)
    assert torch.equal(guide(a, b, 0.0), b)


def test_two_strengths_by_hand() -> None:
    full, silent, bare = torch.tensor([4.0]), torch.tensor([2.0]), torch.tensor([1.0])
    assert guide_twice(full, silent, bare, 1.0, 1.0) == full
    assert guide_twice(full, silent, bare, 2.0, 3.0) == 1 + 3 * 1 + 2 * 2
    assert guide_twice(full, silent, bare, 2.0, 1.0) == guide(full, silent, 2.0)
