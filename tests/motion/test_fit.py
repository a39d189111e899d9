"""The fit gives back what was put in."""

from __future__ import annotations

import math

import pytest
import torch

from motion.template.fit import Camera, fit_frame, fit_head
from motion.template.head import HeadTemplate
from motion.template.lids import LOWER, UPPER
from motion.types import ARKIT_INDEX
from tests.helpers.template_person import camera, face_px


@pytest.fixture(scope="module")
def template() -> HeadTemplate:
    return HeadTemplate.load()


def expression_of(**values: float) -> torch.Tensor:
    expression = torch.zeros(52)
    for name, value in values.items():
        expression[ARKIT_INDEX[name]] = value
    return expression


def test_frame_fit_recovers_expression_and_camera(template: HeadTemplate) -> None:
    truth = expression_of(jawOpen=0.5, mouthSmileLeft=0.6, mouthSmileRight=0.6, eyeBlinkLeft=0.8, eyeBlinkRight=0.8)
    view = Camera(torch.tensor([0.05, 0.25, -0.1]), torch.tensor([200.0, 180.0]), 900.0)
    expression, found, residual = fit_frame(template, torch.zeros(60), face_px(template, truth, view))
    assert torch.corrcoef(torch.stack([expression, truth]))[0, 1] > 0.9
    for name in ("jawOpen", "mouthSmileLeft", "eyeBlinkLeft"):
        assert float(expression[ARKIT_INDEX[name]]) == pytest.approx(float(truth[ARKIT_INDEX[name]]), abs=0.15), name
    assert (found.rotation - view.rotation).abs().max() < math.radians(1.5)
    assert found.scale == pytest.approx(900, rel=0.02)
    assert residual < 1.0


def test_weights_stay_within_their_bounds(template: HeadTemplate) -> None:
    wild = face_px(template, expression_of(jawOpen=1.6), camera())  # more than a mouth can
    expression, _, _ = fit_frame(template, torch.zeros(60), wild)
    assert expression.min() >= 0 and expression.max() <= 1


def test_head_fit_lands_on_the_picture(template: HeadTemplate) -> None:
    generator = torch.Generator().manual_seed(3)
    stranger = template.vertices(torch.randn(60, generator=generator) * 0.7, torch.zeros(52))
    view = camera(scale=1100.0, centre=(256.0, 250.0))
    landmarks = view.project(template.landmarks(stranger), template.pivot)
    landmarks[:, :2] += torch.randn(478, 2, generator=generator) * 0.3  # a detector is never exact
    fit = fit_head(template, landmarks)
    mesh = fit.camera.project(template.deform(fit.neutral, fit.expression), template.pivot)
    error = (template.landmarks(mesh)[:468, :2] - landmarks[:468, :2]).norm(dim=1)
    assert error.mean() < 0.6 < fit.residual_px + 0.6
    assert error.mean() < fit.residual_px


def test_blink_closes_this_persons_eyes(template: HeadTemplate) -> None:
    fit = fit_head(template, face_px(template, torch.zeros(52), camera()))
    closed = template.deform(fit.neutral, expression_of(eyeBlinkLeft=1, eyeBlinkRight=1) * fit.gain)
    for upper, lower in ((386, 374), (159, 145)):
        lids = template.landmarks(closed)[[upper, lower], 1]
        opened = template.landmarks(fit.neutral)[[upper, lower], 1]
        assert abs(lids[0] - lids[1]) < 0.15 * (opened[0] - opened[1])


@pytest.mark.parametrize("side", ("Left", "Right"))
def test_lids_close_along_their_whole_length(template: HeadTemplate, side: str) -> None:
    person = torch.zeros(60)
    person[:8] = torch.tensor([1.0, -1.0, 1.0, 1.0, -1.0, 1.0, -1.0, 1.0])
    at_rest = template.vertices(person, torch.zeros(52))
    view = camera()
    points = view.project(template.landmarks(at_rest), template.pivot)
    fit = fit_head(template, points)
    upper, lower = (list(rows[side == "Right"][1:-1]) for rows in (UPPER, LOWER))

    def opening(blink: float) -> torch.Tensor:
        mesh = fit.deformed(template, expression_of(**{f"eyeBlink{side}": blink}))
        return template.landmarks(mesh)[upper, 1] - template.landmarks(mesh)[lower, 1]

    rest, half, shut = (opening(blink) for blink in (0.0, 0.5, 1.0))
    assert shut.abs().max() < 0.05 * rest.max()  # the template's own blink: 0.16 and 0.20
    assert (half / rest - 0.5).abs().max() < 0.1  # 0.31 and 0.18


def test_corners_of_a_closing_eye_stay(template: HeadTemplate) -> None:
    fit = fit_head(template, face_px(template, torch.zeros(52), camera()))
    mesh = fit.deformed(template, expression_of(eyeBlinkLeft=1.0, eyeBlinkRight=1.0))
    moved = (template.landmarks(mesh) - template.landmarks(fit.neutral))[[33, 133, 362, 263]]
    assert moved.norm(dim=-1).max() < 0.0003  # metres; the template's own blink: 0.0023


def test_wrong_shape_is_one_sentence(template: HeadTemplate) -> None:
    with pytest.raises(ValueError, match=r"landmarks must be \[478, 3\]"):
        fit_head(template, torch.zeros(468, 3))
