"""The visual performer: anatomy of its poses, and labels that agree with the pictures they label."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from motion.types import BODY_KEYPOINTS
from render.rasterize import rasterize
from render.training import scenes
from render.training.acting import EXPRESSIONS, Act, clear_of_body, face_pose, perform, sample_pair
from render.training.rocketbox import Area, Person, Pose, turn_matrix, turn_vector
from render.training.scenes import RocketboxScene, ScenePair
from render.training.stage import Camera, Light, label, render, sample_background, sample_light

SIZE = (192, 128)


@pytest.fixture(scope="module")
def scene(shared_data: Path) -> RocketboxScene:
    return RocketboxScene(shared_data / "avatars" / "rocketbox", people=("Female_Adult_05", "Male_Adult_06"))


@pytest.fixture(scope="module")
def person(scene: RocketboxScene) -> Person:
    return scene.people[0]


@pytest.fixture(scope="module")
def pairs(scene: RocketboxScene) -> list[ScenePair]:
    return [scene.sample(np.random.default_rng(seed), SIZE) for seed in range(6)]


def test_keypoint_names_are_those_of_motion() -> None:
    assert scenes.BODY_KEYPOINTS == BODY_KEYPOINTS


def test_turns_invert() -> None:
    turn = np.array([0.3, -1.2, 0.5])
    assert np.allclose(turn_vector(turn_matrix(turn)), turn)
    assert np.allclose(turn_matrix(np.array([0, 0, np.pi / 2])) @ [1, 0, 0], [0, 1, 0])


@pytest.mark.parametrize("name", [name for name in EXPRESSIONS if name.endswith("Left")])
def test_right_mirrors_left(name: str) -> None:
    if name in ("mouthLeft", "jawLeft"):
        pytest.skip("a direction, not a side")
    left, right = face_pose({name: 1.0}), face_pose({name[:-4] + "Right": 1.0})
    swap = {"L": "R", "R": "L", "M": "M"}
    assert {swap[bone[0]] + bone[1:] for bone in left.shift | left.turn} == set(right.shift | right.turn)
    for bone, shift in left.shift.items():
        assert np.allclose(right.shift[swap[bone[0]] + bone[1:]], shift * [-1, 1, 1])


def test_no_people_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no Rocketbox people"):
        RocketboxScene(tmp_path)


def test_light_comes_from_its_direction() -> None:
    light = Light(torch.tensor([[1.0, 0.0, 0.0]]), torch.ones(1, 3), torch.full((3,), 0.5))
    shade = light.shade(torch.tensor([[1.0, 0, 0], [0, 0, 1.0], [-1.0, 0, 0]]))[:, 0]
    assert shade[0] == pytest.approx(1.5) and shade[0] > shade[1] > shade[2] and shade[2] == pytest.approx(0.5)


def test_camera_convention() -> None:
    """+X goes right, +Y up; twice as far is half as large; nearer has the larger depth."""
    camera = Camera(np.eye(3), np.array([0.0, 0.0, 2.0]), 100.0, np.array([50.0, 60.0]))
    x, y, depth, distance = camera.project(torch.tensor([[0.0, 0, 0], [0.2, 0.4, 0], [0.2, 0.4, -2.0]])).unbind(1)
    assert x.tolist() == pytest.approx([50, 60, 55]) and y.tolist() == pytest.approx([60, 40, 50])
    assert depth[1] > depth[2] and distance.tolist() == pytest.approx([2, 2, 4])


def test_backgrounds_are_pictures_and_differ() -> None:
    pictures = [sample_background(np.random.default_rng(seed), (48, 32)) for seed in range(4)]
    assert all(p.shape == (3, 48, 32) and p.min() >= 0 and p.max() <= 1 for p in pictures)
    assert all((a - b).abs().mean() > 0.01 for a, b in zip(pictures, pictures[1:]))


def test_rest_pose_is_rest_and_unknown_bones_are_named(person: Person) -> None:
    vertices, joints = person.pose(Pose({}, {}))
    assert torch.allclose(vertices, person.vertices, atol=1e-5)
    assert np.allclose(joints["Head"], person.head["Head"])
    with pytest.raises(ValueError, match="no bones Tail"):
        person.pose(Pose({"Tail": np.zeros(3)}, {}))


def test_skinning_follows_the_published_formula(person: Person, shared_data: Path) -> None:
    """Σ skin · [v 1] bind G (row vectors), with the head turned by its global matrix."""
    with np.load(shared_data / "avatars" / "rocketbox" / f"{person.name}.npz", allow_pickle=False) as file:
        data = {key: file[key] for key in file.files}
    turn, bones = np.array([0.1, 0.5, -0.2]), [str(bone) for bone in data["bones"]]
    parents = dict(zip(bones, map(str, data["parents"])))
    pivot = data["link"][bones.index("Bip01 Head"), 3, :3]
    world = np.eye(4)
    world[:3, :3] = turn_matrix(turn).T
    world[3, :3] = pivot - pivot @ world[:3, :3]

    def below_head(bone: str) -> bool:
        return bone == "Bip01 Head" or (bone in parents and below_head(parents[bone]))

    moved = np.stack([g @ world if below_head(b) else g for b, g in zip(bones, data["link"].astype(np.float64))])
    rows = np.concatenate([data["verts"], np.ones((len(data["verts"]), 1))], axis=1)
    expected = np.einsum("vj,vi,jik->vk", data["skin"], rows, data["bind"] @ moved)[:, :3] * 0.01
    ours = person.pose(Pose({"Head": turn}, {}))[0].numpy()
    kept = np.unique(data["tri"][data["tri_mat"] < 2])[::7]
    assert np.linalg.norm(ours[:, None] - expected[None, kept], axis=2).min(0).max() < 1e-5


@pytest.mark.parametrize("name, area, direction", [
    ("jawOpen", "MBottomLip", (0, -1, 0)), ("mouthSmileLeft", "LMouthCorner", (1, 1, 0)),
    ("browInnerUp", "LInnerEyebrow", (0, 1, 0)), ("mouthPucker", "MUpperLip", (0, 0, 1)),
])
def test_expressions_move_the_right_skin(person: Person, name: str, area: str, direction: tuple[int, ...]) -> None:
    vertices, _ = person.pose(face_pose({name: 1.0}))
    weight = person.skin[:, person.bones.index(area)]
    move = ((vertices - person.vertices) * weight[:, None]).sum(0) / weight.sum()
    assert move @ torch.tensor(direction).float() > 0.001


def test_blink_covers_the_eye(scene: RocketboxScene) -> None:
    for person in scene.people:
        camera = Camera(np.eye(3), person.head["MNose"] + np.array([0, 0, 2.0]), 1500.0, np.array([128.0, 128.0]))
        seen = []
        for lid in (0.0, 1.0):
            vertices, _ = person.pose(face_pose({"eyeBlinkLeft": lid, "eyeBlinkRight": lid}))
            fragments = label(person, vertices, camera, (256, 256))
            seen.append(int((person.area[fragments.triangle[fragments.mask]] == Area.EYE).sum()))
        assert seen[0] > 100 and seen[1] < 0.25 * seen[0]


def test_teeth_and_cavity_show_only_when_the_mouth_opens(scene: RocketboxScene) -> None:
    for person in scene.people:
        camera = Camera(np.eye(3), person.head["MUpperLip"] + np.array([0, 0, 2.0]), 3000.0, np.array([128.0, 128.0]))
        seen = []
        for jaw in (0.0, 0.8):
            vertices, _ = person.pose(face_pose({"jawOpen": jaw}))
            fragments = label(person, vertices, camera, (256, 256))
            seen.append(int((person.area[fragments.triangle[fragments.mask]] == Area.MOUTH).sum()))
        assert seen[0] < 60 and seen[1] > 600


@pytest.mark.parametrize("side", ["L", "R"])
def test_arm_reaches_its_target_and_keeps_its_length(person: Person, side: str) -> None:
    out = 1.0 if side == "L" else -1.0
    target = np.array([-0.05 * out, -0.3, 0.28])
    _, joints = person.pose(perform(person, Act(wrist={side: target}, roll={side: 0.5})))
    shoulder, elbow, wrist = (joints[f"{side} {bone}"] for bone in ("UpperArm", "Forearm", "Hand"))
    assert np.allclose(wrist - shoulder, target, atol=2e-3)
    assert np.linalg.norm(elbow - shoulder) == pytest.approx(
        np.linalg.norm(person.head[f"{side} Forearm"] - person.head[f"{side} UpperArm"]), rel=1e-3)
    assert elbow[1] < shoulder[1] - 0.1 and (elbow[0] - shoulder[0]) * out > -0.02


@pytest.mark.parametrize("side", ["L", "R"])
def test_curled_fingers_come_nearer_to_the_palm(person: Person, side: str) -> None:
    _, straight = person.pose(Pose({}, {}))
    _, bent = person.pose(perform(person, Act(curl={side: np.full(5, 0.7)})))
    palm = (straight[f"{side} Hand"] + straight[f"{side} Finger2"]) / 2
    for finger in range(1, 5):
        bone = f"{side} Finger{finger}2"
        assert np.linalg.norm(bent[bone] - palm) < np.linalg.norm(straight[bone] - palm) - 0.008


def test_hands_stay_out_of_the_body(person: Person) -> None:
    inside = Act(wrist={"L": np.array([-0.2, -0.35, 0.02])})
    clear = clear_of_body(person, inside)
    assert clear.wrist["L"][2] > inside.wrist["L"][2] + 0.05 and inside.wrist["L"][2] == 0.02
    vertices, joints = person.pose(perform(person, clear))
    trunk = vertices[person.torso].numpy()
    hand = joints["L Hand"]
    beneath = trunk[np.linalg.norm(trunk[:, :2] - hand[:2], axis=1) < 0.05]
    assert hand[2] > beneath[:, 2].max()


def test_outlines_equal_full_supersampling(person: Person) -> None:
    """Four samples on outlines only look like four samples everywhere."""
    vertices, _ = person.pose(perform(person, sample_pair(np.random.default_rng(3))[1]))
    light = sample_light(np.random.default_rng(0))
    camera, size = Camera(np.eye(3), np.array([0, 1.4, 2.0]), 1200.0, np.array([192.0, 288.0])), (576, 384)
    alpha = render(person, vertices, camera, light, label(person, vertices, camera, size))[1]
    fine = camera.project(vertices) * torch.tensor([2.0, 2.0, 1.0, 1.0])
    full = rasterize(fine[None], person.triangles, (size[0] * 2, size[1] * 2)).mask.float()
    expected = torch.nn.functional.avg_pool2d(full, 2)
    assert ((alpha - expected).abs() > 0.3).float().mean() < 1e-3
    assert (alpha - expected).abs().mean() < 2e-3
    assert ((alpha > 0) & (alpha < 1)).float().mean() > 0.002


def test_pair_is_complete_and_reproducible(scene: RocketboxScene, pairs: list[ScenePair]) -> None:
    for pair in pairs:
        for frame in (pair.source, pair.target):
            assert frame.rgb.shape == (3, *SIZE) and 0 <= frame.rgb.min() and frame.rgb.max() <= 1
            assert torch.equal(frame.rgb[:, frame.alpha[0] == 0], pair.background[:, frame.alpha[0] == 0])
            assert {int(Area.HEAD), int(Area.BODY)} <= set(frame.area.unique().tolist())
            assert torch.equal(frame.area > 0, frame.depth.isfinite())
            assert 0.1 < frame.alpha.mean() < 0.9
        assert (pair.source.rgb - pair.target.rgb).abs().mean() > 1e-3
    again = scene.sample(np.random.default_rng(2), SIZE)
    assert torch.equal(again.target.rgb, pairs[2].target.rgb) and torch.equal(again.flow, pairs[2].flow)


def test_flow_brings_the_source_onto_the_target(pairs: list[ScenePair]) -> None:
    """Where the source shows the surface, its pixel has the target's colour, but for light that the body turned in."""
    H, W = SIZE
    for pair in pairs:
        grid = torch.stack([pair.flow[0] * 2 / W - 1, pair.flow[1] * 2 / H - 1], dim=-1)[None]
        warped = torch.nn.functional.grid_sample(pair.source.rgb[None], grid, align_corners=False)[0]
        seen = (pair.visible[0] > 0) & (pair.target.area > 0)
        change = (warped - pair.target.rgb).abs().mean(0)[seen].mean()
        still = (pair.source.rgb - pair.target.rgb).abs().mean(0)[seen].mean()
        assert change < 0.05 and change < 0.8 * still + 0.01
        assert 0.3 < seen.float().sum() / (pair.target.area > 0).sum() < 1


def test_keypoints_lie_on_the_person(pairs: list[ScenePair]) -> None:
    H, W = SIZE
    for pair in pairs:
        x, y = pair.target.body[[0, 1, 2, 3, 13], :2].T.round().long()
        inside = (x >= 0) & (x < W) & (y >= 0) & (y < H)
        assert (pair.target.area[y[inside], x[inside]] > 0).all() and inside.sum() >= 3
        assert pair.target.body[2, 0] > pair.target.body[3, 0]  # the person's left is on the image's right
        assert pair.shoulder_px == pytest.approx(float((pair.source.body[2] - pair.source.body[3])[:2].norm()))
        for side, area in enumerate((Area.HAND_LEFT, Area.HAND_RIGHT)):
            x, y = pair.target.hands[side, :, :2].T.floor().long()
            inside = (x >= 0) & (x < W) & (y >= 0) & (y < H)
            drawn = pair.target.area == area
            if inside.all() and drawn.sum() > 150:
                assert drawn[y, x].float().mean() > 0.4


def test_landmarks_from_a_face_finder_follow_the_head(shared_data: Path) -> None:
    """A finder that names three pixels of the frontal picture: the points stick to the skin in every frame."""
    points = np.array([[384.5, 384.5], [420.5, 384.5], [700.5, 20.5]])  # the last lies beside the head
    folder = shared_data / "avatars" / "rocketbox"
    scene = RocketboxScene(folder, people=("Male_Adult_06",), find_face=lambda picture: points)
    pair = scene.sample(np.random.default_rng(1), SIZE)
    face = pair.target.face
    assert face is not None and face.shape == (3, 3)
    x, y = face[:2, :2].T.floor().long()
    assert (pair.target.area[y, x] == Area.HEAD).all()
    assert pair.target.face is not None and pair.source.face is not None
    with pytest.raises(ValueError, match="no face was found"):
        RocketboxScene(folder, people=("Male_Adult_06",), find_face=lambda picture: None)
