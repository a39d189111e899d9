"""Live Speech Portraits: the projection, the two nets, and the backend as a stream."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from motion.correction import Correction, nothing
from motion.impulses import face_controls
from motion.live_speech_portraits.manifold import Manifold, ProjectedSampler, affine_weights, farthest_points
from motion.live_speech_portraits.mouth import MOUTH, MouthNet
from motion.live_speech_portraits.net import LiveSpeechPortraits
from motion.live_speech_portraits.pose import SIGMA_FLOOR, PoseNet, negative_log_likelihood
from motion.live_speech_portraits.rules import VOICE, follow_voice, upper_face
from motion.live_speech_portraits.sampler import LIMIT, LiveSpeechSampler
from motion.style import LIVELY
from motion.types import ARKIT_INDEX, StyleRange
from tests.helpers.streaming import streamed

C = 6


# The manifold

def test_a_point_among_its_neighbours_comes_back() -> None:
    """Exact where the point is an affine combination, negative weights included."""
    torch.manual_seed(0)
    neighbours = torch.randn(4, 9, dtype=torch.float64)
    true = torch.tensor([0.5, 0.9, -0.6, 0.2], dtype=torch.float64)
    weights = affine_weights(true @ neighbours, neighbours, ridge=0.0)
    torch.testing.assert_close(weights, true)


def test_weights_solve_the_constrained_problem() -> None:
    """Against Lagrange's conditions of min ‖h − Σ w f‖² with Σ w = 1."""
    torch.manual_seed(1)
    neighbours, point = torch.randn(10, 30, dtype=torch.float64), torch.randn(30, dtype=torch.float64)
    weights = affine_weights(point, neighbours, ridge=0.0)
    system = torch.ones(11, 11, dtype=torch.float64)
    system[:10, :10], system[10, 10] = neighbours @ neighbours.T, 0
    right = torch.cat([neighbours @ point, torch.ones(1, dtype=torch.float64)])
    torch.testing.assert_close(weights, torch.linalg.solve(system, right)[:10])
    assert float(weights.sum()) == pytest.approx(1)


def test_neighbours_that_coincide_do_no_harm() -> None:
    weights = affine_weights(torch.randn(5), torch.ones(4, 5))
    assert bool(weights.isfinite().all()) and float(weights.sum()) == pytest.approx(1)


def test_projection_is_of_the_bank_and_blends() -> None:
    """Everything projected lies in the plane that the bank spans; p goes there from the feature itself."""
    torch.manual_seed(2)
    basis = torch.linalg.qr(torch.randn(C, 2)).Q
    bank, features = torch.randn(200, 2) @ basis.T, torch.randn(12, C)
    whole, half = (Manifold(bank, torch.ones(C), blend)(features) for blend in (1.0, 0.5))
    torch.testing.assert_close(whole, features @ basis @ basis.T, atol=0.05, rtol=0.05)
    torch.testing.assert_close(half, 0.5 * (features + whole))
    assert torch.equal(Manifold(bank, torch.ones(C), 0.0)(features), features)
    assert Manifold(bank, torch.ones(C))(features[:0]).shape == (0, C)
    features[:, -2] = torch.linspace(-0.5, 1.5, 12)
    heard, whole = Manifold(bank, torch.ones(C), 0.8, speaking=-2)(features), Manifold(bank, torch.ones(C))(features)
    torch.testing.assert_close(heard, torch.lerp(features, whole, 0.8 * features[:, -2:-1].clamp(0, 1)))


def test_a_small_bank_is_refused() -> None:
    with pytest.raises(ValueError, match="a bank of at least 10 features, got 4"):
        Manifold(torch.randn(4, C), torch.ones(C))


def test_farthest_points_cover() -> None:
    line = torch.cat([torch.zeros(50, 1), torch.linspace(0, 1, 11)[:, None]])
    found = farthest_points(line, 3)
    assert sorted(line[found, 0].tolist()) == pytest.approx([0.0, 0.5, 1.0], abs=0.11)
    assert farthest_points(line[:2], 3).tolist() == [0, 1]


# The nets

def pose_net() -> PoseNet:
    torch.manual_seed(3)
    net = PoseNet(C, width=5, layers=3, condition=4, skip=6, dropout=0.5).eval()
    torch.nn.init.normal_(net.out.weight, std=0.3)
    return net


def test_rings_equal_the_whole_convolution() -> None:
    net, style = pose_net(), torch.rand(6) * 0.05
    history, audio = torch.randn(40, 12), torch.randn(40, C)
    mean, log_sigma = net(history[None], audio[None], style[None])
    rings, rows = net.start(), []
    for frame in range(40):
        one, deviation, rings = net.step(history[frame], audio[frame], style, rings, frame)
        rows.append(torch.cat([one, deviation]))
    torch.testing.assert_close(torch.stack(rows), torch.cat([mean[0], log_sigma[0]], dim=1))


def test_the_head_looks_back_as_far_as_it_says() -> None:
    """By gradients: nothing later, nothing beyond the receptive field, and the farthest frame within it."""
    net = pose_net()
    assert net.receptive_field == 15 and LiveSpeechPortraits(audio_dim=C, bank=8).pose.receptive_field == 127
    history = torch.randn(1, 40, 12, requires_grad=True)
    mean, _ = net(history, torch.randn(1, 40, C), None)
    mean[0, 30].sum().backward()
    assert history.grad is not None
    touched = history.grad[0].abs().sum(1).nonzero().flatten()
    assert int(touched[0]) == 30 - 14 and int(touched[-1]) == 30


def test_the_deviation_has_a_floor() -> None:
    net = pose_net()
    net.out.bias.data.fill_(-50)
    _, log_sigma = net(torch.randn(1, 4, 12), torch.randn(1, 4, C), None)
    torch.testing.assert_close(log_sigma.exp(), torch.full((1, 4, 6), SIGMA_FLOOR))


def test_likelihood_is_the_gaussian() -> None:
    value, mean, sigma = torch.tensor(0.7), torch.tensor(0.2), torch.tensor(0.5)
    expected = -torch.distributions.Normal(mean, sigma).log_prob(value)
    torch.testing.assert_close(negative_log_likelihood(value, mean, sigma.log()), expected)


def test_the_mouth_goes_on_where_it_was() -> None:
    torch.manual_seed(4)
    net, audio = MouthNet(C, 8, 2).eval(), torch.randn(1, 20, C)
    whole, _ = net(audio, None)
    first, memory = net(audio[:, :7], None, None, net.start())
    second, _ = net(audio[:, 7:], None, None, memory)
    torch.testing.assert_close(torch.cat([first, second], dim=1), whole)


def test_the_mouths_step_is_the_whole_net() -> None:
    torch.manual_seed(4)
    net, audio, style = MouthNet(C, 8, 3).eval(), torch.randn(20, C), torch.rand(4) * 0.1
    whole, (hidden, cell) = net(audio[None], style[None])
    memory, rows = net.start(), []
    for row in audio:
        made, memory = net.step(row, style, memory)
        rows.append(made)
    torch.testing.assert_close(torch.stack(rows), whole[0])
    torch.testing.assert_close(memory, (hidden, cell))


# The stream

def sampler(look_ahead: int = 2, sigma: float = 0.3) -> LiveSpeechSampler:
    torch.manual_seed(5)
    net = LiveSpeechPortraits(audio_dim=C, look_ahead=look_ahead, mouth_width=8, mouth_layers=2, pose_width=4, pose_layers=3,
                              pose_condition=4, pose_skip=4, bank=16)
    torch.nn.init.normal_(net.pose.out.weight, std=0.3)
    return LiveSpeechSampler(net.eval(), sigma=sigma)


def stream(chunks: list[Tensor], engine: LiveSpeechSampler, seed: int = 5) -> Tensor:
    return streamed(engine, chunks, seed)


@pytest.mark.parametrize("sizes", [
    pytest.param([1] * 30, id="ones"), pytest.param([4] * 7 + [2], id="hops"), pytest.param([0, 3, 0, 27], id="empty"),
])
def test_any_chunking_gives_the_same_frames(sizes: list[int]) -> None:
    features, engine = torch.randn(30, C), sampler()
    projected: list[LiveSpeechSampler | ProjectedSampler] = [
        engine, ProjectedSampler(engine, Manifold(engine.net.bank, engine.net.audio_std))]
    for one in projected:
        whole = stream([features], one)  # type: ignore[arg-type]
        assert whole.shape == (30, 58)
        assert torch.equal(stream(list(features.split(sizes)), one), whole)  # type: ignore[arg-type]


@pytest.mark.parametrize("look_ahead", [0, 1, 2, 4])
@pytest.mark.parametrize("frames", [0, 1, 2, 3, 9])
def test_flush_gives_exactly_the_missing_frames(frames: int, look_ahead: int) -> None:
    assert stream([torch.randn(frames, C)], sampler(look_ahead)).shape == (frames, 58)


@pytest.mark.parametrize("look_ahead", [0, 2, 3])
def test_causal_beyond_the_look_ahead(look_ahead: int) -> None:
    """A feature changes the frame that is `look_ahead` before it and none earlier."""
    engine, features = sampler(look_ahead), torch.randn(20, C)
    whole, _ = engine.step(features, engine.init_state(0))
    assert engine.latency_frames == look_ahead and len(whole.expression) == 20 - look_ahead
    for changed in range(look_ahead, 20):
        other = features.clone()
        other[changed:] += 1
        motion, _ = engine.step(other, engine.init_state(0))
        differs = (motion.packed() != whole.packed()).any(-1).nonzero().flatten()
        assert int(differs[0]) == changed - look_ahead


def test_latency_is_within_300_ms() -> None:
    from motion.audio.encoder import AudioEncoder

    net = LiveSpeechPortraits(audio_dim=C, bank=8)
    assert AudioEncoder(dim=16, heads=2, layers=1).lookahead_samples / 16_000 + net.look_ahead / 30 <= 0.3


def test_save_restore_and_old_states_stay_valid() -> None:
    engine, features = sampler(), torch.randn(40, C)
    style = StyleRange(torch.rand(4), torch.rand(6))
    _, state = engine.step(features[:17], engine.init_state(9, style, expression=1.3))
    saved = {name: tensor.clone() for name, tensor in state.tensors().items()}
    expected, _ = engine.step(features[17:], state)
    blank = engine.init_state(0, StyleRange(torch.zeros(4), torch.zeros(6)))
    for start in (blank.restored(saved), state, state.clone()):
        again, _ = engine.step(features[17:], start)
        assert torch.equal(again.packed(), expected.packed())


def test_fresh_state_equals_a_fresh_sampler() -> None:
    engine, features = sampler(), torch.randn(12, C)
    engine.step(torch.randn(30, C), engine.init_state(1))
    fresh = sampler()
    expected, _ = fresh.step(features, fresh.init_state(5))
    assert torch.equal(engine.step(features, engine.init_state(5))[0].packed(), expected.packed())


def test_seed_style_and_dials_matter() -> None:
    engine, features = sampler(), torch.randn(12, C)

    def run(seed: int = 0, style: StyleRange | None = None, *, pose: float = 1.0, rest: Tensor | None = None,
            correction: Correction | None = None) -> Tensor:
        state = engine.init_state(seed, style, pose=pose, rest=rest, correction=correction)
        return engine.step(features, state)[0].packed()

    base = run()
    assert torch.equal(base, run()) and torch.equal(base, run(0, LIVELY)) and not torch.equal(base, run(1))
    assert not torch.equal(base, run(0, StyleRange(pose=torch.ones(6) * 0.1)))
    torch.testing.assert_close(run(pose=0.5)[:, 52:], 0.5 * base[:, 52:])
    smile = torch.zeros(58)
    smile[ARKIT_INDEX["mouthSmileLeft"]] = 0.2
    assert float((run(rest=smile) - base)[:, ARKIT_INDEX["mouthSmileLeft"]].max()) > 0
    right = nothing()
    right.gain[:], right.curve[:] = 2, 1
    assert torch.equal(run(correction=right), base)  # fitted to another net


def test_a_reference_sets_the_smile_and_nothing_else() -> None:
    engine, features = sampler(), torch.randn(12, C)
    shown = torch.rand(30, 52)
    smile = [ARKIT_INDEX[f"mouthSmile{side}"] for side in ("Left", "Right")]
    shown[:, smile] = 0.4
    plain, smiling = (engine.step(features, engine.init_state(0, reference=one))[0] for one in (None, shown))
    gained = smiling.expression - plain.expression
    torch.testing.assert_close(gained[:, smile], torch.full((10, 2), 0.4) - engine.net.mouth_mean[0])
    same = [ARKIT_INDEX[name] for name in ("jawOpen", "mouthClose", "browInnerUp", "eyeBlinkLeft")]
    assert torch.equal(smiling.expression[:, same], plain.expression[:, same])
    assert torch.equal(smiling.rotation, plain.rotation)


def test_without_chance_the_head_is_the_mean() -> None:
    features = torch.randn(12, C)
    heads = [sampler(sigma=0.0).step(features, sampler(sigma=0.0).init_state(seed))[0].rotation for seed in (1, 2)]
    assert torch.equal(*heads)


def test_a_head_that_strays_comes_back() -> None:
    """A net that always drives one way ends where the pull of the limit equals it."""
    engine = sampler(sigma=0.0)
    torch.nn.init.zeros_(engine.net.pose.out.weight)
    engine.net.pose.out.bias.data[:6] = 1.0  # a deviation of velocity each frame
    motion, _ = engine.step(torch.zeros(600, C), engine.init_state(0))
    reached = motion.rotation / engine.net.pose_std[:3]
    assert float(reached.max()) < LIMIT + 1.0
    torch.testing.assert_close(reached[-1], reached[-50], atol=1e-3, rtol=0)


def test_anchor_draws_the_mouth_alone() -> None:
    def anchor(rows: Tensor) -> Tensor:
        expression = torch.zeros(len(rows), 52)
        expression[:, ARKIT_INDEX["jawOpen"]] = 0.6
        return expression

    features, plain = torch.randn(9, C), sampler()
    drawn = LiveSpeechSampler(plain.net, sigma=plain.sigma, anchor=anchor, anchor_weight=1.0)
    free, held = (one.step(features, one.init_state(0, StyleRange()))[0] for one in (plain, drawn))
    torch.testing.assert_close(held.expression[:, ARKIT_INDEX["jawOpen"]], torch.full((7,), 0.6))
    assert torch.equal(free.rotation, held.rotation)
    brow = ARKIT_INDEX["browInnerUp"]
    assert torch.equal(free.expression[:, brow], held.expression[:, brow])


def test_wrong_use_is_refused() -> None:
    engine = sampler()
    with pytest.raises(ValueError, match=r"Expected features \[T, 6\], got \[3, 5\]"):
        engine.step(torch.zeros(3, 5), engine.init_state(0))
    _, state = engine.flush(engine.init_state(0))
    with pytest.raises(ValueError, match="was flushed"):
        engine.step(torch.zeros(1, C), state)
    with pytest.raises(ValueError, match="evaluation mode"):
        LiveSpeechSampler(LiveSpeechPortraits(audio_dim=C, bank=8).train())


# The rules

def test_blinks_and_gaze_follow_the_controls() -> None:
    controls = [0.0] * 13
    open_, shut = (upper_face([lids, *controls[1:]], [0.0] * VOICE, [0.0] * 3, (0.0, 0.0)) for lids in (0.0, 1.0))
    lid, out = ARKIT_INDEX["eyeBlinkLeft"], ARKIT_INDEX["eyeLookOutLeft"]
    assert open_[lid] < 0.1 and shut[lid] > 0.9
    right = upper_face([0.0, 1.0, *controls[2:]], [0.0] * VOICE, [0.0] * 3, (0.0, 0.0))
    turned = upper_face([0.0, 1.0, *controls[2:]], [0.0] * VOICE, [0.0, 0.2, 0.0], (0.0, 0.0))
    assert right[out] == pytest.approx(0.5) and turned[out] < right[out]
    assert not any(shut[index] for index in MOUTH)


def test_brows_rise_where_the_voice_gets_louder() -> None:
    voice, beats = [0.0] * VOICE, []
    for level in [0.2] * 90 + [1.0] * 10 + [0.2] * 60:
        voice = follow_voice(voice, 1.0, level - 0.5)
        beats.append(voice[4])
    assert max(beats[90:105]) > 3 * beats[89] and beats[-1] < 0.1 and math.isclose(voice[1], 1.0, abs_tol=0.01)
    controls = face_controls(0, 100, 1)[0].tolist()
    rest, raised = (upper_face(controls, [0, 1, 0, 0, beat], [0.0] * 3, (0.0, 0.0)) for beat in (0.0, 1.0))
    brow = ARKIT_INDEX["browInnerUp"]
    assert raised[brow] >= rest[brow]
