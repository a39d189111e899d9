"""What a fit of blendshapes leaves over: the face's mesh moves until its landmarks lie where they are seen.

Fifty-two shapes and a prior describe a face; they do not reach every lip. In a measured picture the landmarks say where the
lips really are, so the mesh follows them: the fit decides depth, the inner mouth and all that landmarks do not see. The
explicit keypoints with an implicit offset of Eq. 2 do the same where a network must guess the offset; here it is measured.
"""

from __future__ import annotations

import torch
from torch import Tensor

from chatanyone.driver import OUTLINE, Driver
from motion.template.harmonic import harmonic
from motion.template.head import KEYPOINT_LANDMARKS
from render.types import RenderDrive

SKIN_LANDMARKS = 468  # the irises that follow lie on the eyeballs: gaze has blendshapes of its own
FIRMNESS = 5.0  # of the landmarks against the mesh's smoothness
LARGEST = 0.05  # face widths: a landmark farther off than this is no residual but a mistake


class ExactFace:
    """Spreads what landmarks are off by over the head's mesh (harmonic over its triangles, so that the lips stay apart).

    Args:
        driver: of the person; landmarks ``[478, 3]`` px: the portrait's, measured as all others will be.
    """

    def __init__(self, driver: Driver, landmarks: Tensor) -> None:
        self.driver, self.landmarks = driver, landmarks[:SKIN_LANDMARKS, :2]
        self.rest = driver.template.landmarks(driver.rest_vertices)[:SKIN_LANDMARKS, :2]
        self.largest = LARGEST * float(self.landmarks[:, 0].max() - self.landmarks[:, 0].min())
        self._spread = harmonic(driver.template, torch.arange(SKIN_LANDMARKS), FIRMNESS)

    def __call__(self, drive: RenderDrive, landmarks: Tensor) -> None:
        """Moves the face of one frame's drive, in place, to landmarks ``[478, 3]`` px seen in it."""
        template = self.driver.template
        moved = template.landmarks(drive.head[0])[:SKIN_LANDMARKS, :2] - self.rest
        residual = (landmarks[:SKIN_LANDMARKS, :2] - self.landmarks - moved).clamp(-self.largest, self.largest)
        drive.head[0, :, :2] += self._spread(residual)
        drive.control[0, :len(OUTLINE)] = template.on_surface(drive.head[0], torch.tensor(OUTLINE))[:, :2]
        drive.face_keypoints[0] = template.on_surface(drive.head[0], torch.tensor(KEYPOINT_LANDMARKS))
