"""Styles as numbers: how strongly somebody moves, and dials applied after sampling."""

from __future__ import annotations

import torch
from torch import Tensor

from motion.types import ARKIT_INDEX, EXPRESSION_GROUPS, BodyMotion, FaceMotion, StyleRange

GROUP_INDICES: tuple[list[int], ...] = tuple([ARKIT_INDEX[n] for n in names] for names in EXPRESSION_GROUPS.values())

# Blend shapes that close something: dials never weaken them, or lips would no longer meet.
CLOSURES: tuple[str, ...] = (
    "mouthPressLeft", "mouthPressRight", "mouthRollLower", "mouthRollUpper", "eyeBlinkLeft", "eyeBlinkRight",
)
# Gaze is a direction, not an intensity.
_UNSCALED = CLOSURES + tuple(name for name in ARKIT_INDEX if name.startswith("eyeLook"))

# Typical ranges (our choice, about the middle of the training data): what the style embedding divides by.
TYPICAL_EXPRESSION = torch.tensor([0.08, 0.06, 0.08, 0.03])
TYPICAL_POSE = torch.tensor([0.04, 0.05, 0.03, 0.003, 0.003, 0.003])

# Who does not ask gets a lively speaker, about 1.4 times the training data's median: on real voices the net is less
# sure than on synthetic ones and moves less.
LIVELY = StyleRange(
    torch.tensor([0.10, 0.09, 0.08, 0.025]), torch.tensor([0.026, 0.042, 0.024, 0.0026, 0.0015, 0.0025]),
)


def style_range(motion: FaceMotion) -> StyleRange:
    """The range of a clip `[T, ...]`: for a group the RMS of its shapes' deviations, for a pose number its own."""
    deviation = motion.expression.std(dim=-2, correction=0)
    groups = [deviation[..., indices].square().mean(-1).sqrt() for indices in GROUP_INDICES]
    pose = torch.cat([motion.rotation, motion.translation], dim=-1).std(dim=-2, correction=0)
    return StyleRange(torch.stack(groups, dim=-1), pose)


def scale_face(motion: FaceMotion, *, expression: float = 1.0, pose: float = 1.0) -> FaceMotion:
    """Dials 0…2 around rest. Closures and gaze keep their strength.

    ARKit's mouthClose is measured against the jaw: lips meet when it equals jawOpen. So it follows the jaw, clipping
    included, and what was closed stays closed.
    """
    weights = motion.expression
    factor = torch.full((weights.shape[-1],), float(expression), dtype=weights.dtype, device=weights.device)
    factor[[ARKIT_INDEX[name] for name in _UNSCALED]] = 1.0
    scaled = (weights * factor).clamp(0, 1)
    jaw, close = ARKIT_INDEX["jawOpen"], ARKIT_INDEX["mouthClose"]
    ratio = torch.where(weights[..., jaw] > 1e-4, scaled[..., jaw] / weights[..., jaw].clamp(min=1e-4), 1.0)
    scaled[..., close] = (weights[..., close] * ratio).clamp(0, 1)
    return FaceMotion(scaled, motion.rotation * pose, motion.translation * pose)


def scale_body(motion: BodyMotion, *, gesture: float = 1.0) -> BodyMotion:
    """Dial 0…2 around the picture's own pose."""
    return BodyMotion(motion.delta * gesture, motion.hands * gesture)


def stack_styles(styles: list[StyleRange]) -> tuple[Tensor, Tensor]:
    """Full styles as batches `[B, 4]` and `[B, 6]`."""
    expression = [style.expression for style in styles if style.expression is not None]
    pose = [style.pose for style in styles if style.pose is not None]
    return torch.stack(expression), torch.stack(pose)
