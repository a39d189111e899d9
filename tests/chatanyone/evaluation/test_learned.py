"""Metrics that need downloaded nets, with tiny nets of the same interface."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from chatanyone.errors import CheckpointError
from chatanyone.evaluation import learned
from chatanyone.evaluation.lips import Points

Picture = NDArray[np.uint8]


def noise(count: int, seed: int = 0) -> list[Picture]:
    return list(np.random.default_rng(seed).integers(0, 255, (count, 64, 64, 3)).astype(np.uint8))


def test_lpips_reads_an_alexnet_and_is_zero_for_equal_pictures(tmp_path: Path) -> None:
    pytest.importorskip("torchmetrics")
    from safetensors.torch import save_file
    from torchvision.models import alexnet

    torch.manual_seed(0)
    path = tmp_path / "alexnet.safetensors"
    save_file({name: value for name, value in alexnet(weights=None).state_dict().items() if "features" in name}, path)
    one, other = noise(2), noise(2, seed=1)
    found = learned.lpips({"same": (one, one), "other": (one, other)}, path)
    assert found["same"] == pytest.approx(0, abs=1e-6) and found["other"] > 1e-4


def test_fvd_is_zero_for_equal_films_and_grows_with_the_difference(tmp_path: Path) -> None:
    class Tiny(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.stack([x.mean([1, 2, 3, 4]), x[:, 0].std([1, 2, 3]), x[:, :, :, :100].mean([1, 2, 3, 4])], 1)

    path = tmp_path / "i3d.pt"
    torch.jit.script(Tiny()).save(str(path))
    films = noise(48)
    darker = [(picture // 2).astype(np.uint8) for picture in films]
    assert learned.fvd({"a": (films, films)}, path)["all pieces"] == pytest.approx(0, abs=1e-6)
    assert learned.fvd({"a": (darker, films)}, path)["all pieces"] > 0.05
    assert learned.fvd({"a": (films[:16], films[:16])}, path) == {}  # one piece has no covariance


def test_csim_compares_with_the_first_true_face(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = _mean_colour_net(tmp_path / "arcface.onnx")
    points = np.zeros((478, 3), np.float32)
    points[list(range(478)), :2] = np.random.default_rng(0).uniform(10, 54, (478, 2))
    monkeypatch.setattr(learned, "follow_face", lambda frames: iter([points] * len(frames)))
    red, blue = (np.full((64, 64, 3), colour, np.uint8) for colour in ((255, 0, 0), (0, 0, 255)))
    found = learned.csim({"same": ([red, red], [red]), "other": ([blue], [red, blue])}, path)
    assert found["same"] == pytest.approx(1, abs=1e-3) and found["other"] < found["same"]


def _mean_colour_net(path: Path) -> Path:
    from onnx import TensorProto, helper, save

    nodes = [helper.make_node("GlobalAveragePool", ["face"], ["mean"]), helper.make_node("Flatten", ["mean"], ["embedding"])]
    face = helper.make_tensor_value_info("face", TensorProto.FLOAT, [1, 3, 112, 112])
    graph = helper.make_graph(nodes, "mean", [face], [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, [1, 3])])
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), str(path))
    return path


def test_the_face_lands_on_arcface_s_template() -> None:
    picture = np.zeros((300, 300, 3), np.uint8)
    points: Points = np.zeros((478, 3), np.float32)
    for pair, (x, y) in zip((*learned._EYES, (1, 1), (61, 61), (291, 291)), learned._TEMPLATE * 2 + 40):
        points[list(pair), :2] = x, y
    picture[int(points[1, 1]), int(points[1, 0])] = 255
    found = np.argwhere(learned.aligned(picture, points)[..., 0] > 20)
    assert np.abs(found.mean(0)[::-1] - learned._TEMPLATE[2]).max() < 1.5


def test_weights_that_are_not_there_or_not_weights_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no weights at .*nowhere.pth"):
        learned.tensors(tmp_path / "nowhere.pth")
    (tmp_path / "text.pth").write_text("hello")
    with pytest.raises(CheckpointError, match="expected named tensors in .*text.pth"):
        learned.tensors(tmp_path / "text.pth")
