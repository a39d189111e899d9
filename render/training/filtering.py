"""Training of the reconstruction filter, on whole pictures whose drive was measured in them: there geometry errs as it does
at work, by fractions of a pixel up to a few, and what is best done about it can be learned."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from render.reconstruction import allowance, face_masks, filter_inputs, mix, soften
from render.renderer import Renderer, activity
from render.training.data import RenderPair
from render.training.rocketbox import Area

MOUTH_WEIGHT, MOUTH_SPREAD = 5.0, 15  # px
SMALLEST_ERROR = 1e-4  # mean square, against which a pair's error is measured at least
KEPT, PATCH, LACK = 0.98, 8, 4.0  # part of the frame's detail that must stay, px, and what lacking all of it would cost


def filtered(model: Renderer, pair: RenderPair) -> Tensor:
    """The pair's frame through the filter, ``[1, 3, H, W]``."""
    softer = soften(pair.frame)
    x0, y0, side = pair.box[0].tolist()
    masks = face_masks(pair.control, (x0, y0, side), (pair.frame.shape[-2], pair.frame.shape[-1]))
    hands = pair.hands[:, 3:]
    inputs = filter_inputs(pair.frame, softer, pair.alpha, pair.flow_quarter, hands, masks)
    weights = model.filter(inputs) * allowance(pair.alpha, masks, hands) * activity(pair.source(), pair.drive())
    return mix(pair.frame, softer, weights)


def filter_losses(model: Renderer, pair: RenderPair, teachable: Tensor) -> dict[str, Tensor]:
    """Squared error as a part of geometry's own, so that pairs count alike; and detail that was lost where crispness is no
    mistake: of squared error alone, faces and clothes would be blurred by whatever they lie beside the truth. Mouths and
    hands, where geometry guesses most, may become as soft as they are unsure.

    Args: teachable ``[1, 1, H, W]``: 0 where the truth would teach the wrong thing.
    """
    made, true = filtered(model, pair), pair.target
    mouth = F.max_pool2d((pair.area == Area.MOUTH).float(), MOUTH_SPREAD, 1, MOUTH_SPREAD // 2)
    weight = teachable * (1 + (MOUTH_WEIGHT - 1) * mouth)
    total = (3 * weight.sum()).clamp(min=1)
    before = ((pair.frame - true).square() * weight).sum() / total
    error = ((made - true).square() * weight).sum() / total / before.clamp(min=SMALLEST_ERROR)
    hands = F.max_pool2d(pair.hands[:, 3:], 4 * PATCH + 1, 1, 2 * PATCH)
    sure = (1 - F.max_pool2d(torch.maximum(hands, pair.mouth), PATCH)) * F.avg_pool2d(pair.alpha, PATCH)
    there = _detail(pair.frame)
    lacking = (F.relu(KEPT * there - _detail(made)) * sure).sum() / (there * sure).sum().clamp(min=1e-6) * LACK
    return {"filter_error": error, "filter_detail": lacking}


def _detail(picture: Tensor) -> Tensor:
    """Energy of fine detail in each patch."""
    return F.avg_pool2d((picture - F.avg_pool2d(picture, 3, 1, 1)).square().mean(1, keepdim=True), PATCH)
