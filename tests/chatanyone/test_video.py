from __future__ import annotations

import itertools
import resource
import struct
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest

from chatanyone import timebase
from chatanyone.errors import MediaError
from chatanyone.media.audio import write_wav
from chatanyone.media.sound import Sound
from chatanyone.media.video import VideoReader, VideoWriter
from tests.helpers.media import gradient, probe

SIZE = (96, 128)
RATES = [pytest.param(Fraction(r), id=r) for r in ("25", "30", "30000/1001")]


def _frames(count: int) -> Iterator[np.ndarray]:
    for i in range(count):
        yield np.full((SIZE[1], SIZE[0], 3), i * 3 % 256, np.uint8)


def _film(path: Path, samples: int, fps: Fraction = Fraction(30), rate_hz: int = 16_000) -> int:
    frames = timebase.frames_for_samples(samples, fps, rate_hz)
    with VideoWriter(path, SIZE, fps, rate_hz) as writer:
        writer.write_audio(0.1 * np.sin(np.arange(samples) / 5).astype(np.float32))
        for frame in _frames(frames):
            writer.write(frame)
    return frames


@pytest.mark.parametrize("fps", RATES)
@pytest.mark.parametrize("samples", [1, 533, 5000, 48_077])
def test_tracks_start_together_and_end_together(tmp_path: Path, fps: Fraction, samples: int) -> None:
    frames = _film(tmp_path / "o.mp4", samples, fps)
    film = probe(tmp_path / "o.mp4")
    assert (film.frames, film.size, film.fps) == (frames, SIZE, fps)
    assert film.video_start_s == film.audio_start_s == 0
    assert film.audio_length_s is not None and abs(film.video_length_s - film.audio_length_s) < 1 / fps


def test_sound_may_come_at_another_rate(tmp_path: Path) -> None:
    frames = _film(tmp_path / "o.mp4", 44_100, rate_hz=44_100)
    film = probe(tmp_path / "o.mp4")
    assert frames == film.frames == 30 and film.audio_length_s == pytest.approx(1, abs=0.03)


def test_stereo_stays_stereo(tmp_path: Path) -> None:
    left = 0.5 * np.sin(np.arange(48_000) / 20)
    with VideoWriter(tmp_path / "o.mp4", SIZE, Fraction(30), 48_000, channels=2) as writer:
        writer.write_audio(np.stack([left, np.zeros(48_000)]).astype(np.float32))
        for frame in _frames(30):
            writer.write(frame)
    sound = Sound(tmp_path / "o.mp4")
    heard = sound.read(48_000)
    assert sound.channels == 2 and heard.shape == (2, 48_000)
    assert np.corrcoef(heard[0], left)[0, 1] > 0.99 and np.abs(heard[1]).max() < 0.01


@pytest.mark.parametrize("rate", [8_000, 44_100, 48_000])
def test_sound_is_the_recording(tmp_path: Path, rate: int) -> None:
    """Same level, same length, in pieces as in one; silence follows."""
    write_wav(tmp_path / "x.wav", 0.5 * np.sin(np.arange(rate) * 2 * np.pi * 200 / rate), rate)
    sound = Sound(tmp_path / "x.wav")
    heard = np.concatenate([sound.read(count) for count in (1, 1601, 46_398, 4_800)], axis=1)[0]
    expected = 0.5 * np.sin(np.arange(48_000) * 2 * np.pi * 200 / 48_000)
    np.testing.assert_allclose(heard[100:47_900], expected[100:47_900], atol=0.01)
    assert np.abs(heard[48_100:]).max() < 1e-3


def test_fine_detail_that_moves_survives(tmp_path: Path) -> None:
    """As of hair: fine lines of little contrast, among what is smooth."""
    y, x = np.mgrid[:SIZE[1], :SIZE[0]]
    frames = []
    for i in range(30):
        lines = 128 + 5 * np.sin((x + 0.3 * y + 0.4 * i) * 2 * np.pi / 5) * (y > 64)
        frames.append(np.repeat(lines.round().astype(np.uint8)[..., None], 3, 2))
    with VideoWriter(tmp_path / "o.mp4", SIZE, Fraction(30)) as writer:
        for frame in frames:
            writer.write(frame)
    with VideoReader(tmp_path / "o.mp4") as reader:
        kept = [cv2.Laplacian(seen[..., 1], cv2.CV_64F).var() / cv2.Laplacian(given[..., 1], cv2.CV_64F).var()
                for seen, given in zip(reader, frames)]
    assert np.mean(kept) > 0.95


def test_sound_and_picture_survive(tmp_path: Path) -> None:
    _film(tmp_path / "o.mp4", 16_000)
    with VideoReader(tmp_path / "o.mp4") as reader:
        levels = [frame.mean() for frame in reader]
    np.testing.assert_allclose(levels, [i * 3 for i in range(30)], atol=4)


def test_colours_survive(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "o.mp4", SIZE, Fraction(30)) as writer:
        writer.write(gradient(SIZE[1], SIZE[0]))
    with VideoReader(tmp_path / "o.mp4") as reader:
        frame = next(iter(reader))
    assert np.abs(frame.astype(int) - gradient(SIZE[1], SIZE[0])).mean() < 4
    assert probe(tmp_path / "o.mp4").audio_start_s is None


def test_refuses_bad_targets_early(tmp_path: Path) -> None:
    (tmp_path / "old.mp4").write_bytes(b"precious")
    for path, message in [
        (tmp_path / "none" / "o.mp4", "output folder .* does not exist"),
        (tmp_path / "old.mp4", "exists already.*--force"),
        (tmp_path / "o.avi", "must end in .mp4"),
    ]:
        with pytest.raises(MediaError, match=message):
            VideoWriter(path, SIZE, Fraction(30))
    assert (tmp_path / "old.mp4").read_bytes() == b"precious"


def test_force_overwrites_only_at_the_end(tmp_path: Path) -> None:
    (tmp_path / "old.mp4").write_bytes(b"precious")
    with VideoWriter(tmp_path / "old.mp4", SIZE, Fraction(30), force=True) as writer:
        writer.write(next(_frames(1)))
        assert (tmp_path / "old.mp4").read_bytes() == b"precious"
    assert probe(tmp_path / "old.mp4").frames == 1


@pytest.mark.parametrize("after", [0, 1, 40])
def test_interrupt_leaves_nothing(tmp_path: Path, after: int) -> None:
    with pytest.raises(KeyboardInterrupt):
        with VideoWriter(tmp_path / "o.mp4", SIZE, Fraction(30), 16_000) as writer:
            for frame in itertools.islice(_frames(100), after):
                writer.write(frame)
            raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_full_disk_is_one_sentence_and_leaves_nothing(tmp_path: Path) -> None:
    """A limit on file size makes the same write calls fail as a full disk does."""
    noise = np.random.default_rng(0).integers(0, 255, (8, SIZE[1], SIZE[0], 3), np.uint8)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limits[1]))
    try:
        with pytest.raises(MediaError, match="the disk is full: .*o.mp4 could not be written; free some space"):
            with VideoWriter(tmp_path / "o.mp4", SIZE, Fraction(30)) as writer:
                for i in range(200):
                    writer.write(noise[i % 8])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(tmp_path.iterdir()) == []


def test_wrong_frame_size_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="expected a frame of 96 x 128"):
        with VideoWriter(tmp_path / "o.mp4", SIZE, Fraction(30)) as writer:
            writer.write(np.zeros((10, 10, 3), np.uint8))


@pytest.mark.parametrize(("fps", "count"), [(30, 30), (15, 15), (60, 60), (25, 25), (7, 7)])
def test_reader_picks_frames_at_another_rate(tmp_path: Path, fps: int, count: int) -> None:
    _film(tmp_path / "o.mp4", 16_000)
    with VideoReader(tmp_path / "o.mp4", fps=Fraction(fps)) as reader:
        assert reader.frames_expected == count
        levels = [round(frame.mean() / 3) for frame in reader]
    expected = [timebase.source_frame(i, Fraction(fps), Fraction(30)) for i in range(count)]
    np.testing.assert_allclose(levels, expected, atol=1)


def _turn(path: Path, matrix: tuple[int, int, int, int]) -> None:
    """Writes a rotation into the track header, as a phone does; a, b, c, d are 16.16 fixed point."""
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 4 + 4 + 20 + 16  # name, version and flags, times and ids, layer and volume
    a, b, c, d = (value << 16 for value in matrix)
    data[at:at + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(bytes(data))


@pytest.mark.parametrize(("matrix", "quarter_turns"), [
    pytest.param((0, 1, -1, 0), -1, id="90-clockwise"), pytest.param((-1, 0, 0, -1), 2, id="180"),
    pytest.param((0, -1, 1, 0), 1, id="90-counter-clockwise"),
])
def test_reader_turns_phone_clips_upright(
        tmp_path: Path, matrix: tuple[int, int, int, int], quarter_turns: int) -> None:
    with VideoWriter(tmp_path / "o.mp4", SIZE, Fraction(30)) as writer:
        writer.write(gradient(SIZE[1], SIZE[0]))
    _turn(tmp_path / "o.mp4", matrix)
    with VideoReader(tmp_path / "o.mp4") as reader:
        frame = next(iter(reader))
    expected = np.rot90(gradient(SIZE[1], SIZE[0]), quarter_turns)
    assert frame.shape == expected.shape
    assert np.abs(frame.astype(int) - expected).mean() < 4


@pytest.mark.parametrize("content", [b"", b"words\n" * 100], ids=["empty", "text"])
def test_reader_refuses_what_is_not_a_video(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.mp4").write_bytes(content)
    with pytest.raises(MediaError, match="not a video this program reads"):
        VideoReader(tmp_path / "x.mp4")
    with pytest.raises(MediaError, match="there is no video at"):
        VideoReader(tmp_path / "none.mp4")


def test_reader_says_when_a_clip_is_cut_off(tmp_path: Path) -> None:
    _film(tmp_path / "o.mp4", 16_000)
    data = (tmp_path / "o.mp4").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(data[: data.index(b"mdat") + 300])
    with pytest.raises(MediaError, match="damaged|not a video"):
        with VideoReader(tmp_path / "cut.mp4") as reader:
            list(reader)
