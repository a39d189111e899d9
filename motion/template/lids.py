"""Lids of a person that meet along a line.

The template's blink was made for the template's eyes: on other people's the outer half of a lid went past the lower one (by
up to 4 mm) while the inner half stayed open, and both corners turned. So the way of each point of both lids is made anew for
the person: at a blink of 1 the upper lid lies on the lower one, from corner to corner, and until then every part of the eye
has closed by the same share.
"""

from __future__ import annotations

import torch
from torch import Tensor

from motion.template.harmonic import harmonic
from motion.template.head import HeadTemplate
from motion.types import ARKIT_INDEX

BLINKS = tuple(ARKIT_INDEX[name] for name in ("eyeBlinkLeft", "eyeBlinkRight"))
# MediaPipe's points of the lids' edges from corner to corner, which both rows hold.
UPPER = ((362, 398, 384, 385, 386, 387, 388, 466, 263), (33, 246, 161, 160, 159, 158, 157, 173, 133))
LOWER = ((362, 382, 381, 380, 374, 373, 390, 249, 263), (33, 7, 163, 144, 145, 153, 154, 155, 133))
RISES = 0.08  # of the opening: how far a lower lid comes towards the upper one (our choice)
BEFORE = 0.0005  # metres: a closed upper lid lies before the lower one
REACH = 0.010  # metres from the lids' edges, beyond which the template's blink stays as it is
FIRMNESS = 50.0


def even_blinks(template: HeadTemplate, neutral: Tensor, gain: Tensor) -> Tensor:
    """What a person's blinks move beyond the template's, ``[2, V, 3]`` metres per weight, left and right.

    Args: neutral ``[V, 3]``; gain ``[52]`` on the template's shapes.
    """
    rest, mean = template.landmarks(neutral), template.landmarks(template.mean)[:468]
    out = []
    for blink, upper, lower in zip(BLINKS, UPPER, LOWER):
        edges = torch.tensor(upper + lower[1:-1])
        far = (torch.cdist(mean, mean[edges]).amin(1) > REACH).nonzero().squeeze(1)
        opening = rest[list(upper)] - rest[list(lower)]
        goal = rest[list(lower)] + RISES * opening
        goal[:, 2] = rest[list(lower), 2]
        lids = torch.cat([goal + torch.tensor([0, 0, BEFORE]), goal[1:-1]])
        lids[[0, len(upper) - 1]] = rest[[upper[0], upper[-1]]]
        made = gain[blink] * template.on_surface(template.expression[blink], edges)
        steps = torch.cat([lids - rest[edges] - made, torch.zeros(len(far), 3)])
        out.append(harmonic(template, torch.cat([edges, far]), FIRMNESS)(steps))
    return torch.stack(out)
