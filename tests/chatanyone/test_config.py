from __future__ import annotations

from pathlib import Path

import pytest

from chatanyone.config import Config, dump_config, load_config
from chatanyone.errors import ConfigError

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
TRAINING = {"paper.yaml"}  # settings of `chatanyone train`, tested with it
FILES = sorted(path for path in CONFIGS.glob("**/*.yaml") if path.name not in TRAINING)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_file_loads_and_round_trips(path: Path, tmp_path: Path) -> None:
    config = load_config(path)
    (tmp_path / "again.yaml").write_text(dump_config(config))
    assert load_config(tmp_path / "again.yaml") == config


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_file_is_in_the_table(path: Path) -> None:
    assert f"`{path.relative_to(CONFIGS)}`" in (CONFIGS / "README.md").read_text()


def test_default_file_says_what_the_code_does() -> None:
    assert load_config(CONFIGS / "default.yaml") == load_config() == Config()


def test_options_win_over_the_file(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("motion: {seed: 3, steps: 7}\n")
    config = load_config(tmp_path / "a.yaml", {"motion.seed": 5, "device": "cpu"})
    assert (config.motion.seed, config.motion.steps, config.device) == (5, 7, "cpu")


@pytest.mark.parametrize(("text", "message"), [
    ("colour: red", "unknown setting 'colour' in .*; known here: media, audio, motion"),
    ("motion: {stpes: 3}", "unknown setting 'motion.stpes' in .*; known here: .*steps"),
    ("motion: 3", "'motion' in .* is a section"),
    ("motion: {steps: many}", "motion.steps in .* is refused: .*many"),
    ("motion: {steps: 0}", "motion.steps must be between 1 and 100, not 0"),
    ("motion: {expression: -1}", "motion.expression must be between 0 and 2, not -1"),
    ("motion: {backend: gan}", "motion.backend must be diffusion or live_speech_portraits or loopy, not 'gan'"),
    ("motion: {backend: loopy}", "motion.loopy_weights must be the path of weights made with 'chatanyone train motion-loopy'"),
    ("motion: {backend: loopy, loopy_weights: shipped}", "motion.loopy_weights must be the path of weights"),
    ("audio: {manifold: 2}", "audio.manifold must be between 0 and 1, not 2"),
    ("audio: {backend: whisper, manifold: 0.5}", "know the compact speech encoder only; set audio.backend to compact"),
    ("{audio: {backend: whisper}, motion: {backend: live_speech_portraits}}", "know the compact speech encoder only"),
    ("media: {size: 100x100}", "media.size must be 512x768 or 512x512, not '100x100'"),
    ("media: {fps: fast}", "the frame rate must be a number"),
    ("device: tpu", "device must be auto, cpu or cuda, not 'tpu'"),
    ("precision: fp8", "precision must be fp32 or bf16"),
    ("template: {head: flame}", "template.flame_model must be the path"),
    ("- a\n- b", "must hold settings as 'name: value' lines"),
    ("motion: {seed: 1", r"is not YAML .line \d"),
])
def test_mistakes_are_one_sentence(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "bad.yaml").write_text(text)
    with pytest.raises(ConfigError, match=message) as caught:
        load_config(tmp_path / "bad.yaml")
    assert "\n" not in str(caught.value)


def test_missing_file() -> None:
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        load_config("/nowhere/none.yaml")
