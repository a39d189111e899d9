"""Text files, whole or not at all."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from chatanyone.errors import MediaError

MAX_BYTES = 500_000_000


def read_text(path: Path) -> str:
    """UTF-8, with or without a byte order mark."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise MediaError(f"{path} is larger than {MAX_BYTES // 1_000_000} MB; split it first")
        return path.read_text("utf-8-sig")
    except FileNotFoundError:
        raise MediaError(f"expected a motion file at {path}, found no such file; check the path") from None
    except UnicodeDecodeError:
        raise MediaError(f"{path} is not a text file; export it again") from None
    except OSError as error:
        raise MediaError(f"{path} cannot be read: {error.strerror or error}") from None


def write_text(path: Path, text: str) -> None:
    """Beside the target, then renamed."""
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".partial")
        try:
            with os.fdopen(handle, "w", encoding="utf-8", newline="") as file:
                file.write(text)
            os.chmod(name, 0o644)
            os.replace(name, path)
        finally:
            Path(name).unlink(missing_ok=True)
    except OSError as error:
        raise MediaError(f"{path} could not be written: {error.strerror or error}") from error
