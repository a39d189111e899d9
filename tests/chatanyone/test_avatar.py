from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import torch

import chatanyone
from chatanyone import avatar as module
from chatanyone import build, timebase
from chatanyone.avatar import Avatar
from chatanyone.config import load_config
from chatanyone.errors import ChatAnyoneError, MediaError, StreamClosed
from chatanyone.media.audio import write_wav
from chatanyone.pipeline import AvatarPipeline
from tests.helpers.portrait import plain_portrait
from tests.helpers.stages import stand_ins

SPEECH = (0.2 * np.random.default_rng(0).standard_normal(16_000)).astype(np.float32)


@pytest.fixture
def avatar(monkeypatch: pytest.MonkeyPatch) -> Avatar:
    """Driven by stand-ins, in a frame of 64 × 96."""
    monkeypatch.setattr(build, "pipeline", lambda config: AvatarPipeline(stand_ins()))
    return Avatar(plain_portrait((64, 96)))


def test_pictures_come_as_sound_goes_in(avatar: Avatar) -> None:
    pictures: list[module.TimedFrame] = []
    for start in range(0, len(SPEECH), 1234):
        avatar.push(SPEECH[start:start + 1234])
        pictures += avatar
    assert 20 < len(pictures) < 30
    avatar.finish()
    pictures += avatar
    assert len(pictures) == 30
    assert [time_s for time_s, _ in pictures] == pytest.approx(np.arange(30) / 30)
    assert pictures[0].frame.shape == (96, 64, 3) and pictures[0].frame.dtype == np.uint8
    assert list(avatar) == []


def test_it_gives_what_the_engine_gives(avatar: Avatar) -> None:
    engine = AvatarPipeline(stand_ins())
    offline = list(engine.run(SPEECH, engine.init(None)))
    avatar.push(SPEECH)
    avatar.finish()
    np.testing.assert_array_equal([frame for _, frame in avatar], offline)


def test_int16_is_the_same_sound(avatar: Avatar) -> None:
    avatar.push((SPEECH * 32767).astype(np.int16))
    avatar.finish()
    assert len(list(avatar)) == 30


def test_an_interruption_forgets_what_was_not_asked_for(avatar: Avatar) -> None:
    avatar.push(SPEECH)
    taken = [next(iter(avatar)) for _ in range(6)]
    dropped = avatar.interrupt()
    assert 0 < dropped < len(SPEECH) and avatar.interrupt() == 0
    heard = len(SPEECH) - dropped
    avatar.push(np.zeros(3200, np.float32))
    avatar.finish()
    rest = list(avatar)
    assert len(taken) + len(rest) <= timebase.frames_for_samples(heard + 3200, timebase.parse_fps(30))
    assert rest[0].time_s > taken[-1].time_s


def test_the_mouth_closes_when_interrupted() -> None:
    shown: list[torch.Tensor] = []

    def scene(face: object, body: object) -> torch.Tensor:
        shown.append(face.expression[:, 24])  # type: ignore[attr-defined]
        return torch.zeros(len(shown[-1]), 3, 2, 2)

    from motion.types import BodyMotion, FaceMotion

    gate = module._Interruptible(scene)
    open_mouth = FaceMotion(torch.full((8, 52), 0.5), torch.zeros(8, 3), torch.zeros(8, 3))
    gate(open_mouth, BodyMotion(torch.zeros(8, 14, 3), torch.zeros(8, 2, 51)))
    gate.cut(12)
    gate(open_mouth, BodyMotion(torch.zeros(8, 14, 3), torch.zeros(8, 2, 51)))
    assert torch.cat(shown).tolist() == pytest.approx([0.5] * 8 + [0.2, 0.04, 0, 0] + [0.04, 0.2, 0.5, 0.5])


def test_wrong_use_is_a_sentence(avatar: Avatar) -> None:
    with pytest.raises(MediaError, match=r"expected mono sound \[n\] as int16 or float, got float32 \[2, 5\]"):
        avatar.push(np.zeros((2, 5), np.float32))
    with pytest.raises(MediaError, match="got int64"):
        avatar.push(np.zeros(5, np.int64))
    with avatar:
        pass
    with pytest.raises(StreamClosed, match="takes no more sound"):
        avatar.push(SPEECH)
    assert list(avatar) == []


def test_a_missing_picture_is_a_sentence() -> None:
    with pytest.raises(ChatAnyoneError, match="none.jpg"):
        Avatar("none.jpg")


def test_importing_the_package_is_cheap() -> None:
    code = "import sys, chatanyone; sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0
    assert chatanyone.Avatar is Avatar and chatanyone.__all__ == ["Avatar"]
    with pytest.raises(AttributeError, match="no attribute 'Avatars'"):
        chatanyone.Avatars


def test_the_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
                          repository: Path) -> None:
    """The docstring's, word for word, with a real picture and tiny nets."""
    data = pytest.importorskip("skimage.data")
    from PIL import Image

    Image.fromarray(data.astronaut()).save(tmp_path / "me.jpg")
    write_wav(tmp_path / "hello.wav", SPEECH[:8000])
    monkeypatch.chdir(tmp_path)
    tiny = load_config(repository / "configs" / "debug.yaml", {"render.cache": str(tmp_path)})
    monkeypatch.setattr(module, "load_config", lambda path: tiny)
    example = textwrap.dedent((module.__doc__ or "").split("\n\n", 1)[1])
    exec(compile(example, "example", "exec"), {})
    assert capsys.readouterr().out == "15 pictures, the last one at 0.47 s\n"
    page = (repository / "docs" / "live.md").read_text()
    assert textwrap.dedent(example).strip() in page, "docs/live.md shows the same example"
    assert len(example.strip().splitlines()) <= 15
