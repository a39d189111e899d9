"""Loopy: temporal segments, the gate, audio to latents, and the net as a stream."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from motion.face import FaceDenoiser
from motion.layers.attention import Attention, RelativeBias
from motion.loopy.latents import SOURCES, UPPER_FACE, AudioToLatents, Movement
from motion.loopy.net import LoopyDenoiser
from motion.loopy.segments import InterClipAttention, TemporalSegments, segment_frames, segment_span
from motion.sampler import FaceSampler
from motion.types import FACE_DIM, StyleRange

C = 6
SIZES = dict(audio_dim=C, width=16, depth=2, heads=2, ratio=2, audio_past=6, previous=8)
REACH = 60  # frames of four segments


def net() -> LoopyDenoiser:
    """Small, and every weight away from zero: the gate is open."""
    torch.manual_seed(1)
    made = LoopyDenoiser(**SIZES, segments=4, embeddings=5)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    made.motion_mean.fill_(0.3)
    made.motion_std.fill_(0.1)
    return made.eval()


def sampler(audio: float = 1.0) -> FaceSampler:
    return FaceSampler(net(), steps=3, audio_past=6, guidance_audio=audio)


# The temporal segment module

def test_the_paper_s_segments_turn_124_frames_into_20_tokens() -> None:
    frames = segment_frames(4, 2, 5).tolist()
    assert segment_span(4, 2, 5) == 124 and len(frames) == 20
    assert frames == [0, 1, 2, 3, 5, 7, 9, 11, 14, 18, 22, 26, 32, 40, 48, 56, 68, 84, 100, 116]


@pytest.mark.parametrize("stride, expand, segments, span", [(4, 1, 5, 20), (1, 2, 5, 31), (2, 2, 5, 62), (4, 2, 8, 1020)])
def test_other_segments(stride: int, expand: int, segments: int, span: int) -> None:
    """The paper's ablations, and ours."""
    frames = segment_frames(stride, expand, segments)
    assert segment_span(stride, expand, segments) == span
    assert len(frames) == stride * segments and bool((torch.diff(frames) > 0).all()) and int(frames[-1]) < span


def test_tokens_show_their_frames_and_which_they_are() -> None:
    segments = TemporalSegments(3, 8, stride=2, expand=2, segments=3)
    past = torch.arange(-14.0, 0)[None, :, None].expand(1, 14, 3)  # each frame holds its own number
    assert segments.sampled(past)[0, :, 0].tolist() == [-1, -2, -4, -6, -9, -13]
    same = segments(torch.ones(2, 6, 3), torch.tensor([True, False]))
    expected = segments.motion_in(torch.ones(3)) + segments.time
    torch.testing.assert_close(same[0], expected)
    torch.testing.assert_close(same[1], segments.null + segments.time)


def test_a_closed_gate_leaves_the_previous_motion_alone() -> None:
    torch.manual_seed(0)
    plain, long = Attention(8, 2), InterClipAttention(8, 2, tokens=5)
    long.load_state_dict(plain.state_dict(), strict=False)
    x, previous, tokens = torch.randn(2, 3, 8), torch.randn(2, 4, 8), torch.randn(2, 5, 8)
    bias = RelativeBias(2, past=9, future=0)(torch.arange(3), torch.arange(-4, 0))
    pair = long.joined(long.project(previous), tokens)
    expected = plain(x, plain.project(previous), bias)
    assert torch.equal(long(x, pair, bias), expected)
    with torch.no_grad():
        long.gate.copy_(torch.tensor([0.3, -0.8]))
    query = plain.query(x).view(2, 3, 2, 4).transpose(1, 2)
    keys, values = long.past(tokens).view(2, 5, 2, 2, 4).permute(2, 0, 3, 1, 4)
    far = (query @ keys.mT / 4 ** 0.5).softmax(-1) @ values * torch.tanh(long.gate)[:, None, None]
    added = far.transpose(1, 2).reshape(2, 3, 8) @ plain.output.weight.T
    torch.testing.assert_close(long(x, pair, bias), expected + added)


# The audio-to-latents module

def test_latents_are_mixtures_of_the_embeddings() -> None:
    torch.manual_seed(0)
    module = AudioToLatents(C, 16, latents=3, embeddings=7, size=8, heads=2)
    assert not module(torch.randn(2, 5, C)).any()  # nothing at first
    torch.nn.init.normal_(module.out.weight)
    audio = torch.randn(2, 5, C)
    query = module.queries["audio"](torch.cat([audio.mean(1), audio.std(1, correction=0)], 1)).view(2, 3, 2, 4).transpose(1, 2)
    keys, values = module.key_value(module.embeddings).view(7, 2, 2, 4).permute(1, 2, 0, 3)
    mixed = (query @ keys.mT / 4 ** 0.5).softmax(-1) @ values
    torch.testing.assert_close(module(audio), module.out(mixed.transpose(1, 2).flatten(1)))


def test_a_row_is_shown_one_condition_alone() -> None:
    module = AudioToLatents(C, 16, latents=2, embeddings=7)
    torch.nn.init.normal_(module.out.weight)
    audio, motion, source = torch.randn(4, 5, C), torch.randn(4, 15, FACE_DIM), torch.arange(4)
    shown = Movement.of(motion, source)
    torch.testing.assert_close(shown.head, motion[..., 52:].std(1, correction=0))
    assert shown.expression.shape == (4, len(UPPER_FACE)) and torch.equal(shown.landmarks, motion.mean(1))
    base = module(audio, shown)
    assert torch.equal(base[0], module(audio)[0])
    for index, name in enumerate(SOURCES):
        changed = replace(shown) if name == "audio" else replace(shown, **{name: getattr(shown, name) + 1})
        differs = (module(audio + (name == "audio"), changed) != base).any(1)
        assert differs.tolist() == [index == row for row in range(4)], name


# The net

def test_it_begins_as_the_face_net() -> None:
    """Same bits, whatever the long past was."""
    torch.manual_seed(0)
    face, loopy = FaceDenoiser(**SIZES), LoopyDenoiser(**SIZES, segments=4)
    missing = loopy.load_state_dict(face.state_dict(), strict=False)
    assert set(missing.missing_keys) == set(loopy.added()) and not missing.unexpected_keys
    features, motions = torch.randn(40, C), []
    for one in (face, loopy):
        engine = FaceSampler(one.eval(), steps=2, audio_past=6)
        motions.append(engine.step(features, engine.init_state(0))[0].packed())
    assert torch.equal(*motions) and float(motions[0].std()) > 0


def test_only_what_the_tokens_show_of_the_long_past_counts() -> None:
    engine, features = sampler(), torch.randn(4, C)  # of one hop
    assert engine.denoiser.previous == REACH
    _, state = engine.step(torch.randn(80, C), engine.init_state(0))
    base = engine.step(features, state)[0].packed()
    shown = set(segment_frames(4, 2, 4).tolist()) | set(range(8))
    for back in range(REACH):
        other = state.clone()
        other.previous[REACH - 1 - back] += 1
        assert torch.equal(engine.step(features, other)[0].packed(), base) == (back not in shown), back


def test_without_sound_there_are_no_latents() -> None:
    """Guidance compares with a net that hears nothing: neither the features nor what was made of them."""
    one, previous = net(), torch.randn(2, REACH, FACE_DIM)

    def style(keep: dict[str, Tensor] | None, audio: Tensor) -> Tensor:
        return one.encode(audio, previous, frames=5, audio_first=-6, keep=keep).style

    audio, silent = torch.randn(2, 11, C), {"audio": torch.tensor([False, True])}
    kept, other = style(silent, audio), style(silent, audio + 1)
    assert torch.equal(kept[0], other[0]) and not torch.equal(kept[1], other[1])
    assert torch.equal(style({"latents": torch.tensor([False, False])}, audio)[0], kept[0])
    features = torch.randn(12, C)
    motions = [engine.step(features, engine.init_state(0))[0].packed() for engine in (sampler(), sampler(audio=2.0))]
    assert not torch.equal(*motions)


# As a stream

def stream(chunks: list[Tensor]) -> Tensor:
    engine = sampler()
    state, parts = engine.init_state(5), []
    for chunk in chunks:
        motion, state = engine.step(chunk, state)
        parts.append(motion.packed())
    return torch.cat(parts + [engine.flush(state)[0].packed()])


@pytest.mark.parametrize("sizes", [
    pytest.param([1] * 150, id="ones"), pytest.param([4] * 37 + [2], id="hops"), pytest.param([0, 3, 0, 147], id="empty")])
def test_any_chunking_gives_the_same_frames(sizes: list[int]) -> None:
    """For longer than the segments reach."""
    features = torch.randn(150, C)
    whole = stream([features])
    assert whole.shape == (150, 58) and torch.equal(stream(list(features.split(sizes))), whole)


def test_save_restore_and_a_state_that_does_not_grow() -> None:
    engine, features = sampler(), torch.randn(200, C)
    style = StyleRange(torch.rand(4), torch.rand(6))
    start = engine.init_state(9, style, torch.rand(5, 52))
    _, early = engine.step(features[:70], start)
    _, state = engine.step(features[70:170], early)
    sizes = [sum(value.nbytes for value in one.tensors().values()) for one in (early, state)]
    assert sizes[0] == sizes[1]
    saved = {name: tensor.clone() for name, tensor in state.tensors().items()}
    expected, _ = engine.step(features[170:], state)
    blank = engine.init_state(0, StyleRange(torch.zeros(4), torch.zeros(6)), torch.zeros(5, 52))
    blank.ahead = torch.zeros(1, 58)
    for one in (blank.restored(saved), state, state.clone()):
        assert torch.equal(engine.step(features[170:], one)[0].packed(), expected.packed())


def test_causal_beyond_the_look_ahead() -> None:
    engine, features = sampler(), torch.randn(20, C)
    whole, _ = engine.step(features, engine.init_state(0))
    for changed in (3, 8, 13, 16):
        other = features.clone()
        other[changed:] += 1
        differs = (engine.step(other, engine.init_state(0))[0].packed() != whole.packed()).any(-1).nonzero().flatten()
        assert int(differs[0]) == max(0, (changed - engine.look_ahead) // 4 * 4)


def test_a_long_past_costs_a_quarter_at_most() -> None:
    """Operations of the face stage with the shipped sizes, beside the net without it."""
    counts = []
    for build in (FaceDenoiser, LoopyDenoiser):
        engine = FaceSampler(build(audio_dim=194).eval())
        features, state = torch.randn(engine.hop + engine.look_ahead, 194), engine.init_state(0)
        with FlopCounterMode(display=False) as counter:
            engine.step(features, state)
        counts.append(counter.get_total_flops())
    assert counts[0] < counts[1] < 1.25 * counts[0]
