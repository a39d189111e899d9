"""Measure how the detector's landmarks stray when a head turns, and write `chatanyone/vision/turns.safetensors`.

    python tools/measure_turns.py FOLDER [--output chatanyone/vision/turns.safetensors]

Microsoft Rocketbox people (MIT) in FOLDER, faces at rest, turn their heads by exactly known angles under three lights, before
cameras at, above and below the eyes. The template's head is fitted to each person's straight picture and then only its camera;
what the points still miss, in the head's own axes, is fitted by pitch, pitch² and yaw; the mean over people. Printed: how much
of each person's turn the camera gives back, and the rms of what the points miss with and without the mean of the *others*.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from scipy.spatial.transform import Rotation

from chatanyone.vision import detect_faces, face_landmarks
from chatanyone.vision.response import SKIN, TURNS
from motion.template.fit import fit_head, fit_pose
from motion.template.head import HeadTemplate
from render.training.rocketbox import Person, Pose
from render.training.stage import Camera, Light, label, render

SIZE, FOCAL_PX, DISTANCE_M = 512, 2600.0, 2.2
ANGLES_DEG = (-10, -6, -3, 3, 6, 10)
CAMERAS_RAD = (0.0, 0.10, -0.08)  # one with each light; positive looks from above
LIGHTS = (  # towards key and fill, their strengths, ambient
    (((0.0, 0.4, 1.0), (0.8, 0.2, 0.5)), (0.35, 0.10), 0.60),
    (((-0.7, 0.5, 0.6), (0.9, 0.1, 0.4)), (0.55, 0.12), 0.40),
    (((0.1, 1.0, 0.35), (0.5, 0.0, 0.8)), (0.60, 0.15), 0.45))
Array = NDArray[np.float64]


def turns() -> Array:
    """``[N, 3]`` rad: straight first, then pitch alone, then yaw alone."""
    angles = np.deg2rad(ANGLES_DEG)
    rows = [np.zeros(3), *(np.eye(3)[axis] * angle for axis in (0, 1) for angle in angles)]
    return np.stack(rows)


def landmarks(person: Person, view: int) -> list[NDArray[np.float32]]:
    """MediaPipe's points ``[478, 3]`` of each turn, under one light and camera."""
    (towards, strength, ambient), tilt = LIGHTS[view], CAMERAS_RAD[view]
    direction = torch.nn.functional.normalize(torch.tensor(towards), dim=1)
    light = Light(direction, torch.tensor(strength)[:, None].expand(2, 3), torch.full((3,), ambient))
    rotation = Rotation.from_euler("x", tilt).as_matrix()
    position = person.head["MNose"] + rotation.T @ np.array([0.0, 0.0, DISTANCE_M])
    camera = Camera(rotation, position, FOCAL_PX, np.full(2, SIZE / 2))
    found: list[NDArray[np.float32]] = []
    for turn in turns():
        vertices, _ = person.pose(Pose({"Head": turn}, {}))
        colour, alpha = render(person, vertices, camera, light, label(person, vertices, camera, (SIZE, SIZE)))
        image = ((colour + 0.6 * (1 - alpha)).clamp(0, 1) * 255).byte().permute(1, 2, 0).contiguous().numpy()
        points = face_landmarks(image, found[-1], passes=3) if found else None
        found.append(detect_faces(image)[0].landmarks if points is None else points)
    return found


def astray(template: HeadTemplate, frames: list[NDArray[np.float32]]) -> tuple[Array, Array]:
    """What the points miss ``[N, 468, 2]`` metres in the head's axes, and its fitted turn ``[N, 3]``, against the first."""
    person = fit_head(template, torch.from_numpy(frames[0]))
    weights = person.expression * person.gain
    mesh = template.landmarks(template.deform(person.neutral, weights))
    missed, rotations = [], []
    for frame in frames:
        camera = fit_pose(template, person.neutral, weights, torch.from_numpy(frame))
        way = torch.from_numpy(frame[:, :2]) - camera.project(mesh, template.pivot)[:, :2]
        missed.append(camera.unproject_offset(way)[:SKIN, :2].numpy())
        rotations.append(camera.rotation.numpy())
    heads = Rotation.from_rotvec(np.stack(rotations))
    values = np.stack(missed).astype(np.float64)
    return values - values[0], (heads[0].inv() * heads).as_rotvec()


def rows(missed: Array, turned: Array) -> Array:
    """``[3, 468, 2]`` metres per rad of pitch, rad² of pitch and rad of yaw: least squares without a constant."""
    n = len(ANGLES_DEG)
    parts = []
    for axis, power in ((0, 2), (1, 1)):
        own = slice(1 + axis * n, 1 + (axis + 1) * n)
        basis = np.stack([turned[own, axis] ** (k + 1) for k in range(power)], axis=1)
        parts.append(np.linalg.lstsq(basis, missed[own].reshape(n, -1), rcond=None)[0].reshape(power, SKIN, 2))
    return np.concatenate(parts)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--output", type=Path, default=Path("chatanyone/vision") / TURNS)
    arguments = parser.parse_args()
    files = sorted(arguments.folder.glob("*.npz"))
    if len(files) < 2:
        parser.exit(1, f"expected at least two Rocketbox people (.npz) in {arguments.folder}, found {len(files)}.\n")
    template, seen = HeadTemplate.load(), []
    for path in files:
        person = Person(path)
        seen.append([astray(template, landmarks(person, view)) for view in range(len(LIGHTS))])
        print(path.stem, flush=True)
    own = np.stack([np.mean([rows(*view) for view in views], axis=0) for views in seen])
    for index, (path, views) in enumerate(zip(files, seen)):
        _report(path.stem, views, np.delete(own, index, axis=0).mean(axis=0))
    save_file({"turned": torch.from_numpy(own.mean(axis=0)).half().contiguous()}, str(arguments.output))


def _report(name: str, views: list[tuple[Array, Array]], others: Array) -> None:
    missed = np.concatenate([view[0][1:] for view in views])
    turned, asked = np.concatenate([view[1][1:] for view in views]), np.tile(turns()[1:], (len(views), 1))
    known = np.einsum("nk,kpd->npd", np.stack([turned[:, 0], turned[:, 0] ** 2, turned[:, 1]], axis=1), others)
    back = [float(turned[:, axis] @ asked[:, axis] / np.square(asked[:, axis]).sum()) for axis in (0, 1)]
    rms = [1000 * float(np.sqrt(np.square(values).sum(axis=2).mean())) for values in (missed, missed - known)]
    print(f"{name}: pitch {back[0]:.2f}, yaw {back[1]:.2f} given back; points miss {rms[0]:.2f} mm, known {rms[1]:.2f}")


if __name__ == "__main__":
    main()
