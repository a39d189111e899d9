"""The rasteriser against a naive twin, hand-computed numbers and its own promises."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from render import rasterize_cpu
from render.rasterize import SUBPIXEL, Fragments, interpolate, rasterize, visible_attributes


def naive(vertices: Tensor, triangles: Tensor, size: tuple[int, int], cull: bool) -> Tensor:
    """One batch row, one triangle and one pixel at a time, in Python floats."""
    H, W = size
    winner = torch.full(size, -1)
    best = torch.full(size, -float("inf"))
    snapped = (vertices[:, :2] * SUBPIXEL).round().double() / SUBPIXEL
    for index, corner in enumerate(triangles.tolist()):
        (ax, ay), (bx, by), (cx, cy) = snapped[corner].tolist()
        area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        if area == 0 or (cull and area > 0):
            continue
        for row in range(H):
            for column in range(W):
                px, py = column + 0.5, row + 0.5
                edges = [((cx - bx) * (py - by) - (cy - by) * (px - bx)) / area,
                         ((ax - cx) * (py - cy) - (ay - cy) * (px - cx)) / area]
                edges.append(1 - edges[0] - edges[1])
                depth = sum(e * z for e, z in zip(edges, vertices[corner, 2].tolist()))
                if min(edges) > 1e-9 and depth > best[row, column]:
                    best[row, column], winner[row, column] = depth, index
    return winner


def random_scene(seed: int, scale: float, count: int = 30) -> tuple[Tensor, Tensor]:
    """Random triangles that also leave a 20 x 24 picture."""
    generator = torch.Generator().manual_seed(seed)
    centre = torch.rand(count, 1, 2, generator=generator) * 28 - 2
    corner = centre + torch.randn(count, 3, 2, generator=generator) * scale
    depth = torch.rand(count, 3, 1, generator=generator) * 10
    return torch.cat([corner, depth], dim=-1).reshape(1, count * 3, 3), torch.arange(count * 3).view(count, 3)


def grid_mesh(columns: int, rows: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """A jittered sheet over [2, 30] x [3, 27] whose outline is straight; front-facing."""
    x, y = torch.linspace(2, 30, columns), torch.linspace(3, 27, rows)
    xy = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1)
    xy[1:-1, 1:-1] += (torch.rand(rows - 2, columns - 2, 2, generator=generator) - 0.5) * 0.5
    index = torch.arange(rows * columns).view(rows, columns)
    a, b, c, d = (index[:-1, :-1], index[:-1, 1:], index[1:, :-1], index[1:, 1:])
    triangles = torch.cat([torch.stack([a, c, b], -1).view(-1, 3), torch.stack([b, c, d], -1).view(-1, 3)])
    return torch.cat([xy.view(1, -1, 2), torch.ones(1, rows * columns, 1)], dim=-1), triangles


@pytest.mark.parametrize("cull", [True, False])
@pytest.mark.parametrize("scale", [1.5, 4.0, 30.0], ids=["small", "medium", "large"])
def test_equals_naive_twin(scale: float, cull: bool) -> None:
    vertices, triangles = random_scene(int(scale * 10), scale)
    result = rasterize(vertices, triangles, (20, 24), cull=cull).triangle[0]
    expected = naive(vertices[0], triangles, (20, 24), cull)
    assert (expected >= 0).sum() >= 10
    assert (result != expected).sum() <= 1  # depth ties by rounding of the twin


@pytest.mark.parametrize("columns, rows", [(33, 41), (5, 4), (2, 2)], ids=["tiny", "middle", "two triangles"])
def test_shared_edges_are_watertight_and_drawn_once(columns: int, rows: int) -> None:
    generator = torch.Generator().manual_seed(3)
    vertices, triangles = grid_mesh(columns, rows, generator)
    assert rasterize(vertices, triangles, (30, 32)).mask[0, 3:27, 2:30].all()
    alone = vertices[0, triangles].flatten(1).view(-1, 3, 3)  # a batch row per triangle
    each = rasterize(alone, torch.tensor([[0, 1, 2]]), (30, 32)).mask.sum(dim=0)
    assert each.max() == 1 and each.sum() == 24 * 28


def test_convention_pixel_centres_and_top_left_rule() -> None:
    """A right triangle with corners on pixel centres covers its top and left border, not the diagonal."""
    vertices = torch.tensor([[[0.5, 0.5, 0.0], [0.5, 3.5, 0.0], [3.5, 0.5, 0.0]]])
    mask = rasterize(vertices, torch.tensor([[0, 1, 2]]), (4, 4)).mask[0]
    expected = torch.tensor([[1, 1, 1, 0], [1, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]]).bool()
    assert torch.equal(mask, expected)


def test_convention_facing() -> None:
    """Counter-clockwise with +Y up, here (left top, left bottom, right), faces the viewer; reversed it is culled."""
    vertices = torch.tensor([[[0.0, 0.0, 0.0], [0.0, 4.0, 0.0], [4.0, 0.0, 0.0]]])
    front, back = torch.tensor([[0, 1, 2]]), torch.tensor([[0, 2, 1]])
    assert rasterize(vertices, front, (4, 4)).mask.any()
    assert not rasterize(vertices, back, (4, 4)).mask.any()
    assert rasterize(vertices, back, (4, 4), cull=False).mask.any()


def test_larger_depth_is_nearer_and_ties_go_to_the_smaller_index() -> None:
    square = torch.tensor([[0.0, 0.0], [0.0, 8.0], [8.0, 0.0]])
    layers = [torch.cat([square, torch.full((3, 1), z)], dim=1) for z in (-3.0, -1.0, -2.0, -1.0)]
    triangles = torch.arange(12).view(4, 3)
    fragments = rasterize(torch.cat(layers)[None], triangles, (4, 4))
    assert (fragments.triangle[0] == 1).all()
    assert (fragments.depth[0] == -1).all()


def test_affine_interpolation_reproduces_pixel_positions() -> None:
    vertices, triangles = grid_mesh(9, 7, torch.Generator().manual_seed(0))
    fragments = rasterize(vertices, triangles, (30, 32))
    image = interpolate(fragments, triangles, vertices[..., :2])
    row, column = fragments.mask[0].nonzero(as_tuple=True)
    expected = torch.stack([column + 0.5, row + 0.5])
    assert torch.allclose(image[0][:, row, column], expected, atol=1e-4)
    assert (image[0][:, ~fragments.mask[0]] == 0).all()


def test_perspective_correct_interpolation() -> None:
    """Edge from w = 1 (value 0) to w = 3 (value 1): at the middle on screen the value is (1/2·1/3)/(2/3) = 1/4."""
    vertices = torch.tensor([[[0.5, 0.5, 0.0, 1.0], [0.5, 4.5, 0.0, 1.0], [8.5, 0.5, 0.0, 3.0]]])
    triangles = torch.tensor([[0, 1, 2]])
    value = torch.tensor([[[0.0], [0.0], [1.0]]])
    fragments = rasterize(vertices, triangles, (6, 10))
    assert interpolate(fragments, triangles, value)[0, 0, 0, 4] == pytest.approx(0.25, abs=1e-6)
    affine = rasterize(vertices[..., :3], triangles, (6, 10))
    assert interpolate(affine, triangles, value)[0, 0, 0, 4] == pytest.approx(0.5, abs=1e-6)


def test_behind_the_camera_is_dropped() -> None:
    vertices = torch.tensor([[[0.0, 0.0, 0.0, 1.0], [0.0, 4.0, 0.0, 1.0], [4.0, 0.0, 0.0, -1.0]]])
    assert not rasterize(vertices, torch.tensor([[0, 1, 2]]), (4, 4)).mask.any()


def test_batch_equals_rows_and_is_deterministic() -> None:
    scenes = [random_scene(seed, 5.0) for seed in (1, 2, 3)]
    triangles = scenes[0][1]
    vertices = torch.cat([scene[0] for scene in scenes])
    attributes = torch.rand(3, vertices.shape[1], 4, generator=torch.Generator().manual_seed(0))
    whole = rasterize(vertices, triangles, (20, 24), cull=False)
    image = interpolate(whole, triangles, attributes)
    again = rasterize(vertices, triangles, (20, 24), cull=False)
    assert torch.equal(whole.triangle, again.triangle)
    for row in range(3):
        single = rasterize(vertices[row: row + 1], triangles, (20, 24), cull=False)
        assert torch.equal(single.triangle[0], whole.triangle[row])
        assert torch.allclose(interpolate(single, triangles, attributes[row: row + 1])[0], image[row], atol=1e-6)


def test_one_row_of_attributes_serves_the_batch() -> None:
    vertices, triangles = random_scene(4, 5.0)
    fragments = rasterize(vertices.repeat(2, 1, 1), triangles, (20, 24))
    attributes = torch.rand(1, vertices.shape[1], 2)
    image = interpolate(fragments, triangles, attributes)
    assert torch.equal(image[0], image[1]) and image.abs().sum() > 0


@pytest.mark.parametrize("corner", [
    [[1.0, 1.0, 0.0], [1.0, 1.0, 0.0], [1.0, 1.0, 0.0]],
    [[1.0, 1.0, 0.0], [3.0, 3.0, 0.0], [5.0, 5.0, 0.0]],
    [[1.1, 1.1, 0.0], [1.1, 1.3, 0.0], [1.3, 1.1, 0.0]],
    [[-9.0, 1.0, 0.0], [-9.0, 5.0, 0.0], [-2.0, 1.0, 0.0]],
    [[float("nan"), 1.0, 0.0], [1.0, 5.0, 0.0], [5.0, 1.0, 0.0]],
    [[0.0, 0.0, 0.0], [0.0, float("inf"), 0.0], [4.0, 0.0, 0.0]],
], ids=["point", "line", "between centres", "off screen", "nan", "inf"])
def test_nothing_is_drawn(corner: list[list[float]]) -> None:
    fragments = rasterize(torch.tensor([corner]), torch.tensor([[0, 1, 2]]), (6, 6), cull=False)
    assert not fragments.mask.any()
    assert (fragments.barycentric == 0).all() and (fragments.depth == -torch.inf).all()


def test_huge_triangle_fills_the_picture() -> None:
    vertices = torch.tensor([[[-1e5, -1e5, 1.0], [-1e5, 3e5, 1.0], [3e5, -1e5, 1.0]]])
    assert rasterize(vertices, torch.tensor([[0, 1, 2]]), (33, 65)).mask.all()


@pytest.mark.parametrize("scale, chunk", [(2.0, 1 << 20), (30.0, 1 << 20), (30.0, 50)])
def test_numpy_draws_what_torch_draws(scale: float, chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same triangles in every pixel, whatever cannot be drawn among them, and the same attributes but for slivers."""
    monkeypatch.setattr(rasterize_cpu, "CHUNK_PIXELS", chunk)
    scenes = [random_scene(seed, scale, 200) for seed in (0, 1)]
    vertices, triangles = torch.cat([scene[0] for scene in scenes]), scenes[0][1]
    vertices[0, 5], vertices[1, 9, 0], vertices[1, 12, 2] = torch.nan, torch.inf, 1e30
    attributes = torch.rand(vertices.shape[1], 3, generator=torch.manual_seed(3))
    with torch.no_grad():
        triangle, image = visible_attributes(vertices, triangles, attributes, (24, 20))
        monkeypatch.setattr("render.rasterize.plain", lambda x: False)
        wanted_triangle, wanted = visible_attributes(vertices, triangles, attributes, (24, 20))
    assert triangle.dtype == torch.int64 and 0.2 < (triangle >= 0).float().mean() <= 1
    torch.testing.assert_close(triangle, wanted_triangle, atol=0, rtol=0)
    fine = wanted.abs().amax(1, keepdim=True) < 100
    torch.testing.assert_close(image * fine, wanted * fine, atol=2e-3, rtol=0)


def test_gradients_reach_vertices_and_attributes() -> None:
    vertices, triangles = grid_mesh(4, 4, torch.Generator().manual_seed(0))
    vertices.requires_grad_()
    attributes = torch.rand(1, 16, 2, generator=torch.Generator().manual_seed(1), requires_grad=True)
    fragments = rasterize(vertices, triangles, (30, 32))
    loss = interpolate(fragments, triangles, attributes)[0, 0, 12, 13]
    position, value = torch.autograd.grad(loss, [vertices, attributes])
    assert value[0, :, 0].sum() == pytest.approx(1.0, abs=1e-5)
    moved = vertices.detach().clone()
    moved[..., 0] += 0.05
    later = interpolate(rasterize(moved, triangles, (30, 32)), triangles, attributes)[0, 0, 12, 13]
    change = float((later - loss).detach())
    assert change == pytest.approx(0.05 * position[..., 0].sum().item(), rel=0.02)


@pytest.mark.parametrize("vertices, triangles, size, message", [
    (torch.zeros(4, 3), torch.zeros(1, 3, dtype=torch.long), (4, 4), "vertices must be"),
    (torch.zeros(1, 4, 3), torch.zeros(1, 3), (4, 4), "triangles must be"),
    (torch.zeros(1, 4, 3), torch.zeros(1, 3, dtype=torch.long), (0, 4), "size must be"),
])
def test_wrong_shapes_are_named(vertices: Tensor, triangles: Tensor, size: tuple[int, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        rasterize(vertices, triangles, size)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_cuda_equals_cpu() -> None:
    vertices, triangles = random_scene(7, 5.0, count=300)
    cpu = rasterize(vertices, triangles, (20, 24))
    gpu: Fragments = rasterize(vertices.cuda(), triangles.cuda(), (20, 24))
    assert torch.equal(cpu.triangle, gpu.triangle.cpu())
    assert torch.allclose(cpu.barycentric, gpu.barycentric.cpu(), atol=1e-5)
