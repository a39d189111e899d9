"""The program beside the files: its motion is that of the engine, with nothing but numpy and ONNX Runtime."""

from __future__ import annotations

import ast
import subprocess
import sys
import wave
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


def test_its_mistakes_are_one_sentence(folder: Path, voice: NDArray[np.float32], tmp_path: Path,
                                       monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    path = _wav(tmp_path / "a.wav", voice, 8000)
    monkeypatch.setattr(sys, "argv", ["run_onnx.py", str(path), str(tmp_path / "m.npz"), "--nets", str(folder)])
    assert run_onnx.main() == 2
    assert capsys.readouterr().err == (
        f"run_onnx: error: {path} must be a WAV of 16000 Hz, 1 channel, 2 bytes, not (8000, 1, 2)\n")


@pytest.mark.slow
def test_the_shipped_nets(tmp_path: Path) -> None:
    lines: list[str] = []
    export.export_onnx(tmp_path / "onnx", Config(), say=lines.append)
    assert len(list((tmp_path / "onnx").glob("*.onnx"))) == 11
    assert "90 frames of a voice through the files alone" in lines[-2]
