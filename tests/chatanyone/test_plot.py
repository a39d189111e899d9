"""The plot: every group has its panel, what moves is drawn, the picture is whole."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from chatanyone.errors import ConfigError, MediaError
from chatanyone.plot import MOST, panels, plot
from motion.types import ARKIT_INDEX
from tests.helpers.motion import moving


def test_a_panel_for_each_group_with_what_moves_most() -> None:
    document = moving(60)
    document.expression[:] = 0
    wave = np.sin(np.arange(60) / 5) ** 2
    for name, size in (("jawOpen", 0.6), ("mouthSmileLeft", 0.3), ("mouthSmileRight", 0.1), ("browInnerUp", 0.2)):
        document.expression[:, ARKIT_INDEX[name]] = size * wave
    found = panels(document)
    assert [title.split()[0] for title in found] == ["mouth", "brows", "eyes", "cheeks", "head", "body"]
    assert list(found["mouth (weights)"]) == ["jawOpen", "mouthSmile"] and not found["cheeks (weights)"]
    assert np.allclose(found["mouth (weights)"]["mouthSmile"], 0.2 * wave)
    assert np.allclose(found["head (degrees)"]["turn"], np.rad2deg(document.rotation[:, 1]))
    assert all(len(curves) <= MOST for curves in panels(moving(60)).values())


@pytest.mark.parametrize("sound", [False, True])
def test_a_picture_is_written(tmp_path: Path, sound: bool) -> None:
    samples = np.sin(np.arange(32_000) / 20).astype(np.float32) if sound else None
    plot(moving(60), tmp_path / "m.png", samples, "wave")
    with Image.open(tmp_path / "m.png") as picture:
        pixels = np.asarray(picture.convert("RGB"))
    assert pixels.shape[1] > 1000 and len(np.unique(pixels.reshape(-1, 3), axis=0)) > 50
    assert [path.name for path in tmp_path.iterdir()] == ["m.png"]


def test_without_matplotlib_there_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ConfigError, match=r"plotting needs matplotlib; pip install 'chatanyone\[plot\]'"):
        plot(moving(10), tmp_path / "m.png")
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match="could not be written"):
        plot(moving(10), tmp_path / "none" / "m.png")
