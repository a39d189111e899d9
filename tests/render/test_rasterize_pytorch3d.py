"""The PyTorch3D backend: equal to ours where it is installed, a clear sentence where it is not."""

from __future__ import annotations

import importlib.util

import pytest
import torch

from render.rasterize import rasterize

HAS_PYTORCH3D = importlib.util.find_spec("pytorch3d") is not None


@pytest.mark.skipif(HAS_PYTORCH3D, reason="pytorch3d is installed")
def test_missing_package_is_named() -> None:
    vertices = torch.rand(1, 3, 3)
    with pytest.raises(ValueError, match="needs the package pytorch3d"):
        rasterize(vertices, torch.tensor([[0, 1, 2]]), (4, 4), backend="pytorch3d")


@pytest.mark.skipif(not HAS_PYTORCH3D, reason="pytorch3d is not installed")
@pytest.mark.parametrize("size", [(24, 24), (20, 32)], ids=["square", "wide"])
def test_equals_ours(size: tuple[int, int]) -> None:
    generator = torch.Generator().manual_seed(0)
    vertices = torch.rand(2, 60, 3, generator=generator) * torch.tensor([32.0, 24.0, 10.0])
    triangles = torch.arange(60).view(20, 3)
    ours = rasterize(vertices, triangles, size)
    theirs = rasterize(vertices, triangles, size, backend="pytorch3d")
    assert (ours.triangle == theirs.triangle).float().mean() > 0.98  # they differ on exact edges only
