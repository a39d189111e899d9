"""The user's own voice, as far as the listening person needs it: how loud it is."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from chatanyone.stream.units import SPEECH_HZ, UNIT_FRAMES

KEPT_S = 0.5  # a step takes all that came; of more than this only the last (our choice)
SILENT_DB = -100.0


class Voice:
    """Collects samples between steps; holds at most `KEPT_S`, the oldest are dropped."""

    def __init__(self) -> None:
        self._samples: NDArray[np.float32] = np.zeros(0, np.float32)

    def hear(self, samples: NDArray[np.float32]) -> None:
        self._samples = np.concatenate([self._samples, samples])[-int(KEPT_S * SPEECH_HZ):]

    def levels(self) -> NDArray[np.float32]:
        """Loudness of what came since the last call, ``[4]`` dB below full scale, in equal parts."""
        parts = np.array_split(self._samples, UNIT_FRAMES)
        self._samples = self._samples[:0]
        power = np.array([float(np.mean(part * part)) if len(part) else 0.0 for part in parts])
        return np.maximum(10 * np.log10(power + 1e-12), SILENT_DB).astype(np.float32)
