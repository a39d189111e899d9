"""The chain: untrained it is the geometric frame, each switch leaves out its part, and it fits its budget."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from chatanyone.driver import Driver, neutral_motion
from motion.template.head import HeadTemplate
from motion.types import ARKIT_INDEX
from render.generator import Generator
from render.geometry import coarse_flow, propose
from render.renderer import Renderer, implicit_body
from render.types import RenderDrive, RenderSource
from tests.helpers.render_nets import SMALL, awake, small_renderer
from tests.helpers.template_person import template_portrait

GFLOP, PARAMETERS = 20, 16_000_000  # of a 512 × 768 frame: twice the multiply-adds


@pytest.fixture(scope="module")
def driver() -> Driver:
    template = HeadTemplate.load()
    return Driver(template_portrait(template), template)


@pytest.fixture
def source(driver: Driver) -> RenderSource:
    """Its own cache: what one renderer saw is not another's."""
    return driver.source.to("cpu")


@pytest.fixture(scope="module")
def drive(driver: Driver) -> RenderDrive:
    face, body = neutral_motion(2)
    face.rotation[1, 1], face.expression[1, ARKIT_INDEX["jawOpen"]] = 0.2, 0.6
    return driver(face, body)


def test_untrained_nets_draw_exactly_the_geometric_frame(source: RenderSource, drive: RenderDrive) -> None:
    expected = propose(source, drive).frame
    assert torch.equal(Renderer().eval()(source, drive), expected)


def test_without_networks_it_is_geometry_alone(source: RenderSource, drive: RenderDrive) -> None:
    renderer = small_renderer(awaken=True)
    assert torch.equal(renderer(source, drive, use_filter=False, use_networks=False), propose(source, drive).frame)
    assert not torch.equal(renderer(source, drive), propose(source, drive).frame)


def test_without_the_face_pass_only_the_face_window_differs(source: RenderSource, drive: RenderDrive) -> None:
    renderer = small_renderer(awaken=True)
    change = (renderer(source, drive) - renderer(source, drive, face_refine=False)).abs().amax((0, 1))
    x0, y0, side = source.face_box
    assert change[y0:y0 + side, x0:x0 + side].max() > 1e-3
    change[y0:y0 + side, x0:x0 + side] = 0
    assert change.max() == 0


def test_the_implicit_offset_is_heard_by_the_face_pass(source: RenderSource, drive: RenderDrive) -> None:
    renderer = small_renderer(awaken=True)
    awake(renderer.face, scale=0.3)
    assert not torch.equal(renderer(source, drive), renderer(source, drive, implicit_offset=False))


def test_at_rest_no_flow_is_corrected(source: RenderSource, drive: RenderDrive) -> None:
    renderer = small_renderer(awaken=True)
    awake(renderer.motion, scale=0.3)
    coarse = coarse_flow(source, drive)
    renderer.look(source)
    flow = renderer.move(source, drive, coarse).flow.abs().amax((1, 2, 3))
    assert flow[0] < 1e-3 and flow[1] > 0.5


def test_frames_do_not_depend_on_their_neighbours_in_a_batch(source: RenderSource, drive: RenderDrive) -> None:
    renderer = small_renderer(awaken=True)
    together = renderer(source, drive)
    assert torch.allclose(together[1:], renderer(source, drive.slice(1, 2)), atol=2 / 255)
    assert (together[1:] - renderer(source, drive.slice(1, 2))).abs().mean() < 1e-4


def test_bfloat16_draws_the_same_picture(source: RenderSource, drive: RenderDrive) -> None:
    renderer = small_renderer(awaken=True)
    full = renderer(source, drive)
    renderer.precision = "bf16"
    half = renderer(source, drive)
    assert half.dtype == torch.float32 and (full - half).abs().mean() < 2 / 255


def test_the_picture_is_looked_at_once(source: RenderSource, drive: RenderDrive, monkeypatch: pytest.MonkeyPatch) -> None:
    renderer = small_renderer()
    renderer(source, drive)
    monkeypatch.setattr(renderer.appearance, "forward", lambda *given: pytest.fail("looked again"))
    renderer(source, drive)


def test_the_inside_of_the_mouth_stays_as_drawn(source: RenderSource, drive: RenderDrive) -> None:
    renderer = small_renderer(awaken=True)
    for parameter in renderer.motion.out.parameters():
        torch.nn.init.zeros_(parameter)
    proposal, made = propose(source, drive), renderer(source, drive, use_filter=False)
    x0, y0, side = source.face_box
    change = (made - proposal.frame)[:, :, y0:y0 + side, x0:x0 + side].abs().sum(1)
    inside = proposal.face[:, 3] == 1
    assert inside[1].sum() > 20 and change[inside].max() < 1e-6 and change[~inside].mean() > 1e-3
    renderer.mouth = 1.0
    change = (renderer(source, drive, use_filter=False) - proposal.frame)[:, :, y0:y0 + side, x0:x0 + side].abs().sum(1)
    assert change[inside].mean() > 1e-3


def test_nets_that_have_learned_nothing_are_not_computed(
    source: RenderSource, drive: RenderDrive, monkeypatch: pytest.MonkeyPatch,
) -> None:
    renderer = small_renderer(awaken=True)
    complete = renderer(source, drive)
    for net in (renderer.generator, renderer.face):
        for parameter in net.out.parameters():
            torch.nn.init.zeros_(parameter)
        monkeypatch.setattr(net, "forward", lambda *given: pytest.fail("computed"))
    assert not torch.equal(renderer(source, drive), complete)


def test_hands_reach_the_generator_where_the_source_has_some(
    source: RenderSource, drive: RenderDrive, monkeypatch: pytest.MonkeyPatch,
) -> None:
    renderer, seen = small_renderer(awaken=True), []
    forward = Generator.forward

    def spy(self: Generator, *given: Tensor) -> Tensor:
        seen.append(given[-1])
        return forward(self, *given)

    monkeypatch.setattr(Generator, "forward", spy)
    renderer(source, drive)
    source.hands, drive.hands = [source.head], [drive.head]
    renderer(source, drive)
    renderer(source, drive, hand_injection=False)
    drive.hands = []
    assert seen[0] is None and seen[1].shape == (2, 4, *source.size) and seen[1][:, 3].max() == 1 and seen[2] is None


def test_eq_1_at_rest_is_the_landmarks_and_the_offset(source: RenderSource) -> None:
    offset = torch.randn(14, 2)
    found = implicit_body(source, source.body_keypoints[None] + 5, offset)
    assert torch.allclose(found[0], source.body_keypoints + offset + 5, atol=1e-3)


def test_an_unknown_precision_is_refused() -> None:
    with pytest.raises(ValueError, match="fp32, bf16"):
        Renderer(precision="fp8", **SMALL)


def test_a_frame_fits_the_budget() -> None:
    """The nets alone, at 512 × 768 with the largest face window, every input the size it has there."""
    renderer = Renderer().eval()
    f, vector = renderer.sizes["features"], torch.zeros(1, 2 * renderer.sizes["features"])
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        renderer.motion(torch.zeros(1, 45, 96, 64), vector)
        renderer.generator(torch.zeros(1, 3, 768, 512), torch.zeros(1, 1, 768, 512), torch.zeros(1, f, 192, 128),
                           torch.zeros(1, 2 * f, 96, 64), torch.zeros(1, 4, 768, 512))
        renderer.face(torch.zeros(1, 3, 512, 512), torch.zeros(1, 3, 512, 512), torch.zeros(1, 8, 512, 512),
                      torch.zeros(1, 21, 64, 64), vector)
    assert 1e9 < counter.get_total_flops() < GFLOP * 1e9
    assert sum(parameter.numel() for parameter in renderer.parameters()) < PARAMETERS
