"""The FLAME adapter on a small synthetic file of FLAME's format, with smplx and hand-made shapes as reference."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from smplx.lbs import lbs

from motion.template.flame import ArkitStates, closest_on_mesh, load_flame
from motion.template.head import HeadTemplate, Part
from motion.types import ARKIT_INDEX

ROWS, COLUMNS = 24, 30
SMILE = ARKIT_INDEX["mouthSmileLeft"]


def sphere(centre: tuple[float, float, float], radius: tuple[float, float, float], rows: int, columns: int
           ) -> tuple[np.ndarray, np.ndarray]:
    """A closed grid around the Y axis."""
    theta = np.linspace(0.05, np.pi - 0.05, rows)[:, None]
    phi = np.linspace(0, 2 * np.pi, columns, endpoint=False)[None]
    points = np.stack([np.sin(theta) * np.sin(phi), np.cos(theta) + 0 * phi, np.sin(theta) * np.cos(phi)], axis=-1)
    index = np.arange(rows * columns).reshape(rows, columns)
    a, b, c, d = index[:-1], np.roll(index, -1, 1)[:-1], index[1:], np.roll(index, -1, 1)[1:]
    faces = np.concatenate([np.stack([a, c, b], -1).reshape(-1, 3), np.stack([b, c, d], -1).reshape(-1, 3)])
    return points.reshape(-1, 3) * radius + centre, faces


def flame_arrays(reference: HeadTemplate) -> dict[str, np.ndarray]:
    """An egg with two eyeballs; expression component 3 does to the egg what mouthSmileLeft does to the default head."""
    origin = np.array([0.0, 1.5, 0.1])  # FLAME's origin is not between the eyes
    egg, egg_faces = sphere((0, -0.02, -0.08), (0.08, 0.12, 0.1), ROWS, COLUMNS)
    left, eye_faces = sphere((0.032, 0, -0.01), (0.012, 0.012, 0.012), 6, 8)
    right, _ = sphere((-0.032, 0, -0.01), (0.012, 0.012, 0.012), 6, 8)
    vertices = np.concatenate([egg, left, right])
    N, E, V = len(egg), len(left), len(vertices)
    weights, regressor = np.zeros((V, 5)), np.zeros((5, V))
    low = egg[:, 1] < -0.1
    weights[:N, 0], weights[:N, 1] = low * 0.7, 1 - low * 0.7
    jaw = (egg[:, 1] < -0.05) & (egg[:, 2] > -0.03) & ~low
    weights[:N][jaw] = [0, 0.3, 0.7, 0, 0]
    weights[N:N + E, 3] = weights[N + E:, 4] = 1
    regressor[0, :N] = low / low.sum()
    regressor[1:3, :N] = 1 / N
    regressor[3, N:N + E] = regressor[4, N + E:] = 1 / E
    shapedirs = np.random.default_rng(0).normal(0, 1e-4, (V, 3, 400))
    shapedirs[..., 300:] *= 0.01  # or the noise of the other 99 would fit what the egg cannot
    nearest = np.linalg.norm(egg[:, None] - reference.mean.numpy()[None, ::3], axis=2).argmin(1) * 3
    shapedirs[:N, :, 303] = reference.expression[SMILE].numpy()[nearest]
    faces = np.concatenate([egg_faces, eye_faces + N, eye_faces + N + E])
    return {"v_template": vertices + origin, "f": faces, "weights": weights, "J_regressor": regressor,
            "posedirs": np.random.default_rng(1).normal(0, 1e-4, (V, 3, 36)), "shapedirs": shapedirs}


@pytest.fixture(scope="module")
def reference() -> HeadTemplate:
    return HeadTemplate.load()


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory, reference: HeadTemplate) -> Path:
    path = tmp_path_factory.mktemp("flame") / "flame.npz"
    np.savez(path, **flame_arrays(reference))  # type: ignore[arg-type]
    return path


@pytest.fixture(scope="module")
def head(path: Path, reference: HeadTemplate) -> HeadTemplate:
    return load_flame(path, reference=reference)


def test_is_a_head_template(head: HeadTemplate) -> None:
    V = ROWS * COLUMNS + 2 * 48
    assert head.mean.shape == (V, 3) and head.identity.shape == (100, V, 3) and head.expression.shape == (52, V, 3)
    eyes = head.triangles[head.part == Part.EYE].unique()
    assert len(eyes) == 96
    assert torch.allclose(head.mean[eyes].mean(0), torch.zeros(3), atol=1e-5)  # origin between the eyes
    moved = head.pose(head.vertices(torch.zeros(100), torch.zeros(52)), torch.tensor([0.0, 0.3, 0.0]), torch.zeros(3))
    assert (moved - head.mean)[eyes].norm(dim=1).min() > 0.005
    assert head.landmarks(head.mean).isfinite().all()


def test_landmarks_lie_near_the_default_heads(head: HeadTemplate, reference: HeadTemplate) -> None:
    """The tip of the nose is in front in the middle, the chin below, the left eye on the person's left."""
    points = head.landmarks(head.mean)
    assert abs(points[1, 0]) < 0.01 and points[1, 2] > 0
    assert points[152, 1] < points[1, 1] - 0.03
    assert points[263, 0] > 0.02 and points[33, 0] < -0.02


def test_jaw_and_gaze_equal_smplx(head: HeadTemplate, reference: HeadTemplate) -> None:
    file = {name: torch.from_numpy(array) for name, array in flame_arrays(reference).items()}
    pose = torch.zeros(1, 15, dtype=torch.float64)
    pose[0, 10] = 0.5  # left eye about +Y: out
    rest = file["v_template"][None]
    vertices, _ = lbs(torch.zeros(1, 1).double(), pose, rest, torch.zeros(rest.shape[1], 3, 1).double(),
                      file["posedirs"].reshape(-1, 36).t(), file["J_regressor"],
                      torch.tensor([-1, 0, 1, 1, 1]), file["weights"])
    expected = (vertices - rest)[0].float()
    assert torch.allclose(head.expression[ARKIT_INDEX["eyeLookOutLeft"]], expected, atol=1e-6)
    front = head.mean[:, 2].clone()
    front[: ROWS * COLUMNS] = -1
    pupil = int(front[: ROWS * COLUMNS + 48].argmax())
    assert head.expression[ARKIT_INDEX["eyeLookOutLeft"], pupil, 0] > 0.004
    assert head.expression[ARKIT_INDEX["eyeLookInLeft"], pupil, 0] < -0.004
    assert head.expression[ARKIT_INDEX["eyeLookUpLeft"], pupil, 1] > 0.003
    jaw = head.expression[ARKIT_INDEX["jawOpen"], : ROWS * COLUMNS, 1]
    assert jaw.min() < -0.008


def test_least_squares_finds_the_component_that_smiles(head: HeadTemplate, reference: HeadTemplate) -> None:
    shape, component = head.expression[SMILE].flatten(), torch.from_numpy(flame_arrays(reference)["shapedirs"])
    goal = component[..., 303].float().flatten()
    assert torch.nn.functional.cosine_similarity(shape, goal, dim=0) > 0.9
    other = head.expression[ARKIT_INDEX["mouthSmileRight"]].flatten()
    assert torch.nn.functional.cosine_similarity(other, goal, dim=0) < 0.7


def test_supplied_states_and_embedding_are_used(tmp_path: Path, path: Path, reference: HeadTemplate) -> None:
    states = {"expression": np.zeros((52, 100)), "jaw": np.zeros((52, 3)), "eyes": np.zeros((52, 6))}
    states["expression"][SMILE, 3] = 1.0
    np.savez(tmp_path / "states.npz", **states)  # type: ignore[arg-type]
    np.savez(tmp_path / "embedding.npz", landmark_indices=np.array([13, 14]), lmk_face_idx=np.array([5, 6]),
             lmk_b_coords=np.array([[0.2, 0.3, 0.5], [1.0, 0.0, 0.0]]))
    head = load_flame(path, states=tmp_path / "states.npz", embedding=tmp_path / "embedding.npz", reference=reference)
    expected = torch.from_numpy(flame_arrays(reference)["shapedirs"][..., 303]).float()
    assert torch.allclose(head.expression[SMILE], expected, atol=1e-6)
    assert head.expression[ARKIT_INDEX["jawOpen"]].abs().max() < 1e-9
    assert head.landmark_triangle[13] == 5 and head.landmark_barycentric[13].tolist() == pytest.approx([0.2, 0.3, 0.5])
    assert head.landmark_weight.sum() == 2
    assert ArkitStates.load(tmp_path / "states.npz").expression[SMILE, 3] == 1


def test_pickle_is_refused(tmp_path: Path) -> None:
    (tmp_path / "generic_model.pkl").write_bytes(b"never read")
    with pytest.raises(ValueError, match="docs/licensed_models.md"):
        load_flame(tmp_path / "generic_model.pkl")


def test_closest_point_on_a_triangle() -> None:
    vertices = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1, 0]])
    triangle, weight = closest_on_mesh(torch.tensor([[0.25, 0.25, 2.0], [-1.0, -1.0, 0.0]]), vertices,
                                       torch.tensor([[0, 1, 2]]))
    assert triangle.tolist() == [0, 0]
    assert torch.allclose(weight, torch.tensor([[0.5, 0.25, 0.25], [1.0, 0.0, 0.0]]))
