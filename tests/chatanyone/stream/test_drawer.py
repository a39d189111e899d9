"""The real engine with tiny nets, without a process: what is drawn, and how it closes its mouth."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from chatanyone import build
from chatanyone.config import Config
from chatanyone.pipeline import Stages, Style
from chatanyone.portrait import Portrait
from chatanyone.stream.drawer import Drawer
from chatanyone.stream.engine import Step
from chatanyone.stream.gate import MouthGate
from chatanyone.stream.portable import plain, restored
from chatanyone.stream.types import Dials, SessionState
from chatanyone.stream.units import UNIT_FRAMES, speech_before
from motion.style import GROUP_INDICES, LIVELY
from motion.types import BodyMotion, FaceMotion, StyleRange

MOUTH = GROUP_INDICES[0]


class Recorder:
    """A scene that keeps the motion instead of drawing it."""

    workers = 1

    def __init__(self) -> None:
        self.faces: list[torch.Tensor] = []

    def __call__(self, face: FaceMotion, body: BodyMotion) -> torch.Tensor:
        self.faces.append(face.packed())
        return torch.zeros(len(face.expression), 3, 6, 4)

    @property
    def mouth(self) -> torch.Tensor:
        """``[T]`` how much the mouth does."""
        return torch.cat(self.faces)[:, MOUTH].abs().sum(1)


@pytest.fixture(scope="module")
def stages(tiny_config: Config) -> Stages:
    return build.pipeline(tiny_config).stages


def _drawer(stages: Stages, config: Config) -> tuple[Drawer, Recorder]:
    scene = Recorder()
    drawer = Drawer(stages._replace(scene=lambda _: scene), None, config)
    return drawer, scene


def _step(number: int, loud: float = 0.3, pictures: int = 4, **more: object) -> Step:
    count = speech_before(number + 1) - speech_before(number)
    noise = loud * np.random.default_rng(number).standard_normal(count).astype(np.float32)
    return Step(number, noise, SessionState.SPEAKING, np.full(4, -100, np.float32), pictures, **more)  # type: ignore[arg-type]


def _run(drawer: Drawer, count: int, cut_at: tuple[int, int] | None = None, pictures: int = 4) -> None:
    """cut_at: step before which frames before the second number are cut."""
    out: NDArray[np.uint8] = np.zeros((pictures, 6, 4, 3), np.uint8)
    for number in range(count):
        cut = cut_at[1] if cut_at and number >= cut_at[0] else 0
        drawer.step(_step(number, pictures=pictures), lambda: cut, out)


def test_motion_is_that_of_the_offline_engine(stages: Stages, tiny_config: Config) -> None:
    """Fed a unit at a time, the nets say what they say to a whole clip; silence comes first."""
    from chatanyone.pipeline import AvatarPipeline

    drawer, scene = _drawer(stages, tiny_config)
    _run(drawer, 6)
    whole = Recorder()
    engine = AvatarPipeline(stages._replace(scene=lambda _: whole))
    priming = np.zeros((drawer.lag + 6400) // 3, np.float32)
    speech = np.concatenate([priming] + [_step(number).samples for number in range(6)])
    engine.step(speech, engine.init(None, tiny_config.motion.seed))
    drawn, offline = torch.cat(scene.faces), torch.cat(whole.faces)[UNIT_FRAMES:]
    torch.testing.assert_close(drawn, offline[:len(drawn)], atol=1e-5, rtol=1e-4)
    assert drawn.std() > 1e-3


@pytest.mark.parametrize("pictures", [4, 2, 1])
def test_slower_sessions_draw_some_of_the_same_motion(stages: Stages, tiny_config: Config, pictures: int) -> None:
    all_of_it, some = _drawer(stages, tiny_config), _drawer(stages, tiny_config)
    _run(all_of_it[0], 4)
    _run(some[0], 4, pictures=pictures)
    torch.testing.assert_close(torch.cat(some[1].faces), torch.cat(all_of_it[1].faces)[::4 // pictures])


@pytest.mark.parametrize("pictures", [4, 2, 1])
def test_the_mouth_closes_within_three_frames_and_opens_again(stages: Stages, tiny_config: Config, pictures: int) -> None:
    drawer, scene = _drawer(stages, tiny_config)
    free, other = _drawer(stages, tiny_config)
    _run(drawer, 8, cut_at=(3, 24), pictures=pictures)
    _run(free, 8, pictures=pictures)
    ratio = scene.mouth / other.mouth
    first, last, unit = 3 * pictures, 6 * pictures, pictures
    assert (ratio[:first] == 1).all()
    shut = ratio[first + (3 * pictures - 1) // 4:last]
    assert (shut < 0.1).all(), ratio
    assert (ratio[last + unit:] == 1).all()
    others = [index for index in range(58) if index not in MOUTH]
    torch.testing.assert_close(torch.cat(scene.faces)[:, others], torch.cat(other.faces)[:, others])


def test_gate_is_a_ramp_both_ways() -> None:
    gate, factors = MouthGate(), []
    for held in [True] * 5 + [False] * 5:
        gate = gate.step(held)
        factors.append(gate.factor)
    assert factors == [0.4, 0.08, 0, 0, 0, 0.08, 0.4, 1, 1, 1]


def test_dials_move_softly_and_arrive(stages: Stages, tiny_config: Config) -> None:
    drawer, scene = _drawer(stages, tiny_config)
    plain, other = _drawer(stages, tiny_config)
    out: NDArray[np.uint8] = np.zeros((4, 6, 4, 3), np.uint8)
    for number in range(12):
        dials = Dials(pose=2.0, groups={"brows": 0.0}) if number >= 3 else Dials()
        drawer.step(_step(number, dials=dials), lambda: 0, out)
        plain.step(_step(number), lambda: 0, out)
    turned, usual = (FaceMotion.unpack(torch.cat(s.faces)) for s in (scene, other))
    ratio = (turned.rotation.norm(dim=1) / usual.rotation.norm(dim=1)).reshape(-1, 4)[:, 0]
    assert ratio[:3] == pytest.approx([1, 1, 1]) and ratio[3] == pytest.approx(1.5, abs=0.01)
    assert ratio[-1] == pytest.approx(2.0, abs=0.05)
    assert turned.expression[-1, :5].abs().max() == 0 or tiny_config.motion.seed is None


def test_a_style_is_swapped_while_the_motion_flows_on(stages: Stages, tiny_config: Config) -> None:
    drawer, scene = _drawer(stages, tiny_config)
    out: NDArray[np.uint8] = np.zeros((4, 6, 4, 3), np.uint8)
    reference = FaceMotion.unpack(0.1 * torch.rand(30, 58))
    rest = torch.zeros(58)
    rest[43] = 0.3  # mouthSmileLeft
    style = Style(dataclasses.replace(LIVELY), reference, rest)
    for number in range(14):
        drawer.step(_step(number, style=(style,) if number == 4 else None), lambda: 0, out)
    smile = torch.cat(scene.faces)[:, 43]
    assert torch.diff(smile)[12:].abs().max() < 0.2, "it comes over time"
    assert smile[-4:].mean() > smile[:16].mean() + 0.1
    for style_now in (None, Style()):
        drawer.step(_step(20, style=(style_now,)), lambda: 0, out)


def test_styles_survive_the_way_into_another_process() -> None:
    styles = [Style(), Style(dataclasses.replace(LIVELY)), Style(StyleRange(None, torch.rand(6))), Style(StyleRange()),
              Style(dataclasses.replace(LIVELY), FaceMotion.unpack(torch.rand(9, 58)), torch.rand(58))]
    for style in styles:
        parts = plain(style)
        assert all(isinstance(part, np.ndarray) for part in parts.values())
        assert plain(restored(parts)).keys() == parts.keys()
        for name, part in plain(restored(parts)).items():
            np.testing.assert_array_equal(part, parts[name])
    assert restored(plain(None)) == Style()


def test_pictures_of_a_person_move(stages: Stages, tiny_config: Config, portrait_file: Path) -> None:
    drawer = Drawer(stages, Portrait.load(portrait_file), tiny_config)
    out: NDArray[np.uint8] = np.zeros((4, 384, 256, 3), np.uint8)
    drawer.warm_up()
    parts = drawer.step(_step(0), lambda: 0, out)
    assert parts.keys() == {"motion", "drawing"} and out.std() > 5
    before = out.copy()
    drawer.step(_step(1), lambda: 0, out)
    assert not np.array_equal(before, out)
