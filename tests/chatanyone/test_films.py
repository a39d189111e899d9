"""Whole films of real pictures and real speech, as a user makes them; slow, and only where the inputs are."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from chatanyone import build, cli, timebase
from chatanyone.config import SHIPPED
from chatanyone.media.audio import read_audio, write_wav
from chatanyone.media.video import VideoReader
from chatanyone.vision import detect_faces, face_landmarks
from tests.helpers.media import probe

pytestmark = pytest.mark.slow
DEBUG = Path(__file__).resolve().parents[2] / "configs" / "debug.yaml"


def _settings() -> list[str]:
    """The default, once all weights ship; until then tiny nets move the real geometry."""
    shipped = all(build.weights_path(kind, SHIPPED).exists() for kind in build.PACKAGES)
    return [] if shipped else ["--config", str(DEBUG)]


def _portraits(shared_data: Path) -> list[Path]:
    """Every fourth of the half-body people, and two paintings."""
    people = sorted((shared_data / "portraits" / "halfbody").glob("*.jpg"))[::4]
    return people + sorted((shared_data / "portraits" / "paintings").glob("*.jpg"))[:2]


def _film(image: Path, audio: Path, output: Path) -> Path:
    command = ["animate", "--image", str(image), "--audio", str(audio), "--output", str(output)]
    assert cli.main(command + _settings()) == 0
    return output


@pytest.mark.parametrize("number", range(13))
def test_a_film_of_everybody(shared_data: Path, tmp_path: Path, number: int) -> None:
    people = _portraits(shared_data)
    if number >= len(people):
        pytest.skip("fewer portraits than tests")
    speech = read_audio(shared_data / "speech" / "jfk.flac")[8_000:40_123]
    write_wav(tmp_path / "voice.wav", speech)
    path = _film(people[number], tmp_path / "voice.wav", tmp_path / "o.mp4")
    film = probe(path)
    assert film.frames == timebase.frames_for_samples(len(speech), Fraction(30))
    assert film.video_start_s == film.audio_start_s == 0
    assert film.audio_length_s is not None and abs(film.video_length_s - film.audio_length_s) < 1 / 30
    _check_pictures(path)


def _check_pictures(path: Path) -> None:
    """A face in every frame, a head that moves, a background that does not."""
    with VideoReader(path) as reader:
        frames = list(reader)
    face = detect_faces(frames[0])[0].landmarks
    noses = []
    for frame in frames:
        found = face_landmarks(frame, face)
        if found is not None:
            noses.append(found[1, :2])
            face = found
    assert len(noses) >= 0.99 * len(frames)
    assert np.ptp(np.stack(noses), axis=0).max() > 1.0
    corner = np.stack([frame[:40, :40] for frame in frames]).astype(float)
    assert corner.std(axis=0).mean() < 3.0
