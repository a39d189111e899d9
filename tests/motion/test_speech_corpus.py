"""`motion.training.corpus`, `align` and `augment`: shards, real recordings, other microphones."""

from __future__ import annotations

import runpy
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from motion.training.align import align, best_states, refine, warp_path
from motion.training.augment import augment_mel, augment_samples
from motion.training.corpus import make_utterance, read_corpus, read_shard, shard_paths, write_shard
from motion.training.espeak import SpeakRequest
from motion.training.phonemes import PHONEME_DIM, PHONEME_INDEX, SILENCE
from motion.training.speech import Espeak, Phone, Speech, join, phoneme_labels, silence

pytest.importorskip("espeakng_loader")


def test_a_shard_gives_back_what_was_written(tmp_path: Path) -> None:
    with Espeak() as client:
        items = [make_utterance(client, seed, 2.0) for seed in range(3)]
    write_shard(tmp_path / "train_00000.safetensors", items)
    assert [path.name for path in tmp_path.iterdir()] == ["train_00000.safetensors"]
    for wrote, read in zip(items, read_shard(tmp_path / "train_00000.safetensors")):
        assert np.abs(read.speech.samples - wrote.speech.samples).max() < 1e-4
        assert np.array_equal(read.phonemes, wrote.phonemes) and np.array_equal(read.expression, wrote.expression)
        assert read.style == wrote.style and read.speech.text == wrote.speech.text
        assert [phone.ipa for phone in read.speech.phonemes] == [phone.ipa for phone in wrote.speech.phonemes]
    assert len(list(read_corpus(tmp_path))) == 3 and not shard_paths(tmp_path, "held_out")


def test_utterances_depend_on_their_seed_alone() -> None:
    with Espeak() as client:
        one, other, again = (make_utterance(client, seed, 2.0) for seed in (1, 2, 1))
    assert one.speech.text == again.speech.text and one.style == again.style
    assert np.abs(one.expression - again.expression).max() < 0.1  # espeak-ng wavers by a millisecond
    assert one.speech.text != other.speech.text


def test_the_tool_makes_what_is_missing(tmp_path: Path, repository: Path) -> None:
    tool = runpy.run_path(str(repository / "tools" / "make_speech_corpus.py"))
    arguments = ["--hours", "0.003", "--output", str(tmp_path), "--seed", "4"]
    assert tool["main"](arguments) == 0
    made = {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert set(made) == {"train_00000.safetensors", "held_out_00000.safetensors"}
    assert len(next(read_corpus(tmp_path)).speech.samples) == 160000
    assert tool["main"](arguments) == 0
    assert made == {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()}


def test_a_foreign_file_is_no_shard(tmp_path: Path) -> None:
    save_file({"samples": np.zeros(3)}, tmp_path / "a.safetensors")
    with pytest.raises(ValueError, match="not a speech shard of version 1"):
        read_shard(tmp_path / "a.safetensors")


def test_warp_path_by_hand() -> None:
    cost = np.array([[0.0, 9, 9, 9], [9, 0, 0, 9], [9, 9, 9, 0]])
    path, score = warp_path(cost)
    assert path.tolist() == [[0, 0], [1, 1], [1, 2], [2, 3]] and score < 1


def test_alignment_finds_another_voice_at_another_speed() -> None:
    """The same sentence, slower, another voice, a pause inside: phoneme times are found within some 40 ms."""
    with Espeak() as client:
        reference = client.say(SpeakRequest("seven people buy some food, maybe tomorrow.", "en-us", rate=170))
        real = client.say(SpeakRequest("seven people buy some food, maybe tomorrow.", "en-us+f3", rate=135, pitch=70))
    real = join([silence(0.3), real])
    found, _ = align(real.samples, reference)
    truth = {(index, phone.ipa): phone.start_s for index, phone in enumerate(p for p in real.phonemes if p.ipa)}
    guess = {(index, phone.ipa): phone.start_s for index, phone in enumerate(p for p in found.phonemes if p.ipa)}
    errors = [abs(guess[key] - truth[key]) for key in truth if key in guess]
    assert len(errors) > 0.8 * len(truth)
    assert np.median(errors) < 0.04
    assert found.phonemes[0].start_s == 0.0 and found.phonemes[-1].end_s == pytest.approx(real.duration_s)


def test_alignment_prefers_the_right_words() -> None:
    with Espeak() as client:
        real = client.say(SpeakRequest("we move above the river", "en-us+f2"))
        scores = [align(real.samples, client.say(SpeakRequest(text, "en-us")))[1]
                  for text in ("we move above the river", "thirty six cheese sticks")]
    assert scores[0] < 0.9 * scores[1]


def test_best_states_by_hand() -> None:
    likely = np.log(np.array([[.9, .1, .1], [.8, .3, .1], [.1, .2, .9], [.1, .1, .9]]))
    assert best_states(likely, np.array([False, True, False])).tolist() == [0, 0, 2, 2]
    # Nothing may be skipped: 0 1 2 2 (.9 · .3 · .9 · .9) beats 0 0 1 2 (.9 · .8 · .2 · .9).
    assert best_states(likely, np.array([False, False, False])).tolist() == [0, 1, 2, 2]
    assert best_states(likely[:, :1], np.array([False])).tolist() == [0, 0, 0, 0]


def test_refinement_moves_borders_to_where_the_sounds_are() -> None:
    phones = [Phone(0.0, 0.1, ""), Phone(0.1, 0.2, "m"), Phone(0.2, 0.4, "a", 2)]
    speech = Speech(np.zeros(6400, np.float32), phones)
    truth = [SILENCE] * 3 + [PHONEME_INDEX["m"]] * 6 + [PHONEME_INDEX["a"]] * 11
    found = refine(speech, np.log(np.eye(PHONEME_DIM)[truth] + 1e-3))
    assert [phone.ipa for phone in found.phonemes] == ["", "m", "a"]
    assert [phone.start_s for phone in found.phonemes] == pytest.approx([0.0, 0.05, 0.17])
    assert found.phonemes[-1].end_s == pytest.approx(0.4) and phoneme_labels(found).tolist() == truth


@pytest.mark.parametrize("seed", range(12))
def test_augmented_sound_stays_sound(seed: int) -> None:
    rng = np.random.default_rng(seed)
    clean = (0.3 * np.sin(np.arange(16000) * 0.2)).astype(np.float32)
    other = augment_samples(clean, rng)
    assert other.dtype == np.float32 and other.shape == clean.shape
    assert np.isfinite(other).all() and np.abs(other).max() <= 1 and other.std() > 1e-4
    mel = torch.rand(50, 80)
    assert augment_mel(mel, rng).shape == mel.shape
    assert np.isfinite(augment_samples(np.zeros(1000, np.float32), rng)).all()


def test_augmentation_does_not_move_the_sound() -> None:
    click = np.zeros(8000, np.float32)
    click[4000:4050] = np.hanning(50)
    places = [int(np.argmax(np.convolve(augment_samples(click, np.random.default_rng(seed)) ** 2, np.ones(80), "same")))
              for seed in range(10)]
    assert abs(np.median(places) - 4025) < 80


def test_the_tool_tells_folders_and_languages_apart(tmp_path: Path, repository: Path) -> None:
    tool = runpy.run_path(str(repository / "tools" / "make_speech_corpus.py"))
    (tmp_path / "odd:name").mkdir()
    assert tool["named"](f"{tmp_path}/prompts:fr") == (tmp_path / "prompts", "fr")
    assert tool["named"](f"{tmp_path}/prompts") == (tmp_path / "prompts", "en-us")
    assert tool["named"](f"{tmp_path}/odd:name") == (tmp_path / "odd:name", "en-us")


def test_the_tool_tells_how_well_a_text_fits(repository: Path) -> None:
    tool = runpy.run_path(str(repository / "tools" / "make_speech_corpus.py"))
    speech = Speech(np.zeros(6400, np.float32), [Phone(0.0, 0.2, ""), Phone(0.2, 0.4, "m")])
    heard = np.log(np.eye(PHONEME_DIM)[[SILENCE] * 10 + [PHONEME_INDEX["m"]] * 10] + 1e-4)
    assert tool["fit"](speech, heard) == pytest.approx(0, abs=1e-3)
    assert tool["fit"](speech, heard[::-1]) < tool["LEAST_FIT"]
    assert tool["fit"](silence(0.4), heard) == -9


def test_the_tool_makes_utterances_as_long_as_asked(
        tmp_path: Path, repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tool = runpy.run_path(str(repository / "tools" / "make_speech_corpus.py"))
    tool["main"](["--hours", "0.004", "--utterance", "6", "--output", str(tmp_path)])
    assert [round(item.speech.duration_s) for item in read_shard(tmp_path / "train_00000.safetensors")] == [6, 6]
    with pytest.raises(SystemExit):
        tool["main"](["--hours", "1", "--utterance", "0", "--output", str(tmp_path)])
    assert "--utterance takes more than 0 seconds, not 0" in capsys.readouterr().err
    pieces = tool["joined"]([silence(3.0)] * 6, tool["JOINED_SHARE"] * 10)
    assert [round(piece.duration_s, 1) for piece in pieces] == [9.6, 9.6]
