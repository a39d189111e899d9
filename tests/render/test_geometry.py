"""The geometric frame of a person whose every coordinate is known."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from chatanyone.driver import Driver, neutral_motion
from motion.template.head import HeadTemplate
from motion.types import ARKIT_INDEX, BODY_KEYPOINTS
from render.face import _forget_astray, _soften_tears, face_flow, finish_face
from render.geometry import _composed, coarse_flow, propose
from render.types import Part
from render.warp import enlarge, identity_flow
from tests.helpers.template_person import template_portrait


@pytest.fixture(scope="module")
def driver() -> Driver:
    template = HeadTemplate.load()
    return Driver(template_portrait(template), template)


def window(driver: Driver) -> tuple[slice, slice]:
    x0, y0, side = driver.source.face_box
    return slice(y0, y0 + side), slice(x0, x0 + side)


def test_zero_motion_gives_the_picture_back(driver: Driver) -> None:
    proposal = propose(driver.source, driver(*neutral_motion(1)))
    error = (proposal.frame[0] - driver.portrait.image).abs()
    rows, columns = window(driver)
    lips = torch.zeros_like(error, dtype=torch.bool)  # the line between the template's lips shows a little of the mouth
    lips[:, rows, columns] = torch.nn.functional.max_pool2d(proposal.face[:, 3:4], 5, 1, 2)[0] > 0
    assert lips.float().mean() < 0.002
    assert error[~lips].max() < 0.05 and error.mean() < 1 / 255


def test_the_background_does_not_move(driver: Driver) -> None:
    face, body = neutral_motion(3)
    face.rotation[1, 1], face.expression[2, ARKIT_INDEX["jawOpen"]] = 0.2, 0.8
    proposal = propose(driver.source, driver(face, body))
    nobody = (proposal.alpha == 0) & (driver.source.matte[None] == 0)
    assert nobody.float().mean() > 0.2
    difference = (proposal.frame - driver.portrait.image[None]).abs() * nobody
    assert difference.max() < 0.25 / 255  # the face window is drawn finer and averaged


def test_an_open_jaw_shows_the_inside_of_the_mouth(driver: Driver) -> None:
    face, body = neutral_motion(2)
    face.expression[1, ARKIT_INDEX["jawOpen"]] = 0.8
    control = propose(driver.source, driver(face, body)).face
    inside, teeth = control[:, 3].sum((1, 2)), control[:, 5].sum((1, 2))
    assert inside[1] > 5 * inside[0] and inside[0] < 40
    assert 0 < teeth[1] < inside[1]


def test_a_speck_of_the_mouth_on_closed_lips_is_drawn_as_lip(driver: Driver) -> None:
    """A pixel's centre may hit a tooth between closed lips that none of the finer samples hits."""
    source, drive = driver.source, driver(*neutral_motion(1))
    flow = enlarge(coarse_flow(source, drive))
    drawing = face_flow(flow, source, drive)
    frame, alpha = _composed(flow, source, (0, 0, *source.size[::-1]))
    before = frame.clone()
    x, y = (int(value) for value in drive.face_keypoints[0, 18, :2])  # the lower lip
    assert drawing.box is not None and drawing.part[0, y - drawing.box[1], x - drawing.box[0]] == Part.SKIN
    drawing.part[0, y - drawing.box[1], x - drawing.box[0]], frame[0, :, y, x] = int(Part.TEETH), 1.0
    finish_face(drawing, frame, alpha, flow, source, drive)
    assert (frame - before)[0, :, y, x].abs().max() < 0.05


def test_a_slit_between_lips_has_the_lips_colour(driver: Driver) -> None:
    """And an open mouth does not: lips blue, all else even."""
    source = replace(driver.source, foreground=torch.full_like(driver.source.foreground, 0.6), cache={})
    points = source.face_keypoints[13:19, :2]
    (x0, y0), (x1, y1) = points.amin(0).int().tolist(), points.amax(0).int().tolist()
    source.foreground[:, y0:y1 + 1, x0:x1 + 1] = torch.tensor([0.2, 0.3, 0.9])[:, None, None]
    inside = []
    for jaw in (0.08, 0.6):
        face, body = neutral_motion(1)
        face.expression[0, ARKIT_INDEX["jawOpen"]] = jaw
        control = propose(source, driver(face, body)).face[0]
        inside.append(control[:3, control[3] > 0.5].mean(1))
    slit, wide = inside
    assert slit[2] > 1.3 * slit[0] and wide[2] < wide[0]


def test_the_edge_of_a_turned_cheek_is_no_staircase() -> None:
    frame = torch.zeros(1, 3, 20, 24)
    frame[:, :, :, 12:] = 1.0
    flow = identity_flow((20, 24)).clone()
    smooth, sharp = flow.clone(), frame.clone()
    flow[:, 0, :, 12:] += 9.0
    _soften_tears(frame, flow, (2, 2, 18, 16))
    torch.testing.assert_close(frame[0, 0, 8, 10:14], torch.tensor([0.0, 0.25, 0.75, 1.0]))
    torch.testing.assert_close(frame[:, :, :2], sharp[:, :, :2])  # outside the face's box
    untouched = sharp.clone()
    _soften_tears(untouched, smooth, (2, 2, 18, 16))
    assert (untouched == sharp).all()  # an edge of the picture itself stays as sharp as it is


def test_nothing_is_seen_through_a_turned_cheek() -> None:
    part = torch.zeros(1, 40, 60, dtype=torch.int64)
    part[0, 20, 30], part[0, 20, 4] = int(Part.TEETH), int(Part.CAVITY)  # between the lips; behind the cheek
    attributes = torch.ones(1, 5, 40, 60)
    points = torch.tensor([[[118.0, 220.0], [142.0, 220.0], [130.0, 214.0], [130.0, 218.0], [130.0, 222.0], [130.0, 228.0]]])
    _forget_astray(part, attributes, points, (100, 200, 60, 40))
    assert part[0, 20, 30] == Part.TEETH and attributes[0, 2, 20, 30] == 1
    assert part[0, 20, 4] == -1 and attributes[0, 2, 20, 4] == 0


def test_the_mouth_is_drawn_where_the_lips_part(driver: Driver) -> None:
    face, body = neutral_motion(1)
    face.expression[0, ARKIT_INDEX["jawOpen"]] = 0.8
    drive = driver(face, body)
    mask = propose(driver.source, drive).face[0, 3]
    x0, y0, _ = driver.source.face_box
    rows, columns = mask.nonzero(as_tuple=True)
    lips = drive.face_keypoints[0, [16, 17], :2] - torch.tensor([x0, y0])  # inner lips, upper and lower
    assert lips[0, 1] - 3 < rows.float().mean() < lips[1, 1] + 3
    assert abs(columns.float().mean() - lips[:, 0].mean()) < 3


def test_what_is_left_out_about_eyes_and_mouth_is_not_seen(driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the part of a spot that shows something finer is drawn: the frame is that of the whole spot."""
    face, body = neutral_motion(3)
    face.expression[:, ARKIT_INDEX["jawOpen"]] = torch.tensor([0.05, 0.3, 0.8])
    face.expression[:, ARKIT_INDEX["eyeWideLeft"]], face.rotation[2, 1] = 0.6, 0.2
    drive = driver(face, body)
    some = propose(driver.source, drive)
    monkeypatch.setattr("render.face.SEEN_MARGIN", 1000)
    whole = propose(driver.source, drive)
    torch.testing.assert_close(some.frame, whole.frame, atol=1e-6, rtol=0)
    torch.testing.assert_close(some.face, whole.face, atol=1e-6, rtol=0)
    monkeypatch.setattr("render.face.SEEN_MARGIN", -2)  # and one sees what is missing
    assert (propose(driver.source, drive).frame - whole.frame).abs().max() > 0.05


def test_a_turn_moves_the_nose_in_the_picture(driver: Driver) -> None:
    face, body = neutral_motion(2)
    face.rotation[1, 1] = 0.2
    drive = driver(face, body)
    flow = propose(driver.source, drive).flow
    nose = drive.face_keypoints[1, 12, :2]
    x, y = nose.long().tolist()
    source = driver.source.face_keypoints[12, :2]
    assert nose[0] > source[0] + 5
    torch.testing.assert_close(flow[1, :, y, x], source, atol=2.0, rtol=0)


def test_shoulders_move_the_clothes(driver: Driver) -> None:
    face, body = neutral_motion(2)
    k = BODY_KEYPOINTS.index("shoulderLeft")
    body.delta[1, k, 1] = -0.1  # up a tenth of the shoulders' width: 12 px
    flow = propose(driver.source, driver(face, body)).flow
    x, y = driver.portrait.body[k, :2].long().tolist()
    assert flow[1, 1, y - 12, x] - flow[0, 1, y - 12, x] == pytest.approx(12, abs=2)


def test_batches_and_single_frames_agree(driver: Driver) -> None:
    face, body = neutral_motion(3)
    face.expression[1, ARKIT_INDEX["jawOpen"]], face.rotation[2, 0] = 0.5, 0.1
    drive = driver(face, body)
    together = propose(driver.source, drive).frame
    single = torch.cat([propose(driver.source, drive.slice(i, i + 1)).frame for i in range(3)])
    torch.testing.assert_close(together, single, atol=1.01 / 255, rtol=0)


@pytest.mark.parametrize("shift", [(2.0, 0.0), (0.0, -2.0), (0.12, 0.12), (-0.2, 0.0)])
def test_wild_motion_draws_something(driver: Driver, shift: tuple[float, float]) -> None:
    face, body = neutral_motion(1)
    face.translation[0, 0], face.translation[0, 1] = shift  # metres: out of the window, out of the frame
    frame = propose(driver.source, driver(face, body)).frame
    assert torch.isfinite(frame).all() and frame.shape[1:] == driver.portrait.image.shape
