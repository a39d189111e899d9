"""The program beside the files: its motion is that of the engine, with nothing but numpy and ONNX Runtime."""

from __future__ import annotations

import ast
import errno
import json
import shutil
import subprocess
import sys
import wave
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from chatanyone import build
from chatanyone.config import Config, load_config
from chatanyone.export import export, run_onnx
from chatanyone.export.real import engine_motion
from chatanyone.motionfile import MotionDocument
from chatanyone.pipeline import AvatarPipeline
from chatanyone.recording import MotionRecorder
from motion.diffusion.ddim import frame_noise
from motion.impulses import face_controls, gesture_code
from tests.chatanyone.export.helpers import DEBUG

SEED = 11


@pytest.fixture(scope="module")
def config() -> Config:
    return load_config(str(DEBUG))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, config: Config) -> Path:
    path = tmp_path_factory.mktemp("export") / "onnx"
    export.export_onnx(path, config, export.MOTION)
    return path


@pytest.fixture(scope="module")
def voice() -> NDArray[np.float32]:
    """1.37 s whose loudness comes and goes, with the rounding of 16 bits."""
    time = np.arange(21_920) / 16_000
    sound = 0.4 * np.sin(2 * np.pi * 170 * time) * np.sin(2 * np.pi * 2.3 * time) ** 2
    sound += 0.02 * np.random.default_rng(0).standard_normal(len(time))
    return (np.round(sound * 32768) / 32768).astype(np.float32)


def _wav(path: Path, samples: NDArray[np.float32], rate: int = 16_000) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes((samples * 32768).astype("<i2").tobytes())
    return path


def _close(found: Any, wanted: Any) -> None:
    for a, b in zip(found, wanted):
        assert a.shape == b.shape
        np.testing.assert_allclose(a, b, atol=2e-5)


def test_the_motion_is_that_of_a_film(folder: Path, config: Config, voice: NDArray[np.float32]) -> None:
    """Of the pipeline that `animate` runs, not of a copy of it."""
    recorder = MotionRecorder(Fraction(30))
    stages = build.stages(config)._replace(scene=lambda portrait: lambda face, body: torch.zeros(len(body.delta), 3, 2, 2))
    engine = AvatarPipeline(stages, on_motion=recorder)
    assert len(list(engine.run(voice, engine.init(None, SEED)))) == 42
    film = recorder.document()
    found = run_onnx.motion(run_onnx.Stream(run_onnx.Nets(folder), SEED), voice)
    _close(found, (np.concatenate([film.expression, film.rotation, film.translation], 1), film.body, film.hands))
    assert np.ptp(film.expression, axis=0).max() > 0.01  # something moves


@pytest.mark.parametrize("chunk", [1, 777, 100_000])
def test_any_chunking_gives_the_same_bits(folder: Path, voice: NDArray[np.float32], chunk: int) -> None:
    nets, short = run_onnx.Nets(folder), voice[:5000]
    one, other = (run_onnx.motion(run_onnx.Stream(nets, SEED), short, size) for size in (1600, chunk))
    assert all(np.array_equal(a, b) for a, b in zip(one, other))


def test_motion_comes_as_soon_as_it_is_due(folder: Path, voice: NDArray[np.float32]) -> None:
    """276 ms of sound in the shipped net, and a row less delay here; then hop by hop."""
    stream = run_onnx.Stream(run_onnx.Nets(folder), SEED)
    counts = [len(stream.step(voice[start:start + 160])[1]) for start in range(0, 8000, 160)]
    assert sum(counts[:23]) == 0 and sum(counts[:28]) == 4
    assert set(counts) == {0, 4}


@pytest.mark.parametrize("samples", [0, 1, 533, 534, 4000])
def test_lengths_that_end_in_the_middle(folder: Path, config: Config, voice: NDArray[np.float32], samples: int) -> None:
    found = run_onnx.motion(run_onnx.Stream(run_onnx.Nets(folder)), voice[:samples])
    assert [len(part) for part in found] == [-(-samples * 30 // 16_000)] * 3


def test_a_reference_is_heard_as_by_the_engine(folder: Path, config: Config, voice: NDArray[np.float32]) -> None:
    clip = np.random.default_rng(1).random((60, 52)).astype(np.float32)
    engine = export.load(config)
    features = engine.speech(torch.from_numpy(voice))
    moved, state = engine.face.step(features, engine.face.init_state(SEED, reference=torch.from_numpy(clip)))
    wanted = torch.cat([moved.packed(), engine.face.flush(state)[0].packed()]).numpy()
    nets = run_onnx.Nets(folder)
    found = run_onnx.motion(run_onnx.Stream(nets, SEED, clip), voice)[0]
    _close([found], [wanted])
    plain = run_onnx.motion(run_onnx.Stream(nets, SEED), voice)[0]
    assert np.abs(found - plain).max() > 1e-3


def test_other_rates(tmp_path: Path, voice: NDArray[np.float32]) -> None:
    config = load_config(str(DEBUG), {"media.fps": "30000/1001"})
    export.export_onnx(tmp_path / "onnx", config, export.MOTION)
    engine = export.load(config)
    wanted = engine_motion(engine.speech, engine.face, engine.body, engine.template, voice)
    _close(run_onnx.motion(run_onnx.Stream(run_onnx.Nets(tmp_path / "onnx")), voice), wanted)


@pytest.mark.parametrize("seed", [0, 7, 2**31])
def test_its_random_numbers_are_the_engines(seed: int) -> None:
    frames = range(300)
    noise = np.stack([run_onnx.many_normals(seed, i, 58) for i in frames])
    np.testing.assert_allclose(noise, frame_noise(seed, 0, 300, 58).numpy(), atol=2e-6)
    controls = np.array([[run_onnx.blink(seed, i), *run_onnx.gaze(seed, i), *run_onnx.sway(seed, i)] for i in frames])
    np.testing.assert_allclose(controls, face_controls(seed, 0, 300).numpy(), atol=1e-6)
    np.testing.assert_allclose([run_onnx.gesture(seed, i) for i in frames], gesture_code(seed, 0, 300).numpy(), atol=1e-6)


def test_it_runs_alone(folder: Path, voice: NDArray[np.float32], tmp_path: Path) -> None:
    """Without this project and without torch: both are made impossible to import."""
    block = "import sys, runpy; sys.modules['torch'] = sys.modules['chatanyone'] = sys.modules['motion'] = None; "
    run = block + "sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')"
    path = _wav(tmp_path / "hello.wav", voice)
    for name in ("m.npz", "m.csv"):
        subprocess.run([sys.executable, "-c", run, str(folder / "run_onnx.py"), str(path), str(tmp_path / name)], check=True)
    found = run_onnx.motion(run_onnx.Stream(run_onnx.Nets(folder)), voice)
    document = MotionDocument.load(tmp_path / "m.npz")
    assert np.array_equal(document.expression, found[0][:, :52]) and np.array_equal(document.hands, found[2])
    header, *rows = (tmp_path / "m.csv").read_text().splitlines()
    assert header.startswith("time_s,browDownLeft,") and header.endswith("translation_m_z") and len(rows) == 42
    np.testing.assert_allclose([float(x) for x in rows[-1].split(",")[1:]], found[0][-1], rtol=1e-4, atol=1e-6)


def test_it_imports_numpy_and_onnxruntime_only() -> None:
    tree = ast.parse(Path(run_onnx.__file__).read_text())
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {name.partition(".")[0] for name in names} - set(sys.stdlib_module_names) == {"numpy", "onnxruntime"}


@pytest.fixture
def refused(folder: Path, voice: NDArray[np.float32], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
            capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Runs the program on a voice and returns the one sentence with which it refuses; nothing may be left behind."""
    def run(voice: Path | None = None, output: str = "m.npz", nets: Path = folder) -> str:
        output_path, before = tmp_path / output, set(tmp_path.iterdir())
        monkeypatch.setattr(sys, "argv", ["run_onnx.py", str(voice or good), str(output_path), "--nets", str(nets)])
        assert run_onnx.main() == 2
        sentence = capsys.readouterr().err
        assert sentence.startswith("run_onnx: error: ") and sentence.count("\n") == 1
        assert set(tmp_path.iterdir()) == before
        return sentence

    good = _wav(tmp_path / "good.wav", voice[:1600])
    return run


def test_sound_that_is_none_is_refused_in_one_sentence(refused: Callable[..., str], voice: NDArray[np.float32],
                                                       tmp_path: Path) -> None:
    slow = _wav(tmp_path / "slow.wav", voice, 8000)
    assert f"{slow} must be a WAV of 16000 Hz, 1 channel, 2 bytes, not (8000, 1, 2), and hold some sound" in refused(slow)
    assert "and hold some sound" in refused(_wav(tmp_path / "none.wav", voice[:0]))
    (tmp_path / "empty.wav").touch()
    assert "the WAV ends too early" in refused(tmp_path / "empty.wav")
    assert "No such file" in refused(tmp_path / "nowhere.wav")


def test_nets_that_are_not_whole_are_refused_in_one_sentence(refused: Callable[..., str], folder: Path, tmp_path: Path,
                                                             ) -> None:
    broken = Path(shutil.copytree(folder, tmp_path / "onnx"))
    (broken / "body.onnx").write_bytes(b"no net")
    assert f"{broken} holds no whole export of audio, face and body (Invalid" in refused(nets=broken)
    (broken / "body.onnx").unlink()
    assert "NoSuchFile" in refused(nets=broken)
    content = json.loads((broken / "manifest.json").read_text())
    content["graphs"] = [graph for graph in content["graphs"] if graph["name"] != "audio"]
    (broken / "manifest.json").write_text(json.dumps(content))
    (broken / "body.onnx").write_bytes((folder / "body.onnx").read_bytes())
    assert "KeyError('audio')" in refused(nets=broken)


def test_an_output_that_cannot_be_written_is_refused_in_one_sentence(refused: Callable[..., str], tmp_path: Path,
                                                                     monkeypatch: pytest.MonkeyPatch) -> None:
    assert "must end in .npz or .csv, in a folder that exists" in refused(output="nowhere/m.npz")

    def full(path: Path, **parts: Any) -> None:
        path.write_bytes(b"half of it")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(np, "savez_compressed", full)
    assert "No space left on device" in refused()


@pytest.mark.slow
def test_the_shipped_nets(tmp_path: Path) -> None:
    lines: list[str] = []
    export.export_onnx(tmp_path / "onnx", Config(), say=lines.append)
    assert len(list((tmp_path / "onnx").glob("*.onnx"))) == 11
    assert "90 frames of a voice through the files alone" in lines[-2]
