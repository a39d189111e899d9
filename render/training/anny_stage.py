"""The picture of a posed Anny person: everything opaque by the rasteriser, hair as ordered layers with holes, soft light.

Light is a sky of `SKY` directions, of which each vertex sees some (so that chins, collars and mouths lie in shadow), a key
lamp with a soft shadow map, and a fill lamp. Colours are linear until `develop` makes a photograph of them. Pictures are drawn
twice as large and averaged.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from render.rasterize import rasterize
from render.training.anny_looks import HOLED, Look, Samples, shade
from render.training.anny_people import AnnyPerson, Stuff
from render.training.stage import Camera, _tensor, vertex_normals

FINE = 2  # samples per pixel and axis
SKY, SKY_SIZE, SHADOW_SIZE = 12, 160, 512
SKY_BIAS, SHADOW_BIAS = 0.012, 0.008  # metres
REGION = 0.62  # metres around the chest that shadow maps hold
BOXES = (2, 4, 8, 16, 32, 64, 128, 256)


@dataclass(frozen=True)
class SoftLight:
    """sky: directions ``[K, 3]`` and radiance ``[K, 3]``; lamps: directions ``[2, 3]`` (key, fill) and colours ``[2, 3]``,
    linear; gain ``[3]``: exposure and white balance of the camera; contrast: of its curve; noise: at mid grey; blur: px."""

    sky: Tensor
    radiance: Tensor
    lamps: Tensor
    colour: Tensor
    gain: Tensor
    contrast: float
    noise: float
    blur: float


def sample_soft_light(rng: np.random.Generator) -> SoftLight:
    """A room or the open air: brighter from above and from one side; a key lamp from the front half, a weak fill."""
    golden = np.pi * (3 - np.sqrt(5))
    height = 1 - (np.arange(SKY) + 0.5) * 2 / SKY
    around = np.arange(SKY) * golden + rng.uniform(0, 2 * np.pi)
    ring = np.sqrt(1 - height**2)
    sky = np.stack([ring * np.sin(around), height, ring * np.cos(around)], axis=1)
    side = rng.normal(0, 1, 3) * np.array([1, 0.3, 0.8])
    side /= np.linalg.norm(side)
    up, tilt = rng.uniform(0.1, 0.6), rng.uniform(0, 0.6)
    level = (1 + up * sky[:, 1] + tilt * (sky @ side)).clip(0.15, None) * rng.uniform(0.35, 0.8)
    tint = rng.normal(0, 0.04, (2, 1)) * np.array([1, 0.1, -1])
    radiance = level[:, None] * (1 + np.where(sky[:, 1:2] > 0, tint[0], tint[1] + np.array([0.05, 0.0, -0.05])))
    lamps = rng.normal(0, 1, (2, 3)) * np.array([0.8, 0.35, 0.3]) + np.array([0, 0.55, 1.0])
    lamps /= np.linalg.norm(lamps, axis=1, keepdims=True)
    key = rng.uniform(0.25, 1.25)
    warmth = rng.normal(0, 0.07, (2, 1)) * np.array([1, 0.2, -1])
    colour = np.array([[key], [key * rng.uniform(0, 0.35)]]) * (1 + warmth)
    exposure = rng.uniform(0.85, 1.2) / (0.62 * level.mean() + 0.55 * key + 0.2)
    gain = exposure * (1 + rng.normal(0, 0.02, 3))
    return SoftLight(_tensor(sky), _tensor(radiance), _tensor(lamps), _tensor(colour), _tensor(gain),
                     contrast=rng.uniform(0.0, 0.5), noise=rng.uniform(0.002, 0.012), blur=rng.uniform(0.25, 0.6))


def picture(person: AnnyPerson, look: Look, vertices: Tensor, camera: Camera, light: SoftLight,
            size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Colour ``[3, H, W]`` (premultiplied by alpha, developed) and alpha ``[1, H, W]``."""
    H, W = size[0] * FINE, size[1] * FINE
    normals = vertex_normals(vertices, person)
    centre = vertices[person.torso].mean(0) + vertices.new_tensor([0, 0.22, 0.0])
    strands = _strands(person, vertices, normals)
    per_vertex = torch.cat([_sky_light(person, vertices, normals, light, centre), normals, strands], 1)
    shadow = _ShadowMap(person, vertices, light.lamps[0], centre)
    screen = camera.project(vertices) * vertices.new_tensor([FINE, FINE, 1, 1])
    holed = HOLED[person.stuff]
    eye = torch.from_numpy(camera.position).float()

    def colours(triangle: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        samples = _samples(person, vertices, per_vertex, triangle, weight, eye)
        lit = shadow.lit(samples.place, samples.normal)
        return shade(person, look, samples, light.lamps, light.colour, lit)

    solid = (~holed).nonzero().squeeze(1)
    fragments = rasterize(screen[None], person.triangles[solid], (H, W), cull=False)
    pixel = fragments.mask.flatten().nonzero().squeeze(1)
    winner = solid[fragments.triangle.flatten()[pixel]]
    image = torch.zeros(H * W, 4)
    image[pixel, :3] = colours(winner, fragments.barycentric.view(-1, 3)[pixel])[0]
    image[pixel, 3] = 1
    cards = holed.nonzero().squeeze(1)
    if len(cards):
        where, triangle, weight, depth = every_layer(screen, person.triangles, cards, (H, W), fragments.depth.flatten())
        colour, alpha = colours(triangle, weight)
        image = _over(image, where, depth, colour, alpha)
    colour = develop(image[:, :3], image[:, 3:], light).t().reshape(1, 3, H, W)
    alpha = image[:, 3].view(1, 1, H, W)
    return F.avg_pool2d(colour, FINE)[0], F.avg_pool2d(alpha, FINE)[0]


def develop(colour: Tensor, alpha: Tensor, light: SoftLight) -> Tensor:
    """Linear premultiplied colours ``[P, 3]`` to a camera's, in [0, 1], premultiplied."""
    bare = colour / alpha.clamp_min(1e-3) * light.gain
    bare = bare / (1 + 0.25 * bare.clamp_min(0)) * 1.18  # a soft shoulder
    value = bare.clamp(0, 1).pow(1 / 2.2)
    curved = value * value * (3 - 2 * value)
    return (value + (curved - value) * light.contrast) * alpha


def expose(rgb: Tensor, light: SoftLight, rng: np.random.Generator) -> Tensor:
    """The sensor: a little blur and noise on a whole picture ``[3, H, W]``."""
    reach = torch.arange(-2, 3).float()
    kernel = torch.exp(-reach.square() / (2 * light.blur**2))
    kernel = kernel / kernel.sum()
    padded = F.pad(rgb[:, None], (2, 2, 2, 2), mode="replicate")
    soft = F.conv2d(F.conv2d(padded, kernel.view(1, 1, 1, 5)), kernel.view(1, 1, 5, 1))[:, 0]
    grain = torch.from_numpy(rng.normal(0, light.noise, tuple(rgb.shape)).astype(np.float32))
    grain = grain * 0.6 + grain.mean(0, keepdim=True) * 0.8
    return (soft + grain * (0.5 + soft)).clamp(0, 1)


def _samples(person: AnnyPerson, vertices: Tensor, per_vertex: Tensor, triangle: Tensor, weight: Tensor,
             eye: Tensor) -> Samples:
    """What shading needs at points of triangles: ``triangle [P]``, ``weight [P, 3]``."""
    table = torch.cat([vertices, per_vertex, person.uv, person.canonical, person.painted], 1)
    mixed = F.embedding_bag(person.triangles[triangle], table, per_sample_weights=weight, mode="sum")  # the weighted sum
    place, sky, normal, strand, uv, rest, painted = mixed.split([3, 3, 3, 3, 2, 3, person.painted.shape[1]], 1)
    view = F.normalize(eye - place, dim=1)
    normal = F.normalize(normal, dim=1)
    facing = (normal * view).sum(1, keepdim=True)
    a, b, c = vertices[person.triangles].unbind(1)
    away = (torch.linalg.cross(b - a, c - a)[triangle] * view).sum(1, keepdim=True) < 0
    normal = torch.where(away & (facing < 0), -normal, normal)
    return Samples(triangle, place, normal, view, sky, strand, uv, rest, painted)


def _strands(person: AnnyPerson, vertices: Tensor, normals: Tensor) -> Tensor:
    """Along the hair ``[V, 3]``: away from the crown, on the surface."""
    eyes = person.triangles[person.stuff == Stuff.EYE].unique()
    away = vertices - vertices[eyes].mean(0) - torch.from_numpy(person.marks.crown)
    return F.normalize(away - (away * normals).sum(1, keepdim=True) * normals, dim=1)


def _basis(direction: Tensor) -> Tensor:
    """Rotation ``[3, 3]`` whose third row is `direction`."""
    helper = direction.new_tensor([0.0, 1.0, 0.0]) if abs(float(direction[1])) < 0.9 else direction.new_tensor([1.0, 0, 0])
    x = F.normalize(torch.linalg.cross(helper, direction), dim=0)
    return torch.stack([x, torch.linalg.cross(direction, x), direction])


def _depths(person: AnnyPerson, vertices: Tensor, direction: Tensor, centre: Tensor, size: int,
            triangles: Tensor) -> tuple[Tensor, Tensor]:
    """Depth map ``[size, size]`` seen from a direction, and all vertices in it ``[V, 3]`` (px, px, metres)."""
    local = (vertices - centre) @ _basis(direction).t()
    scale = size / (2 * REGION)
    seen = torch.stack([size / 2 + local[:, 0] * scale, size / 2 - local[:, 1] * scale, local[:, 2]], 1)
    return rasterize(seen[None], triangles, (size, size), cull=False).depth[0], seen


def _sky_light(person: AnnyPerson, vertices: Tensor, normals: Tensor, light: SoftLight, centre: Tensor) -> Tensor:
    """``[V, 3]``: what each vertex gets from that part of the sky that it sees."""
    total = torch.zeros_like(vertices)
    for direction, radiance in zip(light.sky, light.radiance):
        depth, seen = _depths(person, vertices + normals * 0.004, direction, centre, SKY_SIZE, person.casters)
        column, row = seen[:, 0].long().clamp(0, SKY_SIZE - 1), seen[:, 1].long().clamp(0, SKY_SIZE - 1)
        open_ = ((depth[row, column] - seen[:, 2] - SKY_BIAS) / 0.02).clamp(0, 1)
        facing = (normals @ direction).clamp_min(0)
        total += ((1 - open_) * (facing * 0.9 + 0.1))[:, None] * radiance
    return total * (4 / SKY)


class _ShadowMap:
    """Where a lamp's light falls: softly, for its edge is some centimetres wide."""

    def __init__(self, person: AnnyPerson, vertices: Tensor, direction: Tensor, centre: Tensor) -> None:
        self.basis, self.centre = _basis(direction), centre
        self.depth, _ = _depths(person, vertices, direction, centre, SHADOW_SIZE, person.casters)

    def lit(self, place: Tensor, normal: Tensor) -> Tensor:
        """``[P, 1]`` in [0, 1]."""
        local = (place + normal * 0.005 - self.centre) @ self.basis.t()
        scale = SHADOW_SIZE / (2 * REGION)
        x, y = SHADOW_SIZE / 2 + local[:, 0] * scale, SHADOW_SIZE / 2 - local[:, 1] * scale
        total = torch.zeros(len(place))
        taps = ((0, 0), (2, 1), (-1, 2), (-2, -1), (1, -2), (4, -3), (3, 4), (-4, 3), (-3, -4))
        for dx, dy in taps:
            column, row = (x + dx).long().clamp(0, SHADOW_SIZE - 1), (y + dy).long().clamp(0, SHADOW_SIZE - 1)
            total += 1 - ((self.depth[row, column] - local[:, 2] - SHADOW_BIAS) / 0.01).clamp(0, 1)
        return (total / len(taps))[:, None]


def every_layer(screen: Tensor, triangles: Tensor, chosen: Tensor, size: tuple[int, int], solid: Tensor
                ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """All places where the chosen triangles cover a pixel's centre before `solid` depth ``[H·W]``, from both sides.

    Returns:
        pixel ``[P]``, triangle ``[P]``, weights of its corners ``[P, 3]``, depth ``[P]``; screen is ``[V, 4]`` as
        `Camera.project`'s.
    """
    H, W = size
    corner = screen[triangles[chosen]]  # [N, 3, 4]
    low = (corner[..., :2].amin(1) - 0.5).ceil().clamp_min(0)
    high = torch.minimum((corner[..., :2].amax(1) - 0.5).floor(), corner.new_tensor([W - 1, H - 1]))
    extent = (high - low).amax(1) + 1
    valid = (high >= low).all(1) & (corner[..., 3] > 0).all(1)
    found: list[tuple[Tensor, ...]] = []
    smallest = 0
    for box in BOXES:
        group = (valid & (extent > smallest) & (extent <= box)).nonzero().squeeze(1)
        smallest = box
        for part in group.split(max(1, (1 << 21) // (box * box))):
            found.append(_covered(corner[part], low[part], part, box, size, solid))
    pixel, local, weight, depth = (torch.cat(columns) for columns in zip(*found))
    return pixel, chosen[local], weight, depth


def _covered(corner: Tensor, low: Tensor, rows: Tensor, box: int, size: tuple[int, int], solid: Tensor) -> tuple[Tensor, ...]:
    H, W = size
    step = torch.arange(box)
    x = (low[:, :1] + step)[:, None, :].expand(-1, box, -1)
    y = (low[:, 1:] + step)[:, :, None].expand(-1, -1, box)
    px, py = x + 0.5, y + 0.5
    (ax, ay), (bx, by), (cx, cy) = (corner[:, k, :2, None, None].unbind(1) for k in range(3))
    u = (bx - px) * (cy - py) - (by - py) * (cx - px)
    v = (cx - px) * (ay - py) - (cy - py) * (ax - px)
    w = (ax - px) * (by - py) - (ay - py) * (bx - px)
    inside = (((u >= 0) & (v >= 0) & (w >= 0)) | ((u <= 0) & (v <= 0) & (w <= 0))) & (x < W) & (y < H) & (u + v + w != 0)
    n, r, c = inside.nonzero().unbind(1)
    weight = torch.stack([u[n, r, c], v[n, r, c], w[n, r, c]], 1) / corner[n, :, 3]
    weight = weight / weight.sum(1, keepdim=True)
    depth = (weight * corner[n, :, 2]).sum(1)
    pixel = (y[n, r, c] * W + x[n, r, c]).long()
    shown = depth > solid[pixel]
    return pixel[shown], rows[n[shown]], weight[shown], depth[shown]


def _over(image: Tensor, pixel: Tensor, depth: Tensor, colour: Tensor, alpha: Tensor) -> Tensor:
    """Layers ``[P]`` laid over ``[H·W, 4]`` premultiplied, farthest first."""
    order = depth.argsort()
    order = order[pixel[order].argsort(stable=True)]
    pixel, colour, alpha = pixel[order], colour[order], alpha[order]
    first = torch.ones_like(pixel, dtype=torch.bool)
    first[1:] = pixel[1:] != pixel[:-1]
    start = first.nonzero().squeeze(1)
    rank = torch.arange(len(pixel)) - start[first.cumsum(0) - 1]
    layer = torch.cat([colour * alpha, alpha], 1)
    for number in range(int(rank.max()) + 1 if len(rank) else 0):
        own = (rank == number).nonzero().squeeze(1)
        image[pixel[own]] = layer[own] + image[pixel[own]] * (1 - alpha[own])
    return image
