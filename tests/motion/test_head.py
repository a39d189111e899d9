"""The head template: its axes, its blendshapes, its landmarks."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from motion.template.head import KEYPOINT_LANDMARKS, HeadTemplate, Part, rotation_matrix
from motion.types import ARKIT_INDEX, EXPRESSION_DIM

UPPER_LIP, LOWER_LIP, NOSE, CHIN, FOREHEAD, LEFT_EYE, RIGHT_EYE = 13, 14, 1, 152, 10, 263, 33


@pytest.fixture(scope="module")
def template() -> HeadTemplate:
    return HeadTemplate.load()


def weights(**values: float) -> torch.Tensor:
    expression = torch.zeros(EXPRESSION_DIM)
    for name, value in values.items():
        expression[ARKIT_INDEX[name]] = value
    return expression


def test_axes_are_those_of_the_conventions(template: HeadTemplate) -> None:
    points = template.landmarks(template.mean)
    assert points[LEFT_EYE, 0] > 0 > points[RIGHT_EYE, 0]  # the person's left is to the image's right
    assert points[FOREHEAD, 1] > points[NOSE, 1] > points[CHIN, 1]
    assert points[NOSE, 2] > points[LEFT_EYE, 2]  # the nose is nearer
    assert points[[LEFT_EYE, RIGHT_EYE]].mean(0)[:2].abs().max() < 0.01  # metres: the origin is between the eyes
    assert 0.07 < float(points[LEFT_EYE, 0] - points[RIGHT_EYE, 0]) < 0.12


def test_jaw_open_parts_the_lips_and_leaves_the_forehead(template: HeadTemplate) -> None:
    closed = template.landmarks(template.mean)
    opened = template.landmarks(template.deform(template.mean, weights(jawOpen=1)))
    gap = (opened - closed)[UPPER_LIP, 1] - (opened - closed)[LOWER_LIP, 1]
    assert gap > 0.015
    assert (opened - closed)[FOREHEAD].abs().max() < 1e-4


INNER_LOWER = (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308)  # lips' inner edges from corner to corner
INNER_UPPER = (78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308)


@pytest.mark.parametrize("given, edge, power", (
    ({"jawOpen": 0.9}, INNER_LOWER, 2.0), ({"jawOpen": 0.25, "mouthFunnel": 0.8}, INNER_LOWER, 1.8),
    ({"jawOpen": 0.25, "mouthFunnel": 0.8}, INNER_UPPER, 1.8)), ids=("jaw", "funnel, lower", "funnel, upper"))
def test_open_mouths_are_round(template: HeadTemplate, given: dict[str, float], edge: tuple[int, ...], power: float) -> None:
    mesh = template.vertices(torch.zeros(60), weights(**given))
    x, y = template.landmarks(mesh)[list(edge), :2].T
    middle, corner = (x[5], y[5]), (x[[0] * 5 + [10] * 6], y[[0] * 5 + [10] * 6])
    arc = (1 - ((x - middle[0]) / (corner[0] - middle[0])).abs().clamp(max=1) ** power) ** (1 / power)
    depth = (y - corner[1]) / (middle[1] - corner[1])
    assert (depth - arc)[1:-1].abs().max() < 0.06  # Anny's own: 0.14, 0.43, 0.41


def test_what_the_jaw_opens_the_lips_close_along_their_length(template: HeadTemplate) -> None:
    mesh = template.vertices(torch.zeros(60), weights(jawOpen=0.5, mouthClose=0.5))
    gap = template.landmarks(mesh)[list(INNER_UPPER), 1] - template.landmarks(mesh)[list(INNER_LOWER), 1]
    still = template.landmarks(template.mean)[list(INNER_UPPER), 1] - template.landmarks(template.mean)[list(INNER_LOWER), 1]
    assert (gap - still).abs().max() < 0.001  # metres


@pytest.mark.parametrize("side, upper, lower", [("Left", 386, 374), ("Right", 159, 145)])
def test_blink_brings_the_lids_together_on_its_own_side(template: HeadTemplate, side: str, upper: int, lower: int) -> None:
    def opening(expression: torch.Tensor, points: tuple[int, int]) -> float:
        lids = template.landmarks(template.deform(template.mean, expression))
        return float(lids[points[0], 1] - lids[points[1], 1])

    other = (159, 145) if side == "Left" else (386, 374)
    blink = weights(**{f"eyeBlink{side}": 1.0})
    assert opening(blink, (upper, lower)) < 0.3 * opening(weights(), (upper, lower))
    assert opening(blink, other) == pytest.approx(opening(weights(), other), abs=1e-5)


def test_yaw_turns_the_nose_to_the_image_right_and_the_neck_stays(template: HeadTemplate) -> None:
    mesh = template.mean[None]
    turned = template.pose(mesh, torch.tensor([[0.0, math.radians(20), 0.0]]), torch.zeros(1, 3))
    assert template.landmarks(turned)[0, NOSE, 0] > template.landmarks(mesh)[0, NOSE, 0] + 0.02
    moved = (turned - mesh)[0].norm(dim=1)
    base = template.mean[:, 1] < template.mean[:, 1].min() + 0.005
    assert moved[base].max() < 0.25 * moved[template.head_weight == 1].max()
    rigid = template.head_weight == 1
    distances = torch.cdist(mesh[0, rigid][::40], mesh[0, rigid][::40])
    torch.testing.assert_close(torch.cdist(turned[0, rigid][::40], turned[0, rigid][::40]), distances, atol=1e-4, rtol=1e-3)


def test_zero_pose_changes_nothing(template: HeadTemplate) -> None:
    posed = template.pose(template.mean[None], torch.zeros(1, 3), torch.zeros(1, 3))
    torch.testing.assert_close(posed[0], template.mean, atol=1e-7, rtol=0)


def test_keypoints_are_the_posed_mesh_at_their_landmarks(template: HeadTemplate) -> None:
    expression, rotation = weights(mouthSmileLeft=0.7, jawOpen=0.3), torch.tensor([0.1, -0.2, 0.05])
    translation = torch.tensor([0.01, 0.0, -0.02])
    mesh = template.pose(template.deform(template.mean, expression)[None], rotation[None], translation[None])[0]
    expected = template.landmarks(mesh)[list(KEYPOINT_LANDMARKS)]
    got = template.keypoints(expression, rotation, translation)
    assert got.shape == (21, 3)
    torch.testing.assert_close(got, expected, atol=2e-3, rtol=0)  # chin and jaw: the mesh's neck weight is not quite 1


def test_inner_mouth_is_known(template: HeadTemplate) -> None:
    for part in Part:
        assert (template.part == part).any(), part
    edge = template.arch[template.triangles[template.part == Part.TEETH].unique()]
    assert edge[:, 1].min() == 0 and edge[:, 1].max() == 1


def test_rotation_matrix_is_right_handed_and_differentiable_at_zero() -> None:
    R = rotation_matrix(torch.tensor([0.0, 0.0, math.pi / 2]))
    torch.testing.assert_close(R @ torch.tensor([1.0, 0, 0]), torch.tensor([0.0, 1, 0]), atol=1e-6, rtol=0)
    zero = torch.zeros(3, requires_grad=True)
    rotation_matrix(zero)[0, 1].backward()
    assert zero.grad is not None
    assert torch.isfinite(zero.grad).all() and float(zero.grad[2]) == pytest.approx(-1)


def test_other_blendshape_names_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "head.safetensors"
    save_file({"mean": torch.zeros(1, 3)}, str(path), metadata={"arkit_names": json.dumps(["smile"])})
    with pytest.raises(ValueError, match="other blendshapes"):
        HeadTemplate.load(path)
