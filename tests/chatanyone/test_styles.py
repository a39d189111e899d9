"""Styles: saved, listed, mixed and removed; shipped ones load and differ; strange files and names are refused."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from chatanyone.config import RANDOM, Config, load_config
from chatanyone.errors import MediaError
from chatanyone.exchange import write_motion
from chatanyone.stream.portable import plain, restored
from chatanyone.styles import (
    NamedStyle, StyleStore, clip_manner, document_style, load_style, mixed, save_style, styles_of)
from chatanyone.styles.calibration import Calibration, shipped_voice
from chatanyone.styles.clips import clip_style, typical_part
from chatanyone.styles.style import REFERENCE_FRAMES
from motion.correction import Correction
from motion.style import CLOSURES, check_rest, style_range
from motion.types import ARKIT_INDEX
from tests.helpers.motion import moving

SHIPPED = ("calm", "cheerful", "grave", "lively", "newsreader")


def style(name: str = "ada", scale: float = 1.0, rest: bool = True) -> NamedStyle:
    resting = torch.zeros(58)
    resting[ARKIT_INDEX["mouthSmileLeft"]] = 0.1 * scale
    return NamedStyle(name, "As Ada speaks.", torch.full((4,), 0.1 * scale), torch.full((6,), 0.01 * scale),
                      torch.rand(60, 52), resting if rest else None)


@pytest.fixture
def store(tmp_path: Path) -> StyleStore:
    return StyleStore(tmp_path / "styles")


def test_saved_and_read_again(tmp_path: Path) -> None:
    before = style()
    save_style(before, tmp_path / "ada.safetensors")
    after = load_style(tmp_path / "ada.safetensors")
    assert (after.name, after.description) == ("ada", "As Ada speaks.")
    for name in ("expression", "pose", "reference", "rest"):
        torch.testing.assert_close(getattr(after, name), getattr(before, name), atol=5e-4, rtol=0)
    bare = NamedStyle("bare", reference=torch.rand(5, 52))
    save_style(bare, tmp_path / "bare.safetensors")
    assert load_style(tmp_path / "bare.safetensors").pipeline_style().range is None


def test_the_store_saves_lists_and_removes(store: StyleStore) -> None:
    assert store.own_names() == []
    store.save(style("ada"))
    store.save(style("bob"))
    assert store.own_names() == ["ada", "bob"] and store.names() == [*SHIPPED, "ada", "bob"]
    with pytest.raises(MediaError, match="there is a style 'ada' already"):
        store.save(style("ada"))
    store.save(replace(style("ada"), description="New."), force=True)
    assert store.get("ada").description == "New."
    store.remove("ada")
    assert store.own_names() == ["bob"]
    with pytest.raises(MediaError, match="there is no style 'ada' of your own; there are: bob"):
        store.remove("ada")
    with pytest.raises(MediaError, match="there is no style 'ada'; there are calm, cheerful, grave, lively, newsreader, bob"):
        store.get("ada")


@pytest.mark.parametrize("name", ["", "Ada", "../ada", "a b", ".hidden", "a" * 33, "ada.safetensors", "ä", "a/b"])
def test_names_that_could_be_paths_are_refused(store: StyleStore, name: str) -> None:
    for use in (lambda: store.save(style(name)), lambda: store.remove(name), lambda: store.get(name)):
        with pytest.raises(MediaError, match="cannot be a style's name"):
            use()


def test_shipped_styles_stay(store: StyleStore) -> None:
    for use in (lambda: store.save(style("calm"), force=True), lambda: store.remove("calm")):
        with pytest.raises(MediaError, match="'calm' is a style that ships"):
            use()


def test_shipped_styles_are_what_they_say(store: StyleStore) -> None:
    found = {name: store.get(name) for name in store.names()}
    assert tuple(found) == SHIPPED
    for one in found.values():
        assert one.description.endswith(".") and one.expression is not None and one.pose is not None
        assert one.correction is not None
        assert one.reference is not None and len(one.reference) == REFERENCE_FRAMES
        if one.rest is not None:
            check_rest(one.rest)
            assert not one.rest[[ARKIT_INDEX[name] for name in CLOSURES]].any()
    ranges = {name: (one.expression, one.pose) for name, one in found.items()}
    assert all((more > less).all() for more, less in zip(ranges["lively"], ranges["calm"]))  # type: ignore[operator]
    assert (ranges["newsreader"][1] < ranges["cheerful"][1]).all()  # type: ignore[operator]
    assert _shown(found["cheerful"], "mouthSmileLeft") > _shown(found["newsreader"], "mouthSmileLeft") + 0.2
    assert _shown(found["grave"], "browDownLeft") > _shown(found["calm"], "browDownLeft") + 0.2
    assert sum(path.stat().st_size for path in store.shipped.glob("*.safetensors")) < 100_000


def _shown(one: NamedStyle, shape: str) -> float:
    """Mean of a shape in the reference, with the resting face."""
    index = ARKIT_INDEX[shape]
    assert one.reference is not None
    return float(one.reference[:, index].mean()) + (0.0 if one.rest is None else float(one.rest[index]))


def test_mixing_by_hand(store: StyleStore) -> None:
    store.save(style("ada", 1.0))
    store.save(style("bob", 3.0, rest=False))
    mixture = store.resolve("ada:3, bob:1")
    assert mixture.expression is not None and mixture.pose is not None and mixture.rest is not None
    torch.testing.assert_close(mixture.expression, torch.full((4,), 0.75 * 0.1 + 0.25 * 0.3))
    torch.testing.assert_close(mixture.pose, torch.full((6,), 0.75 * 0.01 + 0.25 * 0.03))
    assert float(mixture.rest[ARKIT_INDEX["mouthSmileLeft"]]) == pytest.approx(0.075)
    assert mixture.reference is not None and len(mixture.reference) == 60 + round(0.25 * REFERENCE_FRAMES)
    torch.testing.assert_close(store.resolve("ada").reference, store.get("ada").reference)
    equal = store.resolve("ada,bob")
    torch.testing.assert_close(equal.expression, torch.full((4,), 0.2))


def test_mixing_with_itself_is_itself_and_who_has_no_range_is_the_default() -> None:
    one = style()
    same = mixed([(one, 0.3), (one, 0.7)])
    torch.testing.assert_close(same.expression, one.expression)
    torch.testing.assert_close(same.rest, one.rest)
    assert mixed([(NamedStyle("a"), 1.0), (NamedStyle("b"), 1.0)]).expression is None
    assert mixed([(NamedStyle("a"), 1.0), (one, 1.0)]).expression is not None


@pytest.mark.parametrize(("text", "message"), [
    ("calm:x", "'x' in the style .* is no weight"), ("calm:0", "'0' in .* is no weight"), ("calm:-1,grave", "is no weight"),
    ("calm:nan", "is no weight"), ("calm,,grave", "cannot be a style's name"), ("nobody:0.5", "there is no style 'nobody'"),
    (",".join(["calm"] * 9), "at most 8 styles"),
])
def test_mixtures_that_make_no_sense(store: StyleStore, text: str, message: str) -> None:
    with pytest.raises(MediaError, match=message):
        store.resolve(text)


def test_files_that_are_no_styles(tmp_path: Path) -> None:
    about = {"kind": "chatanyone.style", "version": "1"}
    files = {"text": None, "other": {}, "shape": about, "nan": about, "opens": about, "name": about}
    bad = {"other": {"a": torch.zeros(1)}, "shape": {"expression": torch.zeros(5)},
           "nan": {"pose": torch.full((6,), float("nan"))}, "opens": {"rest": torch.ones(58)},
           "name": {"mood": torch.zeros(1)}}
    messages = {"text": "is not a style file", "other": "is not a style of version 1", "shape": "its expression is not",
                "nan": "its pose is not", "opens": "is refused: a resting face must leave", "name": "its mood is not"}
    for name, metadata in files.items():
        path = tmp_path / f"{name}.safetensors"
        path.write_text("hello") if metadata is None else save_file(bad[name], str(path), metadata)
        with pytest.raises(MediaError, match=messages[name]):
            load_style(path)
    with pytest.raises(MediaError, match="there is no style at"):
        load_style(tmp_path / "none.safetensors")


def test_a_style_out_of_motion() -> None:
    document = moving(300)
    found = document_style(document, "wave")
    whole = style_range(document.face_motion())
    torch.testing.assert_close(found.expression, whole.expression)
    torch.testing.assert_close(found.pose, whole.pose)
    assert found.reference is not None and len(found.reference) == REFERENCE_FRAMES and found.rest is None
    assert len(document_style(moving(120, Fraction(60)), "fast").reference) == 60  # type: ignore[arg-type]
    with pytest.raises(MediaError, match="a film of a second or more"):
        document_style(moving(20), "short")


def test_the_reference_is_the_part_that_moves_like_the_whole() -> None:
    document = moving(300)
    document.expression[:150] *= 0.1  # a quiet half; the clip's range is nearest where both meet or in the loud one
    part = typical_part(document.face_motion())
    rows = (torch.from_numpy(document.expression)[None] - part[0]).abs().sum(-1).argmin()
    assert 60 < int(rows) <= 210


def test_a_style_out_of_a_document_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In any of a document's forms."""
    monkeypatch.setattr("chatanyone.styles.calibration.MOST_S", 1.5)  # how well a correction fits is not asked here
    for name in ("m.npz", "m.csv"):
        write_motion(moving(90), tmp_path / name)
        assert clip_style(tmp_path / name, Config(), "wave").name == "wave"
    moving(3).save(tmp_path / "s.npz")
    with pytest.raises(MediaError, match="s.npz cannot give a style: it must be a film"):
        clip_style(tmp_path / "s.npz", Config())


def test_where_styles_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert styles_of(Config()).folder == tmp_path / "chatanyone" / "styles"
    assert styles_of(load_config(None, {"motion.styles": str(tmp_path / "own")})).folder == tmp_path / "own"
    (tmp_path / "file").write_text("")
    with pytest.raises(MediaError, match="the folder of styles .* cannot be made"):
        StyleStore(tmp_path / "file" / "styles").save(style())


def test_a_correction_is_saved_mixed_and_reaches_the_engine(store: StyleStore) -> None:
    right = Correction(torch.linspace(0.5, 1.5, 58), torch.zeros(58), 1.4)
    right.gain[[ARKIT_INDEX[name] for name in ("eyeBlinkLeft", "eyeBlinkRight", "jawLeft", "jawRight")]] = 1
    own = replace(style("ada"), correction=right)
    store.save(own)
    found = store.get("ada").correction
    assert found is not None and found.blinks == pytest.approx(1.4)
    torch.testing.assert_close(found.gain, right.gain)
    half = mixed([(store.get("ada"), 1.0), (style("bo"), 1.0)]).pipeline_style().correction
    assert half is not None and half.blinks == pytest.approx(1.2)
    torch.testing.assert_close(half.gain, (right.gain + 1) / 2)
    there = restored(plain(own.pipeline_style())).correction
    assert there is not None and torch.equal(there.gain, right.gain) and there.blinks == pytest.approx(1.4)
    broken = replace(own, name="broken", correction=Correction(right.gain * 9, right.offset))
    store.save(broken)
    with pytest.raises(MediaError, match="is refused: a correction's gains must be"):
        store.get("broken")


def test_a_style_is_corrected_on_its_own_sound_or_on_the_voice_that_ships(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chatanyone.styles.calibration.MOST_S", 3.0)
    config = Config()
    config.audio.weights = config.motion.face_weights = RANDOM
    calibration, document = Calibration.of(config), moving(90)
    sound = np.random.default_rng(0).normal(0, 0.1, 16000).astype(np.float32)
    own, shipped = (clip_manner(document, calibration, "wave", samples=samples).correction for samples in (sound, None))
    again = clip_manner(document, calibration, "wave", samples=sound).correction
    assert own is not None and shipped is not None and again is not None
    assert torch.equal(own.gain, again.gain) and not torch.equal(own.gain, shipped.gain)
    assert len(shipped_voice()) == 173171
