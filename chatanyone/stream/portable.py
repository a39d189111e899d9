"""A style on its way into another process: plain arrays; tensors would travel by descriptors that somebody must keep."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

    from chatanyone.pipeline import Style

PlainStyle = dict[str, NDArray[np.float32]]


def plain(style: Style | None) -> PlainStyle:
    """What is absent is left out."""
    if style is None:
        return {}
    parts: dict[str, Any] = {"rest": style.rest}
    if style.range is not None:
        parts |= {"range": np.zeros(0), "range_expression": style.range.expression, "range_pose": style.range.pose}
    if style.correction is not None:
        right = style.correction
        parts |= {"gain": right.gain, "offset": right.offset, "blinks": [right.blinks], "curve": right.curve}
    if style.reference is not None:
        parts["reference"] = style.reference.packed()
    return {name: np.asarray(value, np.float32) for name, value in parts.items() if value is not None}


def restored(parts: PlainStyle) -> Style:
    """Inverse of `plain`; None comes back as the default."""
    import torch

    from chatanyone.pipeline import Style
    from motion.correction import Correction
    from motion.types import FaceMotion, StyleRange

    def tensor(name: str) -> Tensor | None:
        return torch.from_numpy(parts[name].copy()) if name in parts else None

    reference, gain, offset, curve = (tensor(name) for name in ("reference", "gain", "offset", "curve"))
    correction = None
    if gain is not None and offset is not None and curve is not None:
        correction = Correction(gain, offset, float(parts["blinks"][0]), curve)
    return Style(StyleRange(tensor("range_expression"), tensor("range_pose")) if "range" in parts else None,
                 None if reference is None else FaceMotion.unpack(reference), tensor("rest"), correction)
