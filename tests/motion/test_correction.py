"""A correction brings made motion to a clip's manner, and closures, silence and gaze survive it."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from motion.correction import (
    KNOTS, MANNER, MOST_GAIN, Correction, blink_rate, check_correction, corrected, finished, fitted, follow, gaze_spread,
    lids_open, matched, mixed_corrections, nothing, spread)
from motion.impulses import BLINKS_PER_S, eye_controls
from motion.style import CLOSURES, SPEECH, WHOLE_BROW, lip_gap_mm
from motion.types import ARKIT_INDEX, FACE_DIM, FaceMotion

BROW, SMILE, JAW, UPPER = (ARKIT_INDEX[name] for name in ("browInnerUp", "mouthSmileLeft", "jawOpen", "mouthUpperUpLeft"))


def talking(frames: int, *, brow: float = 0.1, brow_mean: float = 0.2, jaw: float = 0.3, upper: float = 0.0,
            turn: float = 0.05) -> FaceMotion:
    """Syllables with shut lips between them, brows that go up and down, a head that turns."""
    time = torch.arange(frames) / 30
    weights = torch.zeros(frames, 52)
    weights[:, BROW] = brow_mean + brow * torch.sin(2.1 * time)
    weights[:, JAW] = jaw * torch.sin(7 * time).clamp(min=0)
    weights[:, UPPER] = upper * (weights[:, JAW] > 0.1)
    rotation = torch.zeros(frames, 3)
    rotation[:, 1] = turn * torch.sin(1.3 * time)
    return FaceMotion(weights, rotation, torch.zeros(frames, 3))


def applied(right: Correction, motion: FaceMotion) -> FaceMotion:
    return corrected(motion, right.gain, right.offset, right.curve)


def test_mean_and_range_become_the_clips() -> None:
    clip, made = talking(300, brow=0.15, brow_mean=0.4, jaw=0.45), talking(600, brow=0.08, brow_mean=0.1, jaw=0.3)
    after = applied(fitted(clip, made), made)
    assert float(after.expression[:, BROW].mean()) == pytest.approx(float(clip.expression[:, BROW].mean()), abs=0.01)
    assert float(after.expression[:, BROW].std()) == pytest.approx(float(clip.expression[:, BROW].std()), rel=0.1)
    before, there, then = (float(m.expression[:, JAW].std()) for m in (made, clip, after))
    assert abs(then - there) < 0.25 * abs(before - there)


def test_seldom_and_far_stays_seldom_and_far() -> None:
    """The clip raises its brows for a tenth of the time, the net moves them all the time: mean and deviation alone would have
    them half raised for ever."""
    clip, made = talking(300), talking(600, brow=0.15, brow_mean=0.2)
    clip.expression[:, BROW] = 0.5 * (torch.arange(300) % 100 < 10)
    after = applied(fitted(clip, made), made).expression[:, BROW]
    assert float((after < 0.01).float().mean()) > 0.7 and float(after.max()) > 0.06


def test_what_hardly_moves_is_not_made_to_tremble() -> None:
    found = 0.1 + 0.002 * torch.sin(torch.arange(600) * 2.5)
    wanted = torch.linspace(0, 0.6, 90)
    after = follow(matched(wanted, found)[None], found[:, None])
    assert float(after.std()) < 1.01 * MOST_GAIN * float(found.std())
    assert float(after.mean()) == pytest.approx(0.3, abs=0.02)


@pytest.mark.parametrize("wanted,found", [(torch.rand(45), torch.rand(600) ** 3), (torch.zeros(45), torch.rand(600)),
                                          (torch.ones(45), torch.zeros(600)), (torch.rand(3), torch.rand(2))])
def test_curves_rise_and_stay_near(wanted: Tensor, found: Tensor) -> None:
    curve = matched(wanted, found)
    assert float(curve.diff().min()) >= 0 and 0 <= float(curve.min()) and float(curve.max()) <= 1
    assert float((curve - KNOTS).abs().max()) <= 0.4 + 1e-6
    weights = torch.linspace(0, 1, 101)[:, None]
    np.testing.assert_allclose(follow(curve[None], weights)[:, 0], np.interp(weights[:, 0], KNOTS, curve), atol=1e-6)


def test_brows_are_evened_before_a_persons_own_correction() -> None:
    """Without a style brows rise as a whole; a film whose brows are slanted gives a correction that slants them again."""
    outer = [ARKIT_INDEX[f"browOuterUp{side}"] for side in ("Left", "Right")]
    made = talking(30, brow=0.0, brow_mean=0.4)
    right = nothing()

    def stream() -> Any:
        return SimpleNamespace(expression=1.0, pose=1.0, groups=torch.ones(5), gain=right.gain, offset=right.offset,
                               curve=right.curve, rest=None)

    even = finished(made, stream()).expression
    assert float((even[:, BROW] - WHOLE_BROW * even[:, outer].mean(1)).abs().max()) < 1e-6 < float(even[:, BROW].min())
    right.curve[BROW] = (2 * KNOTS).clamp(max=1)
    slanted = finished(made, stream()).expression
    torch.testing.assert_close(slanted[:, BROW], 2 * even[:, BROW])
    torch.testing.assert_close(slanted[:, outer], even[:, outer])


def test_shut_lips_stay_shut_whatever_the_clip_shows() -> None:
    clip = talking(300, jaw=0.6, upper=0.4)
    clip.expression[:, JAW] += 0.2  # a detector that sees this person's lips apart for ever
    made = talking(600)
    after = applied(fitted(clip, made), made)
    shut = made.expression[:, JAW] == 0
    assert float(lip_gap_mm(after.expression)[shut].abs().max()) < 0.1
    assert float(after.expression[~shut][:, UPPER].max()) > 0.1  # but the lip is raised while it speaks


def test_closures_and_lids_keep_their_strength() -> None:
    made = talking(300)
    columns = [ARKIT_INDEX[name] for name in CLOSURES]
    made.expression[::7, columns] = 0.6
    after = applied(fitted(talking(300, jaw=0.1), made), made)
    assert float((after.expression - made.expression)[::7][:, columns].min()) > -1e-6


def test_gaze_and_head_follow_in_range_only_and_short_clips_less() -> None:
    axis, gaze = 53, ARKIT_INDEX["eyeLookOutLeft"]
    made = talking(900, turn=0.05)
    gains = []
    for frames in (45, 900):
        clip = talking(frames, turn=0.1)
        clip.expression[:, gaze] = 0.5  # looks aside for ever: that is where the camera stands
        right = fitted(clip, made)
        assert not right.offset[gaze] and not right.offset[52:].any() and float(right.gain[gaze]) < 1
        gains.append(float(right.gain[axis]))
    assert 1.0 < gains[0] < gains[1] == pytest.approx(1.8)


def test_a_second_and_a_half_tells_that_somebody_looks_at_one_place() -> None:
    columns = [ARKIT_INDEX["eyeLookOutLeft"], ARKIT_INDEX["eyeLookInRight"]]
    gains = []
    for size in (0.0, 1.0):
        clip = talking(45)
        clip.expression[:, columns] = 0.3 + size * 2**0.5 * float(gaze_spread(120)[0]) * torch.tensor([1.0, -1.0])
        clip.expression[::2, columns] = clip.expression[::2, columns].flip(-1)
        gains.append(float(fitted(clip, talking(900)).gain[columns[0]]))
    assert gains[0] < 0.5  # sixty frames of prior would leave 0.76
    assert gains[1] == pytest.approx(1, abs=0.05)  # people's glances are shorter than the controls': no more than in 4 s


def test_a_brow_that_cannot_follow_does_not_drag_the_other_along() -> None:
    raised = 0.05 * (torch.arange(900) // 45 % 2)
    clip, made = talking(900), talking(900)
    left, right = (ARKIT_INDEX[f"browOuterUp{side}"] for side in ("Left", "Right"))
    for motion in (clip, made):
        motion.expression[:, left] = raised
        motion.expression[:, right] = 0.02 * raised
    clip.expression[:, right] = 8 * raised
    after = applied(fitted(clip, made), made).expression
    assert float(after[:, left].std()) <= 1.2 * float(clip.expression[:, left].std())


def test_without_difference_nothing_changes() -> None:
    made = talking(600)
    assert torch.equal(applied(nothing(), made).packed(), made.packed())
    after = applied(fitted(talking(600), made), made)
    torch.testing.assert_close(after.expression[:, MANNER], made.expression[:, MANNER], atol=0.01, rtol=0)


def test_a_frame_depends_on_itself_alone() -> None:
    right, made = fitted(talking(300, brow_mean=0.5, jaw=0.5), talking(300)), talking(90)
    whole = applied(right, made).packed()
    rows = torch.cat([applied(right, FaceMotion.unpack(made.packed()[t:t + 1])).packed() for t in range(90)])
    torch.testing.assert_close(rows, whole)


def test_spread_is_that_of_windows() -> None:
    ramp = torch.arange(100.0)[:, None]
    assert float(spread(ramp, 10)) == pytest.approx(math.sqrt(99 / 12))
    assert float(spread(ramp, 500)) == pytest.approx(float(ramp.std(correction=0)))
    assert (gaze_spread(45) < gaze_spread(900)).all()


def blinking(count: int, seconds: float) -> Tensor:
    weights = torch.zeros(int(30 * seconds), 52)
    for index in range(count):
        weights[10 + 40 * index:14 + 40 * index, [ARKIT_INDEX["eyeBlinkLeft"], ARKIT_INDEX["eyeBlinkRight"]]] = 1.0
    return weights


def test_blinks_are_counted_with_caution() -> None:
    usual = BLINKS_PER_S * 60
    assert blink_rate(blinking(round(usual), 60)) == pytest.approx(1, abs=0.03)
    assert 1.5 < blink_rate(blinking(2 * round(usual), 60)) < 2
    assert blink_rate(blinking(0, 1.5)) > 0.8 > blink_rate(blinking(0, 20)) >= 0.4


def test_lids_follow_the_rate_and_the_default_is_untouched() -> None:
    def count(rate: float) -> int:
        shut = eye_controls(3, 0, 30 * 240, blinks=rate)[:, 0] > 0.5
        return int((shut[1:] & ~shut[:-1]).sum())

    assert torch.equal(eye_controls(3, 0, 300), eye_controls(3, 0, 300, blinks=1.0))
    counts = [count(rate) for rate in (0.4, 1.0, 2.0)]
    assert counts[0] == pytest.approx(0.4 * counts[1], rel=0.3) and counts[2] == pytest.approx(2 * counts[1], rel=0.3)


def test_corrections_mix_by_their_shares() -> None:
    one = Correction(torch.full((FACE_DIM,), 2.0), torch.full((FACE_DIM,), 0.2), 2.0)
    one.curve[BROW] = 0.4
    mixed = mixed_corrections([(one, 0.25), (None, 0.75)])
    assert mixed is not None and float(mixed.gain[0]) == 1.25 and float(mixed.offset[0]) == pytest.approx(0.05)
    assert mixed.blinks == 1.25 and mixed_corrections([(None, 1.0)]) is None
    torch.testing.assert_close(mixed.curve[BROW], 0.1 + 0.75 * KNOTS)
    assert torch.equal(mixed.curve[JAW], KNOTS)


@pytest.mark.parametrize("name,gain,offset,blinks,message", [
    ("browInnerUp", MOST_GAIN + 1, 0.0, 1.0, "gains must be"), ("browInnerUp", 1.0, 0.9, 1.0, "offsets within"),
    ("jawOpen", 1.0, 0.1, 1.0, "lids and the jaw"), ("eyeBlinkLeft", 0.5, 0.0, 1.0, "lids and the jaw"),
    ("browInnerUp", 1.0, 0.0, 9.0, "rate of blinks"),
])
def test_what_would_part_lips_or_lids_is_refused(name: str, gain: float, offset: float, blinks: float, message: str) -> None:
    right = nothing()
    right.gain[ARKIT_INDEX[name]], right.offset[ARKIT_INDEX[name]] = gain, offset
    with pytest.raises(ValueError, match=message):
        check_correction(Correction(right.gain, right.offset, blinks))
    check_correction(fitted(talking(120, jaw=0.6), talking(300)))
    assert len(set(SPEECH) & set(MANNER)) == 0


def test_curves_that_fall_or_move_lips_are_refused() -> None:
    for name, values, message in (("browInnerUp", 1 - KNOTS, "must rise"), ("jawOpen", KNOTS / 2, "closures would be lost")):
        right = nothing()
        right.curve[ARKIT_INDEX[name]] = values
        with pytest.raises(ValueError, match=message):
            check_correction(right)


def test_a_blink_is_no_look_down() -> None:
    """A detector sees eyes look down behind every lid that falls."""
    down = [ARKIT_INDEX[f"eyeLookDown{side}"] for side in ("Left", "Right")]
    lids = [ARKIT_INDEX[f"eyeBlink{side}"] for side in ("Left", "Right")]
    plain, blinking = talking(300), talking(300)
    for start in range(20, 300, 60):
        blinking.expression[start:start + 6, lids] = 0.9
        blinking.expression[start - 2:start + 8, down] = 0.6
    seen_gain, plain_gain = (float(fitted(clip, talking(600)).gain[down].mean()) for clip in (blinking, plain))
    assert seen_gain == pytest.approx(plain_gain, abs=0.1) and seen_gain < 0.6  # with the blinks in it would be the largest
    seen = lids_open(blinking.expression)
    assert not bool(seen[18:28].any()) and bool(seen[40:60].all())


def test_lids_that_never_open_leave_gaze_alone() -> None:
    asleep = talking(60)
    asleep.expression[:, ARKIT_INDEX["eyeBlinkLeft"]] = 1
    columns = [ARKIT_INDEX["eyeLookUpLeft"], ARKIT_INDEX["eyeLookInLeft"]]
    assert (fitted(asleep, talking(600)).gain[columns] == 1).all()
