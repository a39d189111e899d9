"""The mouth of somebody who is interrupted: it closes within two frames of motion, whatever the motion wanted to say.

Motion comes 276 ms behind the speech it was made from, so after an interruption the speech already fed would move the
lips for a while. Until that has passed the mouth is drawn towards rest; what comes after opens it again as softly.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from motion.types import FaceMotion

_OPEN = (1.0, 0.4, 0.08, 0.0)  # of the mouth's weights, frame by frame at 30 fps (our choice; people close in 60 to 100 ms)


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
