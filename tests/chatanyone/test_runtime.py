"""The compiled motion nets give torch's motion, in every way that they are used, and torch stays where they cannot be had."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import torch
from torch import Tensor

from chatanyone import build, runtime
from chatanyone.config import Config, load_config
from chatanyone.pipeline import AvatarPipeline, Stages, Strengths, Style
from motion.impulses import BLINK_SLOT
from motion.types import FaceMotion, StyleRange
from tests.chatanyone.export.helpers import DEBUG

SEED = 3


def _config(**changes: Any) -> Config:
    return load_config(str(DEBUG), {"threads": None, "device": "cpu", **changes})


def _stages(config: Config, compiled: bool) -> Stages:
    return _drawing_nothing(build.stages(config, compiled))


def _drawing_nothing(stages: Stages) -> Stages:
    return stages._replace(scene=lambda _: lambda face, body: torch.zeros(len(body.delta), 3, 1, 1))


def _voice(seconds: float) -> Tensor:
    t = torch.arange(round(seconds * 16_000)) / 16_000
    return 0.4 * torch.sin(1000 * t) * torch.sin(14 * t).square() + 0.01 * torch.randn(len(t), generator=torch.manual_seed(0))


def _motion(stages: Stages, samples: Tensor, style: Style = Style(), pieces: int | None = None) -> Tensor:
    """``[T, 202]``; with pieces the state is saved and taken up again after each."""
    moved: list[Tensor] = []
    engine = AvatarPipeline(stages, on_motion=lambda face, body: moved.append(torch.cat([face.packed(), body.packed()], 1)))
    fresh = engine.init(None, SEED, style, Strengths(expression=1.2, groups={"brows": 1.5}))
    if pieces is None:
        list(engine.run(samples, fresh))
    else:
        state = fresh
        for piece in samples.split(pieces):
            state = fresh.restored(engine.step(piece, state)[1].tensors())
        engine.flush(state)
    return torch.cat(moved)


def _style(reference: bool) -> Style:
    clip = FaceMotion.unpack(0.2 * torch.rand(20, 58, generator=torch.manual_seed(1))) if reference else None
    return Style(StyleRange(torch.full((4,), 0.1), torch.full((6,), 0.02)), clip)


@pytest.mark.parametrize("changes", [{}, {"motion.guidance_audio": 1.5, "motion.guidance_style": 2.0},
                                     {"motion.steps": 2}, {"audio.manifold": 1.0}, {"motion.backend": "loopy"}])
@pytest.mark.parametrize("reference", [False, True])
def test_motion_is_torchs(changes: dict[str, Any], reference: bool, caplog: pytest.LogCaptureFixture) -> None:
    config, style, samples = _config(**changes), _style(reference), _voice(0.7)
    wanted, found = (_motion(_stages(config, compiled), samples, style) for compiled in (False, True))
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=0)
    assert float(wanted.std(0).max()) > 0.01 and not caplog.records  # nothing stayed in torch


def test_pieces_and_saved_states_give_the_same_bits() -> None:
    stages, samples, style = _stages(_config(), True), _voice(0.7), _style(True)
    assert torch.equal(_motion(stages, samples, style, 1111), _motion(stages, samples, style))


def test_states_of_torch_go_on_compiled() -> None:
    """A state is saved by one and taken up by the other."""
    config, samples = _config(), _voice(0.8)
    parts = []
    for first, second in ((False, False), (False, True)):
        moved: list[Tensor] = []
        before, after = (AvatarPipeline(_stages(config, compiled), on_motion=lambda face, _: moved.append(face.packed()))
                         for compiled in (first, second))
        _, state = before.step(samples[:8000], before.init(None, SEED))
        after.flush(after.step(samples[8000:], after.init(None, SEED).restored(state.tensors()))[1])
        parts.append(torch.cat(moved))
    torch.testing.assert_close(parts[1], parts[0], atol=1e-5, rtol=0)


def test_shipped_nets_are_compiled_and_give_torchs_motion() -> None:
    config = Config(device="cpu")
    samples = _voice(BLINK_SLOT / 30)
    stages: Any = build.stages(config)
    found, wanted = _motion(_drawing_nothing(stages), samples), _motion(_stages(config, False), samples)
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=0)
    assert isinstance(stages.audio.features.encoder, runtime.CompiledEncoder)
    assert isinstance(stages.face.sampler.denoiser, runtime.CompiledDenoiser)


@pytest.mark.parametrize("broken", ["traced", "opened"])
def test_what_cannot_be_compiled_stays_in_torch(
        broken: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise RuntimeError("no such operator\nand a long trace")

    config, samples = _config(), _voice(0.4)
    monkeypatch.setattr(runtime, broken, refuse)
    with caplog.at_level(logging.WARNING):
        stages = _stages(config, True)
    assert [record.getMessage() for record in caplog.records] == [
        "motion stays in torch, which takes twice the time: no such operator"]
    assert torch.equal(_motion(stages, samples), _motion(_stages(config, False), samples))


def test_a_net_that_gives_other_numbers_is_refused(
        monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """An ONNX Runtime that computes something else must not move anybody."""
    honest = runtime.opened

    class _Wrong:
        def __init__(self, content: bytes) -> None:
            self.net = honest(content)

        def run(self, names: None, inputs: dict[str, Any]) -> list[Any]:
            return [output * 1.001 for output in self.net.run(names, inputs)]

    monkeypatch.setattr(runtime, "opened", _Wrong)
    with caplog.at_level(logging.WARNING):
        stages: Any = build.stages(_config())
    assert "AudioGraph gives other numbers in ONNX Runtime" in caplog.text
    assert not isinstance(stages.audio.features.encoder, runtime.CompiledEncoder)
