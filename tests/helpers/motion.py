"""Motion documents for tests: a few seconds in which everything moves, all of it known."""

from __future__ import annotations

from fractions import Fraction

import torch

from chatanyone.motionfile import MotionDocument
from motion.types import BODY_DIM, EXPRESSION_DIM, BodyMotion, FaceMotion


def moving(T: int = 60, fps: Fraction = Fraction(30), scale: float = 0.5) -> MotionDocument:
    """Every weight a wave in [0, `scale`] of its own frequency; head and body sway."""
    time = torch.arange(T)[:, None] / float(fps)
    expression = scale * (0.5 + 0.5 * torch.sin(time * (1 + torch.arange(EXPRESSION_DIM) / 9)))
    pose = 0.15 * torch.sin(time * torch.tensor([2.0, 3.0, 5.0]))
    body = 0.05 * torch.sin(time + torch.arange(BODY_DIM))
    return MotionDocument.of(FaceMotion(expression, pose, pose / 30), BodyMotion.unpack(body), fps, source="wave.mp4",
                             sound="wave.wav")
