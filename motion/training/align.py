"""When a real voice says each phoneme: dynamic time warping against the same words spoken by espeak-ng.

Sakoe & Chiba (1978) on mel cepstra with their mean and variance removed, which is what a synthesiser and a person have
in common. Pauses that only the person makes are found by their energy.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from motion.audio.mel import HOP, SAMPLE_RATE, log_mel
from motion.training.speech import Phone, Speech

FRAME_S = HOP / SAMPLE_RATE
_CEPSTRA = 16
_PAUSE_FRAMES = 9  # shorter quiet stretches are stop closures
_QUIET = 0.45  # of the way from the quietest to the loudest energy (log scale)


def _cepstra(samples: np.ndarray) -> np.ndarray:
    """Normalised cepstra and their slopes: ``[J, 2 · 16]``."""
    mel = log_mel(torch.from_numpy(samples)).numpy()
    angles = np.pi * np.outer(np.arange(mel.shape[1]) + 0.5, np.arange(_CEPSTRA)) / mel.shape[1]
    cepstra = mel @ np.cos(angles)
    cepstra = (cepstra - cepstra.mean(0)) / (cepstra.std(0) + 1e-6)
    smooth = np.pad(cepstra, ((2, 2), (0, 0)), mode="edge")
    slope = (smooth[4:] - smooth[:-4]) * 0.6
    return np.concatenate([cepstra, slope], axis=1) * np.r_[np.full(_CEPSTRA, 1.0), np.full(_CEPSTRA, 0.7)]


def warp_path(cost: np.ndarray, penalty: float = 0.35) -> tuple[np.ndarray, float]:
    """The cheapest monotone path through ``[I, J]`` from corner to corner: pairs ``[P, 2]`` and its mean cost.

    `penalty` is added to steps that stand still in one of the two, times the mean cost.
    """
    I, J = cost.shape  # noqa: E741
    extra = penalty * float(cost.mean())
    total = np.full((I + 1, J + 1), np.inf)
    total[0, 0] = 0.0
    for diagonal in range(2, I + J + 1):  # cells (i, j), i + j = diagonal, do not depend on each other
        i = np.arange(max(1, diagonal - J), min(I, diagonal - 1) + 1)
        j = diagonal - i
        best = np.minimum(total[i - 1, j - 1], np.minimum(total[i - 1, j], total[i, j - 1]) + extra)
        total[i, j] = best + cost[i - 1, j - 1]
    return _walk_back(total, extra), float(total[I, J] / (I + J))


def _walk_back(total: np.ndarray, extra: float) -> np.ndarray:
    i, j = total.shape[0] - 1, total.shape[1] - 1
    path = []
    while i > 0 and j > 0:
        path.append((i - 1, j - 1))
        step = int(np.argmin([total[i - 1, j - 1], total[i - 1, j] + extra, total[i, j - 1] + extra]))
        i, j = i - (step != 2), j - (step != 1)
    return np.array(path[::-1])


def _quiet_stretches(samples: np.ndarray) -> list[tuple[float, float]]:
    """(start, end) in seconds of the pauses of a recording."""
    count = len(samples) // HOP
    power = (samples[:count * HOP].reshape(count, HOP) ** 2).mean(1)
    level = np.convolve(np.log10(power + 1e-8), np.ones(5) / 5, mode="same")
    low, high = np.percentile(level, [2, 95])
    quiet = np.concatenate([[False], level < low + _QUIET * (high - low), [False]])
    edges = np.flatnonzero(np.diff(quiet.astype(int)))
    return [(a * FRAME_S, b * FRAME_S) for a, b in zip(edges[::2], edges[1::2]) if b - a >= _PAUSE_FRAMES]


def _with_pauses(phones: list[Phone], pauses: list[tuple[float, float]]) -> list[Phone]:
    """Cut the pauses out of the phonemes."""
    result = list(phones)
    for start, end in pauses:
        cut = []
        for phone in result:
            cut.append(replace(phone, end_s=min(phone.end_s, start)))
            cut.append(replace(phone, start_s=max(phone.start_s, end)))
        result = [phone for phone in cut if phone.end_s - phone.start_s > 1e-4] + [Phone(start, end, "")]
        result.sort(key=lambda phone: phone.start_s)
    return result


def align(samples: np.ndarray, spoken: Speech) -> tuple[Speech, float]:
    """Give a recording the phonemes of the same text spoken by espeak-ng.

    Args:
        samples: the recording, float32 ``[N]``, 16 kHz
        spoken: espeak-ng's version of the text

    Returns:
        the recording with phonemes from 0 to its end, and the mean cost of the match (lower is better)
    """
    real, made = _cepstra(samples), _cepstra(spoken.samples)
    cost = np.sqrt(np.maximum((real ** 2).sum(1)[:, None] + (made ** 2).sum(1) - 2 * real @ made.T, 0))
    path, score = warp_path(cost)
    made_s, real_s = path[:, 1] * FRAME_S, path[:, 0] * FRAME_S
    # The mean recording time of each synthetic frame, made strictly usable for interpolation.
    grid, first = np.unique(made_s, return_index=True)
    times = np.add.reduceat(real_s, first) / np.diff(np.r_[first, len(real_s)])
    end = len(samples) / SAMPLE_RATE

    def moved(instant_s: float) -> float:
        return 0.0 if instant_s <= 0 else end if instant_s >= spoken.duration_s else float(
            np.interp(instant_s, grid, times))

    phones = [replace(phone, start_s=moved(phone.start_s), end_s=moved(phone.end_s)) for phone in spoken.phonemes]
    phones = [phone for phone in phones if phone.end_s > phone.start_s]
    return replace(spoken, samples=samples, phonemes=_with_pauses(phones, _quiet_stretches(samples))), score
