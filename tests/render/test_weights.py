"""The shipped weights: they load, say how they were measured, and were better than geometry alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from chatanyone.checkpoints import load_weights, read_info
from render.renderer import Renderer

SHIPPED = Path(__file__).parents[2] / "render" / "weights" / "render.safetensors"


def test_they_load_and_are_small() -> None:
    sizes, tensors = load_weights(SHIPPED, kind="render")
    Renderer(**sizes).load_state_dict(tensors)
    assert SHIPPED.stat().st_size < 4 << 20


def test_they_were_better_than_geometry_alone_on_people_held_out() -> None:
    scores = read_info(SHIPPED).extra.get("held_out")
    if scores is None:
        pytest.skip("untrained: the frame is geometry's")
    for part in ("person", "face"):
        assert scores[f"nets_{part}"] > scores[f"geometry_{part}"]
    assert scores["nets_sharpness"] > scores["geometry_sharpness"]
