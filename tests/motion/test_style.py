"""Dials and resting faces: every group moves by its dial and by nothing else; lips and lids that meet go on meeting."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from motion.style import (
    BODY_GROUPS, FACE_GROUPS, GROUPS, INVERTIBLE, LIPS_MEET_MM, apply_dials, check_groups, check_rest, lip_gap_mm,
    scale_face, whole_brows, with_rest)
from motion.template.head import HeadTemplate
from motion.types import ARKIT_INDEX, BODY_KEYPOINTS, EXPRESSION_GROUPS, FACE_DIM, BodyMotion, FaceMotion

DIALS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0)


def speech(T: int = 120) -> FaceMotion:
    """Syllables with closures between, brows, blinks, gaze and a head that moves."""
    time = torch.arange(T) / 30
    expression = 0.05 + 0.05 * torch.rand(T, 52, generator=torch.Generator().manual_seed(0))
    jaw = 0.22 * (1 - torch.cos(2 * np.pi * 3 * time))
    for name, curve in {"jawOpen": jaw, "mouthClose": 0.0 * jaw, "mouthFunnel": 0.2 * jaw, "mouthLowerDownLeft": 0.6 * jaw,
                        "mouthLowerDownRight": 0.6 * jaw, "mouthShrugUpper": 0.0 * jaw, "mouthUpperUpLeft": 0.1 * jaw,
                        "mouthUpperUpRight": 0.1 * jaw, "eyeBlinkLeft": (time % 2 < 0.2).float(),
                        "eyeBlinkRight": (time % 2 < 0.2).float()}.items():
        expression[:, ARKIT_INDEX[name]] = curve
    pose = 0.1 * torch.sin(time[:, None] * torch.arange(1, 7))
    return FaceMotion(expression, pose[:, :3], pose[:, 3:] / 20)


def gesture(T: int = 120) -> BodyMotion:
    return BodyMotion.unpack(0.1 * torch.sin(torch.arange(T)[:, None] / 9 + torch.arange(144)))


def amplitude(group: str, face: FaceMotion, body: BodyMotion) -> float:
    """Deviation over time, root mean square over what belongs to the group."""
    if group in EXPRESSION_GROUPS:
        moved = face.expression[:, [ARKIT_INDEX[name] for name in EXPRESSION_GROUPS[group]]]
    elif group == "head":
        moved = torch.cat([face.rotation, face.translation], 1)
    elif group == "hands":
        moved = torch.cat([body.hands.flatten(1), body.delta[:, BODY_KEYPOINTS.index("wristLeft")]], 1)
    else:
        moved = body.delta[:, [BODY_KEYPOINTS.index(name) for name in ("neck", "shoulderLeft", "shoulderRight")]].flatten(1)
    return float(moved.std(0).square().mean().sqrt())


@pytest.mark.parametrize("group", GROUPS)
def test_amplitude_follows_the_dial_of_its_group_alone(group: str) -> None:
    face, body = speech(), gesture()
    turned = [apply_dials(face, body, groups={group: dial}) for dial in DIALS]
    rows = {name: [amplitude(name, *motion) for motion in turned] for name in GROUPS}
    assert all(np.diff(rows.pop(group)) > 0)  # Spearman 1
    for name, values in rows.items():
        assert np.ptp(values) < 1e-6, f"{name} moved with {group}"


@pytest.mark.parametrize("group", GROUPS)
def test_a_dial_at_one_changes_nothing_and_at_zero_leaves_rest(group: str) -> None:
    face, body = speech(), gesture()
    same_face, same_body = apply_dials(face, body, groups={group: 1.0})
    torch.testing.assert_close(same_face.packed(), face.packed())
    torch.testing.assert_close(same_body.packed(), body.packed())
    still = amplitude(group, *apply_dials(face, body, groups={group: 0.0}))
    assert still == 0 or group in ("mouth", "eyes")  # closures and blinks stay


@pytest.mark.parametrize("dial", [0.0, 0.5, 1.0, 1.5, 2.0])
@pytest.mark.parametrize("how", ["overall", "group", "both"])
def test_lips_and_lids_that_meet_go_on_meeting(dial: float, how: str) -> None:
    face = speech()
    closed = lip_gap_mm(face.expression) <= LIPS_MEET_MM
    assert 8 < int(closed.sum()) < 100
    turned = scale_face(face, expression=dial if how != "group" else 1.0, groups={"mouth": dial} if how != "overall" else {})
    assert (lip_gap_mm(turned.expression)[closed] <= LIPS_MEET_MM + 1e-4).all()
    blinks = [ARKIT_INDEX["eyeBlinkLeft"], ARKIT_INDEX["eyeBlinkRight"]]
    assert torch.equal(turned.expression[:, blinks], face.expression[:, blinks])


@pytest.mark.parametrize("dial", [0.0, 0.5, 1.0, 2.0])
def test_lips_closed_against_an_open_jaw_stay_closed(dial: float) -> None:
    face = speech(1)
    face.expression[:] = 0
    face.expression[0, [ARKIT_INDEX["jawOpen"], ARKIT_INDEX["mouthClose"]]] = 0.6
    turned = scale_face(face, expression=dial).expression[0]
    assert turned[ARKIT_INDEX["jawOpen"]] == turned[ARKIT_INDEX["mouthClose"]]


def test_below_zero_brows_and_head_go_the_other_way() -> None:
    face, body = speech(), gesture()
    face.expression[:, ARKIT_INDEX["browInnerUp"]] = 0.5
    turned, _ = apply_dials(face, body, groups={"brows": -1.0, "head": -0.5})
    torch.testing.assert_close(turned.rotation, -0.5 * face.rotation)
    raised = face.expression[:, [ARKIT_INDEX[n] for n in ("browInnerUp", "browOuterUpLeft", "browOuterUpRight")]].mean(1)
    torch.testing.assert_close(turned.expression[:, ARKIT_INDEX["browDownLeft"]], raised)
    assert turned.expression[:, ARKIT_INDEX["browInnerUp"]].max() < 0.11


def test_brows_rise_as_a_whole() -> None:
    """Inner ends alone look worried; afterwards the brow's upper edge rises evenly, by as much in sum."""
    inner, left, right = (ARKIT_INDEX[n] for n in ("browInnerUp", "browOuterUpLeft", "browOuterUpRight"))
    worried = torch.zeros(52)
    worried[[inner, left, right, ARKIT_INDEX["browDownLeft"]]] = torch.tensor([0.5, 0.5, 0.3, 0.1])
    whole = whole_brows(worried)
    torch.testing.assert_close(whole.sum(), worried.sum())
    torch.testing.assert_close(whole[left] - whole[right], worried[left] - worried[right])
    assert whole[ARKIT_INDEX["browDownLeft"]] == worried[ARKIT_INDEX["browDownLeft"]]
    torch.testing.assert_close(whole_brows(whole), whole)
    template, upper_edge = HeadTemplate.load(), torch.tensor([107, 66, 105, 63, 336, 296, 334, 293])
    even = torch.zeros(2, 52)
    even[1, [inner, left, right]] = 0.5
    rest, raised = template.on_surface(template.vertices(torch.zeros(60), whole_brows(even)), upper_edge)
    lift = (raised - rest)[:, 1]
    assert lift.max() < 1.15 * lift.min()


def test_brows_that_are_whole_stay() -> None:
    """Brows whose outer ends lead, lowered ones and one raised alone are manner."""
    manner = torch.zeros(3, 52)
    manner[0, [ARKIT_INDEX["browInnerUp"], ARKIT_INDEX["browOuterUpLeft"], ARKIT_INDEX["browOuterUpRight"]]] = torch.tensor(
        [0.2, 0.6, 0.5])
    manner[1, ARKIT_INDEX["browDownLeft"]] = manner[2, ARKIT_INDEX["browOuterUpLeft"]] = 0.4
    assert torch.equal(whole_brows(manner), manner)


@pytest.mark.parametrize(("groups", "sentence"), [
    ({"nose": 1.0}, "'nose' is no group of movement; there are mouth, brows"),
    ({"mouth": -0.1}, "the strength of mouth must be between 0 and 2, not -0.1"),
    ({"head": -2.5}, "the strength of head must be between -2 and 2"), ({"hands": float("nan")}, "strength of hands"),
])
def test_groups_are_checked(groups: dict[str, float], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        check_groups(groups)
    check_groups({name: -1.0 for name in INVERTIBLE} | {name: 2.0 for name in FACE_GROUPS[:1] + BODY_GROUPS})


def test_dials_multiply_and_are_held() -> None:
    face, body = speech(), gesture()
    twice, _ = apply_dials(face, body, pose=0.5, groups={"head": 1.6})
    torch.testing.assert_close(twice.rotation, 0.8 * face.rotation)
    most, moved = apply_dials(face, body, pose=2.0, gesture=2.0, groups={"head": 2.0, "hands": 2.0})
    torch.testing.assert_close(most.rotation, 2 * face.rotation)
    torch.testing.assert_close(moved.hands, 2 * body.hands)


def test_frames_are_turned_one_by_one_as_all_together() -> None:
    face, body = speech(), gesture()
    dials = dict(expression=1.4, pose=0.7, gesture=1.2, groups={"mouth": 1.3, "brows": -0.5, "hands": 0.4})
    whole = apply_dials(face, body, **dials)  # type: ignore[arg-type]
    for t in (0, 50, 119):
        one = apply_dials(FaceMotion.unpack(face.packed()[t:t + 1]), BodyMotion.unpack(body.packed()[t:t + 1]),
                          **dials)  # type: ignore[arg-type]
        torch.testing.assert_close(one[0].packed(), whole[0].packed()[t:t + 1])
        torch.testing.assert_close(one[1].packed(), whole[1].packed()[t:t + 1])


def test_lip_gap_is_the_templates() -> None:
    template, inner = HeadTemplate.load(), torch.tensor((13, 14))
    rise = template.on_surface(template.expression, inner)[:, :, 1]
    true_mm = speech().expression @ (rise[:, 0] - rise[:, 1]) * 1000
    torch.testing.assert_close(lip_gap_mm(speech().expression), true_mm, atol=0.5, rtol=0)


def test_a_resting_smile_keeps_closures_and_yields_to_rounded_lips() -> None:
    rest = torch.zeros(FACE_DIM)
    rest[[ARKIT_INDEX["mouthSmileLeft"], ARKIT_INDEX["mouthSmileRight"]]] = 0.3
    rest[52] = 0.05
    check_rest(rest)
    face = speech()
    face.expression[60:, ARKIT_INDEX["mouthPucker"]] = 1.0
    shown = with_rest(face, rest)
    closed = lip_gap_mm(face.expression) <= LIPS_MEET_MM
    assert (lip_gap_mm(shown.expression)[closed] <= LIPS_MEET_MM).all()
    smile = (shown.expression - face.expression)[:, ARKIT_INDEX["mouthSmileLeft"]]
    assert smile[:60].min() > 0.2 and smile[60:].abs().max() < 1e-6
    torch.testing.assert_close(shown.rotation[:, 0], face.rotation[:, 0] + 0.05)
    rest[ARKIT_INDEX["jawOpen"]] = 0.1
    with pytest.raises(ValueError, match="must leave jawOpen alone"):
        check_rest(rest)
