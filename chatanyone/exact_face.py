"""What a fit of blendshapes leaves over: the face's mesh moves until its landmarks lie where they are seen.

Fifty-two shapes and a prior describe a face; they do not reach every lip. In a measured picture the landmarks say where the
lips really are, so the mesh follows them: the fit decides depth, the inner mouth and all that landmarks do not see. The
explicit keypoints with an implicit offset of Eq. 2 do the same where a network must guess the offset; here it is measured.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import coo_matrix, csc_matrix, diags
from scipy.sparse.linalg import factorized
from torch import Tensor

from chatanyone.driver import OUTLINE, Driver
from motion.template.head import KEYPOINT_LANDMARKS, HeadTemplate
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
        self._spread = _harmonic(driver.template)

    def __call__(self, drive: RenderDrive, landmarks: Tensor) -> None:
        """Moves the face of one frame's drive, in place, to landmarks ``[478, 3]`` px seen in it."""
        template = self.driver.template
        moved = template.landmarks(drive.head[0])[:SKIN_LANDMARKS, :2] - self.rest
        residual = (landmarks[:SKIN_LANDMARKS, :2] - self.landmarks - moved).clamp(-self.largest, self.largest)
        drive.head[0, :, :2] += self._spread(residual)
        drive.control[0, :len(OUTLINE)] = template.on_surface(drive.head[0], torch.tensor(OUTLINE))[:, :2]
        drive.face_keypoints[0] = template.on_surface(drive.head[0], torch.tensor(KEYPOINT_LANDMARKS))


def _harmonic(template: HeadTemplate) -> Callable[[Tensor], Tensor]:
    """From residuals ``[468, 2]`` of landmarks to steps ``[V, 2]`` of vertices: as smooth over the mesh as the landmarks
    allow. Parts that carry no landmark (teeth, tongue, eyeballs) stay."""
    triangles = template.triangles.numpy()
    count = len(template.mean)
    starts, ends = (np.concatenate([triangles[:, [a, b]] for a, b in ((0, 1), (1, 2), (2, 0))]).T)
    edges = coo_matrix((np.ones(len(starts)), (starts, ends)), (count, count)).tocsc()
    edges = ((edges + edges.T) > 0).astype(np.float64)
    smoothness = diags(np.asarray(edges.sum(1)).ravel()) - edges
    corners = triangles[template.landmark_triangle[:SKIN_LANDMARKS].numpy()]
    weights = template.landmark_barycentric[:SKIN_LANDMARKS].double().numpy()
    rows = np.repeat(np.arange(SKIN_LANDMARKS), 3)
    landmarks: csc_matrix = coo_matrix((weights.ravel(), (rows, corners.ravel())), (SKIN_LANDMARKS, count)).tocsc()
    solve = factorized((smoothness + FIRMNESS * landmarks.T @ landmarks + 1e-6 * diags(np.ones(count))).tocsc())

    def spread(residual: Tensor) -> Tensor:
        right: NDArray[np.float64] = FIRMNESS * (landmarks.T @ residual.double().numpy())
        return torch.from_numpy(np.stack([solve(right[:, axis]) for axis in range(2)], 1)).float()

    return spread
