"""`chatanyone.media.audio` on every kind of sound file we can make here, and on what is none."""

from __future__ import annotations

import wave
from pathlib import Path

import av
import numpy as np
import pytest

from chatanyone.errors import MediaError
from chatanyone.media.audio import read_audio, resample, write_wav


def _tone(rate_hz: int, seconds: float = 0.7, hz: float = 440.0) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * hz * np.arange(round(rate_hz * seconds)) / rate_hz)).astype(np.float32)


def _encode(path: Path, channels: list[np.ndarray], rate_hz: int, codec: str, form: str) -> None:
    """A file of any codec; `channels` are float32, converted to the codec's sample format by FFmpeg."""
    layout = {1: "mono", 2: "stereo", 6: "5.1"}[len(channels)]
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate_hz, layout=layout)
        frame = av.AudioFrame.from_ndarray(np.stack(channels), format="fltp", layout=layout)
        frame.sample_rate = rate_hz
        resampler = av.AudioResampler(format=form, layout=layout, rate=rate_hz, frame_size=stream.frame_size or 1024)
        for part in [*resampler.resample(frame), *resampler.resample(None)]:
            container.mux(stream.encode(part))
        container.mux(stream.encode(None))


def _frequency(samples: np.ndarray) -> float:
    inner = samples[800:-800] * np.hanning(len(samples) - 1600)
    return float(np.argmax(np.abs(np.fft.rfft(inner, 1 << 17))) * 16000 / (1 << 17))


@pytest.mark.parametrize("rate_hz", [8000, 11025, 16000, 22050, 44100, 48000, 96000])
def test_every_rate_becomes_16_khz(tmp_path: Path, rate_hz: int) -> None:
    tone = _tone(rate_hz)
    write_wav(tmp_path / "a.wav", tone, rate_hz)
    samples = read_audio(tmp_path / "a.wav")
    assert samples.dtype == np.float32 and len(samples) == round(len(tone) * 16000 / rate_hz)
    assert _frequency(samples) == pytest.approx(440, abs=1)
    assert np.abs(samples[2000:-2000]).max() == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize("rate_hz", [8000, 48000, 96000])
def test_resampling_does_not_shift(rate_hz: int) -> None:
    click = np.zeros(rate_hz, np.float32)
    click[rate_hz // 2 - 20:rate_hz // 2 + 21] = np.hanning(41)
    assert abs(int(np.argmax(resample(click, rate_hz))) - 8000) <= 1


@pytest.mark.parametrize("codec, form", [
    ("pcm_u8", "u8"), ("pcm_s16le", "s16"), ("pcm_s24le", "s32"), ("pcm_s32le", "s32"), ("pcm_f32le", "flt"),
    ("pcm_f64le", "dbl"),
])
def test_every_sample_format(tmp_path: Path, codec: str, form: str) -> None:
    _encode(tmp_path / "a.wav", [_tone(16000)], 16000, codec, form)
    samples = read_audio(tmp_path / "a.wav")
    assert len(samples) == 11200
    assert np.abs(samples - _tone(16000)).max() < (0.01 if codec == "pcm_u8" else 1e-4)


def test_channels_are_averaged(tmp_path: Path) -> None:
    left = _tone(16000)
    _encode(tmp_path / "a.wav", [left, np.zeros_like(left)], 16000, "pcm_f32le", "flt")
    assert np.abs(read_audio(tmp_path / "a.wav") - left / 2).max() < 1e-6


def test_six_channels_of_flac(tmp_path: Path) -> None:
    _encode(tmp_path / "a.flac", [_tone(48000)] * 6, 48000, "flac", "s16")
    assert _frequency(read_audio(tmp_path / "a.flac")) == pytest.approx(440, abs=1)


def test_a_video_as_sound(tmp_path: Path) -> None:
    _encode(tmp_path / "a.mp4", [_tone(44100)] * 2, 44100, "aac", "fltp")
    samples = read_audio(tmp_path / "a.mp4")
    assert abs(len(samples) / 16000 - 0.7) < 0.08  # AAC pads to whole frames
    assert _frequency(samples[:11000]) == pytest.approx(440, abs=2)


def test_one_sample(tmp_path: Path) -> None:
    write_wav(tmp_path / "a.wav", np.array([0.25], np.float32))
    assert read_audio(tmp_path / "a.wav") == pytest.approx([0.25], abs=1e-4)


def test_wav_round_trip_clips(tmp_path: Path) -> None:
    write_wav(tmp_path / "a.wav", np.array([0.0, 0.5, 2.0, -2.0], np.float32))
    assert read_audio(tmp_path / "a.wav") == pytest.approx([0, 0.5, 1, -1], abs=1e-4)


def _file(folder: Path, kind: str) -> Path:
    path = folder / f"{kind}.wav"
    if kind == "text":
        path.write_text("These are words, not sound.\n" * 50)
    elif kind == "empty":
        path.touch()
    elif kind == "folder":
        path.mkdir()
    elif kind == "no samples":
        with wave.open(str(path), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(16000)
    elif kind == "nan":
        bad = _tone(16000)
        bad[100:103] = [np.nan, np.inf, np.nan]
        _encode(path, [bad], 16000, "pcm_f32le", "flt")
    elif kind == "silent video":
        path = folder / "a.mp4"
        with av.open(str(path), "w") as container:
            stream = container.add_stream("mpeg4", rate=25)
            stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
            frame = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize("kind, message", [
    ("missing", "there is none; check the path"), ("folder", "is a folder; name a file in it"),
    ("text", "not a sound file that FFmpeg can read"), ("empty", r"is empty \(0 bytes\)"),
    ("no samples", "has no samples"), ("nan", "holds 3 samples that are NaN or infinite; export it again"),
    ("silent video", "has no audio stream; give a file with sound"),
])
def test_bad_files_get_one_sentence(tmp_path: Path, kind: str, message: str) -> None:
    with pytest.raises(MediaError, match=message) as caught:
        read_audio(_file(tmp_path, kind))
    assert "\n" not in str(caught.value)


def test_writing_into_a_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match="does not exist; make it first"):
        write_wav(tmp_path / "none" / "a.wav", _tone(16000))


def test_real_recording(shared_data: Path) -> None:
    assert len(read_audio(shared_data / "speech" / "jfk.flac")) == 176000
