"""Which words of an answer have been played: text laid along the samples of its speech.

A voice says how long a piece took, not where its words are. Inside a piece words take time in proportion to their letters,
marks a little more for the pause after them; a word counts as heard when half of it was played (our choice). A piece
whose end is not known yet is laid out at the pace of the pieces before it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

_TYPICAL_PER_UNIT = 1100  # samples a letter before any piece is known: 14.5 letters a second
_WORD = re.compile(r"[\u2e80-\uffef][，。！？、；：]*\s*|[^\s\u2e80-\uffef]+\s*|\s+")


@dataclass
class _Piece:
    text: str
    start: int
    end: int | None = None
    words: list[tuple[str, float]] = field(default_factory=list)  # and the weight up to the word's middle
    weight: float = 0.0

    def __post_init__(self) -> None:
        for word in _WORD.findall(self.text):
            own = _weight(word)
            self.words.append((word, self.weight + own / 2))
            self.weight += own


class Transcript:
    """One answer: `begin` a piece, `add` its samples, `finish` it; `heard(samples)` are the words played by then."""

    def __init__(self) -> None:
        self._pieces: list[_Piece] = []
        self.samples = 0  # of the speech that was handed over

    def begin(self, text: str) -> None:
        """The samples that follow say this."""
        self._pieces.append(_Piece(text, self.samples))

    def add(self, samples: int) -> None:
        """So many more samples of the piece that was begun."""
        self.samples += samples

    def finish(self) -> None:
        """The piece is complete."""
        self._pieces[-1].end = self.samples

    @property
    def text(self) -> str:
        """All of it."""
        return "".join(piece.text for piece in self._pieces)

    def heard(self, samples: int) -> str:
        """The words of which half or more lies before `samples`."""
        return "".join(self._part(piece, samples) for piece in self._pieces if samples > piece.start)

    def _part(self, piece: _Piece, samples: int) -> str:
        if piece.end is not None and samples >= piece.end:
            return piece.text
        length = piece.weight * self._pace() if piece.end is None else piece.end - piece.start
        reached = piece.weight * (samples - piece.start) / max(length, 1)
        return "".join(word for word, middle in piece.words if middle <= reached)

    def _pace(self) -> float:
        """Samples a unit of weight, of the pieces that are complete."""
        known = [(piece.end - piece.start, piece.weight) for piece in self._pieces if piece.end is not None]
        weight = sum(own for _, own in known)
        return sum(length for length, _ in known) / weight if weight else _TYPICAL_PER_UNIT


def _weight(word: str) -> float:
    letters = sum(3 if "\u3000" < letter <= "\uffef" else 1 for letter in word if letter.isalnum())
    return letters + 1 + (5 if re.search(r"[.!?。！？…]\W*$", word) else 3 if re.search(r"[,;:，；：、—–]\W*$", word) else 0)
