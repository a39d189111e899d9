"""Contact sheets and plots beside the report. Sheets show the given portraits only, never a clip."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as Pillow

from chatanyone.evaluation.lips import Image
from chatanyone.evaluation.statistics import Curve

QUALITY = 85
# Okabe and Ito's palette, which colour-blind people tell apart.
_REAL, _MADE, _LOUD = "#000000", "#0072B2", "#E69F00"


def stack(path: Path, rows: list[Path], width: int = 1600) -> str | None:
    """Strips one under the other as one JPEG; its name, or None where there is no strip."""
    strips = [Pillow.open(row).convert("RGB") for row in rows if row.is_file()]
    if not strips:
        return None
    widest = max(strip.width for strip in strips)
    scale = min(1.0, width / widest)
    small = [strip.resize((round(strip.width * scale), round(strip.height * scale))) for strip in strips]
    sheet = Pillow.new("RGB", (max(strip.width for strip in small), sum(strip.height for strip in small)), "white")
    top = 0
    for strip in small:
        sheet.paste(strip, (0, top))
        top += strip.height
    return _save(path, lambda partial: sheet.save(partial, "JPEG", quality=QUALITY))


def save_strip(path: Path, frames: list[Image], side: int) -> None:
    """Pictures of one height side by side."""
    path.parent.mkdir(parents=True, exist_ok=True)
    small = [np.asarray(Pillow.fromarray(frame).resize((frame.shape[1] * side // frame.shape[0], side),
                                                       Pillow.Resampling.LANCZOS)) for frame in frames]
    Pillow.fromarray(np.concatenate(small, axis=1)).save(path, quality=92)


def lip_curves(path: Path, curves: dict[str, tuple[Curve, Curve, Curve, str]], fps: float = 30.0) -> str | None:
    """One panel a clip: real lips, the film's, loudness, each brought to mean 0 and deviation 1. None without matplotlib.

    Args: clip → real, made, loudness and a title.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        return None
    figure = Figure(figsize=(11, 1.5 * len(curves) + 0.4), layout="constrained")
    FigureCanvasAgg(figure)
    panels: Any = figure.subplots(len(curves), 1, squeeze=False)[:, 0]
    for panel, (real, made, loud, title) in zip(panels, curves.values()):
        for values, colour, name in ((loud, _LOUD, "loudness"), (real, _REAL, "real lips"), (made, _MADE, "film's lips")):
            panel.plot(np.arange(len(values)) / fps, _standard(values), color=colour, lw=1.2, label=name)
        panel.set_title(title, fontsize=9, loc="left")
        panel.set_yticks([])
    panels[0].legend(loc="upper right", fontsize=8, ncols=3)
    panels[-1].set_xlabel("s")
    return _save(path, lambda partial: figure.savefig(partial, dpi=90, format="png"))


def _standard(values: Curve) -> Curve:
    return np.asarray((values - values.mean()) / max(float(values.std()), 1e-9))


def _save(path: Path, write: Any) -> str:
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        write(partial)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return path.name
