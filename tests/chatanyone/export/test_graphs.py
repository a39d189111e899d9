"""Graphs against the nets they come from, and the rendering nets through ONNX Runtime."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from chatanyone.driver import Driver, neutral_motion
from chatanyone.export import files
from chatanyone.export.motion_graphs import BodyGraph
from chatanyone.export.real import _drawn
from chatanyone.export.render_graphs import render_graphs
from chatanyone.export.speech_graphs import MelGraph, RotaryDigits
from motion.audio.encoder import rotary_table
from motion.audio.mel import mel_power, mel_windows, normalise_stream
from motion.body import BodyTransformer
from motion.body_sampler import BodySampler
from motion.impulses import GESTURE_CODES
from motion.template.head import HeadTemplate
from motion.types import ARKIT_INDEX, FaceMotion
from render.geometry import draw
from render.renderer import Renderer, face_window
from tests.helpers.render_nets import small_renderer
from tests.helpers.template_person import template_portrait

SIZE = (256, 384)  # of the template's portrait
NAMES = ("filter", "appearance", "dense_motion", "generator", "face_refine")


@pytest.fixture(scope="module")
def renderer() -> Renderer:
    return small_renderer(awaken=True)


@pytest.fixture(scope="module")
def driver() -> Driver:
    template = HeadTemplate.load()
    return Driver(template_portrait(template), template)


@pytest.mark.parametrize("loudness", [0.0, 1e-3, 0.9])
def test_mel_without_a_fourier_transform(loudness: float, generator: torch.Generator) -> None:
    samples = loudness * torch.randn(2, 880, generator=generator)
    expected = normalise_stream(mel_power(mel_windows(samples)))
    torch.testing.assert_close(MelGraph(4, 80)(samples), expected, atol=2e-5, rtol=0)


@pytest.mark.parametrize("start", [0, 255, 256, 70_000, 2**24 - 3])
def test_rotary_positions_hours_into_a_stream(start: int) -> None:
    found = RotaryDigits(48)(torch.arange(start, start + 3))
    torch.testing.assert_close(found, rotary_table(3, 48, start), atol=5e-7, rtol=0)


def test_a_cache_of_fixed_length_is_the_growing_one(generator: torch.Generator) -> None:
    torch.manual_seed(0)
    net = BodyTransformer(audio_dim=5, width=16, heads=2, past=6, audio_past=3).eval()
    sampler, template = BodySampler(net), HeadTemplate.load()
    graph, cache = BodyGraph(sampler, template), net.init_cache()
    held, position = torch.zeros(2, 2, 1, 2, 6, 8), torch.zeros(1, dtype=torch.int64)
    for _ in range(4):
        face = 0.2 * torch.rand(1, 4, 58, generator=generator)
        audio, code = torch.randn(1, 8, 5, generator=generator), torch.randn(1, 4, GESTURE_CODES, generator=generator)
        motion = FaceMotion.unpack(face)
        keypoints = template.keypoints(motion.expression, motion.rotation, motion.translation)
        with torch.no_grad():
            wanted, cache = net(keypoints, audio, code, audio_first=-3, cache=cache)
            delta, hands, held, position = graph(face, audio, code, held, position)
        torch.testing.assert_close(delta, wanted.delta)
        torch.testing.assert_close(hands, wanted.hands)
    assert int(position) == 16


def test_rendering_graphs_are_the_renderers_parts(renderer: Renderer, driver: Driver) -> None:
    face, body = neutral_motion(2)
    face.rotation[1, 1], face.expression[1, ARKIT_INDEX["jawOpen"]] = 0.2, 0.6
    drive, source = driver(face, body), driver.source.to("cpu")
    graphs = {graph.name: graph for graph in render_graphs(renderer, SIZE)}
    calls = _drawn(renderer, source, drive)
    assert tuple(graphs) == tuple(calls) == NAMES
    torch.testing.assert_close(graphs["appearance"](calls["appearance"][0])[2], renderer.look(source).vector)
    corrected = graphs["dense_motion"](calls["dense_motion"][0])[0]
    assert float((corrected - calls["dense_motion"][0][2]).abs().max()) > 0.01
    proposal = draw(source, drive, corrected)
    proposal.frame = graphs["filter"](calls["filter"][0])[0]
    assert float((proposal.frame - calls["filter"][0][0]).abs().max()) > 1e-3
    rows, columns = face_window(source)
    change = graphs["generator"]([proposal.frame, *calls["generator"][0][1:]])[0]
    change[:, :, rows, columns] *= renderer.open_to_change(proposal.face)
    frame = proposal.frame + change
    window = frame[:, :, rows, columns].clone()
    refined = graphs["face_refine"]([window, *calls["face_refine"][0][1:]])[0]
    frame[:, :, rows, columns] += refined * renderer.open_to_change(proposal.face)
    torch.testing.assert_close(frame.clamp(0, 1), renderer(source, drive), atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", NAMES)
def test_rendering_nets_in_onnx_runtime(renderer: Renderer, driver: Driver, name: str, tmp_path: Path) -> None:
    face, body = neutral_motion(2)
    face.rotation[1, 1], face.expression[1, ARKIT_INDEX["jawOpen"]] = 0.2, 0.6
    calls = _drawn(renderer, driver.source.to("cpu"), driver(face, body))
    graph = next(graph for graph in render_graphs(renderer, SIZE) if graph.name == name)
    files.write(graph, tmp_path / graph.file, 18, {})
    parity = files.compare(graph, tmp_path / graph.file, calls[name])
    assert 0 <= parity.random < 1e-4 and parity.real is not None and parity.real < 1e-4
