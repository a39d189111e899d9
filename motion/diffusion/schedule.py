"""How much signal is left at each timestep."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def cosine_alpha_bar(steps: int, *, offset: float = 0.008) -> Tensor:
    """ᾱ_t of the cosine schedule, `[steps]`, float64, falling from about 1 to about 0.

    Nichol & Dhariwal 2021 ("Improved DDPM"), Eq. 17: ᾱ_t = f(t) / f(0), f(t) = cos²((t/T + s) / (1 + s) · π/2). Here
    timestep t stands for the time (t + 1) / T, and ᾱ stays ≥ 1e-5 so that no division meets zero.
    """
    time = torch.arange(1, steps + 1, dtype=torch.float64) / steps
    f = torch.cos((time + offset) / (1 + offset) * math.pi / 2) ** 2
    f_0 = math.cos(offset / (1 + offset) * math.pi / 2) ** 2
    return (f / f_0).clamp(min=1e-5)


def add_noise(x_0: Tensor, noise: Tensor, alpha_bar: Tensor) -> Tensor:
    """q(x_t | x_0) = √ᾱ_t · x_0 + √(1 − ᾱ_t) · ε (Ho et al. 2020, Eq. 4); `alpha_bar` must broadcast."""
    return alpha_bar.sqrt() * x_0 + (1 - alpha_bar).sqrt() * noise
