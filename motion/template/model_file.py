"""Read FLAME and MANO model files that the user supplies, without ever unpickling.

The official files are pickles: loading one runs whatever code it contains, so we refuse them. `docs/licensed_models.md`
shows how to turn one into a plain `.npz` of arrays, once, in an environment you trust.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np


def load_arrays(path: Path | str, shapes: Mapping[str, tuple[int | None, ...]]) -> dict[str, np.ndarray]:
    """Arrays of a `.npz`, with the names and shapes (None: any size) of `shapes`; ValueError says what is wrong."""
    path = Path(path)
    if path.suffix != ".npz":
        raise ValueError(f"{path} is not a .npz file; pickled models are never loaded: convert it once as "
                         "docs/licensed_models.md describes.")
    if not path.is_file():
        raise ValueError(f"the model file {path} does not exist; check its path in the config.")
    try:
        with np.load(path, allow_pickle=False) as file:
            missing = sorted(set(shapes) - set(file.files))
            if missing:
                raise ValueError(f"{path} lacks the arrays {', '.join(missing)}; is it the right model?")
            arrays = {name: file[name] for name in shapes}
    except (ValueError, OSError) as error:
        if "allow_pickle" not in str(error) and "pickle" not in str(error).lower():
            raise
        raise ValueError(f"{path} holds pickled objects instead of plain arrays (a sparse matrix, perhaps); convert it "
                         "as docs/licensed_models.md describes.") from error
    for name, shape in shapes.items():
        _check_shape(path, name, arrays[name].shape, shape)
    return arrays


def _check_shape(path: Path, name: str, got: tuple[int, ...], expected: tuple[int | None, ...]) -> None:
    if len(got) != len(expected) or any(e is not None and g != e for g, e in zip(got, expected)):
        wanted = " x ".join("any" if size is None else str(size) for size in expected)
        raise ValueError(f"{path}: array {name} must be {wanted}, got {' x '.join(map(str, got))}.")
