"""What happens to a mouth when its speech is cut off: how long it is held, and pictures that are drawn again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from chatanyone import build
from chatanyone.config import Config
from chatanyone.driver import Driver
from chatanyone.media.frames import as_bytes
from chatanyone.pipeline import Stages
from chatanyone.portrait import Portrait
from chatanyone.stages import PortraitScene
from chatanyone.stream.drawer import Drawer
from chatanyone.stream.engine import Step
from chatanyone.stream.facewindow import FaceWindow
from chatanyone.stream.gate import TAIL_FRAMES, Hold
from chatanyone.stream.types import SessionState
from chatanyone.stream.units import speech_before
from motion.template.head import HeadTemplate
from motion.types import ARKIT_INDEX, BodyMotion, FaceMotion

LAG = 8000


def test_the_hold_ends_after_the_speech_that_was_fed_and_its_tail() -> None:
    hold = Hold(LAG)
    assert hold.before == 0
    hold.cut(3)
    assert hold.before == 12 + 5 + TAIL_FRAMES
    hold.feed(3, np.zeros(2134, np.float32))
    assert hold.before == 12 + 5 + TAIL_FRAMES, "silence opens nothing"


@pytest.mark.parametrize("onset, frame", [(0, 17), (1100, 19), (2133, 20)])
def test_new_speech_opens_the_mouth_at_once(onset: int, frame: int) -> None:
    hold, samples = Hold(LAG), np.zeros(2134, np.float32)
    hold.cut(3)
    samples[onset:] = 0.1
    hold.feed(3, samples)
    assert hold.before == frame
    hold.feed(4, samples)
    assert hold.before == frame, "it is not lengthened again"


@pytest.fixture(scope="module")
def scene(portrait_file: Path) -> PortraitScene:
    from render.geometry import coarse_flow, draw

    driver = Driver(Portrait.load(portrait_file), HeadTemplate.load())
    H, W = driver.source.size
    teeth = torch.linspace(0, 1, W).expand(3, H, W)  # the picture's own, a colour for each column
    x0, y0, side = driver.source.face_box
    sure = torch.zeros(1, H, W)
    sure[:, y0:y0 + side, x0:x0 + side] = 1
    driver.source = replace(driver.source, teeth=torch.cat([teeth, sure]))
    return PortraitScene(driver, lambda source, drive: draw(source, drive, coarse_flow(source, drive)).frame)


def _moved(jaw: float, count: int = 2) -> tuple[FaceMotion, BodyMotion]:
    face = FaceMotion.unpack(torch.zeros(count, 58))
    face.expression[:, ARKIT_INDEX["jawOpen"]] = jaw
    face.rotation[:] = torch.tensor([0.05, 0.15, 0.02])
    return face, BodyMotion.unpack(torch.full((count, 144), 0.01))


def _drawn(scene: PortraitScene, face: FaceMotion, body: BodyMotion) -> NDArray[np.uint8]:
    return as_bytes(scene(face, body))


def test_the_window_draws_what_the_scene_draws(scene: PortraitScene) -> None:
    face, body = _moved(0.3)
    whole = _drawn(scene, face, body)
    again = FaceWindow(scene)(face, body, whole)
    assert again is not None and again is not whole
    assert np.abs(again.astype(int) - whole).max() <= 1


def test_the_window_shuts_the_mouth_and_leaves_the_rest(scene: PortraitScene) -> None:
    window, (face, body) = FaceWindow(scene), _moved(0.5)
    wide, shut = _drawn(scene, face, body), _drawn(scene, *_moved(0.0))
    again = window(*_moved(0.0), wide)
    assert again is not None
    x0, y0, side = scene.source.face_box
    mouth = np.s_[:, y0 + side // 4:y0 + 3 * side // 4, x0 + side // 4:x0 + 3 * side // 4]
    assert np.abs(wide[mouth].astype(int) - shut[mouth]).mean() > 1, "the mouth was open"
    assert np.abs(again[mouth].astype(int) - shut[mouth]).max() <= 1
    outside = np.ones(wide.shape[1:3], bool)
    outside[y0:y0 + side, x0:x0 + side] = False
    np.testing.assert_array_equal(again[:, outside], wide[:, outside])


def test_a_hand_before_the_face_stays(scene: PortraitScene) -> None:
    face, body = _moved(0.0)
    window, plain = FaceWindow(scene), scene.driver

    class WithHand:
        source = plain.source

        def __call__(self, face: FaceMotion, body: BodyMotion) -> object:
            drive = plain(face, body)
            drive.limbs = [drive.face_keypoints[:, :3, :2]]
            return drive

    window._driver._driver = WithHand()
    assert window(face, body, _drawn(scene, face, body)) is None


@pytest.fixture(scope="module")
def stages(tiny_config: Config) -> Stages:
    return build.pipeline(tiny_config).stages


class FakeWindow:
    """Keeps what it is asked for; the pictures come back inverted."""

    def __init__(self) -> None:
        self.faces: list[FaceMotion] = []

    def __call__(self, face: FaceMotion, body: BodyMotion, pictures: NDArray[np.uint8]) -> NDArray[np.uint8] | None:
        self.faces.append(face)
        return np.full_like(pictures, 255)


def _step(number: int, pictures: int) -> Step:
    count = speech_before(number + 1) - speech_before(number)
    noise = 0.3 * np.random.default_rng(number).standard_normal(count).astype(np.float32)
    return Step(number, noise, SessionState.SPEAKING, np.full(4, -100, np.float32), pictures)


@pytest.mark.parametrize("pictures", [4, 2, 1])
def test_a_cut_draws_the_last_units_again_and_the_next_one_goes_on_shut(stages: Stages, tiny_config: Config,
                                                                        pictures: int) -> None:
    factors: list[list[float]] = []

    def scene(face: FaceMotion, body: BodyMotion) -> torch.Tensor:
        return torch.zeros(len(face.expression), 3, 6, 4)

    drawer = Drawer(stages._replace(scene=lambda _: scene), None, tiny_config)
    window = FakeWindow()
    drawer._window = window  # type: ignore[assignment]
    out: NDArray[np.uint8] = np.zeros((pictures, 6, 4, 3), np.uint8)
    for number in range(4):
        drawer.step(_step(number, pictures), lambda: 0, out)
    assert list(drawer.redraw(2, lambda: 0)) == [], "nothing was cut"
    again = list(drawer.redraw(1, lambda: 40))
    assert [number for number, _ in again] == [2, 3], "older ones are not kept"
    assert all(picture.shape == (pictures, 6, 4, 3) and (picture == 255).all() for _, picture in again)
    assert list(drawer.redraw(2, lambda: 40)) == [], "they are as they should be"
    factors = [unit.factors for unit in drawer._drawn]
    assert factors == {4: [[0.4, 0.08, 0, 0], [0, 0, 0, 0]], 2: [[0.08, 0], [0, 0]], 1: [[0], [0]]}[pictures]
    drawer.step(_step(4, pictures), lambda: 40, out)
    assert drawer._drawn[-1].factors == [0.0] * pictures
    drawer.step(_step(5, pictures), lambda: 0, out)
    assert drawer._drawn[-1].factors == {4: [0.08, 0.4, 1, 1], 2: [0.08, 1], 1: [0.08]}[pictures]


def test_pictures_by_nets_are_not_drawn_again(stages: Stages, tiny_config: Config, portrait_file: Path) -> None:
    assert tiny_config.render.use_networks
    drawer = Drawer(stages, Portrait.load(portrait_file), tiny_config)
    out: NDArray[np.uint8] = np.zeros((1, 384, 256, 3), np.uint8)
    drawer.step(_step(0, 1), lambda: 0, out)
    assert list(drawer.redraw(0, lambda: 40)) == []
