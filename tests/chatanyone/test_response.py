"""What the detector shows of a weight is what the fit looks for."""

from __future__ import annotations

import torch

from chatanyone.tracking_fit import fit_track
from chatanyone.vision.response import MEASURED, SKIN, seen_by_detector
from motion.template.head import HeadTemplate
from motion.types import ARKIT_INDEX


def test_measured_shapes_answer_less_than_the_mesh_and_others_are_the_templates() -> None:
    template = HeadTemplate.load()
    own, seen = template.landmarks(template.expression), seen_by_detector(template)
    assert seen.shape == (52, 478, 3) and bool(torch.isfinite(seen).all())
    measured = [ARKIT_INDEX[name] for name in MEASURED]
    others = [index for index in range(52) if index not in measured]
    assert torch.equal(seen[others], own[others]) and torch.equal(seen[:, SKIN:], own[:, SKIN:])
    pucker = ARKIT_INDEX["mouthPucker"]
    a, b = own[pucker, :SKIN, :2].flatten(), seen[pucker, :SKIN, :2].flatten()
    assert 0.4 < float(a @ b / (a @ a)) < 0.7


def test_a_pucker_as_the_detector_shows_it_comes_back_whole() -> None:
    template = HeadTemplate.load()
    seen, pucker, jaw = seen_by_detector(template), ARKIT_INDEX["mouthPucker"], ARKIT_INDEX["jawOpen"]
    weights = torch.zeros(40, 52)
    weights[24:, pucker] = 0.6
    weights[32:, jaw] = 0.3
    points = template.landmarks(template.mean) + torch.einsum("tk,kpc->tpc", weights, seen)
    px = (points * torch.tensor([1000.0, -1000.0, 1000.0]) + torch.tensor([256.0, 256.0, 0.0])).numpy()
    found = fit_track(template, list(px), [None] * len(px)).expression
    assert found[:24, pucker].max() < 0.1 and 0.35 < found[24:, pucker].mean() < 0.7  # the prior keeps some
    assert abs(found[32:, jaw].mean() - 0.3) < 0.06
