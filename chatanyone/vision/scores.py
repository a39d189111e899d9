"""MediaPipe's 52 ARKit scores from its face landmarker, when the user has the ``.task`` model file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chatanyone.errors import CheckpointError
from chatanyone.vision.geometry import Points
from chatanyone.vision.quiet import quiet_stderr
from chatanyone.vision.solutions import Image
from motion.types import ARKIT_INDEX, EXPRESSION_DIM


@dataclass(frozen=True)
class Scores:
    """expression: ``[52]`` in the order of `ARKIT_NAMES` (tongueOut is not scored, 0); landmarks: ``[478, 3]`` px."""

    expression: NDArray[np.float32]
    landmarks: Points


class FaceScores:
    """The landmarker of one ``.task`` file; use as a context manager, one picture at a time."""

    def __init__(self, path: str | Path) -> None:
        if not Path(path).is_file():
            raise CheckpointError(
                f"expected a MediaPipe face landmarker (.task) at {path}, found no such file; "
                "check the path or leave the option out")
        with quiet_stderr():
            self._landmarker = _open(Path(path))

    def __call__(self, image: Image) -> Scores | None:
        """image: ``[H, W, 3]`` uint8 RGB; None when no face is found."""
        import mediapipe as mp

        H, W, _ = image.shape
        with quiet_stderr():
            picture = mp.Image(image_format=mp.ImageFormat.SRGB, data=np.ascontiguousarray(image))
            result = self._landmarker.detect(picture)
        if not result.face_landmarks:
            return None
        expression = np.zeros(EXPRESSION_DIM, dtype=np.float32)
        for category in result.face_blendshapes[0]:
            if category.category_name in ARKIT_INDEX:
                expression[ARKIT_INDEX[category.category_name]] = category.score
        points = np.array([(p.x * W, p.y * H, -p.z * W) for p in result.face_landmarks[0]], dtype=np.float32)
        return Scores(expression, points)

    def close(self) -> None:
        """Frees the graph."""
        self._landmarker.close()

    def __enter__(self) -> FaceScores:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None,
    ) -> None:
        self.close()


def _open(path: Path) -> Any:
    from mediapipe.tasks.python import BaseOptions, vision

    options = vision.FaceLandmarkerOptions(
        base_options=BaseOptions(model_asset_buffer=path.read_bytes()), output_face_blendshapes=True, num_faces=1)
    try:
        return vision.FaceLandmarker.create_from_options(options)
    except (RuntimeError, ValueError) as error:
        raise CheckpointError(
            f"expected a MediaPipe face landmarker with blendshapes at {path}, but it does not open; "
            "download it again or leave the option out") from error
