"""Metrics whose nets must be downloaded: each takes a file of weights, and without it says "not computed".

==========  ======================================================================================================
inception   torch-fidelity's ``pt_inception-2015-12-05-6726825d.pth``: FID
alexnet     torchvision's ``alexnet-owt-7be5be79.pth``: LPIPS (its linear heads come with torchmetrics)
i3d         a TorchScript of I3D (Kinetics), clips ``[B, 3, T, 224, 224]`` in [-1, 1] → ``[B, 400]``: FVD
arcface     an ONNX of ArcFace, faces ``[B, 3, 112, 112]`` in [-1, 1] → embeddings: CSIM
==========  ======================================================================================================

Weights are read without pickle (safetensors, ONNX, TorchScript) or with PyTorch's restricted reader (`weights_only`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image as Pillow
from torch import Tensor

from chatanyone.errors import CheckpointError
from chatanyone.evaluation.lips import Image, follow_face
from chatanyone.evaluation.measures import Measure, not_computed
from chatanyone.evaluation.reenacted import frames_folder
from chatanyone.evaluation.session import Session
from chatanyone.evaluation.statistics import cosine, frechet

KINDS = {"inception": "FID", "alexnet": "LPIPS", "i3d": "FVD", "arcface": "CSIM"}
FVD_FRAMES, FVD_SIDE = 16, 224
# ArcFace's template of five points in 112 × 112: eyes, nose, mouth corners (Deng et al. 2019, insightface).
_TEMPLATE = np.array([[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]])
_SIDE = 112
_EYES, _NOSE, _CORNERS = ((33, 133), (362, 263)), 1, (61, 291)


def of_pairs(session: Session, made: str, true: str, clips: list[str], variant: str) -> list[Measure]:
    """LPIPS, FID, FVD, CSIM of the frames kept under the name `made` against those under `true`."""
    return [_one(session, kind, made, true, clips, variant) for kind in KINDS]


def _one(session: Session, kind: str, made: str, true: str, clips: list[str], variant: str) -> Measure:
    path, name = session.weights.get(kind), KINDS[kind]
    if path is None:
        return not_computed(name, f"it needs --{kind}", variant)
    pairs = {clip: (_pictures(frames_folder(session, made, clip)), _pictures(frames_folder(session, true, clip)))
             for clip in clips}
    make = {"inception": fid, "alexnet": lpips, "i3d": fvd, "arcface": csim}[kind]
    return Measure(name, make(pairs, path), "", variant)


Pairs = dict[str, tuple[list[Image], list[Image]]]  # clip → made, true


def fid(pairs: Pairs, weights: Path) -> dict[str, float]:
    """One number over all frames (Heusel et al. 2017); few frames bias it upwards, so N belongs to it."""
    from torchmetrics.image.fid import FrechetInceptionDistance

    metric = FrechetInceptionDistance(2048, feature_extractor_weights_path=str(_exists(weights)))
    for made, true in pairs.values():
        for picture in made:
            metric.update(_bytes(picture), real=False)
        for picture in true:
            metric.update(_bytes(picture), real=True)
    return {"all frames": float(metric.compute())}


def lpips(pairs: Pairs, weights: Path) -> dict[str, float]:
    """Mean over frames of each clip (Zhang et al. 2018, AlexNet)."""
    from torchmetrics.functional.image.lpips import _LPIPS  # the public class would download its backbone

    net = _LPIPS(pretrained=True, net="alex", pnet_rand=True)
    given = tensors(weights)
    for part in (net.net.slice1, net.net.slice2, net.net.slice3, net.net.slice4, net.net.slice5):
        for index, layer in part.named_children():
            layer.load_state_dict({name: given[f"features.{index}.{name}"] for name, _ in layer.named_parameters()})
    with torch.inference_mode():
        return {clip: float(np.mean([float(net(2 * _floats(a) - 1, 2 * _floats(b) - 1)) for a, b in zip(made, true)]))
                for clip, (made, true) in pairs.items()}


def fvd(pairs: Pairs, weights: Path) -> dict[str, float]:
    """Fréchet distance of I3D's logits over pieces of 16 frames (Unterthiner et al. 2018)."""
    net = torch.jit.load(str(_exists(weights)), map_location="cpu").eval()
    features: tuple[list[Any], list[Any]] = ([], [])
    with torch.inference_mode():
        for pair in pairs.values():
            for side, pictures in enumerate(pair):
                for start in range(0, len(pictures) - FVD_FRAMES + 1, FVD_FRAMES):
                    features[side].append(net(_clip(pictures[start:start + FVD_FRAMES])).numpy()[0])
    return {"all pieces": frechet(*(np.array(side, np.float64) for side in features))} if len(features[0]) > 1 else {}


def csim(pairs: Pairs, weights: Path) -> dict[str, float]:
    """Mean cosine of ArcFace embeddings, each made frame against the clip's first true one."""
    import onnxruntime

    net = onnxruntime.InferenceSession(str(_exists(weights)), providers=["CPUExecutionProvider"])

    def embed(picture: Image) -> NDArray[np.float64] | None:
        points = next(follow_face([picture]))
        if points is None:
            return None
        face = aligned(picture, points).astype(np.float32).transpose(2, 0, 1)[None] / 127.5 - 1
        return np.asarray(net.run(None, {net.get_inputs()[0].name: face})[0][0], np.float64)

    found = {}
    for clip, (made, true) in pairs.items():
        reference = embed(true[0]) if true else None
        others = [vector for vector in map(embed, made) if vector is not None]
        if reference is not None and others:
            found[clip] = float(np.mean([cosine(vector, reference) for vector in others]))
    return found


def aligned(picture: Image, points: NDArray[np.float32]) -> Image:
    """The face on ArcFace's template, ``[112, 112, 3]``."""
    five = np.array([*(points[list(eye), :2].mean(0) for eye in _EYES), points[_NOSE, :2],
                     *(points[corner, :2] for corner in _CORNERS)], np.float64)
    matrix, _ = cv2.estimateAffinePartial2D(five, _TEMPLATE, method=cv2.LMEDS)
    fine = max(1, round(1 / float(np.hypot(matrix[0, 0], matrix[1, 0]))))  # shrinking: sample finely, then average
    large = cv2.warpAffine(picture, fine * matrix, (_SIDE * fine, _SIDE * fine), flags=cv2.INTER_LINEAR)
    return np.asarray(cv2.resize(large, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA))


def tensors(path: Path) -> dict[str, Tensor]:
    """Named tensors of a .safetensors or PyTorch file.

    Raises:
        CheckpointError: missing or not such a file.
    """
    from safetensors.torch import load_file

    _exists(path)
    try:
        if path.suffix == ".safetensors":
            return load_file(str(path))
        return dict(torch.load(str(path), map_location="cpu", weights_only=True))
    except Exception as error:  # whatever either reader raises on another file
        raise CheckpointError(f"expected named tensors in {path}, but it cannot be read "
                              f"({type(error).__name__}); give the original file") from None


def _exists(path: Path) -> Path:
    if not path.is_file():
        raise CheckpointError(f"there are no weights at {path}; check the path, or leave the option out")
    return path


def _pictures(folder: Path) -> list[Image]:
    return [np.asarray(Pillow.open(path).convert("RGB")) for path in sorted(folder.glob("*.png"))]


def _bytes(picture: Image) -> Tensor:
    return torch.from_numpy(picture.copy()).permute(2, 0, 1)[None]


def _floats(picture: Image) -> Tensor:
    return _bytes(picture).float() / 255


def _clip(pictures: list[Image]) -> Tensor:
    small = [cv2.resize(picture, (FVD_SIDE, FVD_SIDE), interpolation=cv2.INTER_AREA) for picture in pictures]
    return torch.from_numpy(np.stack(small)).permute(3, 0, 1, 2)[None].float() / 127.5 - 1
