"""A language model's stream of text → pieces that can be spoken, the first one as early as it makes sense.

A piece ends at a sentence's end, or at a comma once it is long enough: the first piece early, so that the voice can begin,
later ones late, because a voice knows better how to say a whole sentence. Points inside numbers, after abbreviations and
after initials end nothing. Chinese and Japanese marks end a piece without a space after them. All lengths are our choice.
"""

from __future__ import annotations

import re

FIRST_COMMA = 16  # characters (an ideograph counts three) after which the first piece may end at a comma
COMMA = 72  # and the others
LONGEST = 240  # a piece without any mark is cut at a space

_ABBREVIATIONS = frozenset(
    "mr mrs ms dr prof st jr sr vs etc e.g i.e cf approx no nr fig vol inc ltd co dept est al gen col capt rev hon "
    "z.b d.h u.a usw bzw ca bspw evtl ggf inkl str tel m mme mlle p.ex sra srta dña ud ing".split())
_CLOSERS = "\"'”’»)]）」』"
_STOP = re.compile(rf"(?P<cjk>[。！？]+[{re.escape(_CLOSERS)}]*\s*)"
                   rf"|(?P<stop>[.!?…]+[{re.escape(_CLOSERS)}]*(?=\s))\s*|(?P<line>\s*\n\s*)")
_COMMA = re.compile(r"[，、；：]\s*|[,;:—–](?=\s)\s*|\s[—–-]\s")
_MARKUP = ((re.compile(r"```.*?(```|$)", re.S), " "), (re.compile(r"!?\[([^\]]*)\]\([^)]*\)"), r"\1"),
           (re.compile(r"https?://\S+"), " "), (re.compile(r"(?m)^\s*(#{1,6}|[-*•]|>)\s+"), ""),
           (re.compile(r"[*_`~#|]+"), ""),
           (re.compile("[\U0001F000-\U0001FAFF\u2600-\u27BF\uFE0F\u200D\u20E3]+"), " "),
           (re.compile(r"[\x00-\x08\x0b-\x1f\x7f]"), " "))


class Clauses:
    """Feed text as it comes with `push`, then `flush`; the pieces put together are the text, but for runs of spaces."""

    def __init__(self) -> None:
        self._text, self._first = "", True

    def push(self, text: str) -> list[str]:
        """Pieces that are whole now. The last mark waits for what follows it: ``3.`` may become ``3.14``."""
        self._text += text
        pieces: list[str] = []
        while end := self._end():
            pieces += self._take(end)
        return pieces

    def flush(self) -> list[str]:
        """What is left; the text is over."""
        pieces = self.push("\n")
        return pieces + self._take(len(self._text))

    def _take(self, end: int) -> list[str]:
        piece, self._text = self._text[:end], self._text[end:]
        spoken = speakable(piece)
        if not any(letter.isalnum() for letter in spoken):
            return []
        self._first = False
        gap = " " if piece[-1:].isspace() else ""
        return [spoken + gap]

    def _end(self) -> int:
        """Where the next piece ends; 0 while it is not known."""
        stop = next((match.end() for match in _STOP.finditer(self._text) if _ends(self._text, match)), 0)
        enough = FIRST_COMMA if self._first else COMMA
        commas = (match for match in _COMMA.finditer(self._text) if _length(self._text[:match.start()]) >= enough)
        comma = next((match.end() for match in commas), 0)
        ends = [end for end in (stop, comma) if end]
        if ends:
            return min(ends)
        return self._text.rfind(" ", 0, LONGEST) + 1 or LONGEST if len(self._text) > LONGEST else 0


def speakable(text: str) -> str:
    """Without markup, addresses, emoji and control characters, which a voice would spell out."""
    for pattern, instead in _MARKUP:
        text = pattern.sub(instead, text)
    return " ".join(text.split())


def _ends(text: str, match: re.Match[str]) -> bool:
    """Whether a mark ends a sentence; only a single point can be something else."""
    if match["stop"] is None or not match["stop"].startswith(".") or match["stop"].startswith(".."):
        return True
    words = text[:match.start()].split()
    word = words[-1].lstrip("(\"'“„«").lower() if words else ""
    if word in _ABBREVIATIONS or (len(word) == 1 and word.isalpha() and word != "i"):
        return False
    return not (word.isdigit() and len(word) <= 2)  # "1." numbers a list, "am 3. Oktober" is a date


def _length(text: str) -> int:
    return sum(3 if "\u2e80" <= letter <= "\uffef" else 1 for letter in text)
