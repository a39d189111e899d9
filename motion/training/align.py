"""When a real voice says each phoneme: dynamic time warping against the same words spoken by espeak-ng.

Sakoe & Chiba (1978) on mel cepstra with their mean and variance removed, which is what a synthesiser and a person have
in common. Pauses that only the person makes are found by their energy. Once there is an encoder that tells phonemes,
`refine` lets it move the borders (Viterbi over its posteriors).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from motion.audio.mel import HOP, SAMPLE_RATE, log_mel
from motion.training.phonemes import PHONEME_INDEX, SILENCE, parse_ipa
from motion.training.speech import LABEL_HZ, Phone, Speech

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


def best_states(scores: np.ndarray, skippable: np.ndarray) -> np.ndarray:
    """Viterbi, left to right: which state each row is in.

    Args:
        scores: log probability of each row in each state, ``[R, S]``
        skippable: states that may be left out, bool ``[S]``

    Returns:
        int ``[R]``, from the first state (or the second, when the first may be skipped) to the last (likewise)
    """
    R, S = scores.shape
    best = np.full(S, -np.inf)
    best[0] = scores[0, 0]
    if S > 1 and skippable[0]:
        best[1] = scores[0, 1]
    came_from = np.zeros((R, S), np.int8)
    for row in range(1, R):
        step = np.r_[-np.inf, best[:-1]]
        skip = np.where(np.r_[False, False, skippable[1:-1]], np.r_[-np.inf, -np.inf, best[:-2]], -np.inf)[:S]
        choices = np.stack([best, step, skip])
        came_from[row] = choices.argmax(0)
        best = choices.max(0) + scores[row]
    state = S - 1 - int(S > 1 and skippable[-1] and best[-2] > best[-1])
    path = np.zeros(R, int)
    for row in range(R - 1, -1, -1):
        path[row] = state
        state -= came_from[row, state]
    return path


def refine(speech: Speech, log_probabilities: np.ndarray, reach_s: float = 0.2) -> Speech:
    """Move the borders of the phonemes to where an encoder hears them.

    Args:
        speech: with phonemes already roughly in place
        log_probabilities: of `PHONEME_CLASSES` at 50 Hz, ``[R, P]``
        reach_s: how far from its present place a phoneme may be found
    """
    states = [(index, PHONEME_INDEX[name]) for index, phone in enumerate(speech.phonemes)
              for name in parse_ipa(phone.ipa) or ["sil"]]
    owner, classes = (np.array(column) for column in zip(*states))
    seconds = np.arange(len(log_probabilities))[:, None] / LABEL_HZ
    starts = np.array([phone.start_s for phone in speech.phonemes])[owner] - reach_s
    ends = np.array([phone.end_s for phone in speech.phonemes])[owner] + reach_s
    outside = np.maximum(starts - seconds, 0) + np.maximum(seconds - ends, 0)
    path = best_states(log_probabilities[:, classes] - 100 * outside, classes == SILENCE)
    rows = owner[path]
    edges = np.r_[0, np.flatnonzero(np.diff(rows)) + 1]
    times = np.r_[0.0, (edges[1:] - 0.5) / LABEL_HZ, speech.duration_s]
    phones = [replace(speech.phonemes[rows[edge]], start_s=float(start), end_s=float(end))
              for edge, start, end in zip(edges, times[:-1], times[1:])]
    return replace(speech, phonemes=phones)
