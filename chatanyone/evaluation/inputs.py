"""Folders of portraits, voices and clips, and what their files say about themselves."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from chatanyone.errors import MediaError

PICTURES = frozenset({".jpg", ".jpeg", ".png", ".webp"})
SOUNDS = frozenset({".flac", ".wav", ".mp3", ".ogg", ".m4a", ".opus"})
FILMS = frozenset({".mp4", ".mpg", ".mov", ".mkv", ".webm", ".avi"})

# The GRID corpus codes its sentences in file names: Cooke et al., JASA 120 (2006), Table I.
_GRID = re.compile(r"^([bpls])([bgrw])([abiw])([a-z])([z0-9])([anps])$")
_COMMAND = dict(b="bin", l="lay", p="place", s="set")
_COLOUR = dict(b="blue", g="green", r="red", w="white")
_PREPOSITION = dict(a="at", b="by", i="in", w="with")
_DIGIT = dict(zip("z123456789", "zero one two three four five six seven eight nine".split()))
_ADVERB = dict(a="again", n="now", p="please", s="soon")


@dataclass(frozen=True)
class Inputs:
    """Files to evaluate on, sorted; transcripts: sound or clip → text, where it is known."""

    portraits: list[Path] = field(default_factory=list)
    voices: list[Path] = field(default_factory=list)
    clips: list[Path] = field(default_factory=list)
    transcripts: dict[Path, str] = field(default_factory=dict)

    @property
    def spoken(self) -> list[Path]:
        """Voices with a transcript."""
        return [path for path in self.voices if path in self.transcripts]


def gather(portraits: Path | None, voices: Path | None, clips: Path | None) -> Inputs:
    """Looks through the folders and their subfolders.

    Raises:
        MediaError: a folder is missing, or holds nothing of its kind.
    """
    pictures = _files(portraits, PICTURES, "portraits")
    sounds, films = _files(voices, SOUNDS, "voices"), _files(clips, FILMS, "clips")
    texts = _tables(voices) | {path: text for path in films if (text := grid_sentence(path.stem))}
    return Inputs(pictures, sounds, films, texts)


def grid_sentence(name: str) -> str | None:
    """The sentence a GRID file name stands for, None for other names."""
    found = _GRID.match(name)
    if found is None or found[5] == "0":
        return None
    command, colour, preposition, letter, digit, adverb = found.groups()
    if command not in _COMMAND:
        return None
    return (f"{_COMMAND[command]} {_COLOUR[colour]} {_PREPOSITION[preposition]} {letter} "
            f"{_DIGIT[digit]} {_ADVERB[adverb]}")


def _files(folder: Path | None, kinds: frozenset[str], what: str) -> list[Path]:
    if folder is None:
        return []
    if not folder.is_dir():
        raise MediaError(f"the folder of {what}, {folder}, does not exist; check the path")
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in kinds)
    if not found:
        raise MediaError(f"the folder of {what}, {folder}, holds no file ending in {', '.join(sorted(kinds))}")
    return found


def _tables(folder: Path | None) -> dict[Path, str]:
    """Transcripts as LJ Speech keeps them: ``metadata.csv``, id|text|normalised text."""
    texts: dict[Path, str] = {}
    for table in [] if folder is None else sorted(folder.rglob("metadata.csv")):
        for line in table.read_text(encoding="utf-8").splitlines():
            name, _, rest = line.partition("|")
            for path in table.parent.glob(f"{name}.*"):
                if path.suffix.lower() in SOUNDS and rest:
                    texts[path] = rest.rpartition("|")[2]
    return texts
