"""One run of the evaluation: what every bar needs."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from chatanyone.evaluation import lips
from chatanyone.evaluation.inputs import Inputs
from chatanyone.evaluation.studio import GEOMETRY, NETWORKS, Studio, Variant
from chatanyone.evaluation.work import Work, engine_key, file_hash, module_hash
from chatanyone.vision.faces import detect_faces

T = TypeVar("T")
_CLOSED = 0.01  # aperture below which a mouth counts as closed


@dataclass
class Session:
    """Inputs, engines and finished items.

    variants: which of networks and geometry to measure, the first is the one the bars hold for
    limit: most items of a bar; None leaves each bar its own number
    task_model: MediaPipe's face landmarker (.task) with 52 scores
    weights: name → file of weights that only some metrics need
    output: where pictures and plots go
    """

    inputs: Inputs
    studio: Studio
    work: Work
    output: Path
    variants: tuple[Variant, ...] = (NETWORKS, GEOMETRY)
    limit: int | None = None
    task_model: Path | None = None
    weights: dict[str, Path] = field(default_factory=dict)
    started_s: float = field(default_factory=time.monotonic)
    _place: str = ""

    def some(self, items: list[T], usual: int) -> list[T]:
        """At most `usual` (or `limit`) of them, evenly spread so that every kind has its share."""
        count = min(len(items), usual if self.limit is None else self.limit)
        return [items[index * len(items) // count] for index in range(count)]

    def item(self, kind: str, name: str, module: ModuleType | Iterable[ModuleType], make: Callable[[], dict[str, Any]],
             *, files: Iterable[Path] = (), variant: Variant | None = None, **more: Any) -> dict[str, Any]:
        """A finished item or a new one.

        Args:
            module: whose source decides what is measured
            files: whose contents it is measured on
            variant: of the engine, None where no film is made
            more: anything else that it depends on
        """
        modules = [module] if isinstance(module, ModuleType) else list(module)
        key = {"module": module_hash(*modules), "files": [file_hash(path) for path in files], "more": more,
               "engine": None if variant is None else engine_key(self.studio.settings(variant))}
        return self.work.item(kind, name.replace("/", "_").replace(" ", "_"), key, lambda: self._told(kind, name, make))

    def _told(self, kind: str, name: str, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """A line on stderr for everything that is made, not for what was found."""
        elapsed = time.monotonic() - self.started_s
        print(f"[{elapsed:5.0f} s] {self._place or kind}: {name}", file=sys.stderr, flush=True)
        return make()

    def progress(self, kind: str, items: Iterable[T]) -> Iterator[T]:
        """The items; lines on stderr say which of how many is made."""
        whole = list(items)
        for index, item in enumerate(whole, 1):
            self._place = f"{kind} {index}/{len(whole)}"
            yield item
        self._place = ""

    def neutral_portrait(self) -> Path:
        """The first portrait whose mouth is closed, else the one whose mouth is least open."""
        found: dict[Path, float] = {}
        for path in self.inputs.portraits[:12]:
            found[path] = self._rest_aperture(path)
            if found[path] < _CLOSED:
                return path
        return min(found, key=lambda path: found[path])

    def _rest_aperture(self, path: Path) -> float:
        from chatanyone.media.image import read_image

        def make() -> dict[str, Any]:
            faces = detect_faces(read_image(path))
            return {"aperture": lips.aperture(faces[0].landmarks) if faces else 1.0}

        return float(self.item("portraits", path.stem, lips, make, files=[path])["aperture"])
