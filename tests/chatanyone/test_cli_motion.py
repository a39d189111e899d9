"""The verbs around motion, called as a user would: drawn again, driven, edited, converted, plotted, styles."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from chatanyone import animate, build, cli, tracking
from chatanyone.config import Config
from chatanyone.media.audio import write_wav
from chatanyone.media.video import VideoWriter
from chatanyone.motionfile import MotionDocument
from chatanyone.pipeline import PipelineState, Stages, Strengths, Style
from chatanyone.styles import calibration
from motion.types import ARKIT_INDEX
from tests.helpers.media import gradient, probe, write_picture
from tests.helpers.motion import moving
from tests.helpers.portrait import plain_portrait
from tests.helpers.stages import FlatScene, stand_ins

JAW = ARKIT_INDEX["jawOpen"]


@pytest.fixture(autouse=True)
def _stand_ins(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def stages(config: Config) -> Stages:
        return stand_ins(config.media.rate, config.media.width_height)

    monkeypatch.setattr(build, "stages", stages)
    monkeypatch.setattr(build, "scenes", lambda config: lambda portrait: FlatScene(portrait, config.media.width_height))
    monkeypatch.setattr(animate, "prepare_portrait", lambda picture, size, *_: plain_portrait(size))
    monkeypatch.setattr(tracking, "track_file", lambda path, **given: moving(45, given["fps"]))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))


@pytest.fixture
def image(tmp_path: Path) -> Path:
    return write_picture(tmp_path / "me.png")


@pytest.fixture
def motion(tmp_path: Path) -> Path:
    moving(45).save(tmp_path / "m.npz")
    return tmp_path / "m.npz"


@pytest.fixture
def audio(tmp_path: Path) -> Path:
    write_wav(tmp_path / "hello.wav", (0.3 * np.sin(np.arange(24_000) / 9)).astype(np.float32))
    return tmp_path / "hello.wav"


def _clip(path: Path, sound: bool) -> Path:
    with VideoWriter(path, (64, 64), Fraction(30), 16_000 if sound else None) as writer:
        for _ in range(45):
            writer.write(gradient(64, 64))
        if sound:
            writer.write_audio(np.zeros(24_000, np.float32))
    return path


def _run(*arguments: object) -> int:
    return cli.main([str(argument) for argument in arguments])


def _refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    assert _run(*arguments) == cli.USER_MISTAKE
    lines = capsys.readouterr().err.splitlines()
    assert len([line for line in lines if "error" in line]) == 1 and "Traceback" not in "".join(lines)
    return lines[-1]


def test_a_document_is_drawn_with_and_without_sound(image: Path, motion: Path, audio: Path, tmp_path: Path,
                                                    capsys: pytest.CaptureFixture[str]) -> None:
    assert _run("animate", "--image", image, "--motion", motion, "--output", tmp_path / "silent.mp4") == 0
    film = probe(tmp_path / "silent.mp4")
    assert film.frames == 45 and film.audio_length_s is None and film.size == (512, 768)
    assert "its motion was made with wave.wav, give that with --audio" in capsys.readouterr().err
    assert _run("animate", "--image", image, "--motion", motion, "--audio", audio, "--output", tmp_path / "loud.mp4") == 0
    film = probe(tmp_path / "loud.mp4")
    assert film.frames == 45 and film.audio_length_s == pytest.approx(1.5, abs=1 / 30)
    assert "warning" not in capsys.readouterr().err


def test_sound_of_another_length_is_said(image: Path, motion: Path, tmp_path: Path,
                                         capsys: pytest.CaptureFixture[str]) -> None:
    write_wav(tmp_path / "long.wav", np.zeros(48_000, np.float32))
    command = ["animate", "--image", image, "--motion", motion, "--audio", tmp_path / "long.wav"]
    assert _run(*command, "--output", tmp_path / "o.mp4") == 0
    assert "the sound lasts 3.00 s, the motion 1.50 s; the film lasts as long as the motion" in capsys.readouterr().err
    film = probe(tmp_path / "o.mp4")
    assert film.frames == 45 and film.audio_length_s == pytest.approx(1.5, abs=1 / 30)


def test_a_document_at_another_rate(image: Path, motion: Path, tmp_path: Path) -> None:
    assert _run("animate", "--image", image, "--motion", motion, "--fps", "60", "--output", tmp_path / "o.mp4") == 0
    assert probe(tmp_path / "o.mp4").frames == 90 and probe(tmp_path / "o.mp4").fps == 60


@pytest.mark.parametrize("sound", [True, False])
def test_a_driving_clip_moves_the_picture_and_keeps_its_sound(image: Path, tmp_path: Path, sound: bool) -> None:
    clip = _clip(tmp_path / "clip.mp4", sound)
    command = ["animate", "--image", image, "--driving", clip, "--output", tmp_path / "o.mp4"]
    assert _run(*command, "--motion-out", tmp_path / "o.npz") == 0
    film = probe(tmp_path / "o.mp4")
    assert film.frames == 45 and (film.audio_length_s is not None) == sound
    made = MotionDocument.load(tmp_path / "o.npz")
    assert len(made) == 45 and made.source == "wave.mp4" and made.sound == ("clip.mp4" if sound else "")


def test_intensity_reaches_the_motion(image: Path, motion: Path, tmp_path: Path) -> None:
    command = ["animate", "--image", image, "--motion", motion, "--output", tmp_path / "o.mp4", "--force", "--motion-out",
               tmp_path / "o.npz"]
    assert _run(*command, "--intensity", "0.5,brows=0,head=-2") == 0
    before, after = MotionDocument.load(motion), MotionDocument.load(tmp_path / "o.npz")
    assert np.allclose(after.rotation, -before.rotation, atol=1e-6)
    assert np.allclose(after.hands, 0.5 * before.hands, atol=1e-6)
    assert np.allclose(after.expression[:, JAW], 0.5 * before.expression[:, JAW], atol=1e-6)
    assert not after.expression[:, ARKIT_INDEX["browInnerUp"]].any()


@pytest.mark.parametrize(("options", "message"), [
    ([], "nothing says how the person moves; give --audio, --motion or --driving"),
    (["--motion", "m.npz", "--driving", "c.mp4"], "both a motion document and a driving clip are given"),
    (["--motion", "m.npz", "--style", "calm"], "a style is for speech"),
    (["--audio", "a.wav", "--style", "calm", "--style-video", "c.mp4"], "both a style and a style clip are given"),
    (["--motion", "none.npz"], "found no such file"), (["--driving", "none.mp4", "--audio", "none.wav"], "none.wav"),
    (["--audio", "hello.wav", "--style", "nobody"], "there is no style 'nobody'"),
    (["--audio", "hello.wav", "--intensity", "nose=1"], "motion.groups has no 'nose'"),
    (["--audio", "hello.wav", "--intensity", "mouth=-1"], "motion.groups.mouth must be between 0 and 2, not -1"),
    (["--audio", "hello.wav", "--intensity", "3"], "motion.expression must be between 0 and 2"),
])
def test_what_does_not_go_together(image: Path, audio: Path, motion: Path, tmp_path: Path, options: list[str], message: str,
                                   monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    assert message in _refused(capsys, "animate", "--image", image, "--output", "o.mp4", *options)
    assert not Path("o.mp4").exists()


def test_a_strength_that_is_no_number(image: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        _run("animate", "--image", image, "--output", "o.mp4", "--intensity", "brows=much")
    assert "'brows=much' is no strength; write a number, or a group" in capsys.readouterr().err


def test_edit_convert_and_plot(motion: Path, audio: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    edited = tmp_path / "n.npz"
    assert _run("edit", motion, "--set", "jawOpen=0.9@0.5-1", "--scale", "jawOpen=0.5", "--output", edited) == 0
    assert MotionDocument.load(edited).expression[20, JAW] == pytest.approx(0.45)
    assert _run("edit", motion, "--scale", "jawOpen=0.5", "--set", "jawOpen=0.9@0.5-1", "--output", edited, "--force") == 0
    assert MotionDocument.load(edited).expression[20, JAW] == pytest.approx(0.9)
    for name in ("n.csv", "n.json", "back.npz"):
        assert _run("convert", edited if name != "back.npz" else tmp_path / "n.csv", tmp_path / name) == 0
    back = MotionDocument.load(tmp_path / "back.npz")
    assert np.abs(back.expression - MotionDocument.load(edited).expression).max() < 1e-7
    assert _run("plot", tmp_path / "n.csv", "--audio", audio, "--output", tmp_path / "m.png") == 0
    assert (tmp_path / "m.png").stat().st_size > 10_000
    assert "back.npz: 45 frames, 1.50 s" in capsys.readouterr().out


@pytest.mark.parametrize(("arguments", "message"), [
    (["edit", "m.npz", "--output", "n.npz"], "nothing is to be changed"),
    (["edit", "m.npz", "--set", "jawOpen", "--output", "n.npz"], "is no change; write NAME=VALUE@START-END"),
    (["edit", "m.npz", "--set", "jawOpen=1", "--output", "m.npz"], "m.npz exists already"),
    (["edit", "none.npz", "--set", "jawOpen=1", "--output", "n.npz"], "no such file"),
    (["convert", "m.npz", "n.fbx"], "the output must end in .npz or .csv or .json"),
    (["convert", "m.npz", "m.npz"], "exists already"), (["convert", "m.bvh", "n.npz"], "files that end in"),
    (["convert", "m.npz", "n.csv", "--fps", "fast"], "the frame rate must be a number"),
    (["plot", "m.npz", "--output", "m.jpg"], "the output must end in .png"),
    (["plot", "m.npz", "--audio", "none.wav", "--output", "m.png"], "none.wav"),
])
def test_mistakes_around_documents(motion: Path, tmp_path: Path, arguments: list[str], message: str,
                                   monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.iterdir())
    assert message in _refused(capsys, *arguments)
    assert sorted(tmp_path.iterdir()) == before


def test_styles_are_saved_listed_shown_used_and_removed(image: Path, audio: Path, motion: Path, tmp_path: Path,
                                                        capsys: pytest.CaptureFixture[str],
                                                        monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration, "MOST_S", 1.5)  # how well a correction fits is not asked here
    assert _run("style", "save", "ada", "--motion", motion, "--description", "As Ada speaks.") == 0
    assert _run("style", "save", "bob", "--video", _clip(tmp_path / "bob.mp4", False)) == 0
    capsys.readouterr()
    assert _run("style", "list") == 0
    listed = capsys.readouterr().out.splitlines()
    assert len(listed) == 7 and listed[5].split(maxsplit=1) == ["ada", "As Ada speaks."]
    assert _run("style", "show", "ada:0.7,calm:0.3") == 0
    assert "range of mouth" in capsys.readouterr().out
    seen: list[Any] = []
    whole = build.pipeline

    def watched(*given: Any, **named: Any) -> Any:
        engine = whole(*given, **named)
        start = engine.init

        def init(portrait: Any, seed: int, style: Style, dials: Strengths) -> PipelineState:
            seen.append((style, dials))
            return start(portrait, seed, style, dials)

        monkeypatch.setattr(engine, "init", init)
        return engine

    monkeypatch.setattr(build, "pipeline", watched)
    command = ["animate", "--image", image, "--audio", audio, "--output", tmp_path / "o.mp4"]
    assert _run(*command, "--style", "ada:0.7,cheerful:0.3", "--intensity", "brows=1.5") == 0
    style, dials = seen[0]
    assert style.rest is not None and style.reference is not None and style.range is not None
    assert dict(dials.groups) == {"brows": 1.5} and dials.expression == 1
    assert _run("style", "remove", "ada") == 0 and "ada" not in _names(capsys)
    assert "there is no style 'ada'" in _refused(capsys, *command, "--force", "--style", "ada")


def _names(capsys: pytest.CaptureFixture[str]) -> list[str]:
    capsys.readouterr()
    assert _run("style", "list") == 0
    return [line.split()[0] for line in capsys.readouterr().out.splitlines()]


@pytest.mark.parametrize(("arguments", "message"), [
    (["save", "calm", "--motion", "m.npz"], "'calm' is a style that ships"),
    (["save", "A B", "--motion", "m.npz"], "cannot be a style's name"),
    (["save", "ada", "--motion", "none.npz"], "no such file"), (["show", "nobody"], "there is no style"),
    (["remove", "calm"], "'calm' is a style that ships"), (["remove", "../x"], "cannot be a style's name"),
])
def test_mistakes_around_styles(motion: Path, tmp_path: Path, arguments: list[str], message: str,
                                monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(calibration.Calibration, "of", lambda config: pytest.fail("minutes of work, and then a refusal"))
    assert message in _refused(capsys, "style", *arguments)
