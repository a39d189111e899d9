"""The real stages, tiny and untrained, behind the engine: what the stand-ins cannot show."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import Tensor

from chatanyone import build
from chatanyone.checkpoints import save_weights
from chatanyone.config import Config, load_config
from chatanyone.errors import CheckpointError, ConfigError
from chatanyone.pipeline import AvatarPipeline, Frame
from chatanyone.portrait import Portrait, prepare_portrait

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
SAMPLES = 6_000  # 12 frames at 30 fps


@pytest.fixture(scope="module")
def config() -> Config:
    return load_config(CONFIGS / "debug.yaml", {"threads": None})


@pytest.fixture(scope="module")
def portrait() -> Portrait:
    """The public-domain photograph inside scikit-image."""
    data = pytest.importorskip("skimage.data")
    return prepare_portrait(np.asarray(data.astronaut()), (512, 512))


@pytest.fixture(scope="module")
def engine(config: Config) -> AvatarPipeline:
    return build.pipeline(config)


@pytest.fixture(scope="module")
def speech() -> Tensor:
    return 0.1 * torch.randn(SAMPLES, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def whole(engine: AvatarPipeline, portrait: Portrait, speech: Tensor) -> list[Frame]:
    return list(engine.run(speech, engine.init(portrait, seed=5)))


def test_frames_are_exact_and_move(whole: list[Frame]) -> None:
    assert len(whole) == 12 and whole[0].shape == (512, 512, 3)
    assert np.abs(whole[0].astype(int) - whole[-1]).mean() > 0.1


def test_pieces_saved_and_restored_give_the_same_bits(
        engine: AvatarPipeline, portrait: Portrait, speech: Tensor, whole: list[Frame], tmp_path: Path) -> None:
    frames, state = engine.step(speech[:3_101], engine.init(portrait, seed=5))
    safetensors.torch.save_file(state.tensors(), tmp_path / "session.safetensors")
    state = engine.init(portrait).restored(safetensors.torch.load_file(tmp_path / "session.safetensors"))
    for piece in speech[3_101:].split(160):
        made, state = engine.step(piece, state)
        frames += made
    np.testing.assert_array_equal(frames + engine.flush(state)[0], whole)


def test_another_seed_moves_differently(
        engine: AvatarPipeline, portrait: Portrait, speech: Tensor, whole: list[Frame]) -> None:
    other = next(engine.run(speech, engine.init(portrait, seed=6)))
    assert not np.array_equal(other, whole[0])


@pytest.mark.parametrize("changes", [{"motion.backend": "live_speech_portraits"}, {"audio.manifold": 1.0},
                                     {"motion.backend": "live_speech_portraits", "audio.manifold": 0.5},
                                     {"motion.backend": "loopy"}, {"motion.backend": "loopy", "audio.manifold": 0.5}])
def test_other_motion_gives_the_same_bits_in_pieces_too(changes: dict[str, Any], portrait: Portrait, speech: Tensor) -> None:
    """Backend and manifold behind the engine: whole, and in pieces with the state saved between."""
    stages = build.stages(load_config(CONFIGS / "debug.yaml", {"threads": None, **changes}))
    moved: list[Tensor] = []
    engine = AvatarPipeline(stages._replace(scene=_unseen), on_motion=lambda face, _: moved.append(face.packed()))
    assert len(list(engine.run(speech, engine.init(portrait, seed=5)))) == 12
    whole, moved[:] = torch.cat(moved), []
    _, state = engine.step(speech[:3_101], engine.init(portrait, seed=5))
    state = engine.init(portrait).restored(state.tensors())
    for piece in speech[3_101:].split(160):
        _, state = engine.step(piece, state)
    engine.flush(state)
    assert torch.equal(torch.cat(moved), whole) and float(whole.std(0).max()) > 0


def test_a_backend_that_moves_frame_by_frame_shows_frame_by_frame(portrait: Portrait, speech: Tensor) -> None:
    """Face and body hold nothing back until a hop is full; the encoder's blocks of 40 ms give up to two frames."""
    changes = {"threads": None, "motion.backend": "live_speech_portraits"}
    stages = build.stages(load_config(CONFIGS / "debug.yaml", changes))
    engine = AvatarPipeline(stages._replace(scene=_unseen))
    counts = [after.clock.frames for _, after in engine.iterate(speech, engine.init(portrait))]
    assert max(np.diff(counts)) <= 2 and counts[-1] >= 5


def _unseen(_: Portrait) -> Any:
    return lambda face, body: torch.zeros(len(face.expression), 3, 1, 1)


def test_memory_does_not_grow(config: Config, portrait: Portrait) -> None:
    """What a session keeps after ten seconds is what it keeps after twenty."""
    stages = build.stages(config)._replace(scene=lambda _: lambda face, body: torch.zeros(len(face.expression), 3, 2, 2))
    engine = AvatarPipeline(stages)
    state, sizes = engine.init(portrait), []
    for _ in range(2):
        for second in torch.zeros(160_000).split(16_000):
            _, state = engine.step(second, state)
        sizes.append(sum(value.nbytes for value in state.tensors().values()))
    assert sizes[1] == pytest.approx(sizes[0], abs=20_000)


def test_missing_weights_are_one_sentence(config: Config, tmp_path: Path) -> None:
    config = load_config(overrides={"audio.weights": str(tmp_path / "none.safetensors"), "device": "cpu"})
    with pytest.raises(CheckpointError, match="none.safetensors but there is none"):
        build.stages(config)


def test_motion_of_another_encoder_is_refused(tmp_path: Path) -> None:
    save_weights(tmp_path / "face.safetensors", {"x": torch.zeros(1)}, kind="face", config={"audio_dim": 7})
    config = load_config(CONFIGS / "debug.yaml", {"motion.face_weights": str(tmp_path / "face.safetensors")})
    with pytest.raises(CheckpointError, match="was trained for audio_dim 7, but here it is 18"):
        build.face_sampler(config, 18, torch.device("cpu"))


def test_weights_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    save_weights(tmp_path / "face.safetensors", {"x": torch.zeros(1)}, kind="face", config={"width": 20, "heads": 2})
    config = load_config(CONFIGS / "debug.yaml", {"motion.face_weights": str(tmp_path / "face.safetensors")})
    with pytest.raises(CheckpointError, match="Missing key"):
        build.face_sampler(config, 18, torch.device("cpu"))


def test_a_missing_flame_file_is_one_sentence(tmp_path: Path) -> None:
    config = load_config(overrides={"template.head": "flame", "template.flame_model": str(tmp_path / "flame.npz")})
    with pytest.raises(ConfigError, match="flame"):
        build.head_template(config)


def test_shipped_weights_stay_small() -> None:
    root = Path(build.__file__).parents[1]
    files = [path for package in ("motion", "render") for path in (root / package).rglob("*.safetensors")]
    assert {path.stem for path in files} == {
        "audio_encoder", "face", "body", "live_speech_portraits", "render", "head", "hands"}
    assert sum(path.stat().st_size for path in files) < 40e6  # bytes, the budget of all default weights


def test_parts_of_the_renderer_can_be_switched_off(config: Config) -> None:
    where = torch.device("cpu")
    whole = build.renderer(config, where)
    assert isinstance(whole, torch.nn.Module)
    for part in build.ABLATIONS:
        settings = load_config(CONFIGS / "debug.yaml", {f"render.{part}": False})
        assert build.renderer(settings, where).keywords == {part: False}


def test_calls_draw_without_the_filter_unless_told() -> None:
    assert not build.as_in_calls(Config()).render.use_filter
    wanted = Config()
    wanted.live.filter = True
    assert build.as_in_calls(wanted).render.use_filter and wanted.render.use_filter
    wanted.render.use_filter = False
    assert not build.as_in_calls(wanted).render.use_filter
    assert Config().render.use_filter
