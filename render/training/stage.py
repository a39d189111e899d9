"""Camera, light and background of the visual performer, and the shaded, anti-aliased picture of a posed person."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from render.rasterize import Fragments, interpolate, rasterize
from render.training.rocketbox import Area, Person

FAR = -100.0  # metres; depth of the background
OUTLINE_JUMP = 0.02  # metres between neighbouring pixels
MOUTH_SHADE = 0.7  # light that gets between the lips
# Colours of what stands behind people: sixteen means of the backgrounds of synthetic portraits.
PALETTE = np.array([
    [0.78, 0.79, 0.79], [0.22, 0.23, 0.21], [0.64, 0.62, 0.57], [0.16, 0.17, 0.16], [0.72, 0.7, 0.66],
    [0.31, 0.28, 0.25], [0.43, 0.47, 0.46], [0.55, 0.54, 0.5], [0.26, 0.35, 0.35], [0.42, 0.38, 0.3],
    [0.53, 0.67, 0.69], [0.93, 0.95, 0.94], [0.04, 0.04, 0.05], [0.7, 0.59, 0.42], [0.83, 0.7, 0.53], [0.61, 0.4, 0.07],
], dtype=np.float32)


@dataclass
class Camera:
    """Pinhole: ``rotation [3, 3]`` world to camera (+X right, +Y up, +Z towards the viewer), ``position [3]`` metres,
    ``focal`` px, ``centre [2]`` px."""

    rotation: np.ndarray
    position: np.ndarray
    focal: float
    centre: np.ndarray

    def view(self, points: Tensor) -> Tensor:
        """World ``[N, 3]`` metres to camera axes, metres."""
        return (points - _tensor(self.position)) @ _tensor(self.rotation).t()

    def project(self, points: Tensor) -> Tensor:
        """World ``[N, 3]`` to ``[N, 4]``: x px, y px, depth (larger is nearer), distance in front of the camera."""
        x, y, z = self.view(points).unbind(1)
        w = -z
        return torch.stack([self.centre[0] + self.focal * x / w, self.centre[1] - self.focal * y / w, z, w], dim=1)


@dataclass
class Light:
    """Ambient plus two lamps: ``direction [L, 3]`` towards the lamp, ``colour [L, 3]``; ``ambient [3]``."""

    direction: Tensor
    colour: Tensor
    ambient: Tensor

    def shade(self, normals: Tensor) -> Tensor:
        """Unit normals ``[V, 3]`` to light ``[V, 3]``; wrapped, for skin scatters light round its edges."""
        wrapped = (normals @ self.direction.t() * 0.7 + 0.3).clamp_min(0)
        return self.ambient + wrapped @ self.colour


def sample_camera(rng: np.random.Generator, person: Person, size: tuple[int, int]) -> Camera:
    """Half body for an upright picture, head and shoulders for a square one; a little above or below, from the side."""
    H, W = size
    top = float(person.vertices[:, 1].max())
    belly, chest = person.head["Spine"][1], person.head["Spine2"][1]
    low = rng.uniform(belly - 0.08, belly + 0.15) if H > W else rng.uniform(chest - 0.05, chest + 0.12)
    margin = rng.uniform(0.06, 0.2) * (top - low)
    height = top + margin - low
    distance = rng.uniform(1.3, 3.5) * (height / 0.9) ** 0.5
    yaw, pitch, roll = rng.normal(0, 1, 3) * np.array([0.16, 0.06, 0.02])
    aim = np.array([rng.normal(0, 0.03), low + height / 2, 0.03])
    rotation = _turn(2, roll) @ _turn(0, pitch) @ _turn(1, -yaw)
    return Camera(rotation, aim + rotation.T @ np.array([0, 0, distance]), H * distance / height,
                  np.array([W / 2, H / 2]))


def sample_light(rng: np.random.Generator) -> Light:
    """A key lamp from the front half, a weaker fill; warm or cool."""
    direction = rng.normal(0, 1, (2, 3)) * np.array([1, 0.6, 0.5]) + np.array([0, 0.5, 1.0])
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    key = rng.uniform(0.2, 0.75)
    warmth = rng.normal(0, 0.05, (2, 1)) * np.array([1, 0.2, -1])
    colour = np.array([[key], [key * rng.uniform(0, 0.4)]]) * (1 + warmth)
    ambient = rng.uniform(0.4, 0.7) * (1 + rng.normal(0, 0.02, 3))
    return Light(_tensor(direction), _tensor(colour), _tensor(ambient))


def sample_background(rng: np.random.Generator, size: tuple[int, int]) -> Tensor:
    """``[3, H, W]``: two or three colours flowing into each other, some out-of-focus shapes, a little grain."""
    H, W = size
    colours = (PALETTE[rng.integers(0, len(PALETTE), 3)] + rng.normal(0, 0.03, (3, 3))).clip(0, 1)
    weights = _noise(rng, size, int(rng.integers(2, 5)))
    picture = _tensor(colours[0])[:, None, None] * (1 - weights) + _tensor(colours[1])[:, None, None] * weights
    for _ in range(int(rng.integers(0, 6))):
        picture = _add_shape(rng, picture, colours)
    blur = int(rng.choice([1, 5, 11, 21]))
    if blur > 1:
        coarse = (max(2, H // blur), max(2, W // blur))
        small = torch.nn.functional.interpolate(picture[None], size=coarse, mode="area")
        picture = torch.nn.functional.interpolate(small, size=size, mode="bicubic")[0]
    grain = _tensor(rng.normal(0, rng.uniform(0, 0.012), (1, H, W)))
    return (picture + grain).clamp(0, 1)


def _add_shape(rng: np.random.Generator, picture: Tensor, colours: np.ndarray) -> Tensor:
    """A half-transparent rectangle or disc: window, door, lamp, plant."""
    _, H, W = picture.shape
    y, x = torch.meshgrid(torch.linspace(0, 1, H), torch.linspace(0, 1, W), indexing="ij")
    cx, cy, half_x, half_y = rng.uniform(0, 1), rng.uniform(0, 1), rng.uniform(0.03, 0.4), rng.uniform(0.03, 0.6)
    dx, dy = (x - cx) / half_x, (y - cy) / half_y
    inside = (dx.square() + dy.square() < 1) if rng.random() < 0.3 else torch.maximum(dx.abs(), dy.abs()) < 1
    colour = (colours[rng.integers(0, 3)] + rng.normal(0, 0.1) + rng.normal(0, 0.03, 3)).clip(0, 1)
    mixed = picture + (_tensor(colour)[:, None, None] - picture) * float(rng.uniform(0.3, 1))
    return torch.where(inside, mixed, picture)


def _noise(rng: np.random.Generator, size: tuple[int, int], cells: int) -> Tensor:
    """``[1, H, W]`` smooth noise in [0, 1]."""
    coarse = _tensor(rng.uniform(0, 1, (1, 1, cells + 1, cells)))
    return torch.nn.functional.interpolate(coarse, size=size, mode="bicubic", align_corners=True)[0].clamp(0, 1)


def render(
    person: Person, vertices: Tensor, camera: Camera, light: Light, fragments: Fragments
) -> tuple[Tensor, Tensor]:
    """Picture of a posed person: colour ``[3, H, W]`` (premultiplied by alpha) and alpha ``[1, H, W]``.

    `fragments` is `label`'s. Pixels inside a surface are shaded once; those on an outline, four times.
    """
    screen = camera.project(vertices)
    attributes = torch.cat([person.uv, light.shade(vertex_normals(vertices, person))], dim=1)
    level = _level(person, screen)
    image = _shade(person, fragments, attributes, level)[0]
    row, column = _outlines(fragments.depth[0]).nonzero().unbind(1)
    fine = _subsamples(person, screen, fragments, row, column)
    image[:, row, column] = _shade(person, fine, attributes, level)[0].mean(dim=1)
    return image[:3], image[3:]


def _shade(person: Person, fragments: Fragments, attributes: Tensor, level: list[int]) -> Tensor:
    """``[B, 4, H, W]`` colour and alpha; attributes ``[V, 5]``: texture coordinates and light."""
    B, H, W = fragments.triangle.shape
    values = interpolate(fragments, person.triangles, attributes[None])
    pixel = fragments.mask.flatten().nonzero().squeeze(1)
    triangle = fragments.triangle.flatten().index_select(0, pixel)
    u, v, *shade = (plane.reshape(-1).index_select(0, pixel) for plane in values.unbind(1))
    area = person.area.index_select(0, triangle)
    dim = torch.where(area == Area.MOUTH, MOUTH_SHADE, 1.0)
    colour = _texture(person, torch.stack([u, v]), person.material.index_select(0, triangle), level)
    image = torch.zeros(4, B * H * W)
    image[:3].index_copy_(1, pixel, (colour * torch.stack(shade) * dim).clamp_(0, 1))
    image[3].index_fill_(0, pixel, 1.0)
    return image.view(4, B, H, W).transpose(0, 1)


def _outlines(depth: Tensor) -> Tensor:
    """``[H, W]`` bool: pixels beside which the depth jumps, or the background begins."""
    depth = depth.clamp_min(FAR)[None, None]
    jump = torch.nn.functional.max_pool2d(depth, 3, 1, 1) + torch.nn.functional.max_pool2d(-depth, 3, 1, 1)
    return jump[0, 0] > OUTLINE_JUMP


def _subsamples(person: Person, screen: Tensor, fragments: Fragments, row: Tensor, column: Tensor) -> Fragments:
    """Four samples in each of N pixels, as fragments ``[1, 4, N]``.

    Only the triangles that win one of the nine pixels around are tried: exact but for triangles that show in none.
    """
    padded = torch.nn.functional.pad(fragments.triangle[0], (1, 1, 1, 1), value=-1)
    near = torch.stack([padded[row + dy, column + dx] for dy in range(3) for dx in range(3)])  # [9, N]
    x, y, z, w = screen[person.triangles[near.clamp_min(0)]].unbind(-1)  # [9, N, 3]
    x, y = x - (column + 0.5)[:, None], y - (row + 0.5)[:, None]
    triangles, weights = [], []
    for dx, dy in ((-0.25, -0.25), (0.25, -0.25), (-0.25, 0.25), (0.25, 0.25)):
        px, py = x - dx, y - dy
        weight = px.roll(-1, -1) * py.roll(-2, -1) - px.roll(-2, -1) * py.roll(-1, -1)
        inside = (weight <= 0).all(dim=-1) & (near >= 0)  # y points down: facing triangles wind negatively
        weight = weight / w
        total = weight.sum(-1)
        distance = torch.where(inside, (weight * w).sum(-1) / total, torch.inf)
        best = distance.argmin(dim=0, keepdim=True)
        found = inside.any(dim=0)
        triangles.append(torch.where(found, near.gather(0, best)[0], -1))
        weight = (weight / total[..., None]).gather(0, best[..., None].expand(-1, -1, 3))[0]
        weights.append(torch.where(found[:, None], weight, 0.0))
    triangle = torch.stack(triangles)
    # A sample between triangles (none of the nine holds it) inside a surface repeats the pixel's centre.
    own = fragments.triangle[0, row, column]
    gap = (triangle < 0) & (near >= 0).all(dim=0)
    triangle = torch.where(gap, own, triangle)
    weight = torch.where(gap[..., None], fragments.barycentric[0, row, column], torch.stack(weights))
    return Fragments(triangle[None], weight[None], torch.zeros(1, *triangle.shape))


def vertex_normals(vertices: Tensor, person: Person) -> Tensor:
    """Unit normals ``[V, 3]``, smooth across texture seams."""
    a, b, c = vertices[person.triangles].unbind(1)
    normal = torch.linalg.cross(b - a, c - a).repeat_interleave(3, dim=0)
    total = torch.zeros_like(vertices).index_add_(0, person.welded[person.triangles.flatten()], normal)
    return torch.nn.functional.normalize(total[person.welded], dim=1)


def _level(person: Person, screen: Tensor) -> list[int]:
    """For each material the texture size whose texels are about as large as the pixels."""
    corner, uv = screen[person.triangles], person.uv[person.triangles]
    levels = []
    for material, pyramid in enumerate(person.textures):
        own = person.material == material
        drawn, mapped = _area(corner[own, :, :2]).sum(), _area(uv[own]).sum()
        texels = float((mapped / drawn.clamp_min(1e-6)).sqrt()) * pyramid[0].shape[-1]
        levels.append(int(np.clip(round(np.log2(max(texels, 1.0))), 0, len(pyramid) - 1)))
    return levels


def _area(corner: Tensor) -> Tensor:
    u, v = corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0]
    return (u[:, 0] * v[:, 1] - u[:, 1] * v[:, 0]).abs()


def _texture(person: Person, uv: Tensor, material: Tensor, level: list[int]) -> Tensor:
    """Colours ``[3, P]`` at texture coordinates ``[2, P]``."""
    result = torch.zeros(3, uv.shape[1])
    for index, pyramid in enumerate(person.textures):
        own = (material == index).nonzero().squeeze(1)
        grid = (uv[:, own].t() * 2 - 1).view(1, 1, -1, 2)
        picture = pyramid[level[index]][None].float() / 255
        colour = torch.nn.functional.grid_sample(picture, grid, align_corners=False, padding_mode="border")
        result[:, own] = colour[0, :, 0]
    return result


def label(person: Person, vertices: Tensor, camera: Camera, size: tuple[int, int]) -> Fragments:
    """What is visible at each pixel's centre, for labels."""
    return rasterize(camera.project(vertices)[None], person.triangles, size)


def _turn(axis: int, angle: float) -> np.ndarray:
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[[1, 0, 0], [0, c, -s], [0, s, c]], [[c, 0, s], [0, 1, 0], [-s, 0, c]],
                     [[c, -s, 0], [s, c, 0], [0, 0, 1]]][axis])


def _tensor(array: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32))
