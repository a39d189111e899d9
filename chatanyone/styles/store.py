"""Where styles are kept: those that ship in the package, the user's own in a folder."""

from __future__ import annotations

import os
from importlib import resources
from pathlib import Path

from chatanyone.config import Config
from chatanyone.errors import MediaError
from chatanyone.styles.mix import mixed
from chatanyone.styles.style import NamedStyle, check_name, load_style, save_style

SUFFIX = ".safetensors"
MOST_PARTS = 8


class StyleStore:
    """Styles by name.

    Args:
        folder: of the user's own; made when the first one is saved.
        shipped: folder of those that cannot be changed.
    """

    def __init__(self, folder: Path, shipped: Path | None = None) -> None:
        self.folder, self.shipped = folder, shipped or Path(str(resources.files("chatanyone"))) / "styles" / "data"

    def names(self) -> list[str]:
        """Shipped ones first, each in alphabetical order."""
        return sorted(path.stem for path in self.shipped.glob(f"*{SUFFIX}")) + self.own_names()

    def own_names(self) -> list[str]:
        return sorted(path.stem for path in self.folder.glob(f"[!.]*{SUFFIX}")) if self.folder.is_dir() else []

    def get(self, name: str) -> NamedStyle:
        """By name; the shipped one where a file of the user's has the same."""
        check_name(name)
        for folder in (self.shipped, self.folder):
            if (folder / f"{name}{SUFFIX}").is_file():
                return load_style(folder / f"{name}{SUFFIX}")
        raise MediaError(f"there is no style '{name}'; there are {', '.join(self.names())}")

    def save(self, style: NamedStyle, force: bool = False) -> Path:
        """Adds a style of the user's."""
        path = self.place(style.name, force)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise MediaError(f"the folder of styles {self.folder} cannot be made: {error.strerror}; "
                             "set motion.styles to another") from None
        save_style(style, path)
        return path

    def place(self, name: str, force: bool = False) -> Path:
        """Where a style of the user's will lie.

        Raises:
            MediaError: no such name can be, it ships, or there is one already and `force` is not set.
        """
        path = self._own(name)
        if path.exists() and not force:
            raise MediaError(f"there is a style '{name}' already; give another name, or --force to replace it")
        return path

    def remove(self, name: str) -> None:
        """Deletes a style of the user's."""
        path = self._own(name)
        if not path.is_file():
            own = ", ".join(self.own_names()) or "none"
            raise MediaError(f"there is no style '{name}' of your own; there are: {own}")
        path.unlink()

    def resolve(self, text: str) -> NamedStyle:
        """A name, or names with weights: ``calm:0.7,lively:0.3``; no weight is 1."""
        parts = [part.strip() for part in text.split(",")]
        if len(parts) > MOST_PARTS:
            raise MediaError(f"at most {MOST_PARTS} styles can be mixed, not {len(parts)}")
        chosen = [(self.get(name.strip()), _weight(weight, text) if colon else 1.0)
                  for name, colon, weight in (part.partition(":") for part in parts)]
        return mixed(chosen)

    def _own(self, name: str) -> Path:
        if (self.shipped / f"{check_name(name)}{SUFFIX}").is_file():
            raise MediaError(f"'{name}' is a style that ships with chatanyone; choose another name")
        return self.folder / f"{name}{SUFFIX}"


def styles_of(config: Config) -> StyleStore:
    """The store that the settings name."""
    return StyleStore(Path(config.motion.styles) if config.motion.styles else default_folder())


def default_folder() -> Path:
    """Under the user's data folder."""
    base = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(base) / "chatanyone" / "styles"


def _weight(text: str, whole: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value <= 1000:
        raise MediaError(f"'{text.strip()}' in the style '{whole}' is no weight; write a number above 0, such as calm:0.7")
    return value
