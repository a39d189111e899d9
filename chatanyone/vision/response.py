"""How MediaPipe's landmarks answer to each weight and to a turn: less than the mesh moves, and not quite the same way.

Its network is careful: of a pucker's way the points go 0.5, of a smile's 0.8, of a raised cheek's 0.15, and what is left over
looks like other shapes (a pucker came back at a quarter, as funnel and frown). So mouth, jaw and cheeks are fitted by what
the detector shows of them, not by what the template does. `tools/measure_response.py` measures it on drawn faces.

When a head turns, its points stray from the head as if the face had moved: looking down lowers brows that are still. On nine
3-D heads and on drawn portraits it is the same error (cosine 0.9), so the fit knows it; `tools/measure_turns.py` measures it.

What they err besides differs from person to person and frame to frame, but not in any direction: fifteen patterns hold most of
it. The fit takes them as further unknowns, and reads weights from what they leave; `tools/measure_astray.py` measures them.
"""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from motion.template.head import HeadTemplate
from motion.template.person_fit import Detector
from motion.types import ARKIT_NAMES

FILE, TURNS, ASTRAY = "response.safetensors", "turns.safetensors", "astray.safetensors"
SKIN = 468  # points; the ten of the irises follow the gaze
# mouthClose alone draws nothing on a shut mouth.
MEASURED = tuple(name for name in ARKIT_NAMES if name.startswith(("mouth", "jaw", "cheek")) and name != "mouthClose")
# Brows keep the template's own pattern at the detector's strength: by their measured ones, which run into each other (a
# lowered brow and a raised outer one: cosine -0.8, the template's -0.7), they were told apart worse.
STRENGTH = {name: value for start, value in (("browDown", 0.67), ("browInnerUp", 0.75), ("browOuterUp", 0.72))
            for name in ARKIT_NAMES if name.startswith(start)}


def seen_by_detector(template: HeadTemplate) -> Tensor:
    """``[52, 478, 3]`` metres per weight in template axes: measured x and y of `MEASURED`, else the template's own.

    Those of brows are at their `STRENGTH`.
    """
    measured = _load(FILE)["response"].float()
    seen = template.landmarks(template.expression)
    seen[[ARKIT_NAMES.index(name) for name in MEASURED], :SKIN, :2] = measured
    for name, value in STRENGTH.items():
        seen[ARKIT_NAMES.index(name)] *= value
    return seen


def astray_when_turned() -> Tensor:
    """``[3, 478, 3]`` metres in template axes per rad of pitch, rad² of pitch, rad of yaw: x and y, all but the irises."""
    turned = torch.zeros(3, 478, 3)
    turned[:, :SKIN, :2] = _load(TURNS)["turned"].float()
    return turned


def astray_at_random() -> Tensor:
    """``[M, 478, 3]`` metres in template axes, each pattern times its deviation, largest first: x and y of the skin."""
    patterns = _load(ASTRAY)["astray"].float()
    astray = torch.zeros(len(patterns), 478, 3)
    astray[:, :SKIN, :2] = patterns
    return astray


def detector(template: HeadTemplate) -> Detector:
    """MediaPipe's face mesh, as it was measured."""
    return Detector(seen_by_detector(template), astray_when_turned(), astray_at_random())


def _load(name: str) -> dict[str, Tensor]:
    return load_file(str(Path(str(resources.files("chatanyone"))) / "vision" / name))
