"""Conventions of flow, pinned: identity, one pixel, inversion."""

from __future__ import annotations

import torch

from render.types import Surface
from render.warp import draw_surface, enlarge, field_matrix, identity_flow, sample, smooth_field

SIZE = (64, 48)


def picture() -> torch.Tensor:
    return torch.rand(1, 3, *SIZE, generator=torch.Generator().manual_seed(0))


def control() -> torch.Tensor:
    return torch.tensor([[5.0, 5], [40, 8], [8, 55], [41, 60], [24, 30], [12, 33]])


def test_convention_identity_flow_returns_the_picture() -> None:
    image = picture()
    torch.testing.assert_close(sample(image, identity_flow(SIZE)), image, atol=1e-5, rtol=0)


def test_convention_flow_points_from_frame_to_source() -> None:
    image = picture()
    shifted = sample(image, identity_flow(SIZE) + torch.tensor([1.0, 0]).view(1, 2, 1, 1))
    torch.testing.assert_close(shifted[..., :-1], image[..., 1:], atol=1e-5, rtol=0)  # one pixel to the right in the source
    torch.testing.assert_close(shifted[..., -1], image[..., -1], atol=1e-5, rtol=0)  # edges are held


def test_convention_top_left_centre_is_half() -> None:
    assert identity_flow(SIZE)[0, :, 0, 0].tolist() == [0.5, 0.5]
    assert identity_flow(SIZE, 8)[0, :, 0, 0].tolist() == [4.0, 4.0]


def test_enlarged_identity_is_identity() -> None:
    torch.testing.assert_close(enlarge(identity_flow(SIZE, 8)), identity_flow(SIZE), atol=1e-4, rtol=0)


def test_no_motion_no_flow() -> None:
    points = control()
    flow = smooth_field(field_matrix(points, SIZE), torch.zeros(2, len(points), 2), SIZE)
    torch.testing.assert_close(flow, identity_flow(SIZE, 8).expand(2, -1, -1, -1))


def test_a_common_shift_moves_everything_by_it() -> None:
    points = control()
    shift = torch.tensor([3.0, -2.0])
    flow = smooth_field(field_matrix(points, SIZE), shift.expand(1, len(points), 2), SIZE)
    inner = (flow - identity_flow(SIZE, 8))[0, :, 1:-1, 1:-1]
    torch.testing.assert_close(inner, -shift.view(2, 1, 1).expand_as(inner), atol=0.05, rtol=0)


def test_the_field_goes_through_its_control_points() -> None:
    points = control()
    moved = torch.zeros(1, len(points), 2)
    moved[0, 4] = torch.tensor([4.0, 3.0])
    flow = enlarge(smooth_field(field_matrix(points, SIZE, ridge=0.0), moved, SIZE))
    x, y = (points[4] + moved[0, 4]).long().tolist()
    torch.testing.assert_close(flow[0, :, y, x], points[4], atol=2.0, rtol=0)  # stride 8 rounds the peak off
    x, y = points[1].long().tolist()
    torch.testing.assert_close(flow[0, :, y, x], points[1], atol=1.2, rtol=0)


def test_a_surface_in_place_samples_its_own_pixels() -> None:
    corners = torch.tensor([[8.0, 8], [40, 8], [40, 56], [8, 56]])
    triangles = torch.tensor([[0, 2, 1], [0, 3, 2]])  # counter-clockwise with y up
    surface = Surface(triangles, corners, torch.ones(4), torch.zeros(2).long(), torch.zeros(4, 2))
    vertices = torch.cat([corners, torch.ones(4, 1)], 1)[None]
    triangle, attributes = draw_surface(surface, vertices, (4, 4, 40, 56))
    mask = triangle >= 0
    assert mask[0, 4:52, 4:36].all() and mask.sum() == 32 * 48
    window = identity_flow(SIZE)[:, :, 4:60, 4:44]
    covered = mask[:, None]
    torch.testing.assert_close(attributes[:, :2] * covered, window * covered, atol=1e-3, rtol=0)
