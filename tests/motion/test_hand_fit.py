"""The hand fit on hands whose pose is known: landmarks coincide, pose and scale come back, deltas do what they say."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from motion.template.hand_fit import HandFit, compose, drive_hand, fit_hand, nearest_visible, visible_vertices
from motion.template.hands import HandTemplate, Side
from motion.template.head import rotation_matrix
from motion.types import HAND_JOINTS

SCALE, WRIST = 900.0, (300.0, 420.0)


def picture_of(
    hand: HandTemplate, flexion: float, world: tuple[float, float, float], noise: float = 0.0
) -> tuple[Tensor, Tensor, Tensor]:
    """Landmarks in MediaPipe's form, the joint rotations and the pixels of the vertices of a synthetic hand."""
    angles = torch.zeros(15, 3)
    angles[:12, 0] = flexion
    angles[12:, 0] = flexion / 2
    rotations = torch.einsum("jk,jkc->jc", angles, hand.axes)[None]
    zero = torch.zeros(1, 3)
    bones = hand.bones(rotations, torch.tensor([world]), zero)
    flip = torch.tensor([1.0, -1.0, 1.0])
    place = torch.tensor([*WRIST, 0.0])
    points = hand.place_landmarks(*bones)[0] * flip * SCALE + place
    points[:, 2] *= -1  # MediaPipe: smaller is nearer
    points += noise * torch.randn(points.shape, generator=torch.Generator().manual_seed(0))
    vertices = hand.pose(rotations, torch.tensor([world]), zero)[0][0] * flip * SCALE + place
    return points, rotations[0], vertices


@pytest.fixture(scope="module", params=["left", "right"])
def hand(request: pytest.FixtureRequest) -> HandTemplate:
    side: Side = request.param
    return HandTemplate.load(side)


@pytest.fixture(scope="module")
def fit(hand: HandTemplate) -> HandFit:
    return fit_hand(hand, picture_of(hand, 0.3, (0.2, -0.5, 0.8), noise=2.0)[0])


@pytest.mark.parametrize("world", [(0.0, 0.0, 0.0), (0.3, 0.6, -1.2), (0.0, 3.0, 0.2)], ids=["palm", "turned", "back"])
@pytest.mark.parametrize("flexion", [0.0, 0.7])
def test_pose_and_place_come_back(hand: HandTemplate, flexion: float, world: tuple[float, float, float]) -> None:
    landmarks, rotations, vertices = picture_of(hand, flexion, world)
    fit = fit_hand(hand, landmarks, scale_hint=SCALE)
    assert fit.error < 0.02
    assert fit.scale == pytest.approx(SCALE, rel=0.08)
    assert compose(-torch.tensor(world), fit.global_rotation).norm() < 0.2
    driven = drive_hand(fit, torch.zeros(1, 51), 300.0)[0]
    distance = (driven - vertices)[hand.weights[:, -1] < 0.01, :2].norm(dim=1)
    assert distance.mean() < 3 and distance.quantile(0.95) < 6  # px, of a hand 160 px long


def test_landmarks_coincide_with_the_picture(hand: HandTemplate) -> None:
    """After the displacement the vertices around a landmark have moved by all of its residual."""
    landmarks = picture_of(hand, 0.3, (0.2, -0.5, 0.8), noise=6.0)[0]
    fit = fit_hand(hand, landmarks)
    bones = hand.bones(fit.joint_rotations[None], fit.global_rotation[None], torch.zeros(1, 3))
    before = hand.place_landmarks(*bones)[0, :, :2] * torch.tensor([1.0, -1.0]) * fit.scale + fit.wrist
    undisplaced = hand.pose(fit.joint_rotations[None], fit.global_rotation[None], torch.zeros(1, 3))[0][0]
    moved = drive_hand(fit, torch.zeros(1, 51), 1.0)[0, :, :2]
    moved = moved - (undisplaced[:, :2] * torch.tensor([1.0, -1.0]) * fit.scale + fit.wrist)
    owner = hand.spread.argmax(0)  # the vertex that takes most of each landmark
    share = hand.spread[owner, torch.arange(21)]
    firm = share > 0.95
    assert firm.sum() >= 15
    assert torch.allclose(moved[owner][firm], (landmarks[:, :2] - before)[firm], atol=1.0)


def test_limits_hold(hand: HandTemplate) -> None:
    """Points of no hand at all still give joints inside their limits."""
    points = torch.rand(21, 3, generator=torch.Generator().manual_seed(5)) * 200
    fit = fit_hand(hand, points)
    angles = torch.einsum("jc,jkc->jk", fit.joint_rotations, hand.axes)
    middle = [i for i, name in enumerate(HAND_JOINTS) if name.endswith("2") and "thumb" not in name]
    assert (angles[middle, 0] > -0.11).all() and (angles[middle, 0] < 1.91).all()
    assert angles[middle, 1:].abs().max() < 1e-5
    assert fit.source.isfinite().all()


def test_source_is_where_visible_vertices_are(fit: HandFit) -> None:
    still = drive_hand(fit, torch.zeros(1, 51), 300.0)[0, :, :2]
    assert torch.allclose(still[fit.visible], fit.source[fit.visible], atol=0.02)
    assert 0.25 < fit.visible.float().mean() < 0.6  # about half of a hand is turned away
    hidden = ~fit.visible
    seen = {tuple(point) for point in fit.source[fit.visible].tolist()}
    assert all(tuple(point) in seen for point in fit.source[hidden][:50].tolist())


def test_delta_translation_is_in_shoulder_widths(fit: HandFit) -> None:
    delta = torch.zeros(2, 51)
    delta[1, 48:] = torch.tensor([0.1, 0.2, 0.0])
    still, moved = drive_hand(fit, delta, 250.0)
    assert torch.allclose(moved - still, torch.tensor([25.0, 50.0, 0.0]).expand_as(still), atol=1e-3)


def test_delta_global_rotation_turns_the_hand_in_the_picture(fit: HandFit) -> None:
    """+Z, towards the viewer: counter-clockwise as seen, about the wrist; the forearm stays."""
    delta = torch.zeros(2, 51)
    delta[1, 47] = 0.3
    still, moved = drive_hand(fit, delta, 250.0)
    hand_only = fit.template.weights[:, -1] < 1e-6
    arm = (still - torch.cat([fit.wrist, torch.zeros(1)]))[hand_only]
    expected = arm @ rotation_matrix(torch.tensor([0.0, 0.0, -0.3])).t()  # y points down in the picture
    assert torch.allclose((moved - torch.cat([fit.wrist, torch.zeros(1)]))[hand_only], expected, atol=0.05)
    stub = fit.template.weights[:, -1] > 0.999
    assert torch.allclose(moved[stub], still[stub], atol=0.05)


def test_elbow_turns_the_forearm(hand: HandTemplate) -> None:
    landmarks = picture_of(hand, 0.2, (0.0, 0.0, 0.0))[0]
    stub = hand.weights[:, -1] > 0.999
    for elbow in ([300.0, 640.0], [80.0, 420.0]):
        fit = fit_hand(hand, landmarks, elbow=torch.tensor(elbow))
        direction = drive_hand(fit, torch.zeros(1, 51), 1.0)[0, stub, :2].mean(0) - fit.wrist
        goal = torch.tensor(elbow) - fit.wrist
        assert torch.nn.functional.cosine_similarity(direction, goal, dim=0) > 0.97


def test_fit_is_deterministic(hand: HandTemplate) -> None:
    landmarks = picture_of(hand, 0.3, (0.2, -0.5, 0.8), noise=4.0)[0]
    assert torch.equal(fit_hand(hand, landmarks).source, fit_hand(hand, landmarks).source)


@pytest.mark.parametrize("angle", [0.0, 1e-5, 1.0, 3.1])
def test_compose_inverts_rotation_matrix(angle: float) -> None:
    axis = torch.nn.functional.normalize(torch.randn(20, 3, generator=torch.Generator().manual_seed(0)), dim=1)
    assert torch.allclose(compose(axis * angle, torch.zeros(20, 3)), axis * angle, atol=2e-3)


def test_visibility_of_two_parallel_triangles() -> None:
    near = torch.tensor([[0.0, 0.0, 10.0], [0.0, 90.0, 10.0], [90.0, 0.0, 10.0]])
    far = torch.tensor([[10.0, 10.0, 0.0], [10.0, 100.0, 0.0], [100.0, 10.0, 0.0]])
    pixels, triangles = torch.cat([near, far]), torch.tensor([[0, 1, 2], [3, 4, 5]])
    assert visible_vertices(pixels, triangles).tolist() == [True, True, True, False, True, True]
    assert not visible_vertices(pixels, triangles[:, [0, 2, 1]]).any()
    rest = torch.tensor([[0.0, 0, 0], [1, 0, 0], [5, 0, 0]])
    assert nearest_visible(rest, torch.tensor([True, False, True])).tolist() == [0, 0, 2]


@pytest.mark.parametrize("landmarks, message", [
    (torch.zeros(20, 3), r"\[21, 3\]"),
    (torch.ones(21, 3), "coincide"),
    (torch.full((21, 3), float("nan")), "not finite"),
])
def test_bad_landmarks_are_named(hand: HandTemplate, landmarks: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fit_hand(hand, landmarks)
