"""`chatanyone train`: settings files, tar shards, the paper's scale, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from chatanyone.checkpoints import load_weights, read_info, save_weights
from chatanyone.cli import main
from chatanyone.errors import ConfigError
from chatanyone.train import parse, prepare, train
from chatanyone.training import Processes
from chatanyone.training.settings import SECTIONS, batches_a_step, read_settings
from motion.face import FaceDenoiser
from motion.loopy.net import LoopyDenoiser
from motion.training.motion_data import Clip, write_clips

PAPER = Path(__file__).resolve().parents[2] / "configs" / "paper.yaml"
C = 6
TINY = ["--steps", "2", "--device", "cpu", "--precision", "fp32", "--batch", "4", "--threads", "1"]
SMALL_NET = "motion-face:\n  net: {width: 16, depth: 1, heads: 2, ratio: 2, previous: 8}\n"


def clip(seed: int, frames: int = 130) -> Clip:
    generator = torch.Generator().manual_seed(seed)
    time = torch.arange(frames)[:, None] / 3

    def waves(channels: int) -> torch.Tensor:
        return 0.3 + 0.2 * torch.sin(time + 6 * torch.rand(channels, generator=generator))

    return Clip(waves(C), 0.3 * waves(58), 0.1 * waves(144), waves(13), waves(8))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Clips as tools/make_motion_clips.py leaves them."""
    data = tmp_path / "clips"
    data.mkdir()
    for index in range(2):
        write_clips(data / f"train_{index:05d}.safetensors", [clip(3 * index + k) for k in range(3)])
    write_clips(data / "held_out_00000.safetensors", [clip(50), clip(51)])
    (data / "encoder.sha256").write_text("abc")
    return data


def settings(folder: Path, text: str = SMALL_NET) -> Path:
    path = folder / "settings.yaml"
    path.write_text(text)
    return path


@pytest.mark.parametrize("section", ("motion-face", "motion-body", "render"))
def test_the_papers_settings_are_read(section: str) -> None:
    values = read_settings(PAPER, section)
    assert values["learning_rate"] == 1e-4 and values["clips"] == 20_000
    assert values["total_batch"] == (32 if section == "render" else 16)
    assert values.get("steps") == (1_000_000 if section == "render" else 100_000)


def test_every_value_of_the_papers_settings_says_whose_it_is() -> None:
    for line in PAPER.read_text().splitlines():
        if line.startswith(" ") and not line.rstrip().endswith("net:"):
            assert line.partition("#")[2].strip().startswith(("paper", "ours")), line


@pytest.mark.parametrize("name", ("motion-face", "motion-body"))
def test_the_papers_motion_nets_build_and_train(name: str, folder: Path, tmp_path: Path) -> None:
    options = parse(name, ["--config", str(PAPER), "--data", str(folder), "--run", str(tmp_path / "run"), "--device", "cpu",
                           "--batch", "2", "--total-batch", "2"])  # the nets are the paper's, the step is not
    solver, job = prepare(name, options, Processes("cpu"))
    assert solver.config.betas == (0.9, 0.999) and solver.learning_rate() == pytest.approx(1e-4 / 1000)
    assert solver.task.config["width"] == 512 and job.notes == {"encoder": "abc"}
    before = solver.model.state_dict()["motion_in.weight"].clone() if name == "motion-face" else None
    assert solver.run_step(*next(solver._batches()))["loss"] > 0
    assert before is None or not torch.equal(before, solver.model.state_dict()["motion_in.weight"])


def test_loopy_begins_with_a_face_net_s_weights_and_goes_on_from_its_own(
        folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sizes = {"audio_dim": C, "width": 16, "depth": 1, "heads": 2, "ratio": 2, "previous": 8}
    torch.manual_seed(0)
    face, settings_file = FaceDenoiser(**sizes), settings(tmp_path, "motion-loopy:\n  net: {segments: 3, embeddings: 4}\n")
    save_weights(tmp_path / "face.safetensors", face.state_dict(), kind="face", config=sizes)
    before = "face.safetensors"
    for after in ("first.safetensors", "second.safetensors"):
        train("motion-loopy", ["--data", str(folder), "--output", str(tmp_path / after), "--config", str(settings_file),
                               "--warm-start", str(tmp_path / before), *TINY])
        config, tensors = load_weights(tmp_path / after, kind="loopy")
        assert (config["segments"], config["width"]) == (3, 16) and read_info(tmp_path / after).extra["encoder"] == "abc"
        torch.testing.assert_close(tensors["motion_in.weight"].float(), face.motion_in.weight, atol=1e-3, rtol=1e-3)
        LoopyDenoiser(**config).load_state_dict(tensors)
        before = after
    with pytest.raises(ConfigError, match="weights of a face net of these sizes to begin with; they lack"):
        save_weights(tmp_path / "none.safetensors", {"x": torch.zeros(1)}, kind="face", config=sizes)
        train("motion-loopy", ["--data", str(folder), "--run", str(tmp_path / "run"), "--warm-start",
                               str(tmp_path / "none.safetensors"), *TINY])


def test_eight_processes_share_the_papers_batch() -> None:
    assert batches_a_step(32, 1, 8) == 4 and batches_a_step(16, 16, 1) == 1
    with pytest.raises(ConfigError, match="not a multiple of 3 processes times a batch of 4"):
        batches_a_step(32, 4, 3)


def test_the_command_line_wins_over_the_file(folder: Path, tmp_path: Path) -> None:
    path = settings(tmp_path, SMALL_NET + "  steps: 7\n  grad_clip: 0.5\n")
    options = parse("motion-face", ["--config", str(path), "--data", str(folder), "--run", str(tmp_path), "--steps", "3"])
    assert (options.steps, options.grad_clip, options.batch) == (3, 0.5, 192)


def test_total_batch_is_reached_by_accumulation(folder: Path, tmp_path: Path) -> None:
    options = parse("motion-face", ["--config", str(settings(tmp_path)), "--data", str(folder), "--run",
                                    str(tmp_path / "run"), "--total-batch", "8", *TINY])
    solver, _ = prepare("motion-face", options, Processes("cpu"))
    assert solver.config.accumulate == 2 and len(next(solver._batches())) == 2


@pytest.mark.parametrize("text, message", [
    ("motion-face:\n  lr: 1\n", "unknown setting 'lr'"),
    ("motion:\n  steps: 1\n", "unknown section 'motion'"),
    ("motion-face:\n  steps: many\n", "steps in .* is refused"),
    ("render:\n  steps: 1\n", "says nothing of motion-face; it has render"),
    ("- 1\n", "must hold sections"),
    ("motion-face: [\n", "is not YAML"),
    ("motion-face:\n  net: {breadth: 3}\n", "no size 'breadth'"),
])
def test_bad_settings_are_refused(text: str, message: str, folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        train("motion-face", ["--config", str(settings(tmp_path, text)), "--data", str(folder), "--run", str(tmp_path / "r")])


@pytest.mark.parametrize("arguments, message", [
    (["--data", "nowhere"], "give --run FOLDER, or --output FILE"),
    (["--data", "nowhere", "--run", "r"], "the folder nowhere does not exist"),
    (["--data", "x.tar", "--run", "r"], "give --held-out PATTERN too"),
    (["--data", "x-{0..3}.tar", "--held-out", "x.tar", "--run", "r"], r"x-0.tar does not exist \(4 of 4 are missing\)"),
    (["--clips", "nowhere", "--output", "a.safetensors"], "--clips takes a folder of films"),
    (["--data", ".", "--run", "r", "--batch", "-1"], "--batch must be at least 1"),
])
def test_what_cannot_work_is_refused_at_once(arguments: list[str], message: str, tmp_path: Path,
                                             monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=message):
        train("motion-face", arguments)


def test_only_face_and_render_are_fine_tuned(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "audio", "--clips", str(tmp_path), "--run", str(tmp_path)]) == 2
    assert "--clips fine-tunes motion-face or render, not audio" in capsys.readouterr().err


def test_sections_are_the_verbs_tasks() -> None:
    from chatanyone.train import TASKS

    assert set(SECTIONS) == set(TASKS)
