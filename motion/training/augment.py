"""Make clean synthetic speech sound like microphones, rooms, telephones and other throats.

Waveforms first (one filter for equaliser, band limit and room; noise; gain; clipping; coarse quantisation), then the
log mel (another vocal tract, blurred harmonics, masked stripes). All strengths are our choice. Lengths never change, so
labels stay where they are.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from motion.audio.mel import SAMPLE_RATE


def _smooth_curve(rng: np.random.Generator, points: int, length: int, spread: float) -> np.ndarray:
    """A random curve through `points` random values."""
    return np.interp(np.linspace(0, points - 1, length), np.arange(points), rng.normal(0, spread, points))


def _room(rng: np.random.Generator, length: int) -> np.ndarray:
    """Spectrum of an exponentially decaying noise tail after the direct sound; T60 of 0.1 to 0.6 s."""
    decay_s, wet = rng.uniform(0.1, 0.6), rng.uniform(0.02, 0.35)
    time_s = np.arange(int(decay_s * SAMPLE_RATE)) / SAMPLE_RATE
    tail = rng.standard_normal(len(time_s)) * 10 ** (-3 * time_s / decay_s)
    tail *= wet / np.sqrt((tail ** 2).sum())
    tail[0] = 1.0
    return np.fft.rfft(tail, length)


def _filter(rng: np.random.Generator, length: int) -> np.ndarray:
    """Frequency response of the way from the mouth to the file."""
    bins = length // 2 + 1
    response = (10 ** (_smooth_curve(rng, int(rng.integers(3, 14)), bins, rng.uniform(0, 6)) / 20)).astype(complex)
    hz = np.linspace(0, SAMPLE_RATE / 2, bins)
    if rng.random() < 0.2:  # telephone, or a file that once was 8 or 11 kHz
        response *= 1 / (1 + (hz / rng.choice([3400, 3900, 5400])) ** 40)
    if rng.random() < 0.3:
        low_hz = rng.uniform(60, 300)
        response *= 1 / (1 + (low_hz / np.maximum(hz, 1)) ** 6)
    return response * _room(rng, length) if rng.random() < 0.4 else response


def _noise(rng: np.random.Generator, length: int) -> np.ndarray:
    """Noise of unit power: coloured, or the hum of a mains line."""
    spectrum = np.fft.rfft(rng.standard_normal(length))
    hz = np.linspace(0, SAMPLE_RATE / 2, len(spectrum))
    spectrum *= np.maximum(hz, 30) ** -rng.uniform(0, 1) * 10 ** (_smooth_curve(rng, 8, len(hz), 4) / 20)
    noise = np.fft.irfft(spectrum, length)
    if rng.random() < 0.1:
        noise += 2 * noise.std() * np.sin(2 * np.pi * rng.choice([50, 60, 100, 120]) * np.arange(length) / SAMPLE_RATE)
    return noise / (noise.std() + 1e-12)


def augment_samples(samples: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Another recording of the same speech: float32 ``[N]`` → float32 ``[N]``, in [-1, 1]."""
    N = len(samples)
    padded = N + SAMPLE_RATE // 2  # keeps the room's tail from wrapping around
    signal = samples.astype(np.float64)
    if rng.random() < 0.9:
        signal = np.fft.irfft(np.fft.rfft(signal, padded) * _filter(rng, padded), padded)[:N]
    loudest = np.abs(signal).max()
    signal *= rng.uniform(0.3, 1.0) / loudest if loudest > 1e-4 else 1.0
    if rng.random() < 0.8:
        level_db = -rng.uniform(12, 60)
        signal = signal + _noise(rng, N) * 10 ** (level_db / 20) * max(float(signal.std()), 0.02)
    signal = signal * 10 ** (rng.uniform(-22, 6) / 20)
    if rng.random() < 0.15:  # µ-law, 8 bits
        curve = np.sign(signal) * np.log1p(255 * np.abs(np.clip(signal, -1, 1))) / np.log(256)
        curve = np.round(curve * 127) / 127
        signal = np.sign(curve) * (256 ** np.abs(curve) - 1) / 255
    return np.clip(signal, -1, 1).astype(np.float32)


def _warp_bands(mel: Tensor, factor: float) -> Tensor:
    """Another length of the vocal tract: stretch the mel axis of ``[J, M]``."""
    M = mel.shape[1]
    place = (torch.arange(M) * factor).clamp(max=M - 1)
    low = place.floor().long().clamp(max=M - 2)
    return torch.lerp(mel[:, low], mel[:, low + 1], (place - low).to(mel))


def augment_mel(mel: Tensor, rng: np.random.Generator) -> Tensor:
    """``[J, M]`` log mel → the same of another speaker, with stripes missing."""
    mel = _warp_bands(mel, float(np.exp(rng.uniform(-0.16, 0.16)))) if rng.random() < 0.8 else mel
    if rng.random() < 0.4:  # harmonics blurred into the envelope: other pitch, breath, whisper
        width = int(rng.choice([3, 5, 7]))
        blurred = F.avg_pool1d(F.pad(mel, (width // 2, width // 2), mode="replicate"), width, 1)
        mel = torch.lerp(mel, blurred, float(rng.uniform(0.3, 1.0)))
    if rng.random() < 0.4:  # valleys filled or deepened: bandwidths of the formants
        mel = mel.mean(1, keepdim=True) + (mel - mel.mean(1, keepdim=True)) * float(rng.uniform(0.75, 1.2))
    mel = mel.clone()
    for _ in range(int(rng.integers(0, 3))):
        start, width = int(rng.integers(0, mel.shape[1])), int(rng.integers(1, 12))
        mel[:, start:start + width] = mel.mean()
    for _ in range(int(rng.integers(0, 3))):
        start, width = int(rng.integers(0, mel.shape[0])), int(rng.integers(1, 12))
        mel[start:start + width] = mel.mean()
    return mel
