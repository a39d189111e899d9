"""The command line, called as a user would; the nets are stand-ins, files are real."""

from __future__ import annotations

import itertools
import json
import os
import resource
import struct
import subprocess
import sys
import wave
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from chatanyone import animate, build, cli
from chatanyone.config import Config
from chatanyone.pipeline import Stages
from tests.helpers.media import Film, gradient, png_header, probe, write_picture
from tests.helpers.portrait import plain_portrait
from tests.helpers.stages import stand_ins

RATE = 16_000


@pytest.fixture(autouse=True)
def _stand_ins(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def stages(config: Config) -> Stages:
        return stand_ins(config.media.rate, config.media.width_height)

    monkeypatch.setattr(build, "stages", stages)
    monkeypatch.setattr(animate, "prepare_portrait", lambda picture, size, *_: plain_portrait(size))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def image(tmp_path: Path) -> Path:
    return write_picture(tmp_path / "me.png")


@pytest.fixture
def audio(tmp_path: Path) -> Path:
    return _wav(tmp_path / "hello.wav", _tone(8000))


def _tone(count: int, rate: int = RATE) -> np.ndarray:
    return (0.3 * np.sin(2 * np.pi * 220 * np.arange(count) / rate)).astype(np.float32)


def _wav(path: Path, samples: np.ndarray, rate: int = RATE) -> Path:
    """16-bit; ``[n]`` mono or ``[n, channels]``."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1 if samples.ndim == 1 else samples.shape[1])
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes((samples * 32767).astype("<i2").tobytes())
    return path


def _float_wav(path: Path, samples: np.ndarray) -> Path:
    data = samples.astype("<f4").tobytes()
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 3, 1, RATE, 4 * RATE, 4, 32)  # 3: IEEE float
    header = struct.pack("<4sI4s", b"RIFF", 36 + len(data), b"WAVE") + form + struct.pack("<4sI", b"data", len(data))
    path.write_bytes(header + data)
    return path


def _animate(image: Path, audio: Path, output: Path, *options: str) -> int:
    return cli.main(["animate", "--image", str(image), "--audio", str(audio), "--output", str(output),
                     "--device", "cpu", *options])


def _film(image: Path, audio: Path, output: Path, *options: str) -> Film:
    assert _animate(image, audio, output, *options) == 0
    return probe(output)


def _refused(capsys: pytest.CaptureFixture[str], code: int) -> str:
    """The one line a user sees."""
    error = capsys.readouterr().err
    assert code == cli.USER_MISTAKE
    assert error.startswith("chatanyone: error: ") and error.count("\n") == 1 and "Traceback" not in error
    return error


def test_animate_writes_a_film_and_says_what_it_took(
        image: Path, audio: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    film = _film(image, audio, tmp_path / "o.mp4")
    assert (film.frames, film.size) == (15, (512, 768))
    assert film.video_start_s == film.audio_start_s == 0
    assert film.audio_length_s is not None and abs(film.video_length_s - film.audio_length_s) < 1 / 30
    said = capsys.readouterr().out
    for part in ("set-up", "model loading", "generation", "0.5 s of film", "real-time factor"):
        assert part in said


@pytest.mark.parametrize(("options", "frames", "size"), [
    (["--fps", "25"], 13, (512, 768)), (["--fps", "30000/1001"], 15, (512, 768)),
    (["--size", "512x512"], 15, (512, 512)),
], ids=["25fps", "ntsc", "head-only"])
def test_rate_and_size(image: Path, audio: Path, tmp_path: Path, options: list[str], frames: int,
                       size: tuple[int, int]) -> None:
    film = _film(image, audio, tmp_path / "o.mp4", *options)
    assert (film.frames, film.size) == (frames, size)


def test_a_seed_gives_the_same_bytes(image: Path, audio: Path, tmp_path: Path) -> None:
    for name, seed in [("a", "1"), ("b", "1"), ("c", "80")]:
        _film(image, audio, tmp_path / f"{name}.mp4", "--seed", seed)
    a, b, c = ((tmp_path / f"{name}.mp4").read_bytes() for name in "abc")
    assert a == b != c


def test_motion_out_explains_itself(image: Path, audio: Path, tmp_path: Path) -> None:
    _film(image, audio, tmp_path / "o.mp4", "--motion-out", str(tmp_path / "m.npz"))
    with np.load(tmp_path / "m.npz", allow_pickle=False) as motion:
        assert motion["expression"].shape == (15, 52) and motion["hands"].shape == (15, 2, 51)
        assert motion["fps"].tolist() == [30, 1] and motion["timestamps"][3] == pytest.approx(0.1)
        assert set(json.loads(str(motion["fields"]))) <= set(motion.files)
        assert motion["expression_names"][24] == "jawOpen"


def test_portrait_warnings_reach_the_user(image: Path, audio: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                          capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(animate, "prepare_portrait", lambda picture, size, *_: plain_portrait(size, ["two faces"]))
    _film(image, audio, tmp_path / "o.mp4")
    assert "chatanyone: warning: two faces\n" in capsys.readouterr().err


def _save_as(mode: str, path: Path) -> None:
    picture = Image.fromarray(gradient(96, 80))
    if mode == "rotated":
        exif = Image.Exif()
        exif[0x0112] = 6
        picture.save(path, exif=exif)
    else:
        picture.convert(mode).save(path)


@pytest.mark.parametrize("mode", ["P", "CMYK", "rotated", "RGBA", "LA", "L"])
def test_unusual_pictures_are_read(tmp_path: Path, audio: Path, mode: str) -> None:
    path = tmp_path / ("x.jpg" if mode == "CMYK" else "x.png")
    _save_as(mode, path)
    assert _film(path, audio, tmp_path / "o.mp4").frames == 15


def test_pictures_that_cannot_be_used(tmp_path: Path, audio: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "text.png").write_text("not a picture")
    (tmp_path / "bomb.png").write_bytes(png_header(65_000, 65_000))
    for name, sentence in [("text.png", "is not a picture"), ("bomb.png", "megapixels; scale it down"),
                           ("none.png", "there is no picture")]:
        assert sentence in _refused(capsys, _animate(tmp_path / name, audio, tmp_path / "o.mp4"))
    assert not (tmp_path / "o.mp4").exists()


@pytest.mark.parametrize(("rate", "channels"), [(8_000, 1), (96_000, 1), (44_100, 2), (16_000, 2)])
def test_any_rate_and_channels(image: Path, tmp_path: Path, rate: int, channels: int) -> None:
    tone = _tone(rate // 2, rate)
    path = _wav(tmp_path / "x.wav", tone if channels == 1 else np.stack([tone, tone], axis=1), rate)
    film = _film(image, path, tmp_path / "o.mp4")
    assert film.frames == 15 and film.audio_length_s == pytest.approx(0.5, abs=0.034)


def test_float_wav_and_a_film_as_audio(image: Path, audio: Path, tmp_path: Path) -> None:
    assert _film(image, _float_wav(tmp_path / "f.wav", _tone(8000)), tmp_path / "o.mp4").frames == 15
    assert _film(image, tmp_path / "o.mp4", tmp_path / "again.mp4").frames in (15, 16)


def test_sounds_that_cannot_be_used(image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    samples = _tone(8000)
    samples[100:105] = np.nan
    _float_wav(tmp_path / "nan.wav", samples)
    _wav(tmp_path / "zero.wav", np.zeros(0, np.float32))
    (tmp_path / "empty.wav").write_bytes(b"")
    (tmp_path / "text.wav").write_text("these are words, not sound\n" * 20)
    for name, sentence in [("nan.wav", "NaN"), ("zero.wav", "no samples"), ("empty.wav", "empty"),
                           ("text.wav", "FFmpeg can read (Invalid data found when processing input); convert it to WAV"),
                           ("none.wav", "there is none"), ("me.png", "")]:
        line = _refused(capsys, _animate(image, tmp_path / name, tmp_path / "o.mp4"))
        assert sentence in line and name in line
    assert not (tmp_path / "o.mp4").exists()


def test_output_is_checked_before_anything_is_done(
        image: Path, audio: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "old.mp4").write_bytes(b"precious")
    for output, sentence in [(tmp_path / "none" / "o.mp4", "does not exist; create it"),
                             (tmp_path / "old.mp4", "--force"), (tmp_path / "o.gif", "must end in .mp4")]:
        assert sentence in _refused(capsys, _animate(Path("unread.png"), audio, output))
    assert (tmp_path / "old.mp4").read_bytes() == b"precious"
    assert _film(image, audio, tmp_path / "old.mp4", "--force").frames == 15


def test_full_disk(image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                   capsys: pytest.CaptureFixture[str]) -> None:
    from tests.helpers import stages

    noise = np.random.default_rng(0)
    audio = _wav(tmp_path / "long.wav", noise.uniform(-0.5, 0.5, 60_000).astype(np.float32))
    monkeypatch.setattr(stages, "FlatScene", stages.NoiseScene)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, limits[1]))
    try:
        assert "the disk is full" in _refused(capsys, _animate(image, audio, tmp_path / "o.mp4"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not list(tmp_path.glob("*.mp4")) and not list(tmp_path.glob(".*"))


def test_interrupt_in_the_middle(image: Path, audio: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                 capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "o.mp4").write_bytes(b"precious")
    ticks = itertools.count()

    def write(self: object, frame: object) -> None:
        if next(ticks) == 7:
            raise KeyboardInterrupt

    monkeypatch.setattr(animate.VideoWriter, "write", write)
    assert _animate(image, audio, tmp_path / "o.mp4", "--force") == cli.INTERRUPTED
    assert "interrupted" in capsys.readouterr().err
    assert (tmp_path / "o.mp4").read_bytes() == b"precious" and not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("place", ["pipe", "/dev/full", "closed"])
def test_output_that_nobody_takes(place: str) -> None:
    """`chatanyone style list | head -1`: no traceback, neither from us nor from Python as it ends."""
    code = ("import argparse, sys; from chatanyone import cli\n"
            "verb = argparse.Namespace(run=lambda _: print('calm'))\n"
            "cli.parser = lambda: argparse.Namespace(parse_args=lambda _: verb)\n"
            "sys.exit(cli.main())")
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    script = [sys.executable, "-c", code]
    if place == "closed":
        script = ["sh", "-c", 'exec "$0" "$@" >&-', *script]
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer if place == "pipe" else "/dev/full", "wb") as output:
        done = subprocess.run(script, stdout=output, stderr=subprocess.PIPE, text=True, env=environment)
    if place != "pipe":
        os.close(writer)
    sentence = "chatanyone: error: the system: No space left on device\n" if place == "/dev/full" else ""
    assert (done.returncode, done.stderr) == ({"pipe": cli.READER_GONE, "closed": 0}.get(place, cli.USER_MISTAKE), sentence)


@pytest.mark.parametrize(("options", "sentence"), [
    (["--expression", "3"], "motion.expression must be between 0 and 2"), (["--fps", "0"], "the frame rate must be"),
    (["--config", "none.yaml"], "none.yaml cannot be read"), (["--device", "tpu"], "device must be auto, cpu or cuda"),
])
def test_settings_out_of_range(image: Path, audio: Path, tmp_path: Path, options: list[str], sentence: str,
                               capsys: pytest.CaptureFixture[str]) -> None:
    assert sentence in _refused(capsys, _animate(image, audio, tmp_path / "o.mp4", *options))


def test_cuda_where_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(Exception, match="finds no CUDA device here; use --device cpu"):
        build.device(Config(device="cuda"))
    assert build.device(Config(device="auto")).type == "cpu"


@pytest.mark.parametrize("arguments", [[], ["dance"], ["animate"], ["animate", "--image"]])
def test_usage_errors_exit_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as leaving:
        cli.main(arguments)
    assert leaving.value.code == cli.USER_MISTAKE and "usage: chatanyone" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["--help"], ["animate", "--help"], ["bench", "--help"]])
def test_help_loads_no_net(arguments: list[str]) -> None:
    code = ("import sys; from chatanyone.cli import main\n"
            f"try: main({arguments!r})\n"
            "finally: assert not {'torch', 'numpy', 'av', 'mediapipe'} & set(sys.modules)")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0 and "usage: chatanyone" in done.stdout


def test_train_names_what_is_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["train", "motion-face", "--data", str(tmp_path / "none"), "--run", str(tmp_path / "run")]
    assert "none does not exist; make training data" in _refused(capsys, cli.main(command))
    (tmp_path / "none").mkdir()
    command[1] = "audio"
    assert "no training speech in" in _refused(capsys, cli.main(command))
    assert not (tmp_path / "run").exists()


def test_train_has_help_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as leaving:
        cli.main(["train", "audio", "--help"])
    assert leaving.value.code == 0 and "--learning-rate" in capsys.readouterr().out
