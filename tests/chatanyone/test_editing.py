"""Changes over a span: in full inside, smooth at its edges, nothing outside; order, names and values are checked."""

from __future__ import annotations

import numpy as np
import pytest

from chatanyone.editing import Change, edited, envelope, parse_change
from chatanyone.errors import MediaError
from chatanyone.motionfile import MOTION_FIELDS
from motion.style import LIPS_MEET_MM, lip_gap_mm
from motion.types import ARKIT_INDEX
from tests.helpers.motion import moving

SMILE = [ARKIT_INDEX["mouthSmileLeft"], ARKIT_INDEX["mouthSmileRight"]]


def test_a_weight_is_set_inside_and_untouched_outside() -> None:
    before = moving(120)
    after = edited(before, [parse_change("set", "mouthSmileLeft=0.9@1.0-2.5")])
    inside = (before.timestamps >= 1.0) & (before.timestamps <= 2.5)
    outside = (before.timestamps < 0.8) | (before.timestamps > 2.7)
    assert np.allclose(after.expression[inside, SMILE[0]], 0.9)
    assert np.array_equal(after.expression[outside], before.expression[outside])
    others = [column for column in range(52) if column != SMILE[0]]
    assert np.array_equal(after.expression[:, others], before.expression[:, others])
    assert after.origin == "edited" and after.sound == "wave.wav"
    assert np.abs(np.diff(after.expression[:, SMILE[0]])).max() < 0.25  # no jump


def test_both_sides_angles_and_groups() -> None:
    before = moving(90)
    smile = edited(before, [parse_change("add", "mouthSmile=0.2")])
    assert np.allclose(smile.expression[:, SMILE], before.expression[:, SMILE] + 0.2)
    turned = edited(before, [parse_change("set", "yaw=10@-1")])
    assert np.allclose(turned.rotation[:31, 1], np.deg2rad(10)) and np.array_equal(turned.rotation[40:], before.rotation[40:])
    assert np.array_equal(turned.rotation[:, 0], before.rotation[:, 0])
    nods = edited(before, [parse_change("scale", "pitch=-0.5")])
    assert np.allclose(nods.rotation[:, 0], -0.5 * before.rotation[:, 0])
    still = edited(before, [parse_change("scale", "hands=0@2-")])
    assert np.abs(still.hands[60:]).max() == 0 and np.array_equal(still.hands[:50], before.hands[:50])
    assert np.array_equal(still.expression, before.expression)


def test_scaling_the_mouth_keeps_closures() -> None:
    before = moving(120, scale=0.2)
    after = edited(before, [parse_change("scale", "mouth=2@1-3")])
    gap_before, gap_after = (lip_gap_mm(d.face_motion().expression) for d in (before, after))
    closed = gap_before <= LIPS_MEET_MM
    assert closed.any() and (gap_after[closed] <= LIPS_MEET_MM + 1e-4).all()


def test_changes_are_made_in_order_and_weights_stay_weights() -> None:
    before = moving(30)
    changes = [Change("set", "jawOpen", 0.4), Change("scale", "jawOpen", 2.0), Change("add", "jawOpen", 0.5)]
    assert np.allclose(edited(before, changes).expression[:, ARKIT_INDEX["jawOpen"]], 1.0)
    assert np.allclose(edited(before, changes[:2]).expression[:, ARKIT_INDEX["jawOpen"]], 0.8)
    assert np.allclose(edited(before, changes[::-1]).expression[:, ARKIT_INDEX["jawOpen"]], 0.4)


def test_nothing_asked_nothing_changed_and_the_original_stays() -> None:
    before, copy = moving(30), moving(30)
    edited(before, [Change("set", "jawOpen", 1.0), Change("scale", "brows", -1.0)])
    same = edited(before, [Change("scale", "mouth", 1.0), Change("add", "roll", 0.0), Change("scale", "head", 1.0)])
    for name in MOTION_FIELDS:
        assert np.array_equal(getattr(before, name), getattr(copy, name)), name
        assert np.allclose(getattr(same, name), getattr(before, name), atol=1e-7), name


def test_the_envelope_by_hand() -> None:
    times = np.array([0.0, 0.8, 0.9, 1.0, 1.5, 2.0, 2.1, 2.2])
    assert np.allclose(envelope(times, Change("set", "jawOpen", 1, 1.0, 2.0, 0.2)), [0, 0, 0.5, 1, 1, 1, 0.5, 0])
    assert envelope(times, Change("set", "jawOpen", 1, 1.0, 2.0, 0.0)).tolist() == [0, 0, 0, 1, 1, 1, 0, 0]
    assert envelope(times, Change("set", "jawOpen", 1)).tolist() == [1.0] * 8


@pytest.mark.parametrize(("kind", "text", "message"), [
    ("set", "mouthSmileLeft", "is no change; write NAME=VALUE@START-END"), ("set", "jawOpen=x", "'x' in .* is no number"),
    ("set", "jawOpen=0.4@1.0", "is no change|is no number"), ("set", "jawOpen=0.4@a-2", "'a' in .* is no number"),
    ("set", "jawOpen=0.4@2-1", "ends .1 s. before it starts .2 s"), ("set", "jawOpened=0.4", "neither an ARKit shape"),
    ("set", "brows=0.4", "can only be scaled; set one shape of it"), ("scale", "mouth=-1", "strength of mouth must be"),
    ("scale", "hands=3", "strength of hands must be"), ("set", "jawOpen=inf", "is no number"),
    ("add", "yaw=1e300", "is no number up to 1000000"),
    ("shift", "jawOpen=1", "one of set"),
])
def test_other_changes_are_refused(kind: str, text: str, message: str) -> None:
    with pytest.raises(MediaError, match=message):
        parse_change(kind, text)


def test_a_change_after_the_end_is_refused() -> None:
    with pytest.raises(MediaError, match="starts at 9 s, but the motion lasts 2.00 s"):
        edited(moving(60), [parse_change("set", "jawOpen=1@9-10")])
    for ramp_s in (-0.1, float("nan"), float("inf")):
        with pytest.raises(MediaError, match="ramp of a change"):
            parse_change("set", "jawOpen=1", ramp_s)
