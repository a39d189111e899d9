"""The face stream: the quartet, the latency, the budget, the dials."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from motion.body import BodyTransformer
from motion.body_sampler import BodySampler
from motion.face import FaceContext, FaceDenoiser
from motion.sampler import FaceSampler
from motion.style import LIVELY, style_range
from motion.types import ARKIT_INDEX, FaceMotion, StyleRange
from tests.helpers.streaming import streamed

C = 6


def sampler(audio: float = 1.0, style: float = 1.0, steps: int = 3) -> FaceSampler:
    torch.manual_seed(1)
    net = FaceDenoiser(audio_dim=C, width=16, depth=2, heads=2, ratio=2, audio_past=6, previous=8)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    net.motion_mean.fill_(0.3)
    net.motion_std.fill_(0.1)
    return FaceSampler(net.eval(), steps=steps, audio_past=6, guidance_audio=audio, guidance_style=style)


def stream(chunks: list[Tensor], seed: int = 5) -> Tensor:
    return streamed(sampler(), chunks, seed)


@pytest.mark.parametrize("sizes", [
    pytest.param([1] * 30, id="ones"), pytest.param([4] * 7 + [2], id="hops"), pytest.param([0, 3, 0, 27], id="empty"),
    pytest.param([29, 1], id="late"),
])
def test_any_chunking_gives_the_same_frames(sizes: list[int]) -> None:
    features = torch.randn(30, C)
    whole = stream([features])
    assert whole.shape == (30, 58)
    assert torch.equal(stream(list(features.split(sizes))), whole)


@pytest.mark.parametrize("frames", [0, 1, 3, 4, 5, 8, 9])
def test_flush_gives_exactly_the_missing_frames(frames: int) -> None:
    assert stream([torch.randn(frames, C)]).shape == (frames, 58)


def test_causal_beyond_the_look_ahead() -> None:
    """Features more than `latency_frames` after a frame cannot change it; those of its own window do."""
    engine, features = sampler(), torch.randn(20, C)
    assert engine.latency_frames == 4
    whole, _ = engine.step(features, engine.init_state(0))
    for changed in range(20):
        other = features.clone()
        other[changed:] += 1
        motion, _ = engine.step(other, engine.init_state(0))
        differs = (motion.packed() != whole.packed()).any(-1).nonzero().flatten()
        if changed <= 16:
            assert int(differs[0]) == max(0, (changed - engine.look_ahead) // 4 * 4)
        else:
            assert len(differs) == 0 or int(differs[0]) >= changed - engine.latency_frames


def test_save_restore_and_old_states_stay_valid() -> None:
    engine, features = sampler(), torch.randn(40, C)
    style = StyleRange(torch.rand(4), torch.rand(6))
    _, state = engine.step(features[:17], engine.init_state(9, style, torch.rand(5, 52), expression=1.3))
    saved = {name: tensor.clone() for name, tensor in state.tensors().items()}
    expected, _ = engine.step(features[17:], state)
    blank = engine.init_state(0, StyleRange(torch.zeros(4), torch.zeros(6)), torch.zeros(5, 52))
    blank.ahead = torch.zeros(1, 58)
    for start in (blank.restored(saved), state, state.clone()):
        again, _ = engine.step(features[17:], start)
        assert torch.equal(again.packed(), expected.packed())


def test_fresh_state_equals_a_fresh_sampler() -> None:
    engine, features = sampler(), torch.randn(12, C)
    engine.step(torch.randn(30, C), engine.init_state(1))
    again, _ = engine.step(features, engine.init_state(5))
    fresh = sampler()
    expected, _ = fresh.step(features, fresh.init_state(5))
    assert torch.equal(again.packed(), expected.packed())


def test_seed_style_and_reference_matter() -> None:
    engine, features = sampler(), torch.randn(12, C)

    def run(seed: int, style: StyleRange | None = None, reference: Tensor | None = None) -> Tensor:
        return engine.step(features, engine.init_state(seed, style, reference))[0].packed()

    base = run(0)
    assert torch.equal(base, run(0))
    assert not torch.equal(base, run(1))
    assert not torch.equal(base, run(0, StyleRange(pose=torch.ones(6) * 0.1)))
    assert not torch.equal(base, run(0, reference=torch.rand(7, 52)))
    assert torch.equal(base, run(0, LIVELY)) and not torch.equal(base, run(0, StyleRange()))


def test_inertia_smooths_the_head_and_leaves_the_mouth() -> None:
    plain, heavy, features = sampler(), sampler(), torch.randn(29, C)
    plain.keep, heavy.keep = plain.keep * 0, heavy.keep * 1.6
    raw, smooth = (engine.step(features, engine.init_state(0))[0] for engine in (plain, heavy))
    mouth = [ARKIT_INDEX[name] for name in ("jawOpen", "mouthPucker", "eyeBlinkLeft")]
    assert torch.equal(raw.expression[:, mouth], smooth.expression[:, mouth])
    assert smooth.rotation.diff(dim=0).square().mean() < 0.5 * raw.rotation.diff(dim=0).square().mean()


@pytest.mark.parametrize(("audio", "style", "passes"), [(1, 1, 1), (2, 1, 2), (1, 2, 3), (2, 3, 3)])
def test_guidance_costs_passes_only_where_it_is_asked_for(audio: float, style: float, passes: int,
                                                          monkeypatch: pytest.MonkeyPatch) -> None:
    engine, features = sampler(audio, style), torch.randn(9, C)
    calls: list[Tensor] = []
    denoise = engine.denoiser.denoise

    def counted(noisy: Tensor, timestep: Tensor, context: FaceContext) -> Tensor:
        calls.append(timestep)
        return denoise(noisy, timestep, context)

    monkeypatch.setattr(engine.denoiser, "denoise", counted)
    made, _ = engine.step(features, engine.init_state(0))
    assert len(calls) == passes * 3 * 2  # steps, hops
    plain = sampler()
    same, _ = plain.step(features, plain.init_state(0))
    assert torch.equal(made.packed(), same.packed()) == (passes == 1)


def test_guidance_of_the_style_is_nothing_without_a_style() -> None:
    plain, guided, features = sampler(), sampler(style=3.0), torch.randn(9, C)
    made = [engine.step(features, engine.init_state(0, StyleRange()))[0].packed() for engine in (plain, guided)]
    torch.testing.assert_close(made[0], made[1])


def test_memory_is_bounded() -> None:
    engine = sampler()
    state, sizes = engine.init_state(0), []
    for _ in range(10):
        _, state = engine.step(torch.randn(7, C), state)
        sizes.append(sum(tensor.numel() for tensor in state.tensors().values()))
    assert max(sizes[4:]) <= max(sizes[:4]) + 4 * C


def test_wrong_use_is_refused() -> None:
    engine = sampler()
    with pytest.raises(ValueError, match=r"Expected features \[T, 6\], got \[3, 5\]"):
        engine.step(torch.zeros(3, 5), engine.init_state(0))
    _, state = engine.flush(engine.init_state(0))
    with pytest.raises(ValueError, match="was flushed"):
        engine.step(torch.zeros(1, C), state)
    with pytest.raises(ValueError, match="evaluation mode"):
        FaceSampler(FaceDenoiser(audio_dim=C, width=16, heads=2, depth=1))


def test_face_and_body_stay_in_their_budget() -> None:
    """The motion half may use 30 GFLOP (2 · MAC) for a second of speech; the encoder needs most of the rest."""
    audio_dim, frames = 193, 8
    face = FaceSampler(FaceDenoiser(audio_dim=audio_dim).eval())
    body = BodySampler(BodyTransformer(audio_dim=audio_dim).eval())
    face_state = face.init_state(0, StyleRange(torch.ones(4), torch.ones(6)), torch.rand(60, 52))
    body_state = body.init_state(0)
    features = torch.randn(frames + 1, audio_dim)
    with FlopCounterMode(display=False) as counter:
        motion, _ = face.step(features, face_state)
        body.step(torch.randn(frames, 21, 3), features, body_state)
    assert len(motion.expression) == frames
    assert counter.get_total_flops() * 30 / frames < 5e9


def test_style_range_by_hand() -> None:
    expression = torch.zeros(2, 52)
    expression[1, ARKIT_INDEX["browInnerUp"]] = 0.4  # deviation 0.2 in one of five brow shapes
    style = style_range(FaceMotion(expression, torch.tensor([[0.0, 0, 0], [0.2, 0, 0]]), torch.zeros(2, 3)))
    assert style.expression is not None and style.pose is not None
    torch.testing.assert_close(style.expression, torch.tensor([0.0, 0.2 / 5 ** 0.5, 0.0, 0.0]))
    torch.testing.assert_close(style.pose, torch.tensor([0.1, 0, 0, 0, 0, 0]))


def test_anchor_draws_the_mouth() -> None:
    torch.manual_seed(0)
    net = FaceDenoiser(audio_dim=6, width=20, depth=1, heads=2, ratio=2).eval()
    features = torch.randn(16, 6)

    def anchor(rows: torch.Tensor) -> torch.Tensor:
        expression = torch.zeros(len(rows), 52)
        expression[:, ARKIT_INDEX["jawOpen"]] = 0.6
        return expression

    def run(weight: float) -> FaceMotion:
        sampler = FaceSampler(net, steps=2, anchor=anchor, anchor_weight=weight)
        first, state = sampler.step(features, sampler.init_state(0, StyleRange()))
        return FaceMotion.unpack(torch.cat([first.packed(), sampler.flush(state)[0].packed()]))

    free, drawn = run(0.0), run(1.0)
    jaw = ARKIT_INDEX["jawOpen"]
    torch.testing.assert_close(drawn.expression[:, jaw], torch.full((16,), 0.6), atol=1e-5, rtol=0)
    assert (free.expression[:, jaw] - 0.6).abs().max() > 0.05
