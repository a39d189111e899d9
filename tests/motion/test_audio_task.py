"""`motion.training.audio_task`: batches, loss, and that a tiny encoder learns."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from motion.audio.encoder import DEBUG_CONFIG, AudioEncoder
from motion.training.audio_task import AudioTask, Clip, aperture, change_speed, crop, hush, make_clip
from motion.training.corpus import Utterance, write_shard
from motion.training.phonemes import PHONEME_INDEX, SILENCE
from motion.training.speech import Phone, Speech, phoneme_labels
from motion.types import ARKIT_INDEX


def _speech(seconds: float = 3.0) -> Speech:
    """A buzz for /a/ and a hiss for /s/, in turn: two sounds anybody can tell apart."""
    rng, phones, parts = np.random.default_rng(0), [], []
    for index in range(round(seconds / 0.2)):
        vowel = index % 2 == 0
        phones.append(Phone(index * 0.2, (index + 1) * 0.2, "a" if vowel else "s"))
        parts.append(0.3 * np.sign(np.sin(np.arange(3200) * 0.05)) if vowel else 0.1 * rng.standard_normal(3200))
    return Speech(np.concatenate(parts).astype(np.float32), phones)


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    speech = _speech()
    item = Utterance(speech, phoneme_labels(speech), np.zeros((90, 52), np.float16))
    for split in ("train", "held_out"):
        write_shard(tmp_path / f"{split}_00000.safetensors", [item, item])
    return tmp_path


def _task(corpus: Path) -> AudioTask:
    return AudioTask(corpus, DEBUG_CONFIG, batch_size=4, seconds=1.0)


def test_batches_depend_on_the_seed_alone(corpus: Path) -> None:
    task = _task(corpus)
    one, two = (next(task.batches(7)) for _ in range(2))
    assert one["mel"].shape == (4, 2 * (50 + DEBUG_CONFIG.delay), 80) and one["phonemes"].shape == (4, 50)
    assert one["curves"].shape == (4, 50, 52)
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert not torch.equal(one["mel"], next(task.batches(8))["mel"])


def test_labels_belong_to_the_samples() -> None:
    clip = make_clip(_speech())
    samples, phonemes, curves = crop(clip, 100, np.random.default_rng(1))
    assert len(samples) == 32000 and curves.shape == (100, 52)
    hiss = np.abs(np.diff(samples.reshape(100, 320))).mean(1)  # the hiss changes from one sample to the next
    assert hiss[phonemes == PHONEME_INDEX["s"]].mean() > 3 * hiss[phonemes == PHONEME_INDEX["a"]].mean()
    jaw = curves[:, ARKIT_INDEX["jawOpen"]]
    assert jaw[phonemes == PHONEME_INDEX["a"]].mean() > 2 * jaw[phonemes == PHONEME_INDEX["s"]].mean()


def test_short_clips_are_filled_with_silence() -> None:
    clip = make_clip(_speech(0.4))
    samples, phonemes, curves = crop(clip, 50, np.random.default_rng(0))
    assert len(samples) == 16000 and not samples[6400:].any() and (phonemes[20:] == SILENCE).all()
    assert not curves[20:].any()


def test_speed_change_moves_labels_along() -> None:
    clip = Clip(np.arange(32000, dtype=np.int16), np.arange(100, dtype=np.uint8), np.zeros((100, 52), np.float16))
    fast = change_speed(clip, 1.25)
    assert len(fast.phonemes) == 80 and fast.phonemes[40] == 50 and fast.samples[40 * 320] == 50 * 320


def test_it_learns(corpus: Path) -> None:
    task = _task(corpus)
    torch.manual_seed(0)
    model = task.build().train()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    losses = []
    for step, batch in zip(range(30), task.batches(0)):
        loss, numbers = task.loss(model, batch, step)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(numbers["phoneme"])
    assert np.mean(losses[-5:]) < 0.6 * losses[0]
    assert isinstance(model, AudioEncoder)
    metrics = task.validate(model.eval())
    assert metrics["held_out/accuracy"] > 0.6 and "real_held_out/accuracy" not in metrics


def test_missing_corpus_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="make some with tools/make_speech_corpus.py"):
        AudioTask(tmp_path, DEBUG_CONFIG)


def test_aperture_by_hand() -> None:
    curves = np.zeros((1, 52))
    curves[0, ARKIT_INDEX["jawOpen"]], curves[0, ARKIT_INDEX["mouthClose"]] = 0.5, 0.2
    assert aperture(curves)[0] == pytest.approx(0.3)


def test_kept_features_hold_synthetic_speech_alone(corpus: Path) -> None:
    kept = AudioEncoder(**_task(corpus).config)
    task = AudioTask(corpus, DEBUG_CONFIG, batch_size=4, seconds=1.0, dropout=0.0, kept=kept, keep=2.0)
    batch = next(task.batches(3))
    assert batch["real"].tolist() == [False] * 4
    torch.manual_seed(1)
    other = task.build().eval()
    total, parts = task.loss(other, batch, 0)
    assert parts["moved"] > 0.1
    assert float(total) == pytest.approx(parts["phoneme"] + parts["mouth"] + 2 * parts["moved"], rel=1e-4)
    assert task.loss(kept, batch, 0)[1]["moved"] == pytest.approx(0, abs=1e-6)
    batch["real"][:] = True
    assert task.loss(other, batch, 0)[1]["moved"] == 0


def test_a_hushed_crop_is_silent_and_comes_to_rest() -> None:
    rng = np.random.default_rng(2)
    crops = np.ones(32000, np.float32), np.full(100, 5, np.uint8), np.ones((100, 52), np.float16)
    samples, phonemes, curves = hush(*crops, rng)
    silent = phonemes == SILENCE
    assert 12 <= silent.sum() <= 50 and (np.diff(silent.astype(int)) != 0).sum() <= 2
    assert ((samples.reshape(100, 320) == 0).all(1) == silent).all()
    assert (curves[~silent] == 1).all() and (curves[silent] == 0).any()
    assert np.abs(np.diff(curves[:, 0].astype(float))).max() < 0.2
    assert crops[0].all() and (crops[1] == 5).all()
