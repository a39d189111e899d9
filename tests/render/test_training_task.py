"""Training: a pair survives the disk, the nets learn what there is to learn, validation tells geometry from nets."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from render.training.data import RenderPair, read_pair, unpack, write_pair
from render.training.rocketbox import Area
from render.training.task import LossWeights, RenderTask, _teachable, draw_pair
from render.warp import identity_flow, sample
from tests.helpers.render_nets import SMALL, small_renderer

H, W, SIDE = 256, 256, 96
SHIFT = 6.0  # px the person really moves to the right; geometry does not know


def make_pair() -> RenderPair:
    """A colourful disc on grey that moves, while geometry leaves it; its face becomes brighter."""
    y, x = torch.meshgrid(torch.arange(H) + 0.5, torch.arange(W) + 0.5, indexing="ij")
    matte = (((x - 128) ** 2 + (y - 140) ** 2) < 100 ** 2).float()[None, None]
    picture = torch.stack([0.5 + 0.4 * torch.sin(x / 9), 0.5 + 0.4 * torch.cos(y / 11), 0.5 + 0 * x])[None]
    plate, identity = torch.full((1, 3, H, W), 0.5), identity_flow((H, W))
    moved = sample(torch.cat([picture * matte, matte], 1), identity - torch.tensor([SHIFT, 0.0])[:, None, None])
    target = moved[:, :3] + (1 - moved[:, 3:]) * plate
    x0, y0 = 80, 60
    target[:, :, y0 + 24:y0 + 72, x0 + 24:x0 + 72] = (target[:, :, y0 + 24:y0 + 72, x0 + 24:x0 + 72] + 0.25).clamp(0, 1)
    coarse = identity_flow((H, W), 8)
    seen = (F.avg_pool2d(moved[:, 3:], 8) > 0.9).float()
    points, body = torch.rand(1, 21, 3) * 60 + 100, torch.rand(1, 14, 2) * 200 + 60
    return RenderPair(
        foreground=picture, matte=matte, plate=plate, target=target, target_alpha=moved[:, 3:],
        area=(moved[:, 3:] > 0.5) * int(Area.BODY), frame=picture * matte + (1 - matte) * plate, alpha=matte,
        control=torch.zeros(1, 8, SIDE, SIDE), hands=torch.zeros(1, 4, H, W),
        flow_quarter=F.avg_pool2d(identity, 4), coarse=coarse,
        true_flow=coarse - torch.tensor([SHIFT, 0.0])[:, None, None], seen=seen, box=torch.tensor([[x0, y0, SIDE]]),
        face_source=points, face_drive=points + torch.tensor([SHIFT, 0, 0]), body_source=body,
        body_drive=body + torch.tensor([SHIFT, 0]))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pairs")
    for split in ("train", "held_out"):
        write_pair(path / f"{split}_00000.safetensors", make_pair())
    return path


def test_a_pair_survives_the_disk(folder: Path) -> None:
    before, after = make_pair(), unpack(read_pair(folder / "train_00000.safetensors"))
    for field in fields(RenderPair):
        if not field.name.startswith(("face_", "body_")):  # random
            error = (getattr(before, field.name).float() - getattr(after, field.name).float()).abs().max()
            assert error <= 0.51 / 255, field.name


def test_a_pair_that_lacks_something_is_refused(folder: Path) -> None:
    batch = read_pair(folder / "train_00000.safetensors")
    batch.pop("seen")
    with pytest.raises(ValueError, match="lacks seen"):
        unpack(batch)


def test_untrained_nets_draw_the_stored_proposal(folder: Path) -> None:
    pair = unpack(read_pair(folder / "train_00000.safetensors"))
    with torch.no_grad():
        made = draw_pair(small_renderer(), pair)
    assert (made - pair.frame).abs().max() < 3 / 255


def test_batches_depend_on_the_seed_alone(folder: Path) -> None:
    task = RenderTask(folder, SMALL)
    assert torch.equal(next(task.batches(3))["target"], next(task.batches(3))["target"])


def test_a_folder_without_pairs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="make_render_pairs"):
        RenderTask(tmp_path)


def test_the_nets_learn_what_geometry_does_not_know(folder: Path) -> None:
    task = RenderTask(folder, SMALL)
    model, batch = task.build(), next(task.batches(0))
    optimizer = torch.optim.Adam(model.parameters(), lr=6e-3)
    before = task.validate(model)
    for step in range(10):
        torch.manual_seed(step)
        loss, numbers = task.loss(model, batch, step)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    after = task.validate(model)
    assert abs(before["nets_person"] - before["geometry_person"]) < 0.1
    assert after["geometry_person"] == before["geometry_person"]
    assert after["nets_person"] > before["nets_person"] + 1 and after["nets_face"] > before["nets_face"] + 1
    assert numbers["flow"] < 0.7 * float(task.loss(task.build(), batch, 0)[1]["flow"])


def measured_pair() -> RenderPair:
    """A pair whose drive was seen in the target: geometry lies on the truth, but for colour; one hand is drawn, one lost."""
    pair = make_pair()
    pair.seen = torch.zeros_like(pair.seen)
    pair.frame = (pair.target * 0.9 + 0.02).clamp(0, 1)
    pair.alpha = pair.target_alpha
    pair.hands[:, :, 150:190, 90:130] = 1.0
    pair.hands[:, :3] *= pair.frame
    pair.frame[:, :, 140:170, 170:200] = 1 - pair.target[:, :, 140:170, 170:200].round()
    return pair


def test_a_measured_pair_is_learned_as_geometry_draws_it(tmp_path: Path) -> None:
    """No warping field; hands are injected; what geometry missed altogether is not learned from."""
    write_pair(tmp_path / "train_00000.safetensors", measured_pair())
    task = RenderTask(tmp_path, SMALL)
    model, batch = task.build(), next(task.batches(0))
    pair = unpack(batch)
    with torch.no_grad():
        assert torch.equal(draw_pair(model, pair), pair.frame.clamp(0, 1))
    weight = _teachable(pair)
    assert weight[0, 0, 155, 185] == 0 and weight[0, 0, 170, 110] == 1 and weight[0, 0, 5, 5] == 0
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    first = last = 0.0
    for step in range(24):
        torch.manual_seed(step)
        loss, numbers = task.loss(model, batch, step)
        assert not {"flow", "warp", "occlusion"} & numbers.keys()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        first, last = first or numbers["face_l1"], numbers["face_l1"]
    assert last < 0.7 * first
    assert any(bool(gain.any()) for gain in model.generator.hands.gain)


def test_every_part_learns(folder: Path) -> None:
    """No net is cut off from the loss (at the zero start only output layers are; so one step is taken first)."""
    task = RenderTask(folder, SMALL, LossWeights(adversarial=0.1, matching=0.1, adversarial_from=1))
    model, batch = task.build(), next(task.batches(0))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for step in range(2):
        loss, numbers = task.loss(model, batch, step)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
    deaf = [name for name, parameter in model.named_parameters() if parameter.grad is None]
    assert {"adversarial", "matching"} <= numbers.keys()
    assert all(name.startswith(("generator.hands", "filter")) for name in deaf), deaf  # no hands; nothing was measured
    assert model.body_points.head.weight.grad is not None and model.body_points.head.weight.grad.any()


def test_the_filter_learns_where_geometry_is_beside_the_truth(tmp_path: Path) -> None:
    """Alone: everything else stays; what it learns is to be less sure, so the error falls."""
    pair = measured_pair()
    pair.frame = pair.target.roll((2, 1), (2, 3))
    pair.body_drive = pair.body_source + 20  # the picture moves
    pair.hands[:, 3:] = 1.0  # hands everywhere: they may become soft, faces and clothes would pay for it
    write_pair(tmp_path / "train_00000.safetensors", pair)
    task = RenderTask(tmp_path, SMALL, filter_only=True)
    model, batch = task.build(), next(task.batches(0))
    still = {name: value.clone() for name, value in model.named_parameters() if not name.startswith("filter")}
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    errors = []
    for step in range(10):
        loss, numbers = task.loss(model, batch, step)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        errors.append(numbers["filter_error"])
    assert not task.companions() and set(numbers) == {"filter_error", "filter_detail"}
    assert abs(errors[0] - 1) < 1e-3 and errors[-1] < 0.9
    for name, value in still.items():
        assert torch.equal(value, dict(model.named_parameters())[name]), name
