"""`chatanyone plot`: motion as curves by group, over the voice's waveform where there is one. Needs matplotlib."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chatanyone import timebase
from chatanyone.errors import ConfigError, MediaError
from chatanyone.motionfile import MotionDocument
from motion.types import ARKIT_NAMES, BODY_KEYPOINTS, EXPRESSION_GROUPS

Curve = NDArray[np.float64]
MOST = 5  # curves in a panel: those that move most
LEAST = 0.01  # deviation below which a shape rests
_WIDTH_IN, _PANEL_IN, _DPI = 12.0, 1.45, 110
# Okabe and Ito's palette, which colour-blind people tell apart.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")


def panels(document: MotionDocument) -> dict[str, dict[str, Curve]]:
    """What is drawn: a panel's title → name → ``[T]``. Sides that go together are one curve."""
    found = {f"{group} (weights)": _largest(_sides(document, names)) for group, names in EXPRESSION_GROUPS.items()}
    degrees = np.rad2deg(document.rotation.astype(np.float64))
    found["head (degrees)"] = {"nod": degrees[:, 0], "turn": degrees[:, 1], "tilt": degrees[:, 2]}
    body = document.body.astype(np.float64)
    points = {"shoulders up": ("shoulderLeft", "shoulderRight"), "left hand up": ("wristLeft",),
              "right hand up": ("wristRight",)}
    found["body (shoulder widths)"] = {
        name: -np.mean([body[:, BODY_KEYPOINTS.index(point), 1] for point in joined], axis=0)
        for name, joined in points.items()}
    return found


def plot(document: MotionDocument, output: str | Path, samples: NDArray[np.float32] | None = None, title: str = "") -> None:
    """Writes a picture, whole or not at all.

    Args:
        samples: ``[n]`` at 16 kHz, drawn on top and, faintly, behind every panel.

    Raises:
        ConfigError: matplotlib is not installed.
    """
    figure, output = _figure(document, samples, title), Path(output)
    partial = output.with_name(f".{output.name}.{os.getpid()}.partial")
    try:
        figure.savefig(partial, dpi=_DPI, format=output.suffix[1:].lower())
        os.replace(partial, output)
    except OSError as error:
        raise MediaError(f"{output} could not be written: {error.strerror or error}") from error
    finally:
        partial.unlink(missing_ok=True)


def _figure(document: MotionDocument, samples: NDArray[np.float32] | None, title: str) -> Any:
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise ConfigError("plotting needs matplotlib; pip install 'chatanyone[plot]'") from None
    drawn = panels(document)
    rows = len(drawn) + (samples is not None)
    figure = Figure((_WIDTH_IN, _PANEL_IN * rows + 0.6), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, 1, sharex=True, squeeze=False)[:, 0]
    if samples is not None:
        _draw_waveform(axes[0], samples)
    for axis, (name, curves) in zip(axes[rows - len(drawn):], drawn.items()):
        _draw_panel(axis, document, name, curves, samples)
    axes[-1].set_xlabel("seconds")
    axes[-1].set_xlim(0, document.duration_s)
    figure.suptitle(title or f"{len(document)} frames at {float(document.fps):g} per second", fontsize=10)
    return figure


def _draw_waveform(axis: Any, samples: NDArray[np.float32]) -> None:
    times, low, high = _envelope(samples)
    axis.fill_between(times, low, high, color="0.35", linewidth=0)
    axis.set_ylabel("voice", fontsize=9)
    axis.set_yticks([])
    _plain(axis)


def _draw_panel(axis: Any, document: MotionDocument, name: str, curves: dict[str, Curve],
                samples: NDArray[np.float32] | None) -> None:
    for colour, (label, curve) in zip(_COLOURS, curves.items()):
        axis.plot(document.timestamps, curve, color=colour, linewidth=1.3, label=label)
    if samples is not None:
        times, low, high = _envelope(samples)
        behind = axis.twinx()
        behind.fill_between(times, low, high, color="0.9", linewidth=0)
        behind.set_yticks([])
        behind.set_zorder(axis.get_zorder() - 1)
        axis.patch.set_visible(False)
        _plain(behind)
    axis.set_ylabel(name.replace(" (", "\n("), fontsize=9)
    axis.tick_params(labelsize=8)
    axis.grid(True, color="0.85", linewidth=0.5)
    if curves:
        axis.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=8, frameon=False, handlelength=1.2)
    else:
        axis.text(0.5, 0.5, "at rest", transform=axis.transAxes, ha="center", va="center", color="0.5", fontsize=9)
    _plain(axis)


def _plain(axis: Any) -> None:
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)


def _sides(document: MotionDocument, names: tuple[str, ...]) -> dict[str, Curve]:
    """Curves by name, left and right averaged where there are both."""
    weights = {name: document.expression[:, ARKIT_NAMES.index(name)].astype(np.float64) for name in names}
    joined: dict[str, list[Curve]] = {}
    for name, curve in weights.items():
        stem = name.removesuffix("Left").removesuffix("Right")
        both = f"{stem}Left" in weights and f"{stem}Right" in weights
        joined.setdefault(stem if both else name, []).append(curve)
    return {name: np.mean(parts, axis=0) for name, parts in joined.items()}


def _largest(curves: dict[str, Curve]) -> dict[str, Curve]:
    order = sorted(curves, key=lambda name: -float(curves[name].std()))
    return {name: curves[name] for name in order[:MOST] if curves[name].std() > LEAST or curves[name].mean() > 0.05}


def _envelope(samples: NDArray[np.float32], points: int = 1500) -> tuple[Curve, Curve, Curve]:
    """Times, lowest and highest sample of each piece, ``[P]`` each."""
    pieces = np.array_split(samples.astype(np.float64), min(points, max(len(samples), 1)))
    kept = [piece if len(piece) else np.zeros(1) for piece in pieces]
    times = np.linspace(0, float(timebase.sample_time_s(len(samples))), len(kept))
    return times, np.array([piece.min() for piece in kept]), np.array([piece.max() for piece in kept])
