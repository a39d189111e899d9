"""What a browser saw and heard of a call, as arrays; times are seconds of the page's own clock."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

SOUND_HZ = 48_000


@dataclass(frozen=True)
class Seen:
    """One recording of `probe.js`.

    shown_s: ``[F]`` when each frame was due on the screen
    presented: int64 ``[F]``, the browser's own count
    frames: uint8 ``[F, H, W, 3]``, small and grey
    sound: float32 ``[n]``, mono, 48 kHz; sound_s: ``[n / 512]`` when each piece of 512 samples had arrived
    keys: key and time of every key that was pressed; marks: named times
    """

    shown_s: NDArray[np.float64]
    presented: NDArray[np.int64]
    frames: NDArray[np.uint8]
    sound: NDArray[np.float32]
    sound_s: NDArray[np.float64]
    keys: list[tuple[str, float]]
    marks: dict[str, float]

    @property
    def rate(self) -> float:
        """Frames presented per second, those included for which the page's script came too late."""
        return float((self.presented[-1] - self.presented[0]) / (self.shown_s[-1] - self.shown_s[0]))

    @property
    def sound_began_s(self) -> float:
        """Time of the first sample: the earliest that the pieces' arrivals allow, since a late piece only came late."""
        ends = (np.arange(len(self.sound_s)) + 1) * (len(self.sound) // len(self.sound_s)) / SOUND_HZ
        return float(np.min(self.sound_s - ends))

    def loudness(self, width_s: float = 0.01) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Times (middle) and RMS of consecutive windows."""
        width = round(width_s * SOUND_HZ)
        windows = self.sound[:len(self.sound) // width * width].reshape(-1, width).astype(np.float64)
        times = self.sound_began_s + (np.arange(len(windows)) + 0.5) * width_s
        return times, np.sqrt((windows ** 2).mean(axis=1))


def read(result: dict[str, Any]) -> Seen:
    """From `probe.result()`."""
    times = np.asarray(result["times"], np.float64).reshape(-1, 4)
    grey = np.frombuffer(base64.b64decode(result["grey"]), np.uint8).reshape(-1, result["height"], result["width"])
    blocks = np.asarray(result["blocks"], np.float64).reshape(-1, 3)
    return Seen(shown_s=times[:, 0] / 1000, presented=times[:, 3].astype(np.int64),
                frames=np.repeat(grey[..., None], 3, axis=-1),
                sound=np.frombuffer(base64.b64decode(result["sound"]), np.float32), sound_s=blocks[:, 0] / 1000,
                keys=[(key, at / 1000) for key, at in result["keys"]],
                marks={name: at / 1000 for name, at in result["marks"].items()})
