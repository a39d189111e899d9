"""Losses and scores against numbers worked out by hand; the adversary against what it must tell apart."""

from __future__ import annotations

import torch

from render.training.adversarial import AdversarialLoss, RegionAdversaries
from render.training.discriminator import MultiScaleDiscriminator
from render.training.losses import equivariance, gradient_loss, psnr, region_weight, sharpness, texture_loss, weighted_l1


def test_weighted_l1_counts_only_what_weighs() -> None:
    made, true, weight = torch.ones(1, 3, 4, 4), torch.zeros(1, 3, 4, 4), torch.zeros(1, 1, 4, 4)
    weight[..., 0, :] = 2
    made[:, :, 1:] = 9
    assert float(weighted_l1(made, true, weight)) == 1


def test_gradient_loss_ignores_brightness_and_sees_blur() -> None:
    true = torch.rand(1, 3, 32, 32)
    one = torch.ones(1, 1, 32, 32)
    assert float(gradient_loss(true + 0.3, true, one)) < 1e-6
    assert float(gradient_loss(torch.nn.functional.avg_pool2d(true, 3, 1, 1), true, one)) > 0.1


def test_texture_loss_forgives_a_shift_but_not_blur() -> None:
    true = torch.rand(1, 3, 64, 64)
    one = torch.ones(1, 1, 64, 64)
    shifted, blurred = true.roll(1, -1), torch.nn.functional.avg_pool2d(true, 3, 1, 1)
    assert float(texture_loss(true, true, one)) == 0
    assert float(texture_loss(shifted, true, one)) < 0.2 * float(texture_loss(blurred, true, one))
    assert float(weighted_l1(shifted, true, one)) > float(weighted_l1(blurred, true, one))


def test_regions_weigh_more_around_and_less_inside() -> None:
    area = torch.zeros(1, 1, 9, 9, dtype=torch.uint8)
    area[..., 4, 4], area[..., 0, 0] = 3, 5
    weight = region_weight(area, {3: 3.0, 5: 0.2}, spread=3)
    assert (weight[..., 3:6, 3:6] == 3).all() and float(weight[0, 0, 8, 8]) == 1
    assert torch.isclose(region_weight(area, {3: 3.0, 5: 0.2})[0, 0, 0, 0], torch.tensor(0.2))


def test_psnr_inside_a_mask() -> None:
    true, mask = torch.zeros(1, 3, 8, 8), torch.zeros(1, 1, 8, 8)
    made = true + 0.5
    made[..., :4], mask[..., :4] = 0.1, 1
    assert abs(psnr(made, true, mask) - 20) < 1e-4 and psnr(made, true) < 10


def test_sharpness_is_one_for_the_truth_and_falls_with_blur() -> None:
    true, mask = torch.rand(1, 3, 32, 32), torch.ones(1, 1, 32, 32)
    blurred = torch.nn.functional.avg_pool2d(true, 3, 1, 1)
    assert abs(sharpness(true, true, mask) - 1) < 1e-6 and sharpness(blurred, true, mask) < 0.6


def test_the_adversary_learns_and_then_tells_blur_from_truth() -> None:
    adversary = AdversarialLoss(MultiScaleDiscriminator(scales=2, width=8), learning_rate=2e-3)
    true = torch.rand(2, 3, 64, 64)
    blurred = torch.nn.functional.avg_pool2d(true, 5, 1, 2)
    losses = [adversary.train_adv(blurred, true) for _ in range(40)]
    assert losses[-1] < 0.7 * losses[0]
    assert float(adversary(blurred, true)[0]) > float(adversary(true, true)[0]) + 0.1
    assert float(adversary(true, true)[1]) < 0.01 < 0.1 < float(adversary(blurred, true)[1])


def test_the_generators_gradient_does_not_reach_the_discriminator() -> None:
    adversary = AdversarialLoss(MultiScaleDiscriminator(scales=1, width=4))
    fake = torch.rand(1, 3, 32, 32, requires_grad=True)
    sum(adversary(fake, torch.rand(1, 3, 32, 32))).backward()  # type: ignore[union-attr]
    assert fake.grad is not None and fake.grad.any()
    assert all(parameter.grad is None and parameter.requires_grad for parameter in adversary.discriminator.parameters())


def test_the_adversarys_optimiser_is_part_of_its_state() -> None:
    first, second = (AdversarialLoss(MultiScaleDiscriminator(scales=1, width=4)) for _ in range(2))
    fake, true = torch.rand(1, 3, 32, 32), torch.rand(1, 3, 32, 32)
    first.train_adv(fake, true)
    second.load_state_dict(first.state_dict())
    kept, fresh = (first.optimizer.state_dict()["state"], AdversarialLoss(MultiScaleDiscriminator(1, 4)).optimizer)
    assert kept and not fresh.state_dict()["state"]
    loaded = second.optimizer.state_dict()["state"]
    assert all(torch.equal(kept[index]["exp_avg"], loaded[index]["exp_avg"]) for index in kept)


def test_adversaries_train_on_their_own_region_only() -> None:
    adversaries = RegionAdversaries(lambda: MultiScaleDiscriminator(scales=1, width=4))
    before = {name: value.clone() for name, value in adversaries.named_parameters()}
    made = torch.rand(1, 3, 48, 48, requires_grad=True)
    losses = adversaries({"mouth": [(made, torch.rand(1, 3, 48, 48))]})
    sum(losses.values()).backward()
    assert made.grad is not None and made.grad.any() and set(losses) == {"adversarial", "matching"}
    changed = {name.split(".")[1] for name, value in adversaries.named_parameters() if not torch.equal(value, before[name])}
    assert changed == {"mouth"} and adversaries({}) == {}


def test_keypoints_that_follow_the_person_are_equivariant() -> None:
    """Offsets that are a part of the person's size follow an enlargement; constant ones do not."""
    class Sized(torch.nn.Module):
        def forward(self, layer: torch.Tensor) -> torch.Tensor:
            return layer[:, 3:].sum((-2, -1)).sqrt()[..., None].expand(1, 14, 2) * 0.2

    class Fixed(torch.nn.Module):
        def forward(self, layer: torch.Tensor) -> torch.Tensor:
            return torch.full((1, 14, 2), 8.0)

    layer = torch.zeros(1, 4, 192, 128)
    layer[..., 64:128, 40:88] = 1
    sized, fixed = ([float(equivariance(net, layer)["equivariance"]) for _ in range(8)] for net in (Sized(), Fixed()))
    assert max(sized) < 0.02 and sum(fixed) / 8 > 0.05
    assert abs(float(equivariance(Fixed(), layer)["prior"]) - (8 / 3) ** 2) < 1e-4
