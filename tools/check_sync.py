"""Do the lips follow a real voice? Lip aperture of the motion that is made, against the lips in the clip the voice is from.

    python tools/check_sync.py CLIP... [--anchor 0.7] [--seed 0]

Aperture of the motion is the distance of the template's inner lips; the clip's is MediaPipe's, over the face's height. For
each clip: Pearson r at the best lag within ±3 frames at 30 fps, and the same for loudness alone (log RMS envelope).
"""

from __future__ import annotations

import argparse
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from chatanyone import build
from chatanyone.config import load_config
from chatanyone.media.audio import read_audio
from chatanyone.media.video import VideoReader
from chatanyone.vision.faces import detect_faces, face_landmarks
from motion.template.head import HeadTemplate

LIPS, FACE_HEIGHT, MAX_LAG, FPS = (13, 14), (10, 152), 3, 30
Curve = NDArray[np.float64]


def real_aperture(path: Path) -> Curve:
    """``[T]`` at 30 fps, gaps interpolated."""
    values, guess = [], None
    for frame in VideoReader(path, Fraction(FPS)):
        points = face_landmarks(frame, guess) if guess is not None else None
        if points is None:
            faces = detect_faces(frame)
            points = faces[0].landmarks if faces else None
        guess = points
        if points is None:
            values.append(np.nan)
        else:
            height = np.linalg.norm(points[FACE_HEIGHT[0], :2] - points[FACE_HEIGHT[1], :2])
            values.append(float(np.linalg.norm(points[LIPS[0], :2] - points[LIPS[1], :2]) / height))
    curve = np.array(values)
    known = np.isfinite(curve)
    return np.interp(np.arange(len(curve)), np.flatnonzero(known), curve[known])


@torch.inference_mode()
def made_aperture(samples: NDArray[np.float32], anchor: float, seed: int) -> Curve:
    """``[T]`` metres: the motion chain's own lips."""
    config, where = load_config(None, {"motion.anchor": anchor}), torch.device("cpu")
    speech = build.speech_features(config, where)
    sampler = build.face_sampler(config, speech.feature_dim, where, speech.encoder.curves)
    features = speech.parallel(torch.from_numpy(samples))
    first, state = sampler.step(features, sampler.init_state(seed))
    last, _ = sampler.flush(state)
    template, index = HeadTemplate.load(), torch.tensor(LIPS)
    basis = template.on_surface(template.expression, index)[:, :, 1]
    lips = torch.cat([first.expression, last.expression]) @ basis + template.on_surface(template.mean, index)[:, 1]
    return (lips[:, 0] - lips[:, 1]).double().numpy()


def loudness(samples: NDArray[np.float32], frames: int) -> Curve:
    """``[T]`` log RMS of each frame's samples."""
    pieces = np.array_split(samples.astype(np.float64), max(frames, 1))
    return np.array([np.log(np.sqrt(np.mean(piece**2)) + 1e-4) for piece in pieces])


def best(curve: Curve, reference: Curve) -> tuple[float, int]:
    """Largest Pearson r and its lag; a positive lag: the curve comes late."""
    count, found = min(len(curve), len(reference)), (-1.0, 0)
    for lag in range(-MAX_LAG, MAX_LAG + 1):
        a = curve[max(lag, 0):count + min(lag, 0)]
        b = reference[max(-lag, 0):count - max(lag, 0)]
        found = max(found, (float(np.corrcoef(a, b)[0, 1]), lag))
    return found


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", nargs="+", type=Path)
    parser.add_argument("--anchor", type=float, default=0.7)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    rows = []
    print("| clip | r | lag, frames | loudness r |\n|---|---|---|---|")
    for path in arguments.clips:
        reference, samples = real_aperture(path), read_audio(path)
        r, lag = best(made_aperture(samples, arguments.anchor, arguments.seed), reference)
        plain, _ = best(loudness(samples, len(reference)), reference)
        rows.append((r, plain))
        print(f"| {path.stem} | {r:.2f} | {lag:+d} | {plain:.2f} |", flush=True)
    mean = np.mean(rows, axis=0)
    print(f"| **mean of {len(rows)}** | **{mean[0]:.3f}** | | {mean[1]:.3f} |")


if __name__ == "__main__":
    main()
