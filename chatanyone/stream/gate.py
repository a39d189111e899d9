"""The mouth of somebody who is interrupted: it closes within two frames of motion, whatever the motion wanted to say.

Motion comes 276 ms behind the speech it was made from, so after an interruption the speech already fed would move the
lips for a while. Until that has passed, and the mouth would have closed by itself, it is drawn towards rest; what comes
after opens it again as softly.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from chatanyone.stream.types import UNIT_SAMPLES
from chatanyone.stream.units import MOTION_FPS, SPEECH_HZ, UNIT_FRAMES

if TYPE_CHECKING:
    from torch import Tensor

    from motion.types import FaceMotion

_OPEN = (1.0, 0.4, 0.08, 0.0)  # of the mouth's weights, frame by frame at 30 fps (our choice; people close in 60 to 100 ms)
# Frames for which the nets leave the mouth open after speech that ends within a word (our choice: in 24 such ends the
# lips were 11, 7, 4, 2 and 1 mm apart in the frames that followed, p95).
TAIL_FRAMES = 4


class Hold:
    """Until which frame of motion the mouth is held shut after a cut, counted as the engine counts them.

    Args:
        lag: of the engine, see `SoundTrack`.
    """

    def __init__(self, lag: int) -> None:
        self.before = 0  # frames before this one are held
        self._lag_frames = -(-lag * UNIT_FRAMES // UNIT_SAMPLES)

    def cut(self, steps: int) -> None:
        """Speech was fed in so many steps."""
        self.before = UNIT_FRAMES * steps + self._lag_frames + TAIL_FRAMES

    def feed(self, step: int, samples: NDArray[np.float32]) -> None:
        """New speech, from its first sample on, opens the mouth whatever was cut before."""
        if samples.any():
            onset = int(np.argmax(samples != 0)) * int(MOTION_FPS) // SPEECH_HZ
            self.before = min(self.before, UNIT_FRAMES * step + self._lag_frames + onset)


@dataclass(frozen=True)
class MouthGate:
    """`shut`: how far down the ramp the mouth is, 0 open to 3 shut. A value: `step` gives a new one."""

    shut: int = 0

    def step(self, held: bool) -> MouthGate:
        """One frame on; `held`: the mouth must close or stay shut."""
        return MouthGate(min(self.shut + 1, len(_OPEN) - 1) if held else max(self.shut - 1, 0))

    @property
    def factor(self) -> float:
        """On all weights of the mouth."""
        return _OPEN[self.shut]


def gated(face: FaceMotion, factors: Tensor) -> FaceMotion:
    """The motion ``[T, …]`` with its mouth at `factors` ``[T]`` of what it was; all else untouched."""
    from motion.style import GROUP_INDICES
    from motion.types import FaceMotion

    expression = face.expression.clone()
    expression[:, GROUP_INDICES[0]] *= factors.to(expression)[:, None]
    return FaceMotion(expression, face.rotation, face.translation)
