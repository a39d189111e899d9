"""From folders to a report, with geometry alone and films of a second; the astronaut stands in for portrait and clip."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from chatanyone import cli
from chatanyone.config import Config, load_config
from chatanyone.errors import ConfigError, MediaError
from chatanyone.evaluation import looks, reenacted
from chatanyone.evaluation.run import PARTS, Request, evaluate, open_session
from chatanyone.media.audio import write_wav
from chatanyone.media.video import VideoWriter

PICTURES = ("silence", "sharpness", "steadiness", "hands", "identity")


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    """Folders p, v, c with a portrait, a voice and a clip in which the picture shifts by some pixels."""
    astronaut = pytest.importorskip("skimage.data").astronaut()
    for name in "pvc":
        (tmp_path / name).mkdir()
    Image.fromarray(astronaut).save(tmp_path / "p" / "astronaut.png")
    write_wav(tmp_path / "v" / "noise.wav", 0.1 * np.random.default_rng(0).standard_normal(16000).astype(np.float32))
    with VideoWriter(tmp_path / "c" / "shift.mp4", (512, 512), Fraction(30)) as film:
        for shift in (0, 6, 12):
            film.write(np.roll(astronaut, shift, axis=1))
    return tmp_path


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The astronaut is prepared once."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def config(repository: Path, cache: Path) -> Config:
    return load_config(repository / "configs" / "debug.yaml", {"render.cache": str(cache)})


def request(inputs: Path, **more: object) -> Request:
    return Request(inputs / "out", inputs / "p", inputs / "v", inputs / "c", inputs / "work", geometry="alone",
                   **more)  # type: ignore[arg-type]


def test_films_are_measured_reported_and_not_made_twice(
    inputs: Path, config: Config, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(looks, "SPEECH_S", 0.3)
    monkeypatch.setattr(looks, "SILENCE_S", 0.6)
    monkeypatch.setattr(looks, "STILL_S", 0.2)
    outcomes = evaluate(request(inputs, only=PICTURES), config)
    assert [outcome.bar for outcome in outcomes] == list(PICTURES)
    found = {row.name: row.value for outcome in outcomes for row in outcome.measures}
    assert 0.3 < found["Laplacian energy of face ÷ picture's"] < 1.5
    assert found["background, largest change"] == 0
    assert 0.8 < found["the same of clothes, nothing moving"] < 1.2
    assert found["landmarks at neutral against the picture"] < 2  # the smile's parted lips close
    assert found["ΔE2000 of skin"] < 3
    about, bars = _report(inputs / "out")
    assert len(bars) == len(PICTURES) and about["inputs"] == {"portraits": 1, "voices": 1, "clips": 1}
    assert set(about["weights"]) == {"audio_encoder", "face", "body", "render"}
    assert (inputs / "out" / "films-geometry.jpg").is_file()
    capsys.readouterr()
    again = evaluate(request(inputs, only=PICTURES), config)
    assert capsys.readouterr().err == ""  # nothing was made
    assert [row.value for o in again for row in o.measures] == [row.value for o in outcomes for row in o.measures]


def test_a_clip_is_brought_back_from_its_first_frame(
    inputs: Path, config: Config, monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("torchmetrics")
    monkeypatch.setattr(reenacted, "EVERY", 1)
    outcome, table = evaluate(request(inputs, only=("reenactment", "table1")), config)
    rows = {(row.name, row.variant): row for row in outcome.measures}
    assert rows["PSNR over the person", "geometry"].value > rows["PSNR over the person", "first frame again"].value + 2
    assert any("it needs --inception" in row.note for row in table.measures)
    text = (inputs / "out" / "results-reenactment-table1.md").read_text()
    assert "## Reenactment" in text and "* FVD: not computed" in text


def test_true_frames_are_cut_as_the_portrait_was(inputs: Path) -> None:
    from skimage.data import astronaut

    from chatanyone.portrait import prepare_portrait

    portrait = prepare_portrait(astronaut(), (256, 256))
    true = reenacted.framed(astronaut(), portrait)
    seen = (portrait.image.permute(1, 2, 0) * 255).round().byte().numpy()
    assert np.abs(true.astype(int) - seen)[:, 64:-64].mean() < 0.5  # half a pixel off would give several


def test_a_part_without_its_inputs_says_so(inputs: Path, config: Config) -> None:
    (outcome,) = evaluate(Request(inputs / "out", portraits=inputs / "p", work=inputs / "work", only=("sync",)), config)
    assert outcome.measures[0].note == "not computed: no clips given"


def test_mistakes_are_one_sentence(inputs: Path, config: Config) -> None:
    with pytest.raises(ConfigError, match="--only knows sync, closure, .*, not lips"):
        evaluate(request(inputs, only=("lips",)), config)
    with pytest.raises(ConfigError, match="--limit must be at least 1, not 0"):
        open_session(request(inputs, limit=0), config)
    with pytest.raises(MediaError, match="folder of portraits, .*nobody, does not exist"):
        evaluate(Request(inputs / "out", portraits=inputs / "nobody"), config)
    assert not (inputs / "out").exists()


def test_every_part_can_be_asked_for(repository: Path) -> None:
    from importlib import import_module

    for name, path in PARTS.items():
        module = import_module(f"chatanyone.evaluation.{path}")
        assert module.TITLE and set(module.NEEDS) <= {"portraits", "voices", "clips"}, name
        assert f"### `{name}`" in (repository / "docs" / "metrics.md").read_text(), f"{name} is not in docs/metrics.md"


def _report(folder: Path) -> tuple[dict[str, dict[str, object]], list[object]]:
    (path,) = folder.glob("results*.json")
    data = json.loads(path.read_text())
    return data["about"], data["bars"]


def test_nothing_to_measure_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["evaluate", "--output", str(tmp_path / "report")]) == cli.USER_MISTAKE
    assert "nothing to measure: give --portraits, --voices, --clips" in capsys.readouterr().err
    assert not (tmp_path / "report").exists()
