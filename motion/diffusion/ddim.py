"""DDIM (Song et al. 2021, arXiv 2010.02502) for nets that predict x_0.

The caller writes the loop:

    sampler.set_timesteps(5)
    for t in sampler.timesteps:
        sample = sampler.step(net(sample, t), t, sample)
"""

from __future__ import annotations

import torch
from torch import Tensor

from motion.diffusion.schedule import cosine_alpha_bar


class DDIM:
    """Deterministic (η = 0) or stochastic steps from noise to data.

    Notation (variable → paper): `alpha_bar` → α_t there, ᾱ_t in DDPM; `x_0` → predicted x_0; `epsilon` → ε_θ;
    `eta` → η.

    Args:
        train_steps: timesteps the net was trained with.
    """

    def __init__(self, train_steps: int = 1000) -> None:
        self.train_steps = train_steps
        self.alpha_bar = cosine_alpha_bar(train_steps)
        self.timesteps: list[int] = []

    def set_timesteps(self, steps: int) -> None:
        """Even spacing that starts at the last timestep ("trailing": the first input really is pure noise)."""
        if not 1 <= steps <= self.train_steps:
            raise ValueError(f"Expected 1 to {self.train_steps} sampling steps, got {steps}.")
        self.timesteps = [round(self.train_steps * (steps - i) / steps) - 1 for i in range(steps)]

    def step(self, x_0: Tensor, timestep: int, sample: Tensor, *, eta: float = 0.0,
             noise: Tensor | None = None) -> Tensor:
        """From x_t and the predicted x_0 to x at the next of `timesteps`; after the last one this is x_0 itself.

        Args:
            x_0: the net's prediction, the shape of `sample`.
            timestep: the one the prediction was made for, an entry of `timesteps`.
            sample: x_t.
            eta: 0 deterministic, 1 as noisy as DDPM.
            noise: standard normal, the shape of `sample`; required when `eta` is above 0.
        """
        alpha_t = float(self.alpha_bar[timestep])
        alpha_s = self._alpha_after(timestep)
        # Eq. 9 solved for ε: the noise that this x_0 leaves in x_t
        epsilon = (sample - alpha_t ** 0.5 * x_0) / (1 - alpha_t) ** 0.5
        # Eq. 16: σ_t(η)
        sigma = eta * ((1 - alpha_s) / (1 - alpha_t) * (1 - alpha_t / alpha_s)) ** 0.5
        # Eq. 12: "predicted x_0" + "direction pointing to x_t" + "random noise"
        previous = alpha_s ** 0.5 * x_0 + max(1 - alpha_s - sigma ** 2, 0.0) ** 0.5 * epsilon
        if eta > 0:
            if noise is None:
                raise ValueError("Expected noise for a stochastic step (eta > 0), got none; pass noise=.")
            previous = previous + sigma * noise
        return previous

    def _alpha_after(self, timestep: int) -> float:
        """ᾱ of the timestep that follows in the loop; 1 (no noise) after the last."""
        if timestep not in self.timesteps:
            raise ValueError(f"Expected one of the timesteps {self.timesteps}, got {timestep}; use set_timesteps.")
        index = self.timesteps.index(timestep) + 1
        return float(self.alpha_bar[self.timesteps[index]]) if index < len(self.timesteps) else 1.0


def frame_noise(seed: int, first: int, count: int, channels: int) -> Tensor:
    """Standard normal noise `[count, channels]` of absolute frames `first…`, each a function of `(seed, frame)` alone.

    So windows that overlap share their noise, and no chunking of the stream can change it. Drawn on the CPU, because
    generators of devices differ.
    """
    rows = [torch.randn(channels, generator=frame_generator(seed, frame)) for frame in range(first, first + count)]
    return torch.stack(rows) if rows else torch.zeros(0, channels)


def frame_generator(seed: int, index: int) -> torch.Generator:
    """A generator for one index; the constants are SplitMix64's, which keep neighbours apart."""
    mixed = (seed * 0x9E3779B97F4A7C15 + (index + 1) * 0xBF58476D1CE4E5B9) & 0xFFFFFFFFFFFFFFFF
    mixed = ((mixed ^ (mixed >> 31)) * 0x94D049BB133111EB) & 0xFFFFFFFFFFFFFFFF
    return torch.Generator().manual_seed((mixed ^ (mixed >> 29)) >> 1)
