"""Training of the audio encoder: which phoneme is said every 20 ms, and what the mouth does.

Targets are those of the row's own instant although the row is read `delay` rows later, so the encoder learns to wait.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from motion.audio.encoder import AudioEncoder, EncoderConfig
from motion.audio.features import stream_mel
from motion.audio.resample import ROW_SAMPLES, ROWS_HZ
from motion.training.articulation import mouth_curves
from motion.training.augment import augment_mel, augment_samples
from motion.training.corpus import read_shard, shard_paths
from motion.training.phonemes import SILENCE
from motion.training.speech import Speech, phoneme_labels
from motion.types import ARKIT_INDEX, EXPRESSION_GROUPS

MOUTH = [ARKIT_INDEX[name] for name in EXPRESSION_GROUPS["mouth"]]
HUSHED = 0.2  # share of the examples in which somebody falls silent for a while (our choice)
SETTLE_ROWS = 6  # rows of 20 ms until the mouth is at rest
CURVE_SCALE = 0.1  # typical size of a mouth weight's movement, so that both losses are of order 1


@dataclass
class Clip:
    """One training clip: int16 samples ``[N]``, classes ``[R]`` and neutral mouth curves ``[R, 52]`` at 50 Hz."""

    samples: np.ndarray
    phonemes: np.ndarray
    curves: np.ndarray


def make_clip(speech: Speech) -> Clip:
    """The curves are made anew in the neutral style: the encoder tells what is said, not how somebody says it."""
    rows = -(-len(speech.samples) // ROW_SAMPLES)
    fine = mouth_curves(speech, Fraction(2 * ROWS_HZ))  # frame 2k - 1 and 2k lie 5 ms before and after row k
    curves = 0.5 * (fine[np.maximum(2 * np.arange(rows) - 1, 0)] + fine[np.minimum(2 * np.arange(rows), len(fine) - 1)])
    samples = np.round(speech.samples * 32767).astype(np.int16)
    return Clip(samples, phoneme_labels(speech), curves.astype(np.float16))


def load_clips(folder: Path, split: str, limit: int | None = None) -> list[Clip]:
    """The clips of a split of a corpus made by ``tools/make_speech_corpus.py``."""
    clips: list[Clip] = []
    for path in shard_paths(folder, split):
        clips += [make_clip(item.speech) for item in read_shard(path)]
        if limit is not None and len(clips) >= limit:
            return clips[:limit]
    return clips


def crop(clip: Clip, rows: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A random stretch: float32 samples ``[rows · 320]``, classes ``[rows]``, curves ``[rows, 52]``, silence behind."""
    start = int(rng.integers(0, max(1, len(clip.phonemes) - rows + 1)))
    samples = clip.samples[start * ROW_SAMPLES:(start + rows) * ROW_SAMPLES].astype(np.float32) / 32767
    phonemes, curves = clip.phonemes[start:start + rows], clip.curves[start:start + rows]
    short = rows - len(phonemes)
    samples = np.pad(samples, (0, rows * ROW_SAMPLES - len(samples)))
    return samples, np.pad(phonemes, (0, short), constant_values=SILENCE), np.pad(curves, ((0, short), (0, 0)))


def change_speed(clip: Clip, factor: float) -> Clip:
    """Played faster or slower: pitch, formants and tempo change together, labels follow."""
    N = len(clip.samples)
    samples = np.interp(np.arange(0, N - 1, factor), np.arange(N), clip.samples).astype(np.int16)
    rows = -(-len(samples) // ROW_SAMPLES)
    index = np.minimum(np.round(np.arange(rows) * factor).astype(int), len(clip.phonemes) - 1)
    return Clip(samples, clip.phonemes[index], clip.curves[index])


def hush(samples: np.ndarray, phonemes: np.ndarray, curves: np.ndarray, rng: np.random.Generator
         ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Somebody stops speaking for a random stretch of a crop: silence, a mouth that comes to rest and leaves it."""
    rows = len(phonemes)
    length = int(rng.integers(min(2 * SETTLE_ROWS, rows), max(2 * SETTLE_ROWS, rows // 2) + 1))
    start = int(rng.integers(0, rows - length + 1))
    inside = np.arange(start, start + length)
    samples, phonemes, curves = samples.copy(), phonemes.copy(), curves.copy()
    samples[start * ROW_SAMPLES:(start + length) * ROW_SAMPLES] = 0
    phonemes[inside] = SILENCE
    depth = np.minimum(inside - start, start + length - 1 - inside)
    curves[inside] *= np.clip(1 - depth / SETTLE_ROWS, 0, 1)[:, None].astype(curves.dtype)
    return samples, phonemes, curves


class AudioTask:
    """The audio encoder's task for the solver.

    Args:
        corpus: folder of shards (splits ``train``, ``held_out``, and, when there, ``real``, ``real_held_out``)
        encoder: sizes
        batch_size, seconds: of a batch
        real_share: fraction of real recordings in a batch, when the corpus has any
        kept: an encoder whose features this one should go on giving for espeak-ng's speech, so that nets trained on them
            stay valid; what real voices sound like may change
        keep: weight of that, in variances of its features

    Raises:
        ValueError: the corpus holds no training speech.
    """

    kind = "audio_encoder"

    def __init__(self, corpus: str | Path, encoder: EncoderConfig | None = None, batch_size: int = 16,
                 seconds: float = 4.0, real_share: float = 0.4, dropout: float = 0.05,
                 kept: AudioEncoder | None = None, keep: float = 0.5) -> None:
        self.encoder = encoder or EncoderConfig()
        self.config: dict[str, Any] = asdict(self.encoder)
        self.batch_size, self.rows, self.dropout = batch_size, round(seconds * ROWS_HZ), dropout
        self.corpus, self.real_share = Path(corpus), real_share
        self.kept, self.keep = kept, keep
        self._clips: dict[str, list[Clip]] = {}
        self._sources: list[list[Clip]] | None = None
        if not shard_paths(self.corpus, "train"):
            raise ValueError(f"no training speech in {self.corpus}; make some with tools/make_speech_corpus.py")

    def clips(self, split: str) -> list[Clip]:
        """Loaded once."""
        if split not in self._clips:
            self._clips[split] = load_clips(self.corpus, split)
        return self._clips[split]

    def sources(self) -> list[list[Clip]]:
        """The real recordings by shard: a short one of people counts as much as a long one of a synthesiser."""
        if self._sources is None:
            shards = ([make_clip(item.speech) for item in read_shard(path)] for path in shard_paths(self.corpus, "real"))
            self._sources = [shard for shard in shards if shard]
        return self._sources

    def build(self) -> nn.Module:
        """A fresh encoder."""
        return AudioEncoder(**self.config, dropout=self.dropout)

    def batches(self, seed: int) -> Iterator[dict[str, Tensor]]:
        """``mel [B, 2 (R + delay), M]``, ``phonemes [B, R]``, ``curves [B, R, 52]`` and ``real [B]`` without end."""
        rng = np.random.default_rng(seed)
        while True:
            items = [self._item(rng) for _ in range(self.batch_size)]
            mel, phonemes, curves, real = (torch.stack(column) for column in zip(*items))
            yield {"mel": mel, "phonemes": phonemes, "curves": curves, "real": real}

    def _item(self, rng: np.random.Generator) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        sources = self.sources()
        real = bool(sources) and rng.random() < self.real_share
        pool = sources[int(rng.integers(len(sources)))] if real else self.clips("train")
        clip = pool[int(rng.integers(len(pool)))]
        if rng.random() < 0.6:
            clip = change_speed(clip, float(np.exp(rng.uniform(-0.2, 0.2))))
        samples, phonemes, curves = crop(clip, self.rows, rng)
        if rng.random() < HUSHED:
            samples, phonemes, curves = hush(samples, phonemes, curves, rng)
        samples = augment_samples(samples, rng)
        mel = stream_mel(torch.from_numpy(samples), self.rows + self.encoder.delay, self.encoder.n_mels)
        return (augment_mel(mel, rng), torch.from_numpy(phonemes.astype(np.int64)),
                torch.from_numpy(curves.astype(np.float32)), torch.tensor(real))

    def loss(self, model: nn.Module, batch: dict[str, Tensor], step: int) -> tuple[Tensor, dict[str, float]]:
        """Cross-entropy of the phonemes plus the squared error of the curves, and how far kept features have moved."""
        assert isinstance(model, AudioEncoder)
        features = model(batch["mel"])[:, model.delay:]
        logits, curves = model.phoneme_logits(features).float(), model.curves(features).float()
        phoneme = F.cross_entropy(logits.flatten(0, 1), batch["phonemes"].flatten(), label_smoothing=0.05)
        mouth = ((curves - batch["curves"])[..., MOUTH] / CURVE_SCALE).square().mean()
        accuracy = (logits.argmax(-1) == batch["phonemes"]).float().mean()
        moved = self._moved(batch, features)
        return phoneme + mouth + self.keep * moved, {
            "phoneme": phoneme.item(), "mouth": mouth.item(), "accuracy": accuracy.item(), "moved": moved.item()}

    def _moved(self, batch: dict[str, Tensor], features: Tensor) -> Tensor:
        """Squared distance to the kept encoder's features of espeak-ng's speech ÷ their variance; 0 where none is kept."""
        synthetic = ~batch["real"]
        if self.kept is None or not bool(synthetic.any()):
            return features.new_zeros(())
        kept = self.kept.to(features.device).eval()
        with torch.no_grad():
            known = kept(batch["mel"][synthetic])[:, kept.delay:, :kept.dim].float()
        return (features[synthetic][..., :kept.dim].float() - known).square().mean() / known.var()

    @torch.no_grad()
    def validate(self, model: nn.Module) -> dict[str, float]:
        """Accuracy and curve correlations on voices never heard, synthetic and real."""
        assert isinstance(model, AudioEncoder)
        metrics: dict[str, float] = {}
        for split in ("held_out", "real_held_out"):
            if self.clips(split):
                metrics |= {f"{split}/{name}": value for name, value in evaluate(model, self.clips(split)[:40]).items()}
        return metrics


@torch.no_grad()
def evaluate(model: AudioEncoder, clips: list[Clip]) -> dict[str, float]:
    """Frame accuracy (all, and without silence) and correlation of jaw, lip aperture and rounding over the clips."""
    results = [_predict(model, clip) for clip in clips]
    predicted, truth = (np.concatenate([row[index] for row in results]) for index in (0, 1))
    guess, curves = (np.concatenate([row[index] for row in results]) for index in (2, 3))
    spoken = truth != SILENCE
    right = predicted == truth
    scores = {"accuracy": float(right.mean()), "accuracy_spoken": float(right[spoken].mean())}
    for name, measure in MEASURES.items():
        scores[name] = _correlation(measure(guess), measure(curves))
    return scores


def _correlation(one: np.ndarray, other: np.ndarray) -> float:
    """Pearson's r; 0 where one of them never moves."""
    one, other = one - one.mean(), other - other.mean()
    return float((one * other).sum() / max(np.sqrt((one ** 2).sum() * (other ** 2).sum()), 1e-12))


def _predict(model: AudioEncoder, clip: Clip) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    features = _rows(model, clip.samples.astype(np.float32) / 32767)
    return (model.phoneme_logits(features).argmax(-1).numpy(), clip.phonemes, model.curves(features).numpy(),
            clip.curves.astype(np.float32))


def _rows(model: AudioEncoder, samples: np.ndarray) -> Tensor:
    """Encoder rows of a clip, each at its own instant: ``[N]`` → ``[ceil(N / 320), C]``."""
    rows = -(-len(samples) // ROW_SAMPLES)
    return model(stream_mel(torch.from_numpy(samples), rows + model.delay, model.n_mels)[None])[0, model.delay:]


@torch.no_grad()
def log_phonemes(model: AudioEncoder, samples: np.ndarray) -> np.ndarray:
    """Log probability of every phoneme class at 50 Hz: float32 ``[N]`` → ``[ceil(N / 320), 43]``."""
    return model.phoneme_logits(_rows(model, samples)).float().log_softmax(-1).numpy()


def aperture(curves: np.ndarray) -> np.ndarray:
    """How far the lips are apart, in weights: ``[..., 52]`` → ``[...]``."""
    names = {"jawOpen": 1.0, "mouthClose": -1.0, "mouthLowerDownLeft": 0.3, "mouthUpperUpLeft": 0.3,
             "mouthPressLeft": -0.2, "mouthRollLower": -0.2}
    return np.asarray(sum(weight * curves[..., ARKIT_INDEX[name]] for name, weight in names.items()))


MEASURES = {
    "jaw": lambda curves: curves[..., ARKIT_INDEX["jawOpen"]],
    "aperture": aperture,
    "rounding": lambda curves: curves[..., ARKIT_INDEX["mouthPucker"]] + curves[..., ARKIT_INDEX["mouthFunnel"]],
    "press": lambda curves: curves[..., ARKIT_INDEX["mouthPressLeft"]],
}
