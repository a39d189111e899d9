"""Limbs: layers of their own before the body."""

from __future__ import annotations

import pytest
import torch

from render.geometry import prepare
from render.limbs import _shown, draw_limbs
from render.types import Limb, RenderDrive, RenderSource, Surface
from render.warp import identity_flow

H, W = 64, 64


def scene(depth: tuple[float, ...] = (0.0,)) -> tuple[RenderSource, RenderDrive]:
    """A grey body before a white wall; a red (then a green) square in front of it, continued in grey behind."""
    nothing, box = torch.zeros(0), torch.zeros(1, H, W)
    box[:, 24:40, 24:40] = 1
    control = torch.tensor([[24.0, 24], [40, 24], [24, 40], [40, 40]])
    colours = torch.eye(3)
    limbs = [Limb(torch.cat([colours[i][:, None, None] * box, box]), control, None, d) for i, d in enumerate(depth)]
    grey, whole = torch.full((3, H, W), 0.5), torch.ones(1, H, W)
    head = Surface(torch.zeros(0, 3).long(), torch.zeros(1, 2), torch.zeros(1), nothing.long(), torch.zeros(1, 2))
    corners = torch.tensor([[1.0, 1], [62, 1], [1, 62], [62, 62]])
    source = RenderSource(grey, whole, torch.ones(3, H, W), head, [], corners, (0, 0, 32), torch.zeros(21, 3),
                          torch.zeros(14, 2), torch.ones(3), limbs, torch.cat([grey, whole]))
    drive = RenderDrive(torch.zeros(1, 1, 3), corners[None], [], torch.zeros(1, 21, 3), torch.zeros(1, 14, 2),
                        [control[None].clone() for _ in limbs])
    prepare(source)
    return source, drive


def drawn(source: RenderSource, drive: RenderDrive) -> tuple[torch.Tensor, list[torch.Tensor]]:
    frame, alpha = torch.full((1, 3, H, W), 0.5), torch.zeros(1, 1, H, W)
    seen, _ = draw_limbs(frame, alpha, torch.zeros(1, 2, H, W), torch.zeros(1, 1, H, W), source, drive)
    return frame[0], seen


def test_a_limb_moves_and_the_body_behind_it_stays() -> None:
    source, drive = scene()
    drive.limbs[0] += torch.tensor([8.0, 0.0])
    frame, seen = drawn(source, drive)
    assert frame[:, 32, 28].tolist() == pytest.approx([0.5, 0.5, 0.5], abs=1e-4)  # where it was: the body
    assert frame[:, 32, 44].tolist() == pytest.approx([1, 0, 0], abs=1e-4)
    assert float(seen[0][0, 0, 32, 44]) == pytest.approx(1, abs=1e-4) and float(seen[0].sum()) == pytest.approx(256, rel=0.01)


def test_the_nearer_limb_covers_the_other() -> None:
    for depth, colour in (((0.0, 1.0), [0, 1, 0]), ((1.0, 0.0), [1, 0, 0])):
        source, drive = scene(depth)
        frame, seen = drawn(source, drive)
        assert frame[:, 32, 32].tolist() == pytest.approx(colour, abs=1e-4)
        assert float(seen[depth.index(0.0)].sum()) == pytest.approx(0, abs=1e-2)


def test_a_limb_may_fade() -> None:
    source, drive = scene()
    drive.fade = torch.tensor([[0.25]])
    assert drawn(source, drive)[0][:, 32, 32].tolist() == pytest.approx([0.625, 0.375, 0.375], abs=1e-4)


def test_far_away_is_out_of_the_picture() -> None:
    source, drive = scene()
    drive.limbs[0] += 500.0
    frame, seen = drawn(source, drive)
    assert torch.equal(frame, torch.full((3, H, W), 0.5)) and not seen[0].any()


def test_slices_take_limbs_along() -> None:
    source, drive = scene()
    drive.fade = torch.ones(1, 1)
    part = drive.slice(0, 1)
    assert len(part.limbs) == 1 and part.fade is not None
    assert float(drawn(source, part)[1][0].sum()) == pytest.approx(256, rel=0.01)


def test_old_fingers_are_those_about_the_mesh_but_not_the_arm() -> None:
    mesh = torch.tensor([[30.0, 20], [50, 20], [50, 40], [30, 40]])  # of a hand whose wrist is at its left
    surface = Surface(torch.zeros(0, 3).long(), mesh, torch.ones(4), torch.zeros(0), torch.zeros(4, 2))
    own = _shown(surface, identity_flow((H, W)), torch.tensor([[30.0, 30], [45, 30], [55, 30]]))[0, 0]
    assert own[30, 45] == 1 and own[30, 51] == 1  # a finger's end two pixels beyond the mesh
    assert own[30, 25:34].sum() == 0 and own[30, 55] == 0 and own[50, 45] == 0


def test_a_hands_rim_is_no_staircase() -> None:
    """Its mesh covers a pixel or not, with colours from within the hand; an edge that slants must have steps in between."""
    source, drive = scene()
    shape = torch.tensor([[24.0, 24, 0], [40, 28, 0], [40, 40, 0], [24, 36, 0]])
    inner = shape[:, :2] + (shape[:, :2].mean(0) - shape[:, :2]) * 0.3
    source.hands.append(Surface(torch.tensor([[0, 2, 1], [0, 3, 2]]), inner, torch.ones(4), torch.zeros(2), torch.zeros(4, 2)))
    whole = torch.zeros(1, H, W)
    whole[:, 26:38, 24:40] = 1
    source.limbs[0] = Limb(torch.cat([torch.tensor([1.0, 0, 0])[:, None, None] * whole, whole]), torch.cat([
        source.limbs[0].control, torch.tensor([[24.0, 30], [30, 30], [24, 32], [30, 32]])]), 0, 0.0)
    drive.hands.append(shape[None])
    drive.limbs[0] = source.limbs[0].control[None].clone()
    prepare(source)
    seen = drawn(source, drive)[1][0][0, 0]
    top = seen[20:32, 30:36]
    assert ((top > 0.15) & (top < 0.85)).any(0).all() and float(seen[32, 32]) == pytest.approx(1, abs=1e-4)
