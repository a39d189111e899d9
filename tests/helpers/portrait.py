"""A portrait without a person, for tests that do not look at the pixels."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from chatanyone.portrait import Portrait


def plain_portrait(size: tuple[int, int] = (512, 768), warnings: Sequence[str] = ()) -> Portrait:
    """Grey everywhere; width, height."""
    width, height = size
    grey = torch.full((3, height, width), 0.5)
    return Portrait(
        image=grey, matte=torch.ones(1, height, width), plate=grey, foreground=grey, face=torch.zeros(478, 3),
        pose=torch.zeros(33, 3), pose_visibility=torch.zeros(33), hands=torch.zeros(2, 21, 3),
        hand_confidence=torch.zeros(2), body=torch.zeros(14, 3), shoulder_width_px=200.0,
        box=(0.0, 0.0, float(width), float(height)), warnings=list(warnings))
