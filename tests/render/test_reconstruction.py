"""The reconstruction filter: nothing at first, nothing off the person, softer or crisper where it says so."""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F

from chatanyone.driver import Driver, neutral_motion
from motion.template.head import HeadTemplate
from render.geometry import propose
from render.reconstruction import (
    IN_HANDS, IN_MOUTH, INPUTS, SHARPEN, ReconstructionFilter, allowance, filter_inputs, mix, soften)
from render.warp import identity_flow
from tests.helpers.render_nets import small_renderer
from tests.helpers.template_person import template_portrait


def picture(H: int = 64, W: int = 48) -> torch.Tensor:
    return torch.rand(1, 3, H, W, generator=torch.Generator().manual_seed(0))


def test_softer_frames_are_the_half_and_its_binomial_blur() -> None:
    frame = picture()
    kernel = torch.tensor([1.0, 2, 1]) / 4
    half, wide = soften(frame)
    torch.testing.assert_close(half, F.avg_pool2d(frame, 2))
    wanted = F.conv2d(F.pad(half, (1, 1, 1, 1), mode="replicate"), (kernel[:, None] * kernel).expand(3, 1, 3, 3), groups=3)
    torch.testing.assert_close(wide, wanted)


def test_weights_soften_and_sharpen() -> None:
    frame = picture()
    softer = soften(frame)

    def detail(first: float) -> float:
        weights = torch.zeros(1, 2, 16, 12)
        weights[:, 0] = first
        return float(mix(frame, softer, weights).diff(dim=-1).abs().mean())

    assert detail(1.0) < detail(0.5) < detail(0.0) < detail(SHARPEN)
    wider = torch.ones(1, 2, 16, 12)
    assert float(mix(frame, softer, wider).diff(dim=-1).abs().mean()) < detail(1.0)
    torch.testing.assert_close(mix(frame, softer, torch.zeros(1, 2, 16, 12)), frame)
    flat = torch.full_like(frame, 0.4)  # it invents no colours
    torch.testing.assert_close(mix(flat, soften(flat), torch.ones(1, 2, 16, 12)), flat)


def test_the_net_sees_how_the_picture_was_warped() -> None:
    frame, alpha, mask = picture(), torch.ones(1, 1, 64, 48), torch.zeros(1, 1, 64, 48)
    still = identity_flow((64, 48), 4)
    squeezed = still * 2

    def inputs(flow: torch.Tensor) -> torch.Tensor:
        return filter_inputs(frame, soften(frame), alpha, flow, mask, torch.zeros(1, 3, 16, 12))

    assert inputs(still).shape == (1, INPUTS, 16, 12)
    assert inputs(still)[:, :6].any() and not inputs(still)[:, 6:].any()
    torch.testing.assert_close(inputs(squeezed)[0, 13, :, :-1], torch.ones(16, 11))  # one more source pixel a pixel


def test_untrained_weights_are_zero_and_bounded_when_trained() -> None:
    net = ReconstructionFilter(8)
    x = torch.randn(1, INPUTS, 16, 12)
    assert not net(x).any()
    torch.nn.init.normal_(net.out.weight, std=50)
    weights = net(x)
    assert weights.min() >= SHARPEN and weights.max() <= 1 and weights.std() > 0.1


def test_the_background_is_not_touched_and_the_mouth_a_little() -> None:
    alpha = torch.zeros(1, 1, 64, 48)
    alpha[:, :, :, :16] = 1
    face = torch.zeros(1, 3, 16, 12)
    face[:, 0, 8, 0] = 1
    hands = torch.zeros(1, 1, 64, 48)
    hands[:, :, 48:, :8] = 1
    most = allowance(alpha, face, hands)
    assert (most[:, :, :6, :4] == 1).all() and not most[..., 6:].any()
    assert (most[0, 0, 8, :4] - IN_MOUTH).abs().max() < 1e-6 and most[0, 0, 10, 2] == 1  # teeth stay teeth, corners corners
    assert abs(float(most[0, 0, 14, 1]) - IN_HANDS) < 1e-6 and most[0, 0, 14, 2] == 1  # hands are kept, their rims may be soft


def test_the_renderer_filters_moving_pictures_and_leaves_resting_ones() -> None:
    template = HeadTemplate.load()
    driver = Driver(template_portrait(template), template)
    face, body = neutral_motion(2)
    face.rotation[1, 1] = 0.2
    source, drive, renderer = driver.source, driver(face, body), small_renderer()
    plain = renderer(source, drive, use_filter=False, use_networks=False)
    assert torch.equal(renderer(source, drive, use_networks=False), plain)  # silent as long as it is untrained
    with torch.no_grad():
        renderer.filter.out.weight.fill_(0.5)
    changed = renderer(source, drive, use_networks=False)
    assert (changed - plain)[1].abs().max() > 1 / 255 and torch.equal(changed[0], plain[0])
    assert torch.equal(renderer(source, drive, use_filter=False, use_networks=False), plain)


def test_only_the_person_is_filtered_and_as_in_the_whole_frame() -> None:
    template = HeadTemplate.load()
    driver = Driver(template_portrait(template), template)
    face, body = neutral_motion(1)
    face.rotation[0, 1] = 0.2
    source, drive, renderer = driver.source, driver(face, body), small_renderer()
    torch.nn.init.normal_(renderer.filter.out.weight, generator=torch.Generator().manual_seed(0))
    proposal = propose(source, drive)
    x0, y0, width, height = proposal.box
    about = torch.ones_like(proposal.alpha, dtype=torch.bool)
    about[:, :, y0:y0 + height, x0:x0 + width] = False
    assert about.any() and not proposal.alpha[about].any()
    assert torch.equal((proposal.frame - source.plate) * about, torch.zeros_like(proposal.frame))
    whole = replace(proposal, frame=proposal.frame.clone(), box=(0, 0, *source.size[::-1]))
    torch.testing.assert_close(renderer.reconstruct(proposal, source, drive), renderer.reconstruct(whole, source, drive))
