"""Anny people: noise, layers and light by hand, and whole people where the `anny` package and the wardrobe are."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from render.rasterize import rasterize
from render.training.acting import Act, follow_up, perform, sample_pair
from render.training.anny_looks import sample_look
from render.training.anny_noise import SIDE, noise, vectors
from render.training.anny_people import AnnyPerson, Stuff
from render.training.anny_scenes import AnnyPeople, AnnyScene, plain_light
from render.training.anny_stage import _over, develop, every_layer, expose, picture, sample_soft_light
from render.training.rocketbox import Area, Pose
from render.training.stage import Camera, label

ZIP = "makehuman_hair_clothes.zip"
SIZE = (192, 128)


def test_noise_is_smooth_and_repeats() -> None:
    places = torch.rand(500, 3, generator=torch.Generator().manual_seed(1)) * 10 - 5
    for function in (noise, vectors):
        value = function(places, 1.0)
        assert value.min() >= -1 and value.max() <= 1 and value.std() > 0.2
        assert (function(places + 1e-3, 1.0) - value).abs().max() < 0.02
        assert torch.allclose(function(places + SIDE, 1.0), value, atol=1e-4)


def _triangles(seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    xy = torch.rand(60, 2, generator=generator) * 40 - 4
    w = torch.rand(60, 1, generator=generator) + 2
    return torch.cat([xy, -w, w], 1), torch.arange(60).view(20, 3)


def test_nearest_of_every_layer_is_what_the_rasteriser_shows() -> None:
    screen, triangles = _triangles(2)
    shown = rasterize(screen[None], triangles, (32, 32), cull=False)
    nothing = torch.full((32 * 32,), -torch.inf)
    pixel, triangle, weight, depth = every_layer(screen, triangles, torch.arange(20), (32, 32), nothing)
    assert len(pixel) > 2 * int(shown.mask.sum())  # there are layers beneath
    best = torch.full((32 * 32,), -torch.inf).scatter_reduce(0, pixel, depth, "amax")
    covered = shown.depth.flatten().isfinite()
    assert (covered == best.isfinite()).float().mean() > 0.995  # the rasteriser snaps corners
    both = covered & best.isfinite()
    assert ((best - shown.depth.flatten())[both].abs() < 0.02).float().mean() > 0.99
    place = (screen[triangles[triangle]][..., 3] * weight).sum(1)
    assert torch.allclose(weight.sum(1), torch.ones(len(weight)), atol=1e-4) and torch.allclose(place, -depth, atol=1e-4)
    behind = every_layer(screen, triangles, torch.arange(20), (32, 32), torch.full((32 * 32,), -2.5))
    assert (behind[3] > -2.5).all() and len(behind[0]) == int((depth > -2.5).sum())


def test_layers_lie_over_each_other_by_depth() -> None:
    image = torch.tensor([[0.0, 0.0, 1.0, 1.0], [0.0, 0.0, 0.0, 0.0]])
    colour = torch.tensor([[1.0, 0, 0], [0, 1.0, 0], [1.0, 1.0, 1.0]])
    result = _over(image, torch.tensor([0, 0, 1]), torch.tensor([-1.0, -2.0, -1.0]), colour, torch.full((3, 1), 0.5))
    assert result[0].tolist() == pytest.approx([0.5, 0.25, 0.25, 1.0])  # red half over green half over blue
    assert result[1].tolist() == pytest.approx([0.5, 0.5, 0.5, 0.5])


def test_camera_is_monotone_and_noisy_as_asked() -> None:
    light = plain_light()
    grey = torch.linspace(0, 1.2, 50)[:, None].expand(-1, 3)
    shown = develop(grey, torch.ones(50, 1), light)
    assert (shown.diff(dim=0) >= 0).all() and shown[0].max() == 0 and 0.8 < shown[-1].min() <= 1
    half = develop(grey * 0.5, torch.full((50, 1), 0.5), light)
    assert torch.allclose(half, shown * 0.5, atol=1e-5)  # stays premultiplied
    noisy = sample_soft_light(np.random.default_rng(3))
    grain = expose(torch.full((3, 64, 64), 0.5), noisy, np.random.default_rng(0)) - 0.5
    assert 0.3 < float(grain.std()) / noisy.noise < 1.5


def test_a_second_moment_stays_near_the_first() -> None:
    for seed in range(20):
        rng = np.random.default_rng(seed)
        first, _ = sample_pair(rng)
        later = follow_up(first, rng)
        assert np.linalg.norm(later.head - first.head) < 0.35 and later.expression != first.expression
        assert all(np.linalg.norm(later.wrist[side] - first.wrist[side]) < 0.16 for side in ("L", "R"))


@pytest.fixture(scope="module")
def scene(shared_data: Path) -> AnnyScene:
    pytest.importorskip("anny")
    path = shared_data / "avatars" / ZIP
    if not path.exists():
        pytest.skip(f"no {ZIP} among the shared data")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return AnnyScene(path, people=range(4))


@pytest.fixture(scope="module")
def person(scene: AnnyScene) -> AnnyPerson:
    made = scene.people[1]
    assert isinstance(made, AnnyPerson)
    return made


@pytest.fixture(scope="module")
def people(scene: AnnyScene) -> AnnyPeople:
    assert isinstance(scene.people, AnnyPeople)
    return scene.people


def test_people_differ_and_come_again(people: AnnyPeople, person: AnnyPerson) -> None:
    again = AnnyPerson(people.body, people.wardrobe, 1)
    assert torch.equal(again.vertices, person.vertices) and torch.equal(again.stuff, person.stuff)
    other = people[2]
    assert abs(float(other.vertices[:, 1].max() - person.vertices[:, 1].max())) > 1e-3
    assert {int(kind) for kind in person.stuff.unique()} >= {Stuff.SKIN, Stuff.EYE, Stuff.TEETH, Stuff.GUM, Stuff.CLOTH}


def test_clothes_are_bound_to_the_right_vertices(people: AnnyPeople) -> None:
    """On Anny's mean body every garment lies about the skin: the order of vertices is MakeHuman's."""
    from scipy.spatial import cKDTree

    base, _, _ = people.body.shape(np.random.default_rng(0))
    skin = cKDTree(base[:13380])
    for kind in ("clothes", "eyebrows", "hair"):
        for thing in people.wardrobe[kind]:
            away = skin.query(thing.worn(base))[0]
            assert np.median(away) < 0.06 and away.max() < 0.35, thing.name


def test_rest_is_rest_and_unknown_bones_are_named(person: AnnyPerson) -> None:
    vertices, joints = person.pose(Pose({}, {}))
    assert torch.allclose(vertices, person.vertices, atol=1e-5)
    assert np.allclose(joints["Head"], person.head["Head"])
    with pytest.raises(ValueError, match="no bones Tail"):
        person.pose(Pose({"Tail": np.zeros(3)}, {}))


def _seen(person: AnnyPerson, expression: dict[str, float], area: Area) -> int:
    camera = Camera(np.eye(3), person.head["Head"] + np.array([0, 0.03, 2.0]), 2200.0, np.array([128.0, 128.0]))
    vertices, _ = person.pose(perform(person, Act(expression=expression)))
    fragments = label(person, vertices, camera, (256, 256))
    return int((person.area[fragments.triangle[fragments.mask]] == area).sum())


def test_lids_close_and_mouths_open(person: AnnyPerson) -> None:
    eyes = [_seen(person, {"eyeBlinkLeft": lid, "eyeBlinkRight": lid}, Area.EYE) for lid in (0.0, 1.0)]
    assert eyes[0] > 60 and eyes[1] < 0.35 * eyes[0]
    mouth = [_seen(person, {"jawOpen": jaw}, Area.MOUTH) for jaw in (0.0, 0.7)]
    assert mouth[0] < 60 and mouth[1] > mouth[0] + 200


@pytest.mark.parametrize("side", ["L", "R"])
def test_arm_reaches_its_target(person: AnnyPerson, side: str) -> None:
    target = np.array([-0.05 if side == "L" else 0.05, -0.3, 0.26])
    _, joints = person.pose(perform(person, Act(wrist={side: target}, roll={side: 0.4})))
    assert np.allclose(joints[f"{side} Hand"] - joints[f"{side} UpperArm"], target, atol=3e-3)


def test_the_head_turns_as_far_as_asked(person: AnnyPerson) -> None:
    """Part of the turn is the neck's; the sum is what was asked."""
    turned = person.matrices(Pose({"Head": np.array([0.0, 0.4, 0.0])}, {}))["Head"][:, :3]
    assert np.arctan2(turned[0, 2], turned[2, 2]) == pytest.approx(0.4, abs=1e-6)


def test_picture_has_soft_outlines_and_lit_skin(person: AnnyPerson) -> None:
    camera = Camera(np.eye(3), person.head["Head"] + np.array([0, 0.03, 2.0]), 900.0, np.array([64.0, 96.0]))
    vertices, _ = person.pose(Pose({}, {}))
    colour, alpha = picture(person, sample_look(person), vertices, camera, plain_light(), SIZE)
    assert colour.shape == (3, *SIZE) and 0 <= colour.min() and colour.max() <= 1 and (colour <= alpha + 1e-5).all()
    solid = label(person, vertices, camera, SIZE).mask[0]
    assert (alpha[0][solid] > 0.5).float().mean() > 0.95 and ((alpha > 0.02) & (alpha < 0.98)).float().mean() > 0.005
    cheek = colour[:, 100, 58]
    assert cheek[0] > cheek[2] > 0.02  # skin is warmer than grey


def test_pair_is_complete_and_flow_fits(scene: AnnyScene) -> None:
    pair = scene.sample(np.random.default_rng(1), SIZE, modest=True)
    H, W = SIZE
    for frame in (pair.source, pair.target):
        assert frame.rgb.shape == (3, H, W) and 0 <= frame.rgb.min() and frame.rgb.max() <= 1
        assert {int(Area.HEAD), int(Area.BODY)} <= set(frame.area.unique().tolist())
    grid = torch.stack([pair.flow[0] * 2 / W - 1, pair.flow[1] * 2 / H - 1], dim=-1)[None]
    warped = torch.nn.functional.grid_sample(pair.source.rgb[None], grid, align_corners=False)[0]
    seen = (pair.visible[0] > 0) & (pair.target.area > 0)
    change = (warped - pair.target.rgb).abs().mean(0)[seen].mean()
    still = (pair.source.rgb - pair.target.rgb).abs().mean(0)[seen].mean()
    assert change < 0.06 and change < 0.8 * still + 0.015
