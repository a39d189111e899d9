"""Steps of a few landmarks spread over the head's mesh, as smooth over its triangles as the landmarks allow."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import coo_matrix, csc_matrix, diags
from scipy.sparse.linalg import factorized
from torch import Tensor

from motion.template.head import HeadTemplate


def harmonic(template: HeadTemplate, landmarks: Tensor, firmness: float) -> Callable[[Tensor], Tensor]:
    """From steps ``[N, C]`` of some of MediaPipe's landmarks ``[N]`` to steps ``[V, C]`` of vertices: along the mesh, so that
    lips and lids stay apart; parts that carry no landmark (teeth, tongue, eyeballs) stay.

    Args: firmness of the landmarks against the mesh's smoothness.
    """
    triangles, index = template.triangles.numpy(), landmarks.numpy()
    count, points = len(template.mean), len(index)
    starts, ends = (np.concatenate([triangles[:, [a, b]] for a, b in ((0, 1), (1, 2), (2, 0))]).T)
    edges = coo_matrix((np.ones(len(starts)), (starts, ends)), (count, count)).tocsc()
    edges = ((edges + edges.T) > 0).astype(np.float64)
    smoothness = diags(np.asarray(edges.sum(1)).ravel()) - edges
    corners = triangles[template.landmark_triangle.numpy()[index]]
    weights = template.landmark_barycentric.double().numpy()[index]
    rows = np.repeat(np.arange(points), 3)
    places: csc_matrix = coo_matrix((weights.ravel(), (rows, corners.ravel())), (points, count)).tocsc()
    solve = factorized((smoothness + firmness * places.T @ places + 1e-6 * diags(np.ones(count))).tocsc())

    def spread(steps: Tensor) -> Tensor:
        right: NDArray[np.float64] = firmness * (places.T @ steps.double().numpy())
        return torch.from_numpy(np.stack([solve(column) for column in right.T], 1)).float()

    return spread
