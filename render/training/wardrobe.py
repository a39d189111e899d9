"""MakeHuman's hair, clothes, brows, lashes and teeth (CC0): meshes bound to the base mesh, read from a zip given by path.

A thing is an ``.obj`` and an ``.mhclo`` of the same folder. The `.mhclo` binds each vertex to three vertices of the base mesh:
``v = w1·b1 + w2·b2 + w3·b3 + scale·offset``; ``scale`` makes offsets follow the person's size, axis by axis: the distance of
two vertices of the base mesh divided by their distance on the mesh that the thing was made on. Nothing of the zip ships.

Convention: base-mesh positions in the template's axes (+X to the person's left, +Y up, +Z to the front), any unit.
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

KINDS = ("hair", "clothes", "eyebrows", "eyelashes", "teeth")
BASE_VERTICES = 19158  # of MakeHuman's base mesh hm08

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Garment:
    """One thing to wear.

    anchors ``[V, 3]`` vertices of the base mesh, weights ``[V, 3]``, offset ``[V, 3]``; scale: per axis two vertices of the
    base mesh and their distance there; triangles ``[F, 3]`` and triangles_uv ``[F, 3]`` into uv ``[T, 2]`` (v up)
    hides ``[19158]`` bool: what of the skin lies under it; group ``[V]``: which connected piece a vertex belongs to
    """

    name: str
    tags: frozenset[str]
    anchors: Ints
    weights: Floats
    offset: Floats
    scale: tuple[tuple[int, int, float], ...]
    triangles: Ints
    triangles_uv: Ints
    uv: Floats
    hides: NDArray[np.bool_]
    group: Ints

    def worn(self, base: Floats) -> Floats:
        """Where its vertices are on a person whose base mesh is ``[19158, 3]``: ``[V, 3]``."""
        scale = np.array([abs(base[a, axis] - base[b, axis]) / length for axis, (a, b, length) in enumerate(self.scale)])
        return np.einsum("vk,vkc->vc", self.weights, base[self.anchors]) + self.offset * scale

    def blended(self, values: Floats) -> Floats:
        """Values of the base mesh ``[19158, C]`` at its vertices, without those weights that extrapolate: ``[V, C]``."""
        weights = self.weights.clip(0, None) + 1e-6
        weights = weights / weights.sum(1, keepdims=True)
        return np.einsum("vk,vkc->vc", weights, values[self.anchors])


class Wardrobe:
    """What a zip of MakeHuman assets holds, by kind (`KINDS`), sorted by name.

    Raises:
        ValueError: no such file, not a zip, nothing of a kind in it, or a thing that cannot be read.
    """

    def __init__(self, path: Path | str) -> None:
        try:
            with zipfile.ZipFile(path) as file:
                names = sorted(name for name in file.namelist() if name.endswith(".mhclo"))
                texts = {name: file.read(name).decode() for name in file.namelist() if name.endswith((".mhclo", ".obj"))}
        except (OSError, zipfile.BadZipFile, UnicodeDecodeError) as error:
            raise ValueError(f"{path} cannot be read as a zip of MakeHuman assets (.mhclo, .obj): {error}") from None
        self.things: dict[str, list[Garment]] = {kind: [] for kind in KINDS}
        for name in names:
            kind = next((part for part in PurePosixPath(name).parts if part in KINDS), None)
            if kind is not None:
                self.things[kind].append(_read(name, texts, str(path)))
        for kind, things in self.things.items():
            if not things:
                raise ValueError(f"{path} holds no {kind}; it needs folders {', '.join(KINDS)} with .mhclo and .obj files")

    def __getitem__(self, kind: str) -> list[Garment]:
        return self.things[kind]

    def named(self, kind: str, name: str) -> Garment:
        """The thing of that name."""
        return next(thing for thing in self.things[kind] if thing.name == name)


def _read(name: str, texts: dict[str, str], where: str) -> Garment:
    try:
        binding = parse_binding(texts[name])
        vertices, uv, triangles, triangles_uv = parse_obj(texts[str(PurePosixPath(name).with_name(binding.obj))])
        if len(vertices) != len(binding.anchors):
            raise ValueError(f"{len(vertices)} vertices, {len(binding.anchors)} bindings")
    except (KeyError, ValueError, IndexError) as error:
        raise ValueError(f"{name} in {where} cannot be read: {error}") from None
    return Garment(PurePosixPath(name).stem, binding.tags, binding.anchors, binding.weights, binding.offset, binding.scale,
                   triangles, triangles_uv, uv, binding.hides, pieces(len(vertices), triangles))


@dataclass(frozen=True)
class _Binding:
    obj: str
    tags: frozenset[str]
    scale: tuple[tuple[int, int, float], ...]
    anchors: Ints
    weights: Floats
    offset: Floats
    hides: NDArray[np.bool_]


def parse_binding(text: str) -> _Binding:
    """The text of an ``.mhclo``.

    Raises:
        ValueError: a number or a line that the format does not know, or no bindings.
        KeyError: no mesh or no scale is named.
    """
    words: dict[str, list[str]] = {}
    tags, rows = [], []
    hides = np.zeros(BASE_VERTICES, dtype=bool)
    section = ""
    for line in text.splitlines():
        fields = line.split()
        if not fields or fields[0].startswith("#"):
            continue
        if fields[0] in ("verts", "delete_verts"):
            section = fields[0]
        elif fields[0].lstrip("-")[0].isdigit():
            if section == "verts":
                rows.append(_row(fields))
            elif section == "delete_verts":
                _mark(hides, fields)
        elif fields[0] == "tag":
            tags.append(fields[1])
        else:
            words[fields[0]] = fields[1:]
    if not rows:
        raise ValueError("no bindings")
    table = np.array(rows)
    anchors = table[:, :3].astype(np.int64)
    if anchors.min() < 0 or anchors.max() >= BASE_VERTICES:
        raise ValueError(f"a vertex is bound beyond the base mesh's {BASE_VERTICES}")
    scale = tuple((int(words[key][0]), int(words[key][1]), float(words[key][2])) for key in ("x_scale", "y_scale", "z_scale"))
    return _Binding(words["obj_file"][0], frozenset(tags), scale, anchors, table[:, 3:6], table[:, 6:9], hides)


def _row(fields: list[str]) -> list[float]:
    """Nine numbers, or one vertex that is followed exactly."""
    numbers = [float(field) for field in fields]
    if len(numbers) == 1:
        return numbers * 3 + [1.0, 0.0, 0.0, 0.0, 0.0, 0.0]
    if len(numbers) < 9:
        raise ValueError(f"a binding of {len(numbers)} numbers, not 9")
    return numbers[:9]


def _mark(hides: NDArray[np.bool_], fields: list[str]) -> None:
    """``3 - 5 9``: vertices 3, 4, 5 and 9."""
    numbers = " ".join(fields).replace(" - ", "-").split()
    for item in numbers:
        first, _, last = item.partition("-")
        hides[int(first):int(last or first) + 1] = True


def parse_obj(text: str, group: str | None = None) -> tuple[Floats, Floats, Ints, Ints]:
    """Vertices ``[V, 3]``, texture coordinates ``[T, 2]``, triangles ``[F, 3]`` of both (fans of the polygons).

    Args:
        group: only faces of this group.

    Raises:
        ValueError: a face without texture coordinates, or no face.
    """
    vertices, uv = [], []
    corners: list[tuple[tuple[int, int], ...]] = []
    current = ""
    for line in text.splitlines():
        word, _, rest = line.partition(" ")
        if word == "v":
            vertices.append([float(x) for x in rest.split()[:3]])
        elif word == "vt":
            uv.append([float(x) for x in rest.split()[:2]])
        elif word == "g":
            current = rest.strip()
        elif word == "f" and group in (None, current):
            face = [(int(v), int(t)) for v, t in (corner.split("/")[:2] for corner in rest.split())]
            corners += [(face[0], face[k], face[k + 1]) for k in range(1, len(face) - 1)]
    if not corners:
        raise ValueError("no faces")
    table = np.array(corners, dtype=np.int64) - 1
    return np.array(vertices), np.array(uv), table[..., 0], table[..., 1]


def pieces(count: int, triangles: Ints) -> Ints:
    """``[count]``: the number of the connected piece that each vertex belongs to, the largest first."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    edges = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]]])
    graph = coo_matrix((np.ones(len(edges)), (edges[:, 0], edges[:, 1])), shape=(count, count))
    total, label = connected_components(graph, directed=False)
    order = np.argsort(-np.bincount(label, minlength=total), kind="stable")
    rank = np.empty(total, dtype=np.int64)
    rank[order] = np.arange(total)
    return rank[label]
