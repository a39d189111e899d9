from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch

from chatanyone.errors import CheckpointError
from chatanyone.evaluation import syncnet


def test_scores_by_hand() -> None:
    mean = np.array([9.0, 8.0, 9.0, 4.0, 9.0])
    assert syncnet.scores(mean) == {"Sync-C": 5.0, "Sync-D": 4.0, "offset": -1.0}


@pytest.mark.parametrize("late", [-4, 0, 3])
def test_the_offset_is_positive_when_the_film_is_late(late: int) -> None:
    voice = np.random.default_rng(0).standard_normal((120, 16))
    found = syncnet.scores(syncnet.distances(np.roll(voice, late, axis=0), voice))
    assert found["offset"] == late
    assert found["Sync-D"] < 1 and found["Sync-C"] > 2


def test_both_halves_give_as_many_numbers() -> None:
    net = syncnet.SyncNet().eval()
    with torch.inference_mode():
        film, sound = net.film(torch.rand(2, 3, 5, 224, 224)), net.sound(torch.rand(2, 1, 13, 20))
    assert film.shape == sound.shape == (2, 1024)


def test_30_frames_a_second_become_25() -> None:
    frames = [np.full((2, 2, 3), index, np.uint8) for index in range(60)]
    picked = [int(frame[0, 0, 0]) for frame in syncnet.at_25(frames, Fraction(30))]
    assert len(picked) == 50 and picked[:6] == [0, 1, 2, 3, 4, 6]


def test_other_weights_are_refused(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    save_file({"layer": torch.zeros(2)}, tmp_path / "other.safetensors")
    with pytest.raises(CheckpointError, match="does not hold the weights of syncnet_v2.model"):
        syncnet.load(tmp_path / "other.safetensors")
