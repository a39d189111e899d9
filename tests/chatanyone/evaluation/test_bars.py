"""The pure functions behind the bars, on numbers made by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from chatanyone.evaluation import motions, reenacted
from chatanyone.evaluation.bars import closure, commands, expression, hands, intensity, life, silence, steps, sync
from chatanyone.evaluation.lips import motion_aperture
from chatanyone.evaluation.measures import Measure
from chatanyone.evaluation.speaking import Spoken
from chatanyone.evaluation.tables import table1, table3, table4
from motion.template.head import rotation_matrix
from motion.types import ARKIT_INDEX

RNG = np.random.default_rng(0)


def test_sync_finds_a_late_mouth() -> None:
    real = RNG.standard_normal(90)
    r, lag = sync.score(np.r_[np.zeros(2), real][:90], real)
    assert lag == 2 and r == pytest.approx(1)
    assert sync.score(RNG.standard_normal(90), real)[0] < 0.5


def test_the_common_lag_lets_no_clip_choose_its_own() -> None:
    real = [RNG.standard_normal(90) for _ in range(3)]
    made = [np.r_[np.zeros(2), real[0]][:90], np.r_[np.zeros(2), real[1]][:90], real[2]]
    lag, r = sync.common_lag(made, real)
    assert lag == 2 and 0.5 < r < 0.9
    assert np.mean([sync.score(a, b)[0] for a, b in zip(made, real)]) > r


def test_a_closure_counts_within_one_frame() -> None:
    curve = np.full(100, 0.1)
    curve[30] = 0.025  # exactly a quarter of the 95th percentile
    for instant, hit in ((30, True), (29, True), (31, True), (28, False), (32, False)):
        assert closure.closed(curve, [(instant + 0.5) / 30]) == [hit]
    assert closure.closed(curve, [9.9]) == []  # beyond the film


def test_silence_ratio_gives_the_mouth_time_to_close() -> None:
    curve = np.zeros(100)
    curve[:50:2] = 1.0
    curve[50:50 + silence.SETTLE] = 0.7
    assert silence.ratio(curve, 50) == 0
    curve[70:] = np.tile([0.0, 0.1], 15)
    assert silence.ratio(curve, 50) == pytest.approx(0.1, rel=0.3)


def test_blinks_are_counted_once() -> None:
    weight = np.zeros(100)
    weight[10:14], weight[50:53] = (0.6, 1, 1, 0.6), (0.4, 0.9, 0.4)
    weight[80] = 0.45
    assert life.blinks(weight) == 2


def test_a_loop_is_found_and_sway_is_none() -> None:
    steps = RNG.standard_normal((1200, 4)).cumsum(axis=0)
    sway = steps - np.linspace(0, 1, 1200)[:, None] * steps[-1]
    assert life.repetition(sway, 100, 50) < 0.95
    looped = np.concatenate([sway[:400]] * 3)
    assert life.repetition(looped, 100, 50) == pytest.approx(1, abs=1e-6)


def test_speech_and_silence_flags_follow_the_sound() -> None:
    samples, spoken = motions.speech_and_silence([np.ones(16000, np.float32)] * 2, 10.0, pause_s=2.0)
    assert len(samples) == 160000 and len(spoken) == 300
    assert spoken[:30].all() and not spoken[30:90].any() and spoken[90:120].all() and not spoken[120:].any()
    assert samples[:16000].all() and not samples[16000:48000].any()


def test_amplitude_that_does_what_the_dial_says_is_one() -> None:
    curve = RNG.uniform(0, 1, 200)
    assert expression.amplitude_ratio(0.5 * curve, curve, 0.5) == pytest.approx(1)
    assert expression.amplitude_ratio(curve, curve, 1.5) == pytest.approx(1 / 1.5)


def test_a_dial_s_change_of_sync_is_told_for_pictures_and_for_the_motion_apart() -> None:
    real = np.sin(np.arange(60) / 3)
    noisy = real + np.cos(np.arange(60) * 2.1)
    natural = {"clip": Spoken(real, 10 * real, 1.0)}
    softer = {"clip": Spoken(0.5 * noisy, 5 * real, 1.0)}
    seen, moved = (expression.sync_change(softer, natural, {"clip": real}, of)["clip"] for of in ("aperture", "lips"))
    assert seen == pytest.approx(1 - np.corrcoef(real, noisy)[0, 1], abs=0.05) and seen > 0.2
    assert moved == pytest.approx(0)


def test_a_group_is_measured_without_blinks_and_gaze() -> None:
    moved: motions.Motion = {
        "expression": np.zeros((20, 52), np.float32), "rotation": np.zeros((20, 3)), "body": np.zeros((20, 14, 3)),
        "hands": np.zeros((20, 2, 51))}
    moved["expression"][::2, ARKIT_INDEX["eyeBlinkLeft"]] = 1
    moved["expression"][::2, ARKIT_INDEX["eyeLookUpLeft"]] = 1
    assert intensity.group_deviation(moved, "eyes") == 0
    moved["expression"][::2, ARKIT_INDEX["eyeSquintLeft"]] = 1
    assert intensity.group_deviation(moved, "eyes") > 0
    moved["rotation"][::2] = 0.2
    assert intensity.group_deviation(moved, "head") == pytest.approx(0.1)
    moved["body"][::2, 2:4] = 0.02
    assert intensity.group_deviation(moved, "shoulders") == pytest.approx(0.01)
    assert intensity.group_deviation(moved, "hands") == 0


def test_what_is_seen_of_a_group() -> None:
    still = np.zeros((478, 3), np.float32)
    still[152, 1] = 100
    raised, turned = still.copy(), still + np.array([8, 0, 0], np.float32)
    raised[intensity._BROWS, 1] = -10
    assert intensity.seen_deviation([still, raised], "brows") == pytest.approx(0.05)
    assert intensity.seen_deviation([still, raised], "head") == intensity.seen_deviation([still, turned], "brows") == 0
    assert intensity.seen_deviation([still, turned], "head") == pytest.approx(0.04)


def test_a_group_alone_leaves_nothing_else_moving() -> None:
    moved = {"expression": np.full((4, 52), 0.2, np.float32), "rotation": np.full((4, 3), 0.1, np.float32),
             "translation": np.zeros((4, 3), np.float32), "body": np.full((4, 14, 3), 0.1, np.float32),
             "hands": np.full((4, 2, 51), 0.1, np.float32)}
    brows = intensity.alone(moved, "brows", 1.5)
    moving = {name for name, index in ARKIT_INDEX.items() if brows["expression"][0, index] != 0}
    assert moving - {name for name in moving if name.startswith("mouthPress") or name.startswith("mouthRoll")} == {
        name for name in ARKIT_INDEX if name.startswith("brow")}  # what closes lips stays
    assert not brows["rotation"].any() and not brows["hands"].any() and not brows["body"].any()
    assert intensity.alone(moved, "hands", 1.0)["hands"].any()
    flicker = [np.zeros((2, 2, 3), np.uint8), np.full((2, 2, 3), 8, np.uint8)]
    assert intensity.picture_deviation(flicker) == pytest.approx(4) and intensity.picture_deviation(flicker[:1] * 3) == 0


def test_dialled_motion_is_what_the_dial_gives() -> None:
    moved = {"expression": np.full((4, 52), 0.2, np.float32), "rotation": np.full((4, 3), 0.1, np.float32),
             "translation": np.zeros((4, 3), np.float32), "body": np.zeros((4, 14, 3), np.float32),
             "hands": np.zeros((4, 2, 51), np.float32)}
    turned = intensity.dialled(moved, "head", 2.0)
    assert turned["rotation"] == pytest.approx(0.2) and (turned["expression"] == moved["expression"]).all()


def test_closures_kept_counts_those_made_at_dial_one() -> None:
    assert intensity.closures_kept([True, True, False], [True, False, True]) == 0.5
    assert math.isnan(intensity.closures_kept([False], [True]))


def test_ramps_and_turns() -> None:
    assert commands.ramp_r([0, 0.1, 0.2, 0.3, 0.4]) == pytest.approx(1)
    assert math.isnan(commands.ramp_r([0, 0.1, math.nan, 0.3, 0.4]))
    rest = rotation_matrix(torch.tensor([0.1, -0.2, 0.05]))
    for axis in range(3):
        turn = torch.zeros(3)
        turn[axis] = math.radians(-15)
        assert commands.turned_deg(rest, rotation_matrix(turn) @ rest, axis) == pytest.approx(-15, abs=1e-3)


def test_every_command_and_its_ramp_are_drawn() -> None:
    seen: list[torch.Tensor] = []

    def scene(face: object, body: object) -> torch.Tensor:
        seen.extend([face.expression, face.rotation])  # type: ignore[attr-defined]
        return torch.zeros(len(face.expression), 3, 8, 8)  # type: ignore[attr-defined]

    frames = commands._draw(scene)
    assert len(frames) == 1 + 12 * 4 + 12
    assert len(commands._shown(frames)) == 1 + 12 + 6
    weights, turns = seen
    assert not weights[0].any() and not turns[:49].any()
    assert weights[4, ARKIT_INDEX["jawOpen"]] == 1 and weights[8, ARKIT_INDEX["mouthSmileRight"]] == 1
    assert turns[49].tolist() == pytest.approx([math.radians(-15), 0, 0])


def test_a_lost_hand_counts_as_no_confidence() -> None:
    assert hands.kept([0.9, 0.0], 0.9) == pytest.approx(0.5)


def test_psnr_and_ssim_look_at_the_person_alone() -> None:
    true = torch.rand(3, 32, 32, generator=torch.Generator().manual_seed(0))
    mask = torch.zeros(32, 32, dtype=torch.bool)
    mask[8:24, 8:24] = True
    made = true.clone()
    made[:, ~mask] = 0
    assert reenacted.person_psnr(made, true, mask) == pytest.approx(100)
    made[:, mask] = true[:, mask] + 0.1
    assert reenacted.person_psnr(made, true, mask) == pytest.approx(20, abs=1e-3)
    pytest.importorskip("torchmetrics")
    assert reenacted.person_ssim(true, true, mask) == pytest.approx(1, abs=1e-5)
    assert reenacted.person_ssim(torch.zeros_like(true), true, mask) < 0.1


def test_directions_of_the_ablations() -> None:
    whole = "all networks"
    rows = [Measure("HKC ÷ true frame's", {"a": 0.9, "b": 1.0}, variant=whole),
            Measure("face error", {"a": 2.0}, "%", whole),
            Measure("HKC ÷ true frame's", {"a": 0.8, "b": 0.8}, variant="w/o hand injection"),
            Measure("face error", {"a": 2.5}, "%", "w/o implicit offset")]
    found = table1.directions(rows)
    assert [round(row.value, 3) for row in found] == [0.15, 0.5]  # gained, saved: both the paper's way


def test_diversity_is_in_face_widths() -> None:
    still = np.zeros((478, 3), np.float32)
    still[454, 0] = 200
    moved = still.copy()
    moved[:, 0] += 4
    assert table3.diversity([still, still]) == 0
    assert table3.diversity([still, moved]) == pytest.approx(1.0)  # deviation 2 px of 200


def test_coefficients_compare_frame_by_frame() -> None:
    pytest.importorskip("torchmetrics")
    true = RNG.uniform(0, 1, (60, 52))
    assert table4.coefficient_mae(true + 0.1, true) == pytest.approx(0.1)
    assert table4.coefficient_ssim(true, true) == pytest.approx(1, abs=1e-4)
    assert table4.coefficient_ssim(RNG.uniform(0, 1, (60, 52)), true) < 0.3


def test_ranges_of_styles_correlate_by_group() -> None:
    reference = [[float(i), 2.0 * i, 1.0, -i] for i in range(5)]
    r = table4.range_correlation([[3 * a + 1 for a in row] for row in reference], reference)
    assert r["mouth"] == pytest.approx(1) and r["cheeks"] == pytest.approx(1) and r["eyes"] == 0
    assert table4.range_correlation(reference[:2], reference[:2]) == {}


def test_ranges_of_whole_clips_are_pooled_over_seeds_and_stand_beside_their_halves() -> None:
    assert table4.pooled([[3.0, 1.0], [4.0, 1.0]]) == pytest.approx([12.5**0.5, 1.0])
    whole = [[float(i), 2.0 * i, 1.0 + i, float(-i)] for i in range(5)]
    rows = [{"range": row, "made": row[:3] + [-row[3]], "halves": [row, row[::-1]]} for row in whole]
    made, halves = table4._whole_ranges(rows)
    assert made.values == pytest.approx({"mouth": 1, "brows": 1, "eyes": 1, "cheeks": -1}) and made.verdict == "FAIL"
    assert halves.values == pytest.approx({"mouth": -1, "brows": 1, "eyes": 1, "cheeks": -1}) and halves.verdict == ""
    assert table4._whole_ranges([]) == []


def test_full_range_at_other_times_is_further_off_than_stillness() -> None:
    pytest.importorskip("torchmetrics")
    take, target = RNG.normal(0.5, 0.05, (300, 52)), RNG.normal(0.5, 0.05, (400, 52))
    still = table4.coefficient_mae(np.broadcast_to(take.mean(0), target.shape), target)
    assert table4.other_take(take, target)["MAE"] == pytest.approx(2**0.5 * still, rel=0.02)  # r = 0
    assert table4.other_take(np.full((9, 52), 0.3), np.full((20, 52), 0.5))["MAE"] == pytest.approx(0.2)


def test_the_motion_s_lips_open_with_the_jaw_and_never_cross() -> None:
    weights = np.zeros((3, 52), np.float32)
    weights[1, ARKIT_INDEX["jawOpen"]] = 0.5
    weights[2, [ARKIT_INDEX["mouthClose"]]] = 1
    gap = motion_aperture(weights)
    assert gap[1] > 3 and gap[2] == 0


def test_amplitude_kept_is_a_part_s_own_and_pools_seeds() -> None:
    t = np.arange(steps.STARTS + 600) / 30
    expression, pose = np.zeros((len(t), 52), np.float32), np.zeros((len(t), 3), np.float32)
    expression[:, [ARKIT_INDEX[name] for name in ("browInnerUp", "jawOpen")]] = (0.2 + 0.1 * np.sin(t))[:, None]
    pose[:, 2] = 0.03 * np.sin(t)
    motion = {"expression": expression, "rotation": pose, "translation": 0 * pose}
    motion["expression"][:steps.STARTS] = 1  # leaving rest does not count
    tilted = {**motion, "rotation": np.roll(pose, 1, axis=1)}
    found = steps.amplitudes(motion)
    assert found["tilts"] == pytest.approx(0.03 / 2**0.5, rel=0.05) and found["nods"] == 0
    assert found["lips' distance"] == pytest.approx(3.37 / 2**0.5, rel=0.05)
    assert found["brows"] == pytest.approx(0.1 / 2**0.5 / 5**0.5, rel=0.05) and found["eyes"] == 0  # one of five shapes
    less = {**found, "tilts": 0.5 * found["tilts"]}
    ratio = steps.kept([less, less], [found, found])
    assert ratio["tilts"] == pytest.approx(0.5) and ratio["mouth"] == pytest.approx(1)
    assert steps.kept([less, found], [found, found])["tilts"] == pytest.approx((1.25 / 2)**0.5)
    assert steps.amplitudes(tilted)["tilts"] == 0 < steps.amplitudes(tilted)["nods"]
