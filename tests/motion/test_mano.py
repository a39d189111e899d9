"""The MANO adapter on a tiny synthetic file of MANO's format, posed by smplx as reference."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from smplx.lbs import lbs

from motion.template.hand_fit import drive_hand, fit_hand
from motion.template.hands import HandTemplate, Side
from motion.template.head import rotation_matrix
from motion.template.mano import load_mano

OCTAHEDRON = np.concatenate([np.eye(3), -np.eye(3)]) * 0.006
FACES = np.array([[a, b, c] if sign else [a, c, b] for a, b, c, sign in (
    (0, 1, 2, 1), (3, 1, 2, 0), (0, 4, 2, 0), (0, 1, 5, 0), (3, 4, 2, 1), (3, 1, 5, 1), (0, 4, 5, 1), (3, 4, 5, 0))])
TILT = rotation_matrix(torch.tensor([0.4, -1.1, 0.7])).double().numpy()  # MANO's axes are not the template's


def mano_arrays(side: Side) -> dict[str, np.ndarray]:
    """An octahedron around every joint and before every tip of the default hand, turned into other axes."""
    hand = HandTemplate.load(side)
    tips = [4, 8, 12, 16, 20]
    owners = [*range(16), *(int(hand.landmark_bone[tip]) for tip in tips)]
    centres = np.concatenate([hand.joints.numpy(), hand.landmarks[tips].numpy()]).astype(np.float64)
    V = 6 * len(centres)
    vertices = (centres[:, None] + OCTAHEDRON).reshape(V, 3) @ TILT.T + 0.3
    weights = np.zeros((V, 16))
    weights[np.arange(V), np.repeat(owners, 6)] = 0.9
    weights[:, 0] += 0.1
    regressor = np.zeros((16, V))
    for joint in range(16):
        regressor[joint, 6 * joint: 6 * joint + 6] = 1 / 6
    rng = np.random.default_rng(0)
    return {"v_template": vertices, "f": (np.arange(len(centres))[:, None, None] * 6 + FACES).reshape(-1, 3),
            "weights": weights, "J_regressor": regressor, "posedirs": rng.normal(0, 1e-3, (V, 3, 135)),
            "shapedirs": rng.normal(0, 1e-3, (V, 3, 10))}


@pytest.fixture(params=["left", "right"])
def side(request: pytest.FixtureRequest) -> Side:
    return request.param


@pytest.fixture
def path(tmp_path: Path, side: Side) -> Path:
    np.savez(tmp_path / "mano.npz", **mano_arrays(side))  # type: ignore[arg-type]
    return tmp_path / "mano.npz"


@pytest.mark.parametrize("shape", [None, torch.tensor([1.0, -2.0, 0.5])], ids=["mean", "shaped"])
def test_posing_equals_smplx(path: Path, side: Side, shape: torch.Tensor | None) -> None:
    template = load_mano(path, side, shape=shape)
    generator = torch.Generator().manual_seed(1)
    joints, world = torch.randn(2, 15, 3, generator=generator) * 0.4, torch.randn(2, 3, generator=generator)
    place = torch.randn(2, 3, generator=generator)
    ours, our_joints = template.pose(joints, world, place)
    file = {name: torch.from_numpy(array).float() for name, array in mano_arrays(side).items()}
    frame = template.frame  # rows: the template's axes in MANO's
    pose = torch.cat([world[:, None], joints], dim=1) @ frame
    betas = torch.zeros(2, 10)
    betas[:, :3] = 0 if shape is None else shape
    parents = torch.tensor([-1, 0, 1, 2, 0, 4, 5, 0, 7, 8, 0, 10, 11, 0, 13, 14])
    posedirs = file["posedirs"].reshape(-1, 135).t()
    theirs, their_joints = lbs(betas, pose.flatten(1), file["v_template"].expand(2, -1, -1), file["shapedirs"],
                               posedirs, file["J_regressor"], parents, file["weights"])
    wrist = their_joints[:, :1]
    assert torch.allclose((theirs - wrist) @ frame.t() + place[:, None], ours, atol=1e-5)
    assert torch.allclose((their_joints - wrist) @ frame.t() + place[:, None], our_joints, atol=1e-5)


def test_frame_and_landmarks_are_the_templates(path: Path, side: Side) -> None:
    """Whatever axes the file has, the hand comes out with fingers up and palm to the viewer, like the default one."""
    template, default = load_mano(path, side), HandTemplate.load(side)
    assert torch.linalg.det(template.frame) == pytest.approx(1.0, abs=1e-5)
    assert (template.joints - default.joints).norm(dim=1).max() < 0.002
    assert (template.landmarks - default.landmarks).norm(dim=1).max() < 0.006
    index = 0  # first joint of the index finger bends about +X on both hands
    assert template.axes[index, 0, 0] > 0.85
    assert torch.allclose(template.spread.sum(1), torch.ones(len(template.spread)), atol=1e-5)


def test_fit_and_drive_work_unchanged(path: Path, side: Side) -> None:
    template = load_mano(path, side)
    flip = torch.tensor([1.0, -1.0, -1.0])
    fit = fit_hand(template, template.landmarks * flip * 900 + torch.tensor([300.0, 400.0, 0.0]),
                   elbow=torch.tensor([300.0, 600.0]))
    assert fit.error < 0.02
    still = drive_hand(fit, torch.zeros(1, 51), 300.0)[0, :, :2]
    assert torch.allclose(still[fit.visible], fit.source[fit.visible], atol=0.05)


def test_pickles_are_refused_and_never_opened(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (Path.touch, (tmp_path / "ran",))  # type: ignore[return-value]

    (tmp_path / "MANO_LEFT.pkl").write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(ValueError, match="docs/licensed_models.md"):
        load_mano(tmp_path / "MANO_LEFT.pkl", "left")
    arrays = mano_arrays("left") | {"J_regressor": np.array(Bomb(), dtype=object)}
    np.savez(tmp_path / "objects.npz", **arrays)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="pickled objects"):
        load_mano(tmp_path / "objects.npz", "left")
    assert not (tmp_path / "ran").exists()


def test_wrong_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="does not exist"):
        load_mano(tmp_path / "none.npz", "left")
    arrays = mano_arrays("left")
    np.savez(tmp_path / "less.npz", v_template=arrays["v_template"])
    with pytest.raises(ValueError, match="lacks the arrays J_regressor, f, posedirs"):
        load_mano(tmp_path / "less.npz", "left")
    np.savez(tmp_path / "shape.npz", **(arrays | {"weights": arrays["weights"][:, :5]}))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="weights must be any x 16, got 126 x 5"):
        load_mano(tmp_path / "shape.npz", "left")
