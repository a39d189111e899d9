"""Where what is painted on an Anny person: masks per vertex, from the shape of face and hair."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import dijkstra
from scipy.spatial import cKDTree
from torch import Tensor

if TYPE_CHECKING:
    from render.training.anny_people import AnnyPerson

Floats = NDArray[np.float32]
CROWN = np.array([0.0, 0.9, -1.3])  # distances of the eyes from their middle
FRINGE = 0.012  # metres over which hair thins towards its edge
SCALP_REACH = 0.02  # metres from hair at which the skin beneath is still a scalp
# Base-mesh vertices: teeth (centre of the mouth), eyeballs.
TEETH = slice(14992, 15128)


@dataclass(frozen=True)
class Marks:
    """Per vertex ``[V]`` in [0, 1]: scalp (hair grows), beard, flush (cheeks, nose, ears), shade (under the eyes), mouth
    (its inside); fringe: 0 at the edge of a hair mesh, 1 far inside.

    strand ``[V]``: across the strands, rad about the crown; eye ``[V, 3]``: direction from the eyeball's centre, +Z where it
    looks; crown ``[3]``: where hair grows from, metres from the middle of the eyes
    """

    scalp: Floats
    beard: Floats
    flush: Floats
    shade: Floats
    mouth: Floats
    fringe: Floats
    strand: Floats
    eye: Floats
    crown: Floats

    def stacked(self) -> Tensor:
        """``[V, 10]``: scalp, beard, flush, shade, mouth, fringe, across the strands, eye (3)."""
        columns = [self.scalp, self.beard, self.flush, self.shade, self.mouth, self.fringe, self.strand]
        return torch.from_numpy(np.concatenate([np.stack(columns, 1), self.eye], 1))


def mark(person: AnnyPerson) -> Marks:
    """All masks of a person at rest."""
    from render.training.anny_people import Stuff

    place = person.vertices.numpy().astype(np.float64)
    stuff = person.stuff.numpy()
    triangles = person.triangles.numpy()
    base = person.base
    eye, centres = _eyes(place, triangles, stuff == Stuff.EYE)
    teeth = base[TEETH].mean(0)
    left, right = centres
    middle, apart = (left + right) / 2, float(np.linalg.norm(left - right))
    head = person.skin.numpy()[:, [person.bones.index(bone) for bone in ("Head", "Jaw", "Neck2")]].sum(1)
    is_skin = np.zeros(len(place), dtype=bool)
    is_skin[np.unique(triangles[stuff == Stuff.SKIN])] = True
    x, y, z = ((place - middle) / apart).T  # in units of the distance of the eyes
    mouth_y = float((teeth[1] - middle[1]) / apart)
    low = _rise(-y, 0.62, 0.85) * _rise(z, -0.75, -0.35) * head
    lips_z = float((teeth[2] - middle[2]) / apart)
    under_chin = _rise(-y, -mouth_y + 1.3, -mouth_y + 0.9)
    beard = low * under_chin * _rise(z, lips_z - 1.6, lips_z - 1.2)
    cheeks = _bump(np.abs(x) - 0.62, y + 0.72, z, 0.42)
    nose = _bump(x, y + 0.72, z - 0.45, 0.3)
    flush = (cheeks * 0.8 + nose * 0.7 + _bump(np.abs(x) - 1.15, y + 0.3, z + 1.2, 0.4) * 0.6).clip(0, 1) * head
    shade = _bump(np.abs(x) - 0.5, y + 0.22, z - 0.2, 0.2) * head
    inner = np.zeros(len(person.unsplit), dtype=np.float32)
    near = (np.abs(base - teeth) < np.array([0.04, 0.035, 0.07])).all(1)
    inner[:len(base)][person.body.inner & near] = 1
    fringe, strand, scalp = _hair(person, place, middle, apart, head * is_skin)
    return Marks(*(array.astype(np.float32) for array in (
        scalp, beard, flush, shade, inner[person.source], fringe, strand, eye, CROWN * apart)))


def _rise(value: NDArray[np.float64], start: float, end: float) -> NDArray[np.float64]:
    """0 before `start`, 1 after `end`, smooth between."""
    t = ((value - start) / (end - start)).clip(0, 1)
    return t * t * (3 - 2 * t)


def _bump(x: NDArray[np.float64], y: NDArray[np.float64], z: NDArray[np.float64], size: float) -> NDArray[np.float64]:
    return np.exp(-(x * x + y * y + z * z * 0.5) / (2 * size * size))


def _eyes(place: NDArray[np.float64], triangles: NDArray[np.int64], is_eye: NDArray[np.bool_]
          ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Direction from the eyeball's centre ``[V, 3]`` and the centres (left, right) ``[2, 3]``."""
    rows = np.unique(triangles[is_eye])
    direction = np.zeros_like(place)
    centres = []
    for side in (1, -1):
        own = rows[place[rows, 0] * side > 0]
        centre = (place[own].min(0) + place[own].max(0)) / 2
        direction[own] = place[own] - centre
        direction[own] /= np.linalg.norm(direction[own], axis=1, keepdims=True).clip(1e-9)
        centres.append(centre)
    return direction, np.array(centres)


def _hair(person: AnnyPerson, place: NDArray[np.float64], middle: NDArray[np.float64], apart: float,
          on_head: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """fringe, strand and scalp of `Marks`."""
    from render.training.anny_people import Stuff

    stuff, triangles = person.stuff.numpy(), person.triangles.numpy()
    fringe = np.full(len(place), 1.0)
    crown = middle + CROWN * apart
    offset = place - crown
    strand = np.arctan2(offset[:, 0], offset[:, 2])
    for kind in (Stuff.HAIR, Stuff.BROW, Stuff.LASH):
        own = triangles[stuff == kind]
        if len(own):
            away = _from_edge(person.source[own], person.unsplit)
            rows = np.unique(own)
            fringe[rows] = _inside(away[person.source[rows]], person.source[rows], person)
    hair = np.unique(triangles[stuff == Stuff.HAIR])
    x, y, z = ((place - middle) / apart).T
    hairline = _rise(y - 0.95 + 0.9 * (z + 0.2).clip(None, 0) + np.abs(x) * 0.25, 0.0, 0.25) * _rise(-z, -0.6, -0.2)
    scalp = hairline * on_head
    if len(hair):
        near = cKDTree(place[hair]).query(place)[0]
        skin = np.flatnonzero(on_head > 0.5)
        beneath = skin[cKDTree(place[skin]).query(place[hair])[1]]
        fringe[hair] = np.maximum(fringe[hair], _rise(scalp[beneath], 0.35, 0.8))  # over the scalp hair has no holes
        scalp = scalp * _rise(SCALP_REACH * 2 - near, 0.0, SCALP_REACH)
    return fringe, strand, scalp


def _inside(distance: NDArray[np.float64], source: NDArray[np.int64], person: AnnyPerson) -> NDArray[np.float64]:
    """0 at the edge to 1: after `FRINGE`, in narrow locks sooner."""
    group = np.zeros(len(person.unsplit), dtype=np.int64)
    for number, worn in enumerate(person.worn):
        if worn.garment is not None:
            group[worn.rows] = worn.garment.group + 1000 * number
    piece, row = np.unique(group[source], return_inverse=True)
    widest = np.zeros(len(piece))
    np.maximum.at(widest, row, distance)
    return (distance / np.minimum(FRINGE, 0.6 * widest).clip(1e-5)[row]).clip(0, 1)


def _from_edge(triangles: NDArray[np.int64], place: NDArray[np.float64]) -> NDArray[np.float64]:
    """How far each vertex is, along the surface, from an edge that only one triangle has: ``[N]`` metres."""
    edges = np.sort(np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]]), axis=1)
    unique, count = np.unique(edges, axis=0, return_counts=True)
    length = np.linalg.norm(place[unique[:, 0]] - place[unique[:, 1]], axis=1) + 1e-6
    graph = coo_matrix((length, (unique[:, 0], unique[:, 1])), shape=(len(place), len(place))).tocsr()
    rim = np.unique(unique[count == 1])
    if not len(rim):
        return np.full(len(place), 1.0)
    return np.minimum(dijkstra(graph, directed=False, indices=rim, min_only=True), 1.0)
