"""SyncNet's confidence and distance (Chung and Zisserman, "Out of time", 2016), with the user's own weights.

The net's layout is that of the weights everybody uses, ``syncnet_v2.model``: five pictures ``[B, 3, 5, 224, 224]`` (0 to 255,
blue first) and twenty rows of thirteen mel cepstra ``[B, 1, 13, 20]`` (10 ms each), at 25 frames per second, to 1024 numbers
each.
"""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from chatanyone import timebase
from chatanyone.errors import CheckpointError, ConfigError
from chatanyone.evaluation.learned import tensors
from chatanyone.evaluation.lips import Image, Points
from chatanyone.media.audio import SAMPLE_RATE

FPS, WINDOW, ROWS, REACH = Fraction(25), 5, 20, 15  # pictures a second and in a window, rows of cepstra, shifts
_ROWS_PER_FRAME, _SIDE, _BATCH = 4, 224, 16
_CROP = 1.8  # of the face's larger extent: the face tracks it was trained on leave two fifths on every side


class SyncNet(nn.Module):
    """Both halves; module names are those of the weights file."""

    def __init__(self) -> None:
        super().__init__()
        self.netcnnaud = nn.Sequential(
            *_sound(1, 64), nn.MaxPool2d(1, 1), *_sound(64, 192), nn.MaxPool2d(3, (1, 2)), *_sound(192, 384),
            *_sound(384, 256), *_sound(256, 256), nn.MaxPool2d(3, 2),
            nn.Conv2d(256, 512, (5, 4)), nn.BatchNorm2d(512), nn.ReLU())
        self.netcnnlip = nn.Sequential(
            *_film(3, 96, (5, 7, 7), 2, 0), nn.MaxPool3d((1, 3, 3), (1, 2, 2)), *_film(96, 256, (1, 5, 5), 2, 1),
            nn.MaxPool3d((1, 3, 3), (1, 2, 2), (0, 1, 1)), *_film(256, 256, (1, 3, 3), 1, 1),
            *_film(256, 256, (1, 3, 3), 1, 1), *_film(256, 256, (1, 3, 3), 1, 1), nn.MaxPool3d((1, 3, 3), (1, 2, 2)),
            *_film(256, 512, (1, 6, 6), 1, 0))
        self.netfcaud, self.netfclip = _head(), _head()

    def sound(self, cepstra: Tensor) -> Tensor:
        return self.netfcaud(self.netcnnaud(cepstra).flatten(1))

    def film(self, pictures: Tensor) -> Tensor:
        return self.netfclip(self.netcnnlip(pictures).flatten(1))


def load(path: Path) -> SyncNet:
    """In evaluation mode.

    Raises:
        CheckpointError: not SyncNet's weights.
    """
    net = SyncNet()
    try:
        net.load_state_dict(tensors(path))
    except RuntimeError:
        raise CheckpointError(f"{path} does not hold the weights of syncnet_v2.model; give that file") from None
    return net.eval()


@torch.inference_mode()
def sync(net: SyncNet, crops: list[Image], samples: NDArray[np.float32]) -> dict[str, float]:
    """LSE-C, LSE-D and offset (pictures; positive: the film is late) of face crops at 25 fps and their sound, 16 kHz."""
    cepstra = _cepstra(samples)
    count = min(len(crops) - WINDOW, (len(cepstra) - ROWS) // _ROWS_PER_FRAME) + 1
    if count <= 2 * REACH:
        return {}
    film = torch.from_numpy(np.stack(crops)[..., ::-1].copy()).permute(3, 0, 1, 2).float()  # [3, T, 224, 224], blue first
    sound = torch.from_numpy(cepstra.T.copy()).float()
    lips, voice = [], []
    for start in range(0, count, _BATCH):
        index = range(start, min(start + _BATCH, count))
        lips.append(net.film(torch.stack([film[:, i:i + WINDOW] for i in index])))
        voice.append(net.sound(torch.stack([sound[None, :, i * _ROWS_PER_FRAME:i * _ROWS_PER_FRAME + ROWS] for i in index])))
    return scores(distances(torch.cat(lips).double().numpy(), torch.cat(voice).double().numpy()))


def distances(lips: NDArray[np.float64], voice: NDArray[np.float64], reach: int = REACH) -> NDArray[np.float64]:
    """Mean Euclidean distance at each shift of the sound, ``[T, D]`` twice → ``[2 · reach + 1]``; beyond the ends the sound is
    zero, as in the authors' program."""
    padded = np.pad(voice, ((reach, reach), (0, 0)))
    return np.array([np.linalg.norm(lips - padded[shift:shift + len(lips)], axis=1).mean() for shift in range(2 * reach + 1)])


def scores(mean: NDArray[np.float64]) -> dict[str, float]:
    """LSE-D = least mean distance, LSE-C = median − least, offset from the middle."""
    reach = len(mean) // 2
    least = int(mean.argmin())
    return {"Sync-C": float(np.median(mean) - mean[least]), "Sync-D": float(mean[least]), "offset": float(reach - least)}


def at_25(frames: list[Image], fps: Fraction) -> list[Image]:
    """The frames on screen at 25 a second."""
    count = int(len(frames) * FPS / fps)
    return [frames[timebase.source_frame(index, FPS, fps)] for index in range(count)]


def of_film(path: Path, frames: list[Image], points: list[Points | None], samples: NDArray[np.float32], fps: Fraction,
            ) -> dict[str, float]:
    """`sync` of a film whose faces are known; frames without a face show where it was last."""
    crops: list[Image] = []
    last: Points | None = next((found for found in points if found is not None), None)
    if last is None:
        return {}
    for frame, found in zip(frames, points):
        last = found if found is not None else last
        crops.append(crop(frame, last))
    return sync(load(path), at_25(crops, fps), samples)


def crop(frame: Image, points: Points) -> Image:
    """The face and two fifths around it, ``[224, 224, 3]``."""
    low, high = points[:, :2].min(axis=0), points[:, :2].max(axis=0)
    side, middle = _CROP * float((high - low).max()), (low + high) / 2
    scale = _SIDE / side
    matrix = np.array([[scale, 0, _SIDE / 2 - scale * middle[0]], [0, scale, _SIDE / 2 - scale * middle[1]]])
    return np.asarray(cv2.warpAffine(frame, matrix, (_SIDE, _SIDE), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE))


def _cepstra(samples: NDArray[np.float32]) -> NDArray[np.float64]:
    """``[N, 13]``, 100 a second, of 16-bit sound."""
    try:
        from python_speech_features import mfcc
    except ImportError:
        raise ConfigError("SyncNet hears through python_speech_features; pip install 'chatanyone[evaluate]'") from None
    return np.asarray(mfcc(samples.astype(np.float64) * 32768, SAMPLE_RATE))


def _sound(before: int, after: int) -> list[nn.Module]:
    return [nn.Conv2d(before, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU()]


def _film(before: int, after: int, kernel: tuple[int, int, int], stride: int, padding: int) -> list[nn.Module]:
    return [nn.Conv3d(before, after, kernel, (1, stride, stride), (0, padding, padding)), nn.BatchNorm3d(after), nn.ReLU()]


def _head() -> nn.Sequential:
    return nn.Sequential(nn.Linear(512, 512), nn.BatchNorm1d(512), nn.ReLU(), nn.Linear(512, 1024))
