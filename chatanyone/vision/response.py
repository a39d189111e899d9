"""How MediaPipe's landmarks answer to each weight: less than the mesh moves, and not quite the same way.

Its network is careful: of a pucker's way the points go 0.5, of a smile's 0.8, of a raised cheek's 0.15, and what is left over
looks like other shapes (a pucker came back at a quarter, as funnel and frown). So mouth, jaw and cheeks are fitted by what
the detector shows of them, not by what the template does. `tools/measure_response.py` measures it on drawn faces.
"""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from safetensors.torch import load_file
from torch import Tensor

from motion.template.head import HeadTemplate
from motion.types import ARKIT_NAMES

FILE = "response.safetensors"
SKIN = 468  # points; the ten of the irises follow the gaze
# mouthClose alone draws nothing on a shut mouth. Brows: measured too, but they were told apart worse with it.
MEASURED = tuple(name for name in ARKIT_NAMES if name.startswith(("mouth", "jaw", "cheek")) and name != "mouthClose")


def seen_by_detector(template: HeadTemplate) -> Tensor:
    """``[52, 478, 3]`` metres per weight in template axes: measured x and y of `MEASURED`, else the template's own."""
    measured = load_file(str(Path(str(resources.files("chatanyone"))) / "vision" / FILE))["response"].float()
    seen = template.landmarks(template.expression)
    seen[[ARKIT_NAMES.index(name) for name in MEASURED], :SKIN, :2] = measured
    return seen
