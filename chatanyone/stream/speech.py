"""The speech of one turn: what came in, how far it was fed to the engine, how far it was heard.

Two cursors over one buffer. What was fed but not heard yet can be fed again (the renderer died, an interruption was a
false alarm), so nothing is lost and nothing is said twice.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from chatanyone.stream.units import SPEECH_HZ

QUEUE_S = 4.0  # at most so much waits to be fed; who brings more waits (our choice: a sentence or two)
RESERVE_S = 0.04  # held back while more is to come, so that a late packet makes no hole in a word (our choice: two packets)


@dataclass(frozen=True)
class Piece:
    """What the engine is fed for one unit.

    samples: float32 ``[n]``, silence around the speech
    first: position of its first speech sample in the turn; count: speech samples in it; offset: silence before them
    """

    samples: NDArray[np.float32]
    first: int
    count: int
    offset: int


class TurnSpeech:
    """One turn's speech, 16 kHz; holds at most `QUEUE_S` that is not fed, and what is fed but not heard."""

    def __init__(self, turn: int) -> None:
        self.turn, self.ended = turn, False
        self.fed = self.heard = 0  # samples of the turn
        self._kept: NDArray[np.float32] = np.zeros(0, np.float32)  # from `heard` on
        self._flowing = False  # the last piece ended in speech

    @property
    def received(self) -> int:
        return self.heard + len(self._kept)

    @property
    def waiting(self) -> int:
        """Samples not fed yet."""
        return self.received - self.fed

    @property
    def room(self) -> int:
        """Samples that may be pushed now."""
        return max(int(QUEUE_S * SPEECH_HZ) - self.waiting, 0)

    @property
    def over(self) -> bool:
        """All was heard and no more comes."""
        return self.ended and self.heard == self.received

    def push(self, samples: NDArray[np.float32]) -> None:
        self._kept = np.concatenate([self._kept, samples])

    def take(self, count: int) -> Piece | None:
        """The next `count` samples for the engine; None while there is nothing to say.

        Speech that starts within a piece ends with it, so that a real-time voice goes on without a hole; where speech runs
        out the rest is silence, and it starts again with a reserve in hand.
        """
        reserve = 0 if self.ended else int(RESERVE_S * SPEECH_HZ)
        if self._flowing:
            taken = min(self.waiting, count)
        else:
            taken = min(self.waiting - reserve, count)
        if taken <= 0:
            self._flowing = False
            return None
        offset = 0 if self._flowing or self.ended else count - taken
        samples = np.zeros(count, np.float32)
        start = self.fed - self.heard
        samples[offset:offset + taken] = self._kept[start:start + taken]
        piece = Piece(samples, self.fed, taken, offset)
        self.fed += taken
        self._flowing = offset + taken == count
        return piece

    def played(self, position: int) -> None:
        """The turn was heard up to `position`; earlier samples are let go."""
        if position > self.heard:
            self._kept = self._kept[position - self.heard:].copy()
            self.heard = position

    def rewind(self) -> None:
        """What was not heard is fed again."""
        self.fed, self._flowing = self.heard, False
