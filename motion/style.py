"""Styles as numbers: how strongly somebody moves; and dials, which are turned after sampling.

`apply_dials` is the one function that turns all of them, for whole clips and for single frames alike: a frame's answer
depends on that frame alone.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from motion.types import ARKIT_INDEX, ARKIT_NAMES, BODY_KEYPOINTS, EXPRESSION_GROUPS, BodyMotion, FaceMotion, StyleRange

GROUP_INDICES: tuple[list[int], ...] = tuple([ARKIT_INDEX[n] for n in names] for names in EXPRESSION_GROUPS.values())

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


def stack_styles(styles: list[StyleRange]) -> tuple[Tensor, Tensor]:
    """Full styles as batches `[B, 4]` and `[B, 6]`."""
    expression = [style.expression for style in styles if style.expression is not None]
    pose = [style.pose for style in styles if style.pose is not None]
    return torch.stack(expression), torch.stack(pose)


# Dials: all groups, those of the face first.
FACE_GROUPS: tuple[str, ...] = (*EXPRESSION_GROUPS, "head")
BODY_GROUPS: tuple[str, ...] = ("shoulders", "hands")
GROUPS: tuple[str, ...] = FACE_GROUPS + BODY_GROUPS
# Below zero only where the opposite movement exists: brows that go down where they went up, a head that turns and nods
# the other way.
INVERTIBLE: tuple[str, ...] = ("brows", "head")
LIMIT = 2.0  # of the product of a group's dials

# Shapes that close something: no dial weakens them, or lips and lids would no longer meet.
CLOSURES: tuple[str, ...] = (
    "mouthPressLeft", "mouthPressRight", "mouthRollLower", "mouthRollUpper", "eyeBlinkLeft", "eyeBlinkRight",
)
# Shapes that part the lips or are needed to bring them together again.
_OPENERS: tuple[str, ...] = (
    "jawForward", "jawLeft", "jawOpen", "jawRight", "mouthClose", "mouthFunnel", "mouthPucker", "mouthLowerDownLeft",
    "mouthLowerDownRight", "mouthShrugUpper", "mouthUpperUpLeft", "mouthUpperUpRight", "tongueOut",
)
# What each shape adds to the distance of the inner lips, mm: of the shipped head template, shapes above 1.5 mm.
_LIP_GAP_MM: dict[str, float] = {
    "jawOpen": 33.7, "mouthClose": -33.8, "mouthFunnel": 15.0, "mouthShrugLower": -4.9, "mouthShrugUpper": 4.6,
    "mouthRollLower": -4.4, "mouthRollUpper": -4.2, "mouthUpperUpLeft": 2.2, "mouthUpperUpRight": 2.5,
    "mouthLowerDownLeft": 1.9, "mouthLowerDownRight": 1.9, "mouthSmileLeft": -1.8, "mouthSmileRight": -1.6,
    "mouthPressLeft": -1.8, "mouthPressRight": -1.7,
}
# Our choice: below the first nothing opens further, above the second dials count in full.
LIPS_MEET_MM, LIPS_PART_MM = 1.5, 5.0
RAISERS, _LOWERERS = ("browInnerUp", "browOuterUpLeft", "browOuterUpRight"), ("browDownLeft", "browDownRight")
# browInnerUp ÷ browOuterUp of brows that rise as one: so the upper edge of the template's brows rises evenly, by 5.9 to 6.5 mm
# a unit of the outer ones. Three real clips whose brows move much have 0.68 to 0.89 (r 0.78 to 0.97), never the net's 1.16.
WHOLE_BROW = 0.5
_WITH_HANDS = ("elbowLeft", "elbowRight", "wristLeft", "wristRight")
_HALF_WITH_HANDS = ("upperArmLeft", "upperArmRight")


def _columns(*names: str) -> list[int]:
    return [ARKIT_INDEX[name] for name in names]


def _named(start: str) -> tuple[str, ...]:
    return tuple(name for name in ARKIT_NAMES if name.startswith(start))


# What speech itself moves. Smiles, frowns and a mouth drawn to one side are manner.
SPEECH: list[int] = [
    index for index in GROUP_INDICES[0]
    if not ARKIT_NAMES[index].startswith(("mouthSmile", "mouthFrown", "mouthDimple"))
    and ARKIT_NAMES[index] not in ("mouthLeft", "mouthRight", "jawLeft", "jawRight")]


def check_groups(groups: Mapping[str, float]) -> None:
    """Refuses (`ValueError`) unknown groups, and strengths outside 0…2 (-2…2 for `INVERTIBLE`)."""
    for name, value in groups.items():
        if name not in GROUPS:
            raise ValueError(f"'{name}' is no group of movement; there are {', '.join(GROUPS)}")
        low = -LIMIT if name in INVERTIBLE else 0.0
        if not low <= value <= LIMIT:
            raise ValueError(f"the strength of {name} must be between {low:g} and {LIMIT:g}, not {value:g}")


def apply_dials(face: FaceMotion, body: BodyMotion, *, expression: float = 1.0, pose: float = 1.0, gesture: float = 1.0,
                groups: Mapping[str, float] | None = None) -> tuple[FaceMotion, BodyMotion]:
    """All dials on motion `[..., T, …]`; 1 is as it is.

    Args:
        expression: on mouth, brows, eyes and cheeks; pose: on the head; gesture: on shoulders and hands; 0…2.
        groups: of `GROUPS` to a strength of its own; it multiplies the dial above, the product is held within ±2.
    """
    groups = groups or {}
    return scale_face(face, expression=expression, pose=pose, groups=groups), scale_body(body, gesture=gesture, groups=groups)


def scale_face(motion: FaceMotion, *, expression: float = 1.0, pose: float = 1.0,
               groups: Mapping[str, float] | None = None) -> FaceMotion:
    """The dials of face and head, around rest.

    Lips that meet stay together: closures keep their strength, mouthClose follows the jaw (ARKit measures it against the
    jaw: lips meet when both are equal), and what parts the lips is only strengthened in so far as they are apart. Blinks
    stay whole. Gaze is a direction, so it follows the dial of the eyes but not that of all expression.
    """
    factor = {name: _held(expression * (groups or {}).get(name, 1.0)) for name in EXPRESSION_GROUPS}
    head = _held(pose * (groups or {}).get("head", 1.0))
    weights = motion.expression
    scaled = weights.clone()
    _scale(scaled, _columns(*_named("cheek"), *_named("nose")), factor["cheeks"])
    _scale_eyes(scaled, weights, factor["eyes"], _held((groups or {}).get("eyes", 1.0)))
    _scale_brows(scaled, weights, factor["brows"])
    _scale_mouth(scaled, weights, factor["mouth"])
    return FaceMotion(scaled.clamp(0, 1), motion.rotation * head, motion.translation * head)


def scale_body(motion: BodyMotion, *, gesture: float = 1.0, groups: Mapping[str, float] | None = None) -> BodyMotion:
    """The dials of shoulders (with the trunk) and hands (with the forearms), around the picture's own pose."""
    shoulders, hands = (_held(gesture * (groups or {}).get(name, 1.0)) for name in BODY_GROUPS)
    share = torch.tensor([1.0 if name in _WITH_HANDS else 0.5 if name in _HALF_WITH_HANDS else 0.0
                          for name in BODY_KEYPOINTS]).to(motion.delta)[:, None]
    return BodyMotion(motion.delta * (shoulders + (hands - shoulders) * share), motion.hands * hands)


def whole_brows(expression: Tensor) -> Tensor:
    """Expressions ``[..., 52]`` in which brows rise as a whole: what the inner ends rise beyond their share (`WHOLE_BROW`)
    goes to the outer ends, the sum stays. Inner ends that rise further than the outer ones look worried, whatever is said."""
    (inner, *outer), out = _columns(*RAISERS), expression.clone()
    lift = (out[..., inner] + out[..., outer].sum(-1)) / (WHOLE_BROW + len(outer))
    excess = (out[..., inner] - WHOLE_BROW * lift).clamp(min=0)
    out[..., inner] -= excess
    out[..., outer] += excess[..., None] / len(outer)
    return out


def with_rest(motion: FaceMotion, rest: Tensor) -> FaceMotion:
    """A resting face and head `[58]` added to motion: what a person shows while doing nothing, such as a slight smile.

    It must leave the lips' openers alone (`check_rest`). A smile yields to rounded lips, wide eyes to a blink.
    """
    added = rest[:len(ARKIT_NAMES)].expand_as(motion.expression).clone()
    rounded = motion.expression[..., _columns("mouthPucker", "mouthFunnel")].amax(-1, keepdim=True).clamp(0, 1)
    _scale(added, _columns(*_named("mouthSmile"), *_named("mouthStretch")), 1 - rounded)
    for side in ("Left", "Right"):
        _scale(added, _columns(f"eyeWide{side}"), 1 - motion.expression[..., _columns(f"eyeBlink{side}")].clamp(0, 1))
    head = rest[len(ARKIT_NAMES):]
    return FaceMotion((motion.expression + added).clamp(0, 1), motion.rotation + head[:3], motion.translation + head[3:])


def check_rest(rest: Tensor) -> None:
    """Refuses (`ValueError`) a resting face that would keep the lips or lids from meeting."""
    forbidden = [name for name in (*_OPENERS, *CLOSURES) if float(rest[ARKIT_INDEX[name]])]
    if forbidden:
        raise ValueError(f"a resting face must leave {', '.join(forbidden)} alone, or closures would be lost")


def lip_gap_mm(expression: Tensor) -> Tensor:
    """How far weights `[..., 52]` part the lips `[...]`, mm against rest, on the shipped head."""
    gap = expression.new_zeros(len(ARKIT_NAMES))
    gap[_columns(*_LIP_GAP_MM)] = expression.new_tensor(list(_LIP_GAP_MM.values()))
    return expression @ gap


def lips_apart(expression: Tensor) -> Tensor:
    """How far dials may part the lips further ``[...]``: 0 where they meet, 1 from `LIPS_PART_MM` on."""
    return ((lip_gap_mm(expression) - LIPS_MEET_MM) / (LIPS_PART_MM - LIPS_MEET_MM)).clamp(0, 1)


def _held(factor: float) -> float:
    return min(max(float(factor), -LIMIT), LIMIT)


def _scale(scaled: Tensor, columns: list[int], factor: float | Tensor) -> None:
    scaled[..., columns] = scaled[..., columns] * factor


def _scale_eyes(scaled: Tensor, weights: Tensor, factor: float, gaze: float) -> None:
    """Squint and gaze plainly; wide eyes are not strengthened while a lid is shut."""
    _scale(scaled, _columns(*_named("eyeSquint")), factor)
    _scale(scaled, _columns(*_named("eyeLook")), gaze)
    for side in ("Left", "Right"):
        shut = weights[..., _columns(f"eyeBlink{side}")].clamp(0, 1)
        _scale(scaled, _columns(f"eyeWide{side}"), 1 + (factor - 1) * (1 - shut) if factor > 1 else factor)


def _scale_brows(scaled: Tensor, weights: Tensor, factor: float) -> None:
    """Below zero raising and lowering change places."""
    up, down = _columns(*RAISERS), _columns(*_LOWERERS)
    scaled[..., up] = weights[..., up] * max(factor, 0.0)
    scaled[..., down] = weights[..., down] * max(factor, 0.0)
    if factor < 0:
        scaled[..., down] = weights[..., up].mean(-1, keepdim=True) * -factor
        scaled[..., up] = weights[..., down].mean(-1, keepdim=True) * -factor


def _scale_mouth(scaled: Tensor, weights: Tensor, factor: float) -> None:
    """All but the closures; the openers by as much as the lips are apart, when it is more than 1."""
    others = [name for name in EXPRESSION_GROUPS["mouth"] if name not in CLOSURES and name not in _OPENERS]
    _scale(scaled, _columns(*others), factor)
    apart = lips_apart(weights)[..., None]
    _scale(scaled, _columns(*_OPENERS), 1 + (factor - 1) * apart if factor > 1 else factor)
    jaw, close = _columns("jawOpen"), _columns("mouthClose")
    ratio = torch.where(weights[..., jaw] > 1e-4, scaled[..., jaw].clamp(0, 1) / weights[..., jaw].clamp(min=1e-4), 1.0)
    scaled[..., close] = weights[..., close] * ratio
