"""Drawn pictures as the bytes that are encoded and shown."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def as_bytes(pictures: Tensor) -> NDArray[np.uint8]:
    """``[T, 3, H, W]``, cut to [0, 1] → uint8 ``[T, H, W, 3]``, rounded. On the CPU by OpenCV, a tenth of torch's time."""
    if pictures.device.type != "cpu" or pictures.dtype != torch.float32:
        whole = pictures.clamp(0, 1).mul(255).round().to(torch.uint8)
        return np.asarray(whole.permute(0, 2, 3, 1).contiguous().cpu().numpy())
    T, C, H, W = pictures.shape
    out = np.empty((T, H, W, C), np.uint8)
    for planes, frame in zip(pictures.contiguous().numpy(), out):
        # convertScaleAbs rounds and cuts at 255; below 0, where pictures hardly ever are, it would take the absolute value
        kept = planes if planes.min() >= 0 else np.maximum(planes, 0)
        cv2.merge([cv2.convertScaleAbs(plane, alpha=255) for plane in kept], dst=frame)
    return out
