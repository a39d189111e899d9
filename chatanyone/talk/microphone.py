"""The user's sound: kept as long as it may be needed, and cut into utterances by the voice detector or by a button."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from chatanyone.talk.vad import Vad
from chatanyone.timebase import SAMPLE_RATE_HZ

PRE_ROLL = SAMPLE_RATE_HZ * 3 // 10  # samples before speech was noticed that belong to it (our choice: a soft onset)
LONGEST = 60 * SAMPLE_RATE_HZ  # of one utterance; then it ends, speech or not


@dataclass(frozen=True)
class Spoke:
    """Speech began (`start`), goes on, or ended (`stop`).

    at: sample of all that was heard where it began or ended; voiced: samples of speech in this utterance so far
    """

    kind: Literal["start", "on", "stop"]
    at: int
    voiced: int


class Microphone:
    """One per conversation. Positions are samples since the beginning, 16 kHz.

    Args:
        vad: shared.
        silence_ms: a pause this long ends an utterance.
        by_button: no detector, `press` and `stop` make utterances.
    """

    def __init__(self, vad: Vad, silence_ms: int, by_button: bool = False) -> None:
        self._vad, self._state, self.silence_ms = vad, vad.init_state(), silence_ms
        self._sound: list[NDArray[np.float32]] = []
        self.first = self.end = 0  # positions of what is kept
        self.start: int | None = None  # where the utterance begins, its soft onset included; None outside
        self._noticed = 0  # where the detector says that it began
        self.by_button = by_button

    def push(self, samples: NDArray[np.float32], threshold: float, floor: float = 0.0) -> list[Spoke]:
        """What the detector makes of `samples`, ``[n]``. With the button, nothing: `press` and `release` decide."""
        if self.start is None:  # what ended with the last `push` was taken by now
            self._forget(self.end - (LONGEST if self.by_button else PRE_ROLL + SAMPLE_RATE_HZ // 2))
        self._sound.append(np.array(samples, np.float32))
        self.end += len(samples)
        if self.by_button:
            self._forget(self.end - LONGEST)
            return []
        events, self._state = self._vad.step(samples, self._state, threshold=threshold, silence_ms=self.silence_ms,
                                             floor=floor)
        spoke: list[Spoke] = []
        for event in events:
            spoke.append(self._begin(event.sample) if event.kind == "start" else self.stop(event.sample))
        if self.start is not None:
            spoke.append(self._go_on())
        return spoke

    def press(self) -> None:
        """The button's utterance begins."""
        self.clear()
        self.start = self._noticed = self.end

    def clear(self) -> None:
        """Throws away what came so far."""
        self._sound, self.first, self._noticed = [], self.end, self.end

    def stop(self, at: int | None = None) -> Spoke:
        """The utterance ends; also when the sound stops coming. Its samples stay until the next `push`."""
        at = self.end if at is None else at
        self.start = None
        return Spoke("stop", at, max(at - self._noticed, 0))

    def reset(self) -> None:
        """The detector begins anew; positions go on."""
        self._state, self.start = self._vad.init_state(self.end), None

    def since(self, position: int) -> NDArray[np.float32]:
        """What was heard from `position` on, as far as it is kept: ``[n]``, exactly as it came."""
        parts, at = [np.zeros(0, np.float32)], self.end
        for chunk in reversed(self._sound):
            if at <= position:
                break
            at -= len(chunk)
            parts.append(chunk[max(position - at, 0):])
        return np.concatenate(parts[::-1])

    def _begin(self, at: int) -> Spoke:
        self.start, self._noticed = max(at - PRE_ROLL, self.first), at
        return Spoke("start", at, 0)

    def _go_on(self) -> Spoke:
        assert self.start is not None
        if self.end - self.start >= LONGEST:
            spoke = self.stop()
            self.reset()
            return spoke
        return Spoke("on", self.end, max(self._state.voice_end - self._noticed, 0))

    def _forget(self, before: int) -> None:
        while self._sound and self.first + len(self._sound[0]) <= before:
            self.first += len(self._sound.pop(0))
