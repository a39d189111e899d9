"""What the face net leaves of a manner, put right: a correction of its motion, fitted once for a style.

The net follows a reference in part (range of brows against the reference's on held-back performers: r 0.35). So it is run
once with the style on a known voice; what comes out is compared with the clip number by number, and the difference is
kept in the style. Applying it is a function of one frame, so live sessions do the same as films.

* **Manner** (brows, cheeks, nose, squint, smile, frown, mouth drawn aside): a rising curve for each weight that gives it the
  clip's distribution (histogram matching): brows that are raised seldom and far stay so, where mean and deviation alone
  would have them half raised for ever.
* **Speech** (jaw, lips): one gain for how wide a person articulates, turned like the dial of the mouth, so closures stay. How
  the lips are formed while they are apart is shifted towards the clip's in so far as they are apart: a shift that were
  there in silence too would open the mouth or be a detector's idea of this person's lips.
* **Gaze and head**: range only, of gaze while the lids are open. Where somebody looks and holds their head is the camera's
  place and the seed's choice.
* **Lids**: how often they blink (`motion.impulses`).

A short clip says little of what happens seldom, so deviations are compared over windows of the clip's own length, and those
of gaze, head and blinks count for as much as the clip is long (`PRIOR_FRAMES`, `GAZE_PRIOR_FRAMES`, `BLINK_PRIOR_S`). All our
choice.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from motion.impulses import BLINKS_PER_S, FPS, eye_controls
from motion.style import CLOSURES, FACE_GROUPS, SPEECH, lips_apart, scale_face, whole_brows, with_rest
from motion.types import ARKIT_INDEX, ARKIT_NAMES, EXPRESSION_DIM, FACE_DIM, FaceMotion

LEAST_GAIN, MOST_GAIN = 0.4, 2.5
MOST_MOUTH_GAIN = 2.0  # as far as the dial of the mouth goes
MOST_OFFSET, MOST_LIP_OFFSET = 0.4, 0.25
# Curves of the manner: weights at which they are known, closer where small weights are; levels at which distributions are
# compared, few enough for clips of two seconds.
KNOTS = torch.tensor([0, 0.01, 0.02, 0.04, 0.06, 0.09, 0.12, 0.16, 0.2, 0.25, 0.3, 0.36, 0.43, 0.52, 0.64, 0.8, 1.0])
LEVELS = torch.tensor([0.02, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.98])
PRIOR_FRAMES = 60
MOST_GAZE_GAIN, MOST_HEAD_GAIN = 1.5, 1.8  # beyond it a short clip of somebody who leans forward made a portrait rock
# Of eleven real clips of 3 to 20 s one half tells the other's range of gaze best with so much prior (0, 2, 5, 10 … 120 tried).
GAZE_PRIOR_FRAMES = 10
# The controls dwell longer than people: from 45 frames to 600 their range grows × 1.72, on four clips of 6 to 20 s × 1.17. So
# a shorter clip's gaze is compared with windows of so many frames of theirs.
GAZE_LEAST_FRAMES = 120
GAZE_FRAMES = 3600
# Deviation of the four weights of an axis ÷ that of its control: the shipped net's, over two minutes with three seeds.
GAZE_WEIGHTS = (0.30, 0.29)
LID_FALLS, LID_FRAMES = 0.25, 3
BLINK_PRIOR_S, LEAST_BLINKS, MOST_BLINKS = 8.0, 0.4, 2.5
_LEAST_APART = 8.0  # frames with the lips apart that a mean of their form needs
LEAST_STRETCH, MOST_STRETCH = 0.5, 4.0  # of a curve, where bounds cost range
_ROUNDS = 4

_LIDS = [ARKIT_INDEX["eyeBlinkLeft"], ARKIT_INDEX["eyeBlinkRight"]]
_ACROSS = [i for i, name in enumerate(ARKIT_NAMES) if name.startswith(("eyeLookIn", "eyeLookOut"))]
_UP_DOWN = [i for i, name in enumerate(ARKIT_NAMES) if name.startswith(("eyeLookUp", "eyeLookDown"))]
# A jaw out of place is a detector's error far more often than a manner, and parts the lips.
_ALONE = [ARKIT_INDEX[name] for name in ("jawLeft", "jawRight")]
_JAW = [ARKIT_INDEX[name] for name in ("jawOpen", "mouthClose", "tongueOut")]
_FORM = [i for i in SPEECH if i not in (*_JAW, *(ARKIT_INDEX[name] for name in CLOSURES))]
MANNER = [i for i in range(EXPRESSION_DIM) if i not in {*SPEECH, *_LIDS, *_ACROSS, *_UP_DOWN, *_ALONE}]


@dataclass(frozen=True)
class Correction:
    """gain ``[58]`` about zero (for `SPEECH` one number, the mouth's dial), offset ``[58]`` (for `SPEECH` as far as the lips
    are apart), curve ``[52, K]``: what each weight becomes where it is `KNOTS` (the weight itself but for `MANNER`), blinks:
    how often against the default."""

    gain: Tensor
    offset: Tensor
    blinks: float = 1.0
    curve: Tensor = field(default_factory=lambda: straight())


def nothing() -> Correction:
    """The correction that changes nothing."""
    return Correction(torch.ones(FACE_DIM), torch.zeros(FACE_DIM))


def straight() -> Tensor:
    """Curves ``[52, K]`` that change nothing."""
    return KNOTS.repeat(EXPRESSION_DIM, 1)


def corrected(motion: FaceMotion, gain: Tensor, offset: Tensor, curve: Tensor) -> FaceMotion:
    """Motion ``[..., T, …]`` as the style's `Correction` wants it."""
    packed = motion.packed()
    moved = FaceMotion.unpack(packed * _besides(gain, 1.0) + _besides(offset, 0.0))
    expression = _speech(moved.expression.clamp(0, 1), float(gain[SPEECH[0]]))
    expression[..., SPEECH] += lips_apart(expression)[..., None] * offset[SPEECH]
    expression[..., MANNER] = follow(curve[MANNER], expression[..., MANNER])
    return FaceMotion(expression.clamp(0, 1), moved.rotation, moved.translation)


def follow(curve: Tensor, weights: Tensor) -> Tensor:
    """Curves ``[C, K]`` at weights ``[..., C]`` in [0, 1], straight between `KNOTS`."""
    knots = KNOTS.to(weights)
    index = torch.bucketize(weights.contiguous(), knots[1:-1], right=True)
    low, high = (curve.to(weights)[torch.arange(len(curve), device=weights.device), index + step] for step in (0, 1))
    return torch.lerp(low, high, (weights - knots[index]) / (knots[index + 1] - knots[index]))


class Dialled(Protocol):
    """What a stream of face motion keeps of a style: see `motion.sampler.FaceState`."""

    expression: float
    pose: float
    groups: Tensor
    gain: Tensor
    offset: Tensor
    curve: Tensor
    rest: Tensor | None


def finished(motion: FaceMotion, state: Dialled) -> FaceMotion:
    """Motion as a net gives it with brows evened, then a stream's correction (a person's own brows), resting face, dials."""
    motion = replace(motion, expression=whole_brows(motion.expression))
    if bool((state.gain != 1).any()) or bool(state.offset.any()) or bool((state.curve != KNOTS.to(state.curve)).any()):
        motion = corrected(motion, state.gain, state.offset, state.curve)
    if state.rest is not None:
        motion = with_rest(motion, state.rest)
    groups = dict(zip(FACE_GROUPS, state.groups.tolist()))
    return scale_face(motion, expression=state.expression, pose=state.pose, groups=groups)


def fitted(reference: FaceMotion, made: FaceMotion) -> Correction:
    """What turns the manner of `made` into that of `reference`.

    Args:
        reference: the clip's motion ``[R, …]`` at 30 fps.
        made: what the net does with the clip's style on other words ``[T, …]``, the longer the better.
    """
    wanted, found = reference.packed(), made.packed()
    size = len(wanted)
    there, here = spread(wanted, size), spread(found, size)
    gain, offset, curve = torch.ones(FACE_DIM), torch.zeros(FACE_DIM), straight()
    for i in range(EXPRESSION_DIM, FACE_DIM):
        gain[i] = _cautious(there[[i]], here[[i]], size).clamp(max=MOST_HEAD_GAIN)
    seeing = wanted[lids_open(reference.expression)]
    if len(seeing) > 1:
        looks = spread(seeing, size)
        for columns, usual in zip((_ACROSS, _UP_DOWN), gaze_spread(min(max(len(seeing), GAZE_LEAST_FRAMES), GAZE_FRAMES))):
            gain[columns] = _cautious(looks[columns], usual[None], len(seeing), GAZE_PRIOR_FRAMES).clamp(max=MOST_GAZE_GAIN)
    gain[SPEECH] = _ratio(there[SPEECH], here[SPEECH]).clamp(LEAST_GAIN, MOST_MOUTH_GAIN)
    for _ in range(_ROUNDS):  # bounds and the clamp at 0 and 1 cost range: match it as it comes out
        offset = _offsets(wanted, found, gain)
        after = spread(corrected(made, gain, offset, curve).packed(), size)
        gain[SPEECH] = (gain[SPEECH] * _ratio(there[SPEECH], after[SPEECH])).clamp(LEAST_GAIN, MOST_MOUTH_GAIN)
    stretch = torch.ones(EXPRESSION_DIM)
    for _ in range(_ROUNDS):  # bounds cost range here too, each weight its own: one that cannot follow drags no other along
        for i in MANNER:
            curve[i] = matched(wanted[:, i], found[:, i], float(stretch[i]))
        after = spread(follow(curve[MANNER], found[:, MANNER]), size).clamp(min=1e-5)
        stretch[MANNER] = (stretch[MANNER] * there[MANNER] / after).clamp(LEAST_STRETCH, MOST_STRETCH)
    return Correction(gain, _offsets(wanted, found, gain), blink_rate(reference.expression), curve)


def matched(wanted: Tensor, found: Tensor, stretch: float = 1.0) -> Tensor:
    """The rising curve ``[K]`` that gives the weights `found` ``[T]`` the distribution of `wanted` ``[R]``, `stretch` times as
    wide about its median: quantile to quantile, nowhere steeper than `MOST_GAIN` (what hardly moves trembles), nowhere
    farther than `MOST_OFFSET` from the weight itself."""
    there, here = torch.quantile(wanted, LEVELS), torch.quantile(found, LEVELS)
    middle = len(LEVELS) // 2
    steps = torch.minimum(stretch * there.diff(), MOST_GAIN * here.diff())
    there = there[middle] + F.pad(steps.cumsum(0), (1, 0)) - steps[:middle].sum()
    curve = torch.from_numpy(np.interp(KNOTS, here + torch.arange(len(here)) * 1e-6, there)).to(KNOTS)
    beyond = (KNOTS - here[-1]).clamp(min=0) - (here[0] - KNOTS).clamp(min=0)  # what was seen moves on as the weight itself
    curve += min(stretch, MOST_GAIN) * beyond
    return curve.clamp((KNOTS - MOST_OFFSET).clamp(min=0), (KNOTS + MOST_OFFSET).clamp(max=1))


def spread(motion: Tensor, size: int) -> Tensor:
    """Root mean square over windows of `size` frames of the deviations ``[C]`` of motion ``[T, C]``: what a clip of that
    length would have shown of it."""
    size = min(size, len(motion))
    windows = [motion[start:start + size] for start in range(0, len(motion) - size + 1, max(size // 2, 1))]
    return torch.stack([window.var(0, correction=0) for window in windows]).mean(0).sqrt()


@lru_cache(maxsize=8)
def gaze_spread(size: int) -> Tensor:
    """``[2]``: root mean square deviation of the weights of gaze across and up or down, over windows of `size` frames.

    Glances are few, and seeded: those of ten seconds tell little, so this is the controls' own over `GAZE_FRAMES`.
    """
    return spread(eye_controls(0, 0, GAZE_FRAMES)[:, 1:], size) * torch.tensor(GAZE_WEIGHTS)


def blink_rate(expression: Tensor) -> float:
    """Blinks of weights ``[T, 52]`` at 30 fps against the default rate, drawn towards 1 as by `BLINK_PRIOR_S` of default."""
    shut = expression[:, _LIDS].mean(1) > 0.5
    count = int((shut[1:] & ~shut[:-1]).sum())
    seconds = len(expression) / FPS
    rate = (count + BLINKS_PER_S * BLINK_PRIOR_S) / (seconds + BLINK_PRIOR_S) / BLINKS_PER_S
    return min(max(rate, LEAST_BLINKS), MOST_BLINKS)


def lids_open(expression: Tensor) -> Tensor:
    """Frames ``[T]`` of weights ``[T, 52]`` in which gaze can be seen: a lid that falls looks like eyes that look down, for
    some frames before and after it is shut too."""
    shut = (expression[:, _LIDS].amax(1) > LID_FALLS).float()
    near = torch.nn.functional.max_pool1d(shut[None, None], 2 * LID_FRAMES + 1, 1, LID_FRAMES)[0, 0]
    return near == 0


def mixed_corrections(parts: list[tuple[Correction | None, float]]) -> Correction | None:
    """The weighted mean, shares that sum to 1; None counts as nothing, and None alone stays None."""
    if all(correction is None for correction, _ in parts):
        return None
    whole = [(correction or nothing(), share) for correction, share in parts]
    return Correction(torch.stack([one.gain * share for one, share in whole]).sum(0),
                      torch.stack([one.offset * share for one, share in whole]).sum(0),
                      sum(one.blinks * share for one, share in whole),
                      torch.stack([one.curve * share for one, share in whole]).sum(0))


def check_correction(correction: Correction) -> None:
    """Refuses (`ValueError`) what `fitted` could not have made: lips and lids would no longer meet."""
    gain, offset = correction.gain, correction.offset
    untouched = [*_LIDS, *_ALONE, *_JAW]
    if float(gain.min()) < 0 or float(gain.max()) > MOST_GAIN + 1e-4 or float(offset.abs().max()) > MOST_OFFSET + 1e-4:
        raise ValueError(f"a correction's gains must be between 0 and {MOST_GAIN:g}, its offsets within ±{MOST_OFFSET:g}")
    if bool(offset[untouched].any()) or bool((gain[[*_LIDS, *_ALONE]] != 1).any()):
        raise ValueError("a correction must leave lids and the jaw's place alone, or closures would be lost")
    rise = correction.curve.diff(dim=1) / KNOTS.diff()
    if float(rise.min()) < -1e-4 or float(correction.curve.min()) < 0 or float(correction.curve.max()) > 1 + 1e-4:
        raise ValueError("a correction's curves must rise, between 0 and 1")
    others = [i for i in range(EXPRESSION_DIM) if i not in MANNER]
    if not torch.allclose(correction.curve[others], straight()[others], atol=1e-4):
        raise ValueError("a correction's curves must leave speech, lids and gaze alone, or closures would be lost")
    if not 0 <= correction.blinks <= MOST_BLINKS:
        raise ValueError(f"a correction's rate of blinks must be between 0 and {MOST_BLINKS:g}, not {correction.blinks:g}")


def _speech(expression: Tensor, gain: float) -> Tensor:
    """The mouth's dial on what speech moves, `expression` ``[..., 52]``."""
    still = expression.new_zeros(*expression.shape[:-1], 3)
    turned = scale_face(FaceMotion(expression, still, still), groups={"mouth": gain}).expression
    out = expression.clone()
    out[..., SPEECH] = turned[..., SPEECH]
    return out


def _offsets(wanted: Tensor, found: Tensor, gain: Tensor) -> Tensor:
    """``[58]``: of the lips' form, from the mean that the gain gives to the clip's, both where the lips are apart."""
    offset = torch.zeros(FACE_DIM)
    speaking = _speech(found[:, :EXPRESSION_DIM], float(gain[SPEECH[0]]))
    clip = wanted[:, :EXPRESSION_DIM]
    here, there = lips_apart(speaking), lips_apart(clip)
    if min(float(here.sum()), float(there.sum())) > _LEAST_APART:
        form = there @ clip / there.sum() - here @ speaking / here.sum()
        offset[_FORM] = form[_FORM].clamp(-MOST_LIP_OFFSET, MOST_LIP_OFFSET)
    return offset


def _besides(numbers: Tensor, neutral: float) -> Tensor:
    """The numbers ``[58]`` of all but speech."""
    out = numbers.clone()
    out[SPEECH] = neutral
    return out


def _ratio(there: Tensor, here: Tensor) -> Tensor:
    """Of two groups' deviations."""
    return (there.square().mean() / here.square().mean().clamp(min=1e-10)).sqrt()


def _cautious(there: Tensor, here: Tensor, frames: int, prior: int = PRIOR_FRAMES) -> Tensor:
    """The same, drawn towards 1 by `prior` frames of what the net does."""
    found = here.square().mean().clamp(min=1e-10)
    whole = (frames * there.square().mean() + prior * found) / (frames + prior)
    return (whole / found).sqrt().clamp(LEAST_GAIN, MOST_GAIN)
