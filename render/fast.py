"""Sharp and cheap look-ups: a picture is made twice as fine once, with a sharpened cubic, and then read bilinearly.

Reading a picture bicubically costs sixteen taps a pixel each frame. Here twelve of them are spent once: halfway between pixels
lie values of a cubic convolution (Keys, "Cubic Convolution Interpolation for Digital Image Processing", 1981) whose parameter
is set so that faces and clothes of a speaking person keep the energy of fine detail that bicubic reading keeps; it varies
less with the fraction of a pixel. At a pixel's own centre the picture itself is read.

On the CPU OpenCV's vectorised kernels do the reading and enlarging where no gradient is asked for: three to ten times
faster than torch's, and the same numbers up to 1/64 px and rounding to bytes.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

Plane = NDArray[np.float32]

SHARPENED = -1.1  # Keys' parameter; set by `evaluate --only sharpness,reenactment` (docs/decisions.md)


def prepare_layer(layer: Tensor) -> Tensor:
    """A layer ``[4, H, W]`` of colours times alpha, and alpha, made twice as fine: bytes ``[2H - 1, 2W - 1, 4]``, whose even
    rows and columns are the layer's own. Colours stay within [0, alpha]."""
    fine = layer
    for dim in (1, 2):
        fine = _twice(fine, dim)
    alpha = fine[3:].clamp(0, 1)
    fine = torch.cat([torch.minimum(fine[:3].clamp_min(0), alpha), alpha])
    return fine.mul_(255).round_().to(torch.uint8).permute(1, 2, 0).contiguous()


def sample_layer(fine: Tensor, flow: Tensor) -> Tensor:
    """Look up a layer of `prepare_layer` at ``flow [B, 2, h, w]`` (px of the picture), edges held: ``[B, 4, h, w]``."""
    if plain(flow):
        return _remapped(fine, flow)
    size = torch.tensor([fine.shape[1], fine.shape[0]], device=flow.device, dtype=flow.dtype)
    grid = (flow.permute(0, 2, 3, 1) * 2 - 0.5) * (2 / size) - 1
    picture = fine.permute(2, 0, 1)[None].to(flow.dtype) / 255
    return F.grid_sample(picture.expand(len(flow), -1, -1, -1), grid, mode="bilinear", padding_mode="border",
                         align_corners=False)


def enlarged(x: Tensor, factor: int) -> Tensor:
    """``[B, C, h, w]`` bilinearly `factor` times larger, edges held."""
    if not plain(x):
        return F.interpolate(x, scale_factor=factor, mode="bilinear")
    B, C, h, w = x.shape
    out = x.new_empty(B, C, h * factor, w * factor)
    for image, target in zip(x.contiguous().flatten(0, 1).numpy(), out.flatten(0, 1).numpy()):
        cv2.resize(image, (w * factor, h * factor), dst=target, interpolation=cv2.INTER_LINEAR)
    return out


def halved(x: Tensor) -> Tensor:
    """``[B, C, h/2, w/2]``: mean of 2 × 2."""
    if not plain(x):
        return F.avg_pool2d(x, 2)
    B, C, h, w = x.shape
    out = x.new_empty(B, C, h // 2, w // 2)
    for image, target in zip(x.contiguous().flatten(0, 1).numpy(), out.flatten(0, 1).numpy()):
        cv2.resize(image, (w // 2, h // 2), dst=target, interpolation=cv2.INTER_AREA)
    return out


def binomial(x: Tensor) -> Tensor:
    """``[B, C, h, w]`` through [1 2 1] / 4 down and across, edges held."""
    if plain(x):
        return _planes(x, lambda image, out: cv2.GaussianBlur(image, (3, 3), 0, dst=out, borderType=cv2.BORDER_REPLICATE))
    for dim, pad in ((2, (0, 0, 1, 1)), (3, (1, 1, 0, 0))):
        y = F.pad(x, pad, mode="replicate")
        for _ in range(2):
            y = y.narrow(dim, 0, y.shape[dim] - 1) + y.narrow(dim, 1, y.shape[dim] - 1)
        x = y / 4
    return x


def mean_filter(x: Tensor, height: int, width: int) -> Tensor:
    """``[B, C, h, w]``: mean of rectangles about each pixel, odd numbers of px high and wide; beyond the edge all is 0."""
    if not plain(x):
        return F.avg_pool2d(x, (height, width), 1, (height // 2, width // 2))
    return _planes(x, lambda image, out: cv2.blur(image, (width, height), dst=out, borderType=cv2.BORDER_CONSTANT))


def max_filter(x: Tensor, height: int, width: int) -> Tensor:
    """``[B, C, h, w]``: largest value in rectangles about each pixel, odd numbers of px high and wide."""
    if not plain(x):
        return F.max_pool2d(x, (height, width), 1, (height // 2, width // 2))
    kernel = np.ones((height, width), np.uint8)
    return _planes(x, lambda image, out: cv2.dilate(image, kernel, dst=out))


def _planes(x: Tensor, change: Callable[[Plane, Plane], object]) -> Tensor:
    """Another tensor of the size, written plane by plane."""
    out = torch.empty_like(x, memory_format=torch.contiguous_format)
    for image, target in zip(x.contiguous().flatten(0, 1).numpy(), out.flatten(0, 1).numpy()):
        change(image, target)
    return out


def _twice(image: Tensor, dim: int) -> Tensor:
    """Values halfway between the pixels of ``[C, H, W]`` along a dimension, and the pixels themselves."""
    count = image.shape[dim]
    held = torch.arange(-1, count + 1, device=image.device).clamp(0, count - 1)
    padded = image.index_select(dim, held)
    inner, outer = 0.5 - SHARPENED / 8, SHARPENED / 8
    between = inner * (padded.narrow(dim, 1, count - 1) + padded.narrow(dim, 2, count - 1))
    between += outer * (padded.narrow(dim, 0, count - 1) + padded.narrow(dim, 3, count - 1))
    shape = list(image.shape)
    shape[dim] = 2 * count - 1
    out = image.new_empty(shape)
    even, odd = [slice(None)] * 3, [slice(None)] * 3
    even[dim], odd[dim] = slice(0, None, 2), slice(1, None, 2)
    out[tuple(even)], out[tuple(odd)] = image, between
    return out


def _remapped(fine: Tensor, flow: Tensor) -> Tensor:
    """`sample_layer` on the CPU."""
    B, _, h, w = flow.shape
    picture, place = fine.numpy(), torch.add(flow.new_tensor(-1.0), flow, alpha=2).numpy()
    found = np.empty((B, 4, h, w), np.uint8)
    for (x, y), planes in zip(place, found):
        cv2.split(cv2.remap(picture, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), list(planes))
    return torch.from_numpy(found).float().mul_(1 / 255)


def plain(x: Tensor) -> bool:
    """Whether OpenCV may do it: float32 on the CPU, nothing asks for gradients, and no graph is being recorded."""
    if torch.jit.is_tracing() or torch.compiler.is_compiling():
        return False
    return x.device.type == "cpu" and x.dtype == torch.float32 and not (torch.is_grad_enabled() and x.requires_grad)
