from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from chatanyone import bench, build, cli
from chatanyone.config import Config, load_config
from motion.types import BodyMotion, FaceMotion
from tests.helpers.portrait import plain_portrait
from tests.helpers.stages import FlatScene, stand_ins


class _ConvScene(FlatScene):
    """8 frames' worth of arithmetic that can be counted by hand."""

    def __init__(self, portrait: Any, size: tuple[int, int]) -> None:
        super().__init__(portrait, size)
        self.net = nn.Conv2d(3, 4, 1, bias=False)

    def __call__(self, face: FaceMotion, body: BodyMotion) -> Tensor:
        frames = super().__call__(face, body)
        self.net(frames)
        return frames


@pytest.fixture(scope="module")
def report() -> bench.Report:
    config = Config()
    stages = stand_ins(size=(512, 768))._replace(scene=lambda portrait: _ConvScene(portrait, (512, 768)))
    speech = 0.1 * np.random.default_rng(0).standard_normal(16_000).astype(np.float32)
    return bench.measure(stages, None, speech, config, torch.device("cpu"))


def test_every_stage_is_measured(report: bench.Report) -> None:
    assert [row.stage for row in report.rows] == ["audio", "face", "body", "render", "encode"]
    assert report.frames == 30
    assert all(0 <= row.p50_ms <= row.p95_ms for row in report.rows)
    assert 0 < sum(row.p50_ms for row in report.rows) < 3e3 / report.frames_per_second  # drawn and encoded side by side
    assert report.real_time_factor == pytest.approx(30 / report.frames_per_second, rel=0.01)


def test_arithmetic_is_counted_by_hand(report: bench.Report) -> None:
    render = next(row for row in report.rows if row.stage == "render")
    assert render.gflop == pytest.approx(2 * 3 * 4 * 512 * 768 / 1e9, rel=0.01)
    assert render.parameters == 12
    assert all(row.parameters == 0 for row in report.rows if row.stage != "render")


def test_latency_is_what_the_stages_hold_back(report: bench.Report) -> None:
    """Look-ahead 2 and blocks of 3: the body's one frame needs frame 1 of block 0, which needs 3 + 2 whole frames."""
    assert report.first_frame_needs_ms == pytest.approx(5 * 1000 / 30, abs=10)


def test_command_prints_a_table_and_writes_json(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(build, "stages", lambda config, compiled=True: stand_ins(config.media.rate, config.media.width_height))
    monkeypatch.setattr(bench, "_portrait", lambda config, image: plain_portrait())
    assert cli.main(["bench", "--seconds", "1", "--json", str(tmp_path / "b.json"), "--device", "cpu"]) == 0
    said, stored = capsys.readouterr().out, json.loads((tmp_path / "b.json").read_text())
    for word in ("p50 ms", "p95 ms", "GFLOP", "M parameters", "render", "frames per second", "peak memory"):
        assert word in said
    assert stored["frames"] == 30 and stored["size"] == load_config().media.size
    assert {row["stage"] for row in stored["rows"]} == {"audio", "face", "body", "render", "encode"}


def test_too_short_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    for seconds in ("0", "nan", "inf"):
        assert cli.main(["bench", "--seconds", seconds]) == cli.USER_MISTAKE
        assert "--seconds must be between 1 and 600" in capsys.readouterr().err
    assert cli.main(["bench", "--json", "nowhere/b.json"]) == cli.USER_MISTAKE  # before a minute's work, not after it
    assert "the output folder nowhere does not exist" in capsys.readouterr().err
