from __future__ import annotations

import asyncio

import numpy as np
import pytest

from chatanyone.config import Config
from chatanyone.errors import ChatAnyoneError
from chatanyone.stream.choose import CANDIDATES, Candidate, _try_all, choose, choose_here


@pytest.mark.parametrize("speed, size, fps", [
    (100.0, (512, 768), 30), (8.9, (384, 576), 30), (8.0, (512, 768), 15), (2.0, (256, 384), 15), (1.0, (256, 384), 7.5)])
def test_the_largest_that_fits_is_taken(speed: float, size: tuple[int, int], fps: float) -> None:
    """speed: megapixels a second."""
    asked: list[Candidate] = []

    def measure(candidate: Candidate) -> float:
        asked.append(candidate)
        (width, height), pictures = candidate
        return width * height * pictures / 1e6 / speed

    choice = choose(measure)
    assert choice.size == size and choice.fps == fps and choice.share <= 0.75
    assert [candidate for candidate, _ in choice.tried] == asked == list(CANDIDATES[:len(asked)])
    assert f"{size[0]} × {size[1]} pixels at {fps:g} pictures a second" in str(choice)


def test_too_slow_a_machine_is_told_so() -> None:
    choice = choose(lambda candidate: 1.0)
    assert choice.size == (256, 384) and choice.pictures == 1
    assert str(choice) == ("This machine is too slow to be live: 256 × 384 pixels at 7.5 pictures a second take 750% of the "
                           "time there is.")


def test_a_picture_without_a_person_is_refused(tiny_config: Config) -> None:
    with pytest.raises(ChatAnyoneError, match="found none"):
        asyncio.run(choose_here(tiny_config, np.full((200, 200, 3), 128, np.uint8)))


def test_the_real_renderer_is_tried(tiny_config: Config) -> None:
    data = pytest.importorskip("skimage.data")
    choice = _try_all(tiny_config, np.asarray(data.astronaut()), CANDIDATES[-1:])
    assert choice.size == (256, 384) and choice.pictures == 1 and choice.share > 0
