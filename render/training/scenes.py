"""Pairs of frames of one performer with exact labels, rendered on the fly: the training pictures of the renderer.

A scene is one person, camera, light and background; its source is a portrait, its target a moment of speech. Because
both frames come from one mesh, the flow from target to source, what the source hides, the clean background, the
keypoints and the landmarks are known exactly.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from render.rasterize import Fragments, interpolate
from render.training.acting import Act, clear_of_body, follow_up, perform, sample_pair
from render.training.rocketbox import Person
from render.training.stage import Camera, Light, label, render, sample_background, sample_camera, sample_light

# In the order of motion.types.BODY_KEYPOINTS, which `render` may not import; tests/chatanyone compares.
BODY_KEYPOINTS = (
    "neck", "chest", "shoulderLeft", "shoulderRight", "elbowLeft", "elbowRight", "wristLeft", "wristRight",
    "hipLeft", "hipRight", "belly", "upperArmLeft", "upperArmRight", "collar",
)
# Shoulder widths above (+) or, along the torso whose length is 1, below the middle of the shoulders.
NECK_ABOVE, COLLAR, CHEST, BELLY = 0.16, 0.05, 0.38, 0.85
FRONTAL = 768  # px: the side of the picture in which landmarks are found
HIDDEN_BY = 0.015  # metres in front of a point before it counts as hidden

FaceFinder = Callable[[np.ndarray], np.ndarray | None]


@dataclass
class Frame:
    """One picture of the performer.

    rgb ``[3, H, W]`` in [0, 1] on the background; alpha ``[1, H, W]``; area ``[H, W]`` (`Area`, 0 background)
    depth ``[H, W]`` metres from the camera, negative, larger is nearer, -inf on the background
    body ``[14, 3]`` and hands ``[2, 21, 3]`` (left, right; MediaPipe's order): px, px and depth in px, larger is nearer
    face ``[478, 3]`` MediaPipe's landmarks in the same units, or None when no face finder was given
    head ``[3, 4]`` from the head at rest to camera axes, metres; expression: ARKit weights by name (approximate)
    """

    rgb: Tensor
    alpha: Tensor
    area: Tensor
    depth: Tensor
    body: Tensor
    hands: Tensor
    face: Tensor | None
    head: Tensor
    expression: dict[str, float]


@dataclass
class ScenePair:
    """Source and target of one scene.

    background ``[3, H, W]``: what is behind the person, whole
    flow ``[2, H, W]``: for each pixel of the target, where its surface is in the source, px; itself on the background
    visible ``[1, H, W]``: 1 where the source shows that surface (and on the background, where it shows background)
    shoulder_px: shoulder width in the source
    """

    source: Frame
    target: Frame
    background: Tensor
    flow: Tensor
    visible: Tensor
    shoulder_px: float
    person: str


@dataclass
class Shot:
    """A posed person before the camera."""

    act: Act
    vertices: Tensor
    joints: dict[str, np.ndarray]
    fragments: Fragments
    screen: Tensor


Draw = Callable[[Shot, Tensor], tuple[Tensor, Tensor]]  # shot, background -> picture on it, alpha


class Scene:
    """Films people; what a kind of people needs of its own, a subclass adds.

    people: those that may be filmed, by number.
    """

    people: Sequence[Person]

    def sample(self, rng: np.random.Generator, size: tuple[int, int], modest: bool = False) -> ScenePair:
        """A random pair; ``size`` is (H, W): upright shows the upper body, square head and shoulders.

        modest: the target is no further from the source than talk goes (`follow_up`).
        """
        person = self.people[int(rng.integers(len(self.people)))]
        first, then = sample_pair(rng, hands=size[0] > size[1])
        if modest:
            then = follow_up(first, rng, hands=size[0] > size[1])
        acts = [clear_of_body(person, act) for act in (first, then)]
        camera = sample_camera(rng, person, size)
        draw = self.lit(person, camera, rng)
        background = sample_background(rng, size)
        source, target = (shoot(person, act, camera, size) for act in acts)
        flow, visible = _flow(person, source, target, size)
        frames = [self.frame(person, shot, camera, draw, background) for shot in (source, target)]
        shoulder_px = float((frames[0].body[2, :2] - frames[0].body[3, :2]).norm())
        return ScenePair(frames[0], frames[1], background, flow, visible, shoulder_px, person.name)

    def film(self, index: int, rng: np.random.Generator, size: tuple[int, int], count: int) -> tuple[Frame, list[Frame]]:
        """One person's portrait and `count` moments of talk before the same camera, in the same light."""
        person, hands = self.people[index], size[0] > size[1]
        camera = sample_camera(rng, person, size)
        draw = self.lit(person, camera, rng)
        background = sample_background(rng, size)
        first, _ = sample_pair(rng, hands)
        acts = [clear_of_body(person, act) for act in [first, *(follow_up(first, rng, hands) for _ in range(count))]]
        frames = [self.frame(person, shoot(person, act, camera, size), camera, draw, background) for act in acts]
        return frames[0], frames[1:]

    def lit(self, person: Person, camera: Camera, rng: np.random.Generator) -> Draw:
        """A light, and how a shot looks in it."""
        light = sample_light(rng)
        return lambda shot, background: _composed(*render(person, shot.vertices, camera, light, shot.fragments), background)

    def landmarks(self, person: Person) -> tuple[Tensor, Tensor] | None:
        """Triangles ``[478]`` and barycentrics ``[478, 3]`` of MediaPipe's landmarks on this person, where known."""
        return None

    def tips(self, person: Person) -> Tensor:
        """``[2, 5]`` vertex at the end of each finger, thumb first."""
        return _finger_tips(person)

    def frame(self, person: Person, shot: Shot, camera: Camera, draw: Draw, background: Tensor) -> Frame:
        """The picture and its labels."""
        rgb, alpha = draw(shot, background)
        mask = shot.fragments.mask[0]
        area = torch.where(mask, person.area[shot.fragments.triangle[0].clamp_min(0)], 0)
        face = None
        if (found := self.landmarks(person)) is not None:
            triangle, weight = found
            face = _pixels(camera, (shot.vertices[person.triangles[triangle]] * weight[..., None]).sum(1))
        return Frame(
            rgb, alpha, area, shot.fragments.depth[0], _pixels(camera, body_points(shot.joints)),
            _pixels(camera, _hands(shot, self.tips(person))), face, _head_pose(person, shot, camera), shot.act.expression)


class RocketboxScene(Scene):
    """All people of a folder, and how to film them.

    Args:
        folder: `.npz` and textures of Rocketbox people.
        find_face: picture ``[H, W, 3]`` uint8 -> MediaPipe's landmarks ``[478, 2 or 3]`` px or None; run once a
            person on a frontal picture, so that every frame has exact landmarks.
        people: keep only those whose file name contains one of these.
    """

    def __init__(
        self, folder: Path | str, *, find_face: FaceFinder | None = None, people: tuple[str, ...] = ()
    ) -> None:
        files = [path for path in sorted(Path(folder).glob("*.npz"))
                 if not people or any(name in path.stem for name in people)]
        if not files:
            raise ValueError(f"no Rocketbox people (.npz) in {folder}; check the folder of training people.")
        self.people: list[Person] = [Person(path) for path in files]
        self._tips = {person.name: _finger_tips(person) for person in self.people}
        self._face = {} if find_face is None else {
            person.name: _attach_landmarks(person, find_face) for person in self.people}

    def tips(self, person: Person) -> Tensor:
        return self._tips[person.name]

    def landmarks(self, person: Person) -> tuple[Tensor, Tensor] | None:
        return self._face.get(person.name)


def shoot(person: Person, act: Act, camera: Camera, size: tuple[int, int]) -> Shot:
    """The person in that pose before the camera."""
    vertices, joints = person.pose(perform(person, act))
    return Shot(act, vertices, joints, label(person, vertices, camera, size), camera.project(vertices))


def _composed(colour: Tensor, alpha: Tensor, background: Tensor) -> tuple[Tensor, Tensor]:
    return colour + background * (1 - alpha), alpha


def _hands(shot: Shot, finger_tips: Tensor) -> Tensor:
    """``[2, 21, 3]`` metres."""
    tips = shot.vertices[finger_tips].double().numpy()
    hands = []
    for row, side in enumerate(("L", "R")):
        points = [shot.joints[f"{side} Hand"]]
        for finger in range(5):
            points += [shot.joints[f"{side} Finger{finger}{part}"] for part in ("", "1", "2")] + [tips[row, finger]]
        hands.append(np.stack(points))
    return torch.from_numpy(np.stack(hands)).float()


def body_points(joints: dict[str, np.ndarray]) -> Tensor:
    """`BODY_KEYPOINTS` ``[14, 3]`` from where bones start, by the proportions that the portrait stage uses."""
    shoulders = np.stack([joints["L UpperArm"], joints["R UpperArm"]])
    hips = np.stack([joints["L Thigh"], joints["R Thigh"]])
    middle, width = shoulders.mean(0), np.linalg.norm(shoulders[0] - shoulders[1])
    torso = (hips.mean(0) - middle) / np.linalg.norm(hips.mean(0) - middle) * width
    places = {"neck": middle - NECK_ABOVE * torso, "collar": middle + COLLAR * torso, "chest": middle + CHEST * torso,
              "belly": middle + BELLY * torso}
    for row, (name, side) in enumerate((("Left", "L"), ("Right", "R"))):
        elbow = joints[f"{side} Forearm"]
        places |= {"shoulder" + name: shoulders[row], "elbow" + name: elbow, "wrist" + name: joints[f"{side} Hand"],
                   "hip" + name: hips[row], "upperArm" + name: (shoulders[row] + elbow) / 2}
    return torch.from_numpy(np.stack([places[name] for name in BODY_KEYPOINTS])).float()


def _pixels(camera: Camera, points: Tensor) -> Tensor:
    """World ``[..., 3]`` metres to px, px and depth in px relative to the camera, at the point's own scale."""
    x, y, _, w = camera.project(points.reshape(-1, 3)).unbind(1)
    return torch.stack([x, y, -camera.focal * torch.log(w)], dim=1).view(points.shape)


def _head_pose(person: Person, shot: Shot, camera: Camera) -> Tensor:
    """``[3, 4]`` rigid motion of the head bone, in camera axes."""
    matrix = person.matrices(perform(person, shot.act))["Head"]
    rotation = camera.rotation @ matrix[:, :3]
    shift = camera.rotation @ (matrix[:, 3] - camera.position)
    return torch.from_numpy(np.concatenate([rotation, shift[:, None]], axis=1)).float()


def _flow(person: Person, source: Shot, target: Shot, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Where each target pixel's surface is in the source ``[2, H, W]``, and whether it shows there ``[1, H, W]``."""
    H, W = size
    y, x = torch.meshgrid(torch.arange(H) + 0.5, torch.arange(W) + 0.5, indexing="ij")
    values = interpolate(target.fragments, person.triangles, source.screen[None, :, :3])[0]
    mask = target.fragments.mask[0]
    flow = torch.where(mask, values[:2], torch.stack([x, y]))
    column, row = flow.floor().long()
    inside = (column >= 0) & (column < W) & (row >= 0) & (row < H)
    nearest = source.fragments.depth[0][row.clamp(0, H - 1), column.clamp(0, W - 1)]
    seen = torch.where(mask, nearest - values[2] < HIDDEN_BY, ~source.fragments.mask[0])
    return flow, (seen & inside)[None].float()


def _finger_tips(person: Person) -> Tensor:
    """``[2, 5]`` vertex at the end of each finger, thumb first."""
    tips = []
    for side in ("L", "R"):
        for finger in range(5):
            bone = f"{side} Finger{finger}2"
            own = (person.skin[:, person.bones.index(bone)] > 0.5).nonzero().squeeze(1)
            before = torch.from_numpy(person.head[bone] - person.head[f"{side} Finger{finger}1"]).float()
            tips.append(int(own[(person.vertices[own] @ before).argmax()]))
    return torch.tensor(tips).view(2, 5)


def _attach_landmarks(person: Person, find_face: FaceFinder) -> tuple[Tensor, Tensor]:
    """Triangles ``[478]`` and barycentrics of MediaPipe's landmarks, cast onto the face from a frontal picture."""
    light = Light(torch.tensor([[0.0, 0.3, 1.0]]), torch.full((1, 3), 0.2), torch.full((3,), 0.8))
    camera = frontal(person.head["MNose"])
    shot = shoot(person, Act(), camera, (FRONTAL, FRONTAL))
    colour, alpha = render(person, shot.vertices, camera, light, shot.fragments)
    return cast_landmarks(colour + 0.6 * (1 - alpha), shot.fragments, find_face, person.name)


def frontal(middle: np.ndarray) -> Camera:
    """A long lens before the middle of a face."""
    return Camera(np.eye(3), middle + np.array([0.0, 0.0, 3.0]), FRONTAL * 3.0 / 0.32, np.full(2, FRONTAL / 2))


def cast_landmarks(rgb: Tensor, fragments: Fragments, find_face: FaceFinder, name: str) -> tuple[Tensor, Tensor]:
    """What surface lies under each landmark that is found in the picture ``[3, H, W]``: triangles and barycentrics."""
    picture = (rgb.clamp(0, 1) * 255).byte().permute(1, 2, 0).contiguous().numpy()
    points = find_face(picture)
    if points is None:
        raise ValueError(f"no face was found on the frontal picture of {name}.")
    row, column = torch.from_numpy(points[:, 1::-1].copy()).floor().long().clamp(0, FRONTAL - 1).unbind(1)
    astray = ~fragments.mask[0, row, column]  # the outline's landmarks may fall a little beside the face
    if astray.any():
        covered = fragments.mask[0].nonzero()
        away = torch.cdist(torch.stack([row, column], dim=1)[astray].float(), covered.float())
        row[astray], column[astray] = covered[away.argmin(dim=1)].unbind(1)
    return fragments.triangle[0, row, column], fragments.barycentric[0, row, column]
