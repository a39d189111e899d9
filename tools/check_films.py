"""Make a film of every portrait and check what a viewer would: every frame there, face found, everything moves, silence rests.

    python tools/check_films.py --audio speech.flac PORTRAIT... [--silence 3] [--output folder]

The films go through the command line's own path, sound and all. Prints a Markdown table; exit code 1 when a bar is missed.
"""

from __future__ import annotations

import argparse
import math
import tempfile
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from chatanyone import cli, timebase
from chatanyone.media.audio import read_audio, write_wav
from chatanyone.vision.faces import detect_faces, face_landmarks
from motion.types import ARKIT_INDEX, BODY_KEYPOINTS

LIPS, FACE_HEIGHT = (13, 14), (10, 152)


@dataclass
class Film:
    """What was found in one film; lengths in seconds, movement as standard deviation, aperture in face heights."""

    frames: int
    expected: int
    skew_s: float
    found: float
    aperture_speech: float
    aperture_silence: float
    head_deg: float
    shoulders: float
    hands: float
    blinks: int

    def passes(self) -> bool:
        """The bars of the first release."""
        return (self.frames == self.expected and abs(self.skew_s) < 1 / 30 and self.found >= 0.99 and self.head_deg > 0.3
                and self.shoulders > 1e-3 and self.aperture_silence < 0.35 * self.aperture_speech)


def read_film(path: Path) -> tuple[list[np.ndarray], float]:
    """Frames and how much longer the sound is than the picture, seconds."""
    with av.open(str(path)) as film:
        frames = [frame.to_ndarray(format="rgb24") for frame in film.decode(video=0)]
    with av.open(str(path)) as film:
        samples = sum(frame.samples for frame in film.decode(audio=0))
        rate = film.streams.audio[0].rate
        trimmed = film.streams.audio[0].duration
        seconds = float(trimmed * film.streams.audio[0].time_base) if trimmed else samples / rate
    return frames, seconds - len(frames) / 30


def apertures(frames: list[np.ndarray]) -> np.ndarray:
    """Inner-lip distance over face height in every frame; NaN where no face is found."""
    result, guess = np.full(len(frames), math.nan), None
    for index, frame in enumerate(frames):
        points = face_landmarks(frame, guess) if guess is not None else None
        if points is None:
            faces = detect_faces(frame)
            points = faces[0].landmarks if faces else None
        guess = points
        if points is not None:
            height = np.linalg.norm(points[FACE_HEIGHT[0], :2] - points[FACE_HEIGHT[1], :2])
            result[index] = np.linalg.norm(points[LIPS[0], :2] - points[LIPS[1], :2]) / height
    return result


def count_blinks(weight: np.ndarray) -> int:
    """Times the blink weight rises through one half."""
    closed = weight > 0.5
    return int((closed[1:] & ~closed[:-1]).sum())


def check(portrait: Path, audio: Path, speech_frames: int, samples: int, output: Path) -> Film:
    """Film one portrait and look at it."""
    motion_path = output.with_suffix(".npz")
    code = cli.main(["animate", "--image", str(portrait), "--audio", str(audio), "--output", str(output), "--force",
                     "--motion-out", str(motion_path)])
    if code:
        raise SystemExit(f"{portrait}: chatanyone animate ended with code {code}")
    frames, skew_s = read_film(output)
    aperture = apertures(frames)
    with np.load(motion_path, allow_pickle=False) as motion:
        expression, rotation, body, hands = (motion[name] for name in ("expression", "rotation", "body", "hands"))
    shoulder = BODY_KEYPOINTS.index("shoulderLeft")
    rest = slice(speech_frames + 10, len(frames))  # the mouth may take a third of a second to close
    return Film(
        frames=len(frames), expected=timebase.frames_for_samples(samples, Fraction(30)), skew_s=skew_s,
        found=float(np.isfinite(aperture).mean()), aperture_speech=float(np.nanstd(aperture[:speech_frames])),
        aperture_silence=float(np.nanstd(aperture[rest])) if len(frames) > rest.start else 0.0,
        head_deg=math.degrees(float(rotation.std(0).max())), shoulders=float(body[:, shoulder].std(0).max()),
        hands=float(hands[..., -3:].std(0).max()),
        blinks=count_blinks(expression[:, ARKIT_INDEX["eyeBlinkLeft"]]))


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("portraits", nargs="+", type=Path)
    parser.add_argument("--audio", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=4.0, help="of the speech")
    parser.add_argument("--silence", type=float, default=3.0, help="seconds appended")
    parser.add_argument("--output", type=Path, help="folder that keeps the films")
    arguments = parser.parse_args()
    speech = read_audio(arguments.audio)[:int(arguments.seconds * 16000)]
    samples = np.concatenate([speech, np.zeros(int(arguments.silence * 16000), np.float32)])
    print("| portrait | frames | sound − picture | face found | lips, speech | lips, silence | head | shoulders | hands "
          "| blinks | |\n" + "|---" * 11 + "|")
    passed = True
    with tempfile.TemporaryDirectory() as folder:
        audio = Path(folder) / "speech.wav"
        write_wav(audio, samples)
        output = arguments.output or Path(folder)
        output.mkdir(parents=True, exist_ok=True)
        for portrait in arguments.portraits:
            speech_frames = timebase.frames_for_samples(len(speech), Fraction(30))
            film = check(portrait, audio, speech_frames, len(samples), output / f"{portrait.stem}.mp4")
            passed &= film.passes()
            print(f"| {portrait.stem} | {film.frames}/{film.expected} | {film.skew_s * 1000:+.0f} ms | {film.found:.1%} "
                  f"| {film.aperture_speech:.4f} | {film.aperture_silence:.4f} | {film.head_deg:.2f}° | {film.shoulders:.4f} "
                  f"| {film.hands:.4f} | {film.blinks} | {'ok' if film.passes() else 'MISSED'} |", flush=True)
    raise SystemExit(0 if passed else 1)


if __name__ == "__main__":
    main()
