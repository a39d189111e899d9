"""The motion and render packages behind the engine's protocols: what each stage hears, and what it hands on."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Lock
from typing import Any, TypeVar

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from chatanyone.driver import Driver
from chatanyone.media.frames import as_bytes
from chatanyone.pipeline import Strengths, Style
from chatanyone.portrait import Portrait
from motion.audio.features import AudioFeatures
from motion.body_sampler import BodySampler, BodyState
from motion.live_speech_portraits.manifold import ProjectedSampler
from motion.live_speech_portraits.sampler import LiveSpeechSampler
from motion.sampler import FaceSampler
from motion.template.head import HeadTemplate
from motion.types import BodyMotion, FaceMotion
from render.types import RenderDrive, RenderSource

T = TypeVar("T")


class SpeechStage:
    """`motion.audio`'s front end."""

    def __init__(self, features: AudioFeatures) -> None:
        self.features = features

    def init_state(self) -> Any:
        return self.features.init_state()

    def step(self, samples: Tensor, state: Any) -> tuple[Tensor, Any]:
        return self.features.step(samples, state)

    def flush(self, state: Any) -> tuple[Tensor, Any]:
        closed = state.clone()  # the front end closes the state it is given; ours stays as it was
        return self.features.flush(closed), closed


class ExpressionStage:
    """Speech to face and head: `motion.sampler`, or another with its interface."""

    def __init__(self, sampler: FaceSampler | LiveSpeechSampler | ProjectedSampler) -> None:
        self.sampler: Any = sampler

    def init_state(self, seed: int, style: Style, strengths: Strengths) -> Any:
        reference = None if style.reference is None else style.reference.expression
        return self.sampler.init_state(seed, style.range, reference, expression=strengths.expression,
                                       pose=strengths.pose, groups=strengths.groups, rest=style.rest,
                                       correction=style.correction)

    def step(self, features: Tensor, state: Any) -> tuple[FaceMotion, Any]:
        return self.sampler.step(features, state)

    def flush(self, state: Any) -> tuple[FaceMotion, Any]:
        return self.sampler.flush(state)


class GestureStage:
    """`motion.body_sampler`: speech and the head's keypoints to body and hands."""

    def __init__(self, sampler: BodySampler, template: HeadTemplate) -> None:
        self.sampler, self.template = sampler, template

    def init_state(self, seed: int, portrait: Portrait, strengths: Strengths) -> BodyState:
        return self.sampler.init_state(seed, gesture=strengths.gesture, groups=strengths.groups)

    def step(self, features: Tensor, face: FaceMotion, state: BodyState) -> tuple[BodyMotion, BodyState]:
        if not len(face.expression):
            return self.sampler.step(state.keypoints[:0], features, state)
        keypoints = self.template.keypoints(face.expression, face.rotation, face.translation)
        return self.sampler.step(keypoints, features, state)

    def flush(self, state: BodyState) -> tuple[BodyMotion, BodyState]:
        return self.sampler.flush(state)


class PortraitScene:
    """One portrait ready to be drawn: the driver poses it, the renderer draws it.

    Many small operations make a frame, so a second thread inside each of them gains little; frames side by side, each on
    one thread, use the cores far better.

    Args:
        driver: of the portrait; works on the CPU.
        renderer: source and drive → ``[B, 3, H, W]``; works on `device`.
        batch: frames drawn at once; bounds memory.
        workers: batches drawn side by side on a CPU.
    """

    def __init__(self, driver: Driver, renderer: Callable[[RenderSource, RenderDrive], Tensor],
                 device: torch.device | str = "cpu", batch: int = 4, workers: int = 1) -> None:
        self.driver, self.renderer, self.device, self.batch = driver, renderer, torch.device(device), batch
        self.source = driver.source.to(self.device)
        self.workers = workers if self.device.type == "cpu" else 1
        cv2.setNumThreads(1)  # of the whole process: threads inside OpenCV's small operations would wait for one another
        self._first = Lock()
        self._pool: ThreadPoolExecutor | None = None

    def __call__(self, face: FaceMotion, body: BodyMotion) -> Tensor:
        """``[T, 3, H, W]``, see `chatanyone.pipeline.Scene`."""
        return _joined(torch.cat, self._parts(face, body, self._draw))

    def pictures(self, face: FaceMotion, body: BodyMotion) -> NDArray[np.uint8]:
        """The same as bytes ``[T, H, W, 3]``, which are made side by side too."""
        return _joined(np.concatenate, self._parts(face, body, lambda part: as_bytes(self._draw(part))))

    def _parts(self, face: FaceMotion, body: BodyMotion, draw: Callable[[RenderDrive], T]) -> list[T]:
        """What `draw` makes of each batch."""
        drive = self.driver(_to_cpu(face), BodyMotion.unpack(body.packed().cpu())).to(self.device)
        count = max(min(self.batch, -(-len(drive) // self.workers)), 1)
        parts = [drive.slice(start, start + count) for start in range(0, len(drive), count)]
        with self._first:
            if self._pool is None:  # the first call fills the source's cache, which the others then only read
                made = [draw(part) for part in parts]
                self._pool = ThreadPoolExecutor(self.workers, "render", initializer=torch.set_num_threads, initargs=(1,))
                return made
        side_by_side = map if self.workers == 1 or len(parts) == 1 else self._pool.map
        return list(side_by_side(draw, parts))

    @torch.inference_mode()
    def _draw(self, part: RenderDrive) -> Tensor:
        """One batch; inference mode belongs to the thread."""
        return self.renderer(self.source, part)


def _joined(join: Callable[[list[T]], T], parts: list[T]) -> T:
    """One part is not copied."""
    return parts[0] if len(parts) == 1 else join(parts)


def _to_cpu(face: FaceMotion) -> FaceMotion:
    return FaceMotion.unpack(face.packed().cpu())
