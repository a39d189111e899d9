"""Adversarial training behind one object: whoever uses it needs to know nothing of the discriminator's own training."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn


REGIONS = ("face", "eyes", "mouth", "hands")


class RegionAdversaries(nn.Module):
    """One adversary for each region, each trained on its own windows only: a mouth is judged by what has seen mouths.

    Args:
        build: makes a discriminator; learning_rate: of all of them.
    """

    def __init__(self, build: Callable[[], nn.Module], learning_rate: float = 2e-4) -> None:
        super().__init__()
        self.regions = nn.ModuleDict({name: AdversarialLoss(build(), learning_rate) for name in REGIONS})

    def forward(self, windows: Mapping[str, Sequence[tuple[Tensor, Tensor]]]) -> dict[str, Tensor]:
        """Trains the adversary of every region that has windows, pairs (made, true) of ``[B, 3, S, S]``, and returns the
        means of adversarial and matching loss over all windows; nothing without any."""
        found: dict[str, list[Tensor]] = {"adversarial": [], "matching": []}
        for name, pairs in windows.items():
            adversary = self.regions[name]
            assert isinstance(adversary, AdversarialLoss)
            for made, true in pairs:
                adversary.train_adv(made, true)
                for kind, value in zip(found, adversary(made, true)):
                    found[kind].append(value)
        return {kind: torch.stack(values).mean() for kind, values in found.items() if values}


class AdversarialLoss(nn.Module):
    """Hinge losses of a discriminator that it trains itself; the optimiser rides in the state dict.

    Args:
        discriminator: picture → judgements and features, one of each (list) for every scale.
    """

    def __init__(self, discriminator: nn.Module, learning_rate: float = 2e-4) -> None:
        super().__init__()
        self.discriminator = discriminator
        self.optimizer = torch.optim.Adam(discriminator.parameters(), lr=learning_rate, betas=(0.5, 0.99))

    def train_adv(self, fake: Tensor, real: Tensor) -> float:
        """One step of the discriminator; returns its loss."""
        made, true = self.discriminator(fake.detach())[0], self.discriminator(real)[0]
        loss = sum((F.relu(1 + f).mean() + F.relu(1 - r).mean() for f, r in zip(made, true)), fake.new_zeros(()))
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        return float(loss.detach())

    def forward(self, fake: Tensor, real: Tensor) -> tuple[Tensor, Tensor]:
        """(adv, feat) for the generator: be taken for real, and look like the truth to every layer."""
        with self._frozen():
            judgements, features = self.discriminator(fake)
            with torch.no_grad():
                true = self.discriminator(real)[1]
        adversarial = sum((-judgement.mean() for judgement in judgements), fake.new_zeros(())) / len(judgements)
        pairs = [(a, b) for made, real_layers in zip(features, true) for a, b in zip(made, real_layers)]
        matching = sum(((a - b).abs().mean() / b.abs().mean().clamp(min=1e-3) for a, b in pairs), fake.new_zeros(()))
        return adversarial, matching / len(pairs)

    def get_extra_state(self) -> dict[str, object]:
        """The optimiser's state, as part of `state_dict`."""
        return self.optimizer.state_dict()

    def set_extra_state(self, state: dict[str, object]) -> None:
        """Inverse of `get_extra_state`."""
        self.optimizer.load_state_dict(state)

    @contextmanager
    def _frozen(self) -> Iterator[None]:
        """The generator's gradient must not reach the discriminator's weights."""
        for parameter in self.discriminator.parameters():
            parameter.requires_grad_(False)
        try:
            yield
        finally:
            for parameter in self.discriminator.parameters():
                parameter.requires_grad_(True)
