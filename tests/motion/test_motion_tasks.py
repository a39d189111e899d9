"""Clips on disk, windows out of them, and both tasks under the solver in miniature."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from chatanyone.training import Solver, SolverConfig
from motion.training.body_task import BodyTask
from motion.face import FaceDenoiser
from motion.live_speech_portraits.mouth import MOUTH
from motion.loopy.segments import segment_frames
from motion.training.face_task import FaceTask, aperture, pearson, rollout_scores
from motion.training.live_speech_task import LiveSpeechTask
from motion.training.loopy_task import LoopyTask
from motion.training.motion_data import LEAD, ClipStore, make_clip, read_clips, write_clips
from motion.training.speech import SAMPLE_RATE, Phone, Speech
from motion.types import ARKIT_INDEX, FaceMotion

C = 6


def clip(seed: int, frames: int = 150) -> Any:
    rng = np.random.default_rng(seed)
    phones = [Phone(0.4 * i, 0.4 * (i + 1), "a", 2) for i in range(int(frames / 30 / 0.4))]
    sound = Speech(rng.normal(size=int(frames / 30 * SAMPLE_RATE)).astype(np.float32) * 0.1, phones)
    mouth = np.zeros((frames, 52))
    mouth[:, ARKIT_INDEX["jawOpen"]] = 0.3 + 0.3 * np.sin(np.arange(frames) / 3)
    features = torch.from_numpy(np.stack([np.sin(np.arange(frames) / 3 + k) for k in range(C)], 1).astype(np.float32))
    return make_clip(sound, mouth, features, seed)


@pytest.fixture(scope="module")
def store() -> ClipStore:
    return ClipStore([clip(seed, 150 + 10 * seed) for seed in range(4)])


def keypoints(expression: Tensor, rotation: Tensor, translation: Tensor) -> Tensor:
    """A stand-in for the head template: three points that move with the pose."""
    points = torch.eye(3).expand(*rotation.shape[:-1], 3, 3)
    return points + torch.linalg.cross(rotation[..., None, :].expand_as(points), points, dim=-1) \
        + translation[..., None, :] + 0.01 * expression[..., :1, None]


def test_clips_round_trip(tmp_path: Path) -> None:
    clips = [clip(0), clip(1, 60)]
    write_clips(tmp_path / "train_0.safetensors", clips)
    again = read_clips(tmp_path / "train_0.safetensors")
    assert [len(c.face) for c in again] == [150, 60]
    torch.testing.assert_close(again[1].body.float(), clips[1].body, atol=1e-3, rtol=1e-3)
    assert len(ClipStore.load(tmp_path).frames) == 2
    with pytest.raises(ValueError, match="Expected training clips, got none"):
        ClipStore.load(tmp_path, "held_out")


def test_windows_start_with_rest(store: ClipStore) -> None:
    window = store.cut("face", torch.tensor([2]), torch.tensor([0]), -LEAD, LEAD + 3)[0]
    assert window[:LEAD].abs().max() == 0
    torch.testing.assert_close(window[LEAD:], clip(2, 170).face[:3], atol=1e-3, rtol=1e-3)
    _, frame = store.draw(500, 20, torch.Generator().manual_seed(0))
    assert int(frame.max()) <= 180 - 20


def test_batches_depend_on_the_seed_alone(store: ClipStore) -> None:
    task = FaceTask(store, store, batch=4)
    first, second, other = (next(task.batches(seed)) for seed in (1, 1, 2))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(first["face"], other["face"])


def solver_config() -> SolverConfig:
    return SolverConfig(steps=12, learning_rate=3e-3, warmup_steps=2, device="cpu", precision="fp32", log_every=100,
                        ema_decay=0.5, validate_every=1000)


def test_face_task_trains(store: ClipStore, tmp_path: Path) -> None:
    task = FaceTask(store, store, batch=16, config=dict(width=16, depth=2, heads=2, ratio=2, previous=8),
                    reference_every=4)
    solver = Solver(task, solver_config(), tmp_path)
    batch = next(task.batches(0))
    torch.manual_seed(0)
    before = task.loss(solver.model, batch, 0)[0].item()
    scores = solver.run()
    torch.manual_seed(0)
    assert task.loss(solver.model, batch, 0)[0].item() < 0.8 * before
    assert set(scores) == {"aperture_r", "mouth_ratio", "brows_ratio", "eyes_ratio", "cheeks_ratio", "pose_ratio"}


def test_body_task_trains(store: ClipStore, tmp_path: Path) -> None:
    task = BodyTask(store, store, keypoints, batch=4, frames=60,
                    config=dict(keypoints=3, width=16, heads=2, ratio=2, appearance_dim=4))
    solver = Solver(task, solver_config(), tmp_path)
    batch = next(task.batches(0))
    before = task.loss(solver.model, batch, 0)[0].item()
    scores = solver.run()
    assert task.loss(solver.model, batch, 0)[0].item() < before
    assert scores["neck_ratio"] > 0


TINY_LIVE_SPEECH = dict(mouth_width=16, mouth_layers=1, pose_width=8, pose_layers=3, pose_condition=8, pose_skip=8, bank=40)


def test_live_speech_task_trains(store: ClipStore, tmp_path: Path) -> None:
    task = LiveSpeechTask(store, store, batch=8, config=TINY_LIVE_SPEECH, context=10, frames=50)
    solver = Solver(task, solver_config(), tmp_path)
    batch = next(task.batches(0))
    assert all(torch.equal(batch[name], value) for name, value in next(task.batches(0)).items())
    torch.manual_seed(0)
    before = task.loss(solver.model, batch, 0)[0].item()
    scores = solver.run()
    torch.manual_seed(0)
    assert task.loss(solver.model, batch, 0)[0].item() < 0.8 * before
    assert set(scores) == {"aperture_r", "mouth_ratio", "brows_ratio", "eyes_ratio", "cheeks_ratio", "pose_ratio"}


def test_live_speech_task_hears_what_the_stream_hears(store: ClipStore) -> None:
    """The mouth's row of a frame is the one that has heard `look_ahead` features more; its bank is of the people given."""
    people = torch.randn(60, C)
    task = LiveSpeechTask(store, store, people, batch=8, config={**TINY_LIVE_SPEECH, "look_ahead": 3}, context=10, frames=50)
    batch, net = next(task.batches(0)), task.build()
    assert batch["audio"].shape[1] == 63 and batch["face"].shape[1] == 62
    start = batch["counts"].all(1)
    assert bool(start[0]) and not bool(start.all()) and batch["face"][0, :2].abs().max() == 0
    assert torch.cdist(net.bank, people).amin(1).max() < 0.01
    true = (batch["face"][:, 2:, MOUTH] - net.mouth_mean) / net.mouth_std
    late = torch.cat([torch.zeros_like(true[:, :3]), true], dim=1)  # a net that answers rightly, three rows late
    net.mouth.forward = lambda *_: (late, None)  # type: ignore[assignment, method-assign]
    terms = task._mouth_terms(net, net.heard(batch["audio"]), batch)
    assert float(terms["mouth"]) < 1e-8 and float(terms["aperture"]) < 1e-8


def test_live_speech_task_needs_long_clips(store: ClipStore) -> None:
    with pytest.raises(ValueError, match="a clip of at least 194 frames, the longest has 180"):
        LiveSpeechTask(store, store)


TINY_FACE: dict[str, Any] = dict(audio_dim=C, width=16, depth=2, heads=2, ratio=2, previous=8)


def loopy_task(store: ClipStore, **changes: Any) -> LoopyTask:
    """On a face net that has learned something: in a fresh one nothing comes of what is added to the timestep."""
    torch.manual_seed(3)
    base = {name: value + 0.02 * torch.randn_like(value) for name, value in FaceDenoiser(**TINY_FACE).state_dict().items()}
    return LoopyTask(store, store, base, batch=16, config={**TINY_FACE, "segments": 5},
                     reference_every=4, **changes)


def test_loopy_task_teaches_what_it_adds(store: ClipStore, tmp_path: Path) -> None:
    task = loopy_task(store)
    solver = Solver(task, solver_config(), tmp_path)
    before = {name: value.clone() for name, value in solver.model.state_dict().items()}
    scores = solver.run()
    assert set(scores) == {"aperture_r", "mouth_ratio", "brows_ratio", "eyes_ratio", "cheeks_ratio", "pose_ratio"}
    changed = {name for name, value in solver.model.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == set(task.build().added())


def test_loopy_task_teaches_everything_when_asked(store: ClipStore, tmp_path: Path) -> None:
    task = loopy_task(store, whole=True)
    solver, batch = Solver(task, solver_config(), tmp_path), next(task.batches(0))
    torch.manual_seed(0)
    before = task.loss(solver.model, batch, 0)[0].item()
    solver.run()
    torch.manual_seed(0)
    assert task.loss(solver.model, batch, 0)[0].item() < 0.8 * before


def test_loopy_task_shows_the_long_past(store: ClipStore) -> None:
    """Rows of the clip where the tokens stand, a hop apart; rest before its first frame, not the clip before it."""
    task, clip, frame = loopy_task(store), torch.tensor([2, 1]), torch.tensor([100, 5])
    shown, true = task._more(clip, frame), store.cut("face", clip, torch.zeros(2, dtype=torch.long), 0, 150)
    for name, at in (("past", frame), ("past_before", frame - task.hop)):
        for row in range(2):
            for token, back in enumerate(segment_frames(4, 2, 5).tolist()):
                place = int(at[row]) - 1 - back
                expected = true[row, place] if place >= 0 else torch.zeros(58)
                assert torch.equal(shown[name][row, token], expected)


def test_loopy_task_shows_movement_in_place_of_sound(store: ClipStore) -> None:
    task = loopy_task(store)
    model, batch = task.build(), next(task.batches(0))
    motion = model.normalise(batch["face"])
    given = task._given(model, batch, motion)
    torch.testing.assert_close(given["movement"].landmarks, motion[:, -15:].mean(1))
    assert batch["audio"].shape[1] - task.hop == 15  # the stretch that is heard
    assert set(given["movement"].source.tolist()) <= {0, 1, 2, 3} and (given["past"] - model.normalise(batch["past"])).any()
    assert set(task._given(model, batch, motion, 4)) == {"past"}  # the net's own past hears


def test_loopy_task_needs_a_face_net(store: ClipStore) -> None:
    with pytest.raises(ValueError, match="weights of a face net of these sizes to begin with; they lack"):
        LoopyTask(store, store, {}, config=TINY_FACE).build()


def test_scores_by_hand() -> None:
    motion = FaceMotion(torch.zeros(3, 52), torch.zeros(3, 3), torch.zeros(3, 3))
    motion.expression[:, ARKIT_INDEX["jawOpen"]] = torch.tensor([0.0, 0.5, 1.0])
    motion.expression[2, ARKIT_INDEX["mouthClose"]] = 1.0
    torch.testing.assert_close(aperture(motion), torch.tensor([0.0, 0.5, 0.0]))
    assert pearson(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([2.0, 4.0, 6.0])) == pytest.approx(1)
    assert pearson(torch.ones(3), torch.tensor([2.0, 4.0, 6.0])) == 0
    made = torch.rand(50, 58)
    assert rollout_scores(made, made)["aperture_r"] == pytest.approx(1)
    assert rollout_scores(0.5 * made, made)["pose_ratio"] == pytest.approx(0.5)
