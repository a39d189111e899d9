"""The body net and its stream: causal by gradient, whole == stream, and a cache that forgets."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from motion.body import BodyTransformer
from motion.body_sampler import BodySampler
from motion.impulses import GESTURE_CODES, gesture_code
from motion.types import BodyMotion

C, K = 5, 3


def tiny(**changes: Any) -> BodyTransformer:
    torch.manual_seed(1)
    settings: dict[str, Any] = dict(audio_dim=C, keypoints=K, appearance_dim=4, width=16, heads=2, ratio=2, past=6,
                                    audio_past=5, audio_future=1)
    return BodyTransformer(**(settings | changes)).eval()


def stream(net: BodyTransformer, keypoints: Tensor, features: Tensor, chunks: list[tuple[int, int]]) -> Tensor:
    """Packed motion when keypoints and features come in chunks of the given sizes."""
    sampler = BodySampler(net)
    state, parts, k, f = sampler.init_state(3), [], 0, 0
    for points, sounds in chunks:
        motion, state = sampler.step(keypoints[k:k + points], features[f:f + sounds], state)
        parts.append(motion.packed())
        k, f = k + points, f + sounds
    motion, _ = sampler.flush(state)
    return torch.cat(parts + [motion.packed()])


def test_every_parameter_gets_a_gradient() -> None:
    net = tiny()
    motion, _ = net(torch.randn(2, 4, K, 3), torch.randn(2, 4, C), torch.randn(2, 4, GESTURE_CODES), audio_first=0,
                    appearance=torch.randn(2, 3, 4), keep_appearance=torch.tensor([True, False]))
    assert motion.delta.shape == (2, 4, 14, 3) and motion.hands.shape == (2, 4, 2, 51)
    motion.packed().square().sum().backward()
    assert [name for name, p in net.named_parameters() if p.grad is None or p.grad.abs().max() == 0] == []


def test_it_looks_back_only_but_for_one_frame_of_audio() -> None:
    net = tiny()
    keypoints, audio = torch.randn(1, 8, K, 3, requires_grad=True), torch.randn(1, 8, C, requires_grad=True)
    motion, _ = net(keypoints, audio, torch.randn(1, 8, GESTURE_CODES), audio_first=0)
    motion.packed()[:, 4].sum().backward()
    assert keypoints.grad is not None and audio.grad is not None
    assert keypoints.grad[:, 5:].abs().max() == 0 and keypoints.grad[:, 4].abs().max() > 0
    assert audio.grad[:, 6:].abs().max() == 0 and audio.grad[:, 5].abs().max() > 0


def test_stream_equals_whole() -> None:
    net = tiny()
    keypoints, features = torch.randn(18, K, 3), torch.randn(18, C)
    held = torch.cat([features, features[-1:].expand(3, -1)])
    points = torch.cat([keypoints, keypoints[-1:].expand(2, -1, -1)])
    with torch.no_grad():
        whole, _ = net(points[None], held[None], gesture_code(3, 0, 20)[None], audio_first=0)
    streamed = stream(net, keypoints, features, [(18, 18)])
    # the stream pads audio before frame 0 with zeros, the whole clip has none there: alike once past that reach
    torch.testing.assert_close(streamed[12:], whole.packed()[0, 12:18], atol=2e-2, rtol=0)


def test_stream_equals_whole_with_the_same_past() -> None:
    net = tiny()
    keypoints, features = torch.randn(16, K, 3), torch.randn(16, C)
    audio = torch.cat([torch.zeros(5, C), features, features[-1:]])
    with torch.no_grad():
        whole, _ = net(keypoints[None], audio[None], gesture_code(3, 0, 16)[None], audio_first=-5)
    torch.testing.assert_close(stream(net, keypoints, features, [(16, 16)]), whole.packed()[0], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("chunks", [
    pytest.param([(1, 1)] * 19, id="ones"), pytest.param([(4, 5), (4, 4), (11, 10)], id="hops"),
    pytest.param([(0, 19), (19, 0)], id="sound first"), pytest.param([(3, 7), (16, 12)], id="uneven"),
])
def test_any_chunking_gives_the_same_frames(chunks: list[tuple[int, int]]) -> None:
    net, keypoints, features = tiny(), torch.randn(19, K, 3), torch.randn(19, C)
    expected = stream(net, keypoints, features, [(19, 19)])
    assert len(expected) == 19
    assert torch.equal(stream(net, keypoints, features, chunks), expected)


def test_save_and_restore() -> None:
    sampler = BodySampler(tiny())
    keypoints, features = torch.randn(30, K, 3), torch.randn(30, C)
    _, state = sampler.step(keypoints[:11], features[:13], sampler.init_state(3, torch.randn(2, 4)))
    saved = {name: tensor.clone() for name, tensor in state.tensors().items()}
    expected, _ = sampler.step(keypoints[11:], features[13:], state)
    restored = sampler.init_state(0, torch.zeros(2, 4)).restored(saved)
    again, _ = sampler.step(keypoints[11:], features[13:], restored)
    assert torch.equal(again.packed(), expected.packed())


def test_memory_is_bounded() -> None:
    sampler = BodySampler(tiny())
    state, sizes = sampler.init_state(0), []
    for _ in range(12):
        _, state = sampler.step(torch.randn(8, K, 3), torch.randn(8, C), state)
        sizes.append(sum(tensor.numel() for tensor in state.tensors().values()))
    assert sizes[-1] == sizes[3]


def test_gesture_dial_and_appearance() -> None:
    net = tiny()
    keypoints, features, look = torch.randn(8, K, 3), torch.randn(9, C), torch.randn(2, 4)

    def run(appearance: Tensor | None, gesture: float) -> BodyMotion:
        sampler = BodySampler(net)
        return sampler.step(keypoints, features, sampler.init_state(0, appearance, gesture=gesture))[0]

    assert torch.equal(run(None, 2.0).packed(), 2 * run(None, 1.0).packed())
    assert run(None, 0.0).packed().abs().max() == 0
    assert not torch.equal(run(look, 1.0).packed(), run(None, 1.0).packed())


def test_closed_stream_is_refused() -> None:
    sampler = BodySampler(tiny())
    _, state = sampler.flush(sampler.init_state(0))
    with pytest.raises(ValueError, match="was flushed"):
        sampler.step(torch.randn(1, K, 3), torch.randn(1, C), state)
    with pytest.raises(ValueError, match="evaluation mode"):
        BodySampler(tiny().train())
