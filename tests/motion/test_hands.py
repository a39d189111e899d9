"""The hand template: joint order, skinning, mirror symmetry, landmarks."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from motion.template.hands import BONES, DATA, LANDMARK_BONES, HandTemplate, Side
from motion.types import HAND_JOINTS


@pytest.fixture(scope="module")
def left() -> HandTemplate:
    return HandTemplate.load("left")


@pytest.fixture(scope="module")
def right() -> HandTemplate:
    return HandTemplate.load("right")


def zeros(B: int = 1) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    return torch.zeros(B, 15, 3), torch.zeros(B, 3), torch.zeros(B, 3)


@pytest.mark.parametrize("side", ["left", "right"])
def test_rest_is_a_hand(side: Side) -> None:
    """Palm to the viewer, fingers up, thumb inwards; weights sum to one; the file stays small."""
    hand = HandTemplate.load(side)
    vertices, joints = hand.pose(*zeros())
    assert torch.allclose(vertices[0], hand.vertices, atol=1e-6)
    assert torch.allclose(joints[0], hand.joints, atol=1e-6)
    size = hand.landmarks[12].norm()  # wrist to middle finger tip
    assert 0.15 < size < 0.22
    inward = -1 if side == "left" else 1
    assert inward * hand.landmarks[4, 0] > 0.05 and inward * hand.landmarks[20, 0] < -0.03
    assert torch.allclose(hand.weights.sum(1), torch.ones(len(hand.weights)), atol=1e-5)
    assert torch.allclose(hand.spread.sum(1), torch.ones(len(hand.spread)), atol=1e-5)
    assert DATA.stat().st_size < 500_000


@pytest.mark.parametrize("side", ["left", "right"])
def test_triangles_wind_outwards(side: Side) -> None:
    hand = HandTemplate.load(side)
    a, b, c = hand.vertices[hand.triangles].unbind(1)
    assert (a * torch.linalg.cross(b, c)).sum() / 6 > 1e-4  # volume in cubic metres, positive when outward


@pytest.mark.parametrize("joint", range(15), ids=HAND_JOINTS)
def test_a_joint_moves_its_own_bones_only(left: HandTemplate, joint: int) -> None:
    rotations, world, place = zeros()
    rotations[0, joint] = left.axes[joint, 0] * 0.5
    moved = (left.pose(rotations, world, place)[0][0] - left.vertices).norm(dim=1)
    finger = joint // 3
    own = left.weights[:, 1 + joint: 1 + finger * 3 + 3].sum(dim=1)
    assert moved[own < 1e-6].max() < 1e-6
    assert moved[own > 0.99].max() > 0.008
    landmark = LANDMARK_BONES.index(HAND_JOINTS[joint]) + 1
    before, after = (left.place_landmarks(*left.bones(r, world, place))[0] for r in (torch.zeros(1, 15, 3), rotations))
    assert (after[landmark] - before[landmark]).norm() > 0.008
    assert torch.allclose(after[landmark - 1], before[landmark - 1], atol=1e-6)


@pytest.mark.parametrize("finger", ["index", "middle", "ring", "pinky"])
@pytest.mark.parametrize("side", ["left", "right"])
def test_convention_positive_flexion_bends_towards_the_palm(side: Side, finger: str) -> None:
    hand = HandTemplate.load(side)
    rotations, world, place = zeros()
    for joint in (1, 2, 3):
        index = HAND_JOINTS.index(f"{finger}{joint}")
        rotations[0, index] = hand.axes[index, 0] * 0.4
        assert hand.axes[index, 0, 0] > 0.85  # about +X on both hands
    tip = {"index": 8, "middle": 12, "ring": 16, "pinky": 20}[finger]
    posed = hand.place_landmarks(*hand.bones(rotations, world, place))[0]
    assert posed[tip, 2] > hand.landmarks[tip, 2] + 0.02


def test_right_mirrors_left(left: HandTemplate, right: HandTemplate) -> None:
    angles = torch.rand(1, 15, 3, generator=torch.Generator().manual_seed(1)) - 0.3
    _, world, place = zeros()
    vertices = [hand.pose(torch.einsum("bjk,jkc->bjc", angles, hand.axes), world, place)[0] for hand in (left, right)]
    assert torch.allclose(vertices[0] * torch.tensor([-1.0, 1.0, 1.0]), vertices[1], atol=1e-5)


def test_global_rotation_turns_about_the_wrist(left: HandTemplate) -> None:
    rotations, world, place = zeros()
    world[0, 2], place[0] = torch.pi / 2, torch.tensor([0.1, 0.2, 0.3])
    vertices, joints = left.pose(rotations, world, place)
    x, y, z = left.vertices.unbind(1)
    assert torch.allclose(vertices[0], torch.stack([-y, x, z], 1) + place, atol=1e-5)
    assert torch.allclose(joints[0, 0], place[0], atol=1e-6)
    stub = left.weights[:, BONES.index("forearm")] > 0.999
    stays, _ = left.pose(rotations, world, place, forearm_rotation=torch.zeros(1, 3))
    assert torch.allclose(stays[0, stub], left.vertices[stub] + place, atol=1e-4)


def test_batch_and_gradient(left: HandTemplate) -> None:
    generator = torch.Generator().manual_seed(0)
    rotations = (torch.rand(3, 15, 3, generator=generator) * 0.4).requires_grad_()
    vertices, _ = left.pose(rotations, torch.rand(3, 3), torch.rand(3, 3))
    assert vertices.shape == (3, len(left.vertices), 3)
    vertices.square().sum().backward()
    assert rotations.grad is not None and rotations.grad.abs().amin(dim=(0, 2)).min() > 0
    still, _ = left.pose(torch.zeros(1, 15, 3, requires_grad=True), torch.zeros(1, 3), torch.zeros(1, 3))
    assert still.isfinite().all()


def test_wrong_side_and_wrong_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="'left' or 'right'"):
        HandTemplate.load("both")  # type: ignore[arg-type]
    save_file({"vertices": torch.zeros(1, 3)}, str(tmp_path / "other.safetensors"), metadata={"bones": '["a"]'})
    with pytest.raises(ValueError, match="rebuild it"):
        HandTemplate.load("left", tmp_path / "other.safetensors")
