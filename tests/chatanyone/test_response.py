"""What the detector shows of a weight is what the fit looks for."""

from __future__ import annotations

import math

import torch

from chatanyone.tracking_fit import SPREAD, fit_track
from chatanyone.vision.response import (
    MEASURED, SKIN, STRENGTH, astray_at_random, astray_when_turned, detector, seen_by_detector)
from motion.template.fit import Camera
from motion.template.head import HeadTemplate
from motion.template.person_fit import Detector, PersonFit
from motion.types import ARKIT_INDEX, ARKIT_NAMES
from tests.helpers.template_person import camera

BROWS = [ARKIT_INDEX[name] for name in ARKIT_NAMES if name.startswith("brow")]


def test_measured_shapes_answer_less_than_the_mesh_and_others_are_the_templates() -> None:
    template = HeadTemplate.load()
    own, seen = template.landmarks(template.expression), seen_by_detector(template)
    assert seen.shape == (52, 478, 3) and bool(torch.isfinite(seen).all())
    measured = [ARKIT_INDEX[name] for name in MEASURED]
    others = [index for index in range(52) if index not in measured and index not in BROWS]
    assert sorted(ARKIT_INDEX[name] for name in STRENGTH) == BROWS
    assert all(torch.equal(seen[ARKIT_INDEX[name]], own[ARKIT_INDEX[name]] * value) for name, value in STRENGTH.items())
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
    assert found[:24, pucker].max() < 0.1 and 0.3 < found[24:, pucker].mean() < 0.7  # priors keep some
    assert abs(found[32:, jaw].mean() - 0.3) < 0.06


def fit_of(template: HeadTemplate, known: Detector) -> PersonFit:
    return PersonFit(template, template.mean, torch.zeros(3), known, SPREAD)


def test_a_head_that_looks_down_does_not_frown() -> None:
    """Points that stray as the detector's do on a turned head: known, they are no brows; unknown, they are."""
    template = HeadTemplate.load()
    turned, mean = astray_when_turned(), template.landmarks(template.mean)
    assert bool(torch.isfinite(turned).all()) and not bool(turned[:, SKIN:].any()) and not bool(turned[..., 2].any())
    unknown = Detector(seen_by_detector(template), torch.zeros(3, 478, 3), torch.zeros(0, 478, 3))
    found = {}
    for pitch_deg in (-9.0, -5.0, 5.0, 9.0):
        pitch = math.radians(pitch_deg)
        points = mean + pitch * turned[0] + pitch**2 * turned[1]
        view = Camera(torch.tensor([pitch, 0.0, 0.0]), camera().centre, camera().scale)
        for known in (detector(template), unknown):
            weights, head, _ = fit_of(template, known)(view.project(points, template.pivot), torch.zeros(52))
            found[pitch_deg, known is unknown] = weights
            if known is not unknown:
                assert float(weights.max()) < 0.05
                assert math.degrees(float((head.rotation - view.rotation).abs().max())) < 0.5
    frown = ARKIT_INDEX["browDownLeft"]
    assert float(found[-9.0, True][frown]) > 0.3 > 10 * float(found[-9.0, False][frown])


def test_a_turn_beyond_what_was_measured_strays_no_farther() -> None:
    template = HeadTemplate.load()
    turned, mean = astray_when_turned(), template.landmarks(template.mean)
    most = mean + 0.25 * turned[0] + 0.25**2 * turned[1]
    view = Camera(torch.tensor([0.5, 0.0, 0.0]), camera().centre, camera().scale)
    weights, head, _ = fit_of(template, detector(template))(view.project(most, template.pivot), torch.zeros(52))
    assert float(weights.max()) < 0.05 and math.degrees(float((head.rotation - view.rotation).abs().max())) < 0.5


def test_the_detectors_usual_errors_are_no_brows() -> None:
    """A still face whose points err in the patterns that they usually err in, and a raised brow among them."""
    template = HeadTemplate.load()
    astray, seen, rest = astray_at_random(), seen_by_detector(template), template.landmarks(template.mean)
    assert bool(torch.isfinite(astray).all()) and not bool(astray[:, SKIN:].any()) and not bool(astray[..., 2].any())
    sizes = astray.square().sum((1, 2))
    assert bool((sizes[1:] <= sizes[:-1] * 1.01).all())
    known, raised = detector(template), ARKIT_INDEX["browInnerUp"]
    without = Detector(known.seen, known.turned, astray[:0])
    errors = {name: 0.0 for name in ("known", "without")}
    for pattern in (*astray[:6], *-astray[:6]):
        points = camera().project(rest + 1.5 * pattern + 0.5 * seen[raised], template.pivot)
        for name, one in (("known", known), ("without", without)):
            fit = fit_of(template, one)
            weights, head, _ = fit(points, torch.zeros(52))
            weights, _, _ = fit(points, weights, head)
            weights[raised] -= 0.5
            errors[name] += float(weights[BROWS].abs().sum())
    assert errors["known"] < 0.5 * errors["without"]


def test_an_opening_mouth_is_no_nod() -> None:
    template = HeadTemplate.load()
    known, jaw = detector(template), ARKIT_INDEX["jawOpen"]
    fit, points = fit_of(template, known), template.landmarks(template.mean) + 0.4 * known.seen[jaw]
    px = camera().project(points, template.pivot)
    first, view, _ = fit(px, torch.zeros(52))
    found, view, _ = fit(px, first, view)
    assert abs(float(found[jaw]) - 0.4) < 0.04
    assert math.degrees(float((view.rotation - camera().rotation).abs().max())) < 0.4
