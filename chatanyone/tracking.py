"""A picture or clip becomes a motion document: landmarks per frame, template fit, smoothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from chatanyone import smoothing
from chatanyone.errors import PortraitError
from chatanyone.media.image import read_image
from chatanyone.media.video import VideoReader
from chatanyone.motionfile import Measured, MotionDocument, displaced
from chatanyone.portraits.body import body_keypoints, shoulders_plausible
from chatanyone.tracking_fit import fit_track, neck_translation, relative_pose
from chatanyone.tracking_hands import hand_motion, knots
from chatanyone.vision import (
    Face, FaceScores, Hand, PoseLandmarks, detect_faces, detect_hands, detect_pose, face_landmarks)
from motion.template.head import HeadTemplate

PICTURES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"})
_HAND_CONFIDENCE = 0.5
_PICTURE_FPS = Fraction(30)
Image = NDArray[np.uint8]


@dataclass
class Observation:
    """What was measured in one frame, in its pixels; None for what is not seen."""

    face: NDArray[np.float32] | None = None  # [478, 3]
    scores: NDArray[np.float32] | None = None  # [52]
    body: NDArray[np.float32] | None = None  # [14, 3]
    shoulder_width_px: float = 0.0
    hands: tuple[Hand | None, Hand | None] = (None, None)


class Observer:
    """Looks at one frame after another of the same person; finds the face anew where it is lost."""

    def __init__(self, scores: FaceScores | None = None) -> None:
        self._scores = scores
        self._last: NDArray[np.float32] | None = None

    def __call__(self, image: Image) -> Observation:
        """image: ``[H, W, 3]`` uint8 RGB."""
        face = self._find(image)
        if face is None:
            return Observation()
        pose = _pose(image, face)
        body, width = body_keypoints(face, pose) if pose is not None else (None, 0.0)
        hands = detect_hands(image, pose) if pose is not None else (None, None)
        return Observation(face, self._score(image, face), body, width, hands)

    def _find(self, image: Image) -> NDArray[np.float32] | None:
        found = face_landmarks(image, self._last) if self._last is not None else None
        if found is None:
            faces = detect_faces(image)
            found = self._nearest(faces).landmarks if faces else None
        self._last = found if found is not None else self._last
        return found

    def _nearest(self, faces: list[Face]) -> Face:
        """The largest, or the one where the person was last seen."""
        if self._last is None:
            return faces[0]
        last = self._last[:, :2].mean(axis=0)
        return min(faces, key=lambda face: float(np.linalg.norm(np.array(face.center) - last)))

    def _score(self, image: Image, face: NDArray[np.float32]) -> NDArray[np.float32] | None:
        if self._scores is None:
            return None
        H, W, _ = image.shape
        low, high = face[:, :2].min(axis=0), face[:, :2].max(axis=0)
        margin = 0.6 * float((high - low).max())
        x0, y0 = (int(max(value, 0)) for value in low - margin)
        x1, y1 = (int(value) for value in np.minimum(high + margin, (W, H)))
        found = self._scores(image[y0:y1, x0:x1]) if x1 - x0 > 8 and y1 - y0 > 8 else None
        return None if found is None else found.expression


def track_file(
    path: str | Path,
    output: str | Path | None = None,
    *,
    task_model: str | Path | None = None,
    fps: Fraction | None = None,
    progress: bool = True,
) -> MotionDocument:
    """Tracks the (largest) person of a picture or clip; writes the document to ``output`` (.npz) when given.

    task_model: MediaPipe's face landmarker (.task); its 52 scores then guide the fit
    fps: rate to track at; None keeps the clip's own
    progress: bars on stderr for clips

    Raises `MediaError` for files that cannot be read, `PortraitError` when no face is ever seen.
    """
    path = Path(path)
    with ExitStack() as stack:
        scores = stack.enter_context(FaceScores(task_model)) if task_model else None
        if path.suffix.lower() in PICTURES:
            document = track_frames([read_image(path)], _PICTURE_FPS, scores=scores)
        else:
            reader = stack.enter_context(VideoReader(path, fps))
            frames = tqdm(reader, total=reader.frames_expected, unit="frame", desc="looking", disable=not progress)
            document = track_frames(frames, reader.fps, scores=scores, progress=progress)
    document.source = path.name
    if output is not None:
        document.save(output)
    return document


def track_frames(
    frames: Iterable[Image], fps: Fraction, *, scores: FaceScores | None = None, progress: bool = False,
) -> MotionDocument:
    """The same for frames at hand, ``[H, W, 3]`` uint8 RGB each, at ``fps``."""
    observer = Observer(scores)
    observations: list[Observation] = []
    size = (0, 0)
    for image in frames:
        size = (image.shape[1], image.shape[0])
        observations.append(observer(image))
    seen = sum(observation.face is not None for observation in observations)
    if not seen:
        raise PortraitError(f"expected a face in at least one of {len(observations)} frames, found none; use a clip in "
                            "which one person looks roughly at the camera")
    fits = seen + sum(len(knots(side, float(fps))) for side in _hands_seen(observations).T)
    with tqdm(total=fits, unit="fit", desc="fitting", disable=not progress) as bar:
        return solve(observations, fps, size, lambda: bar.update(1) and None)


def solve(
    observations: list[Observation], fps: Fraction, size: tuple[int, int], step: Callable[[], None] = lambda: None,
) -> MotionDocument:
    """Template fit and smoothing of what was measured; at least one observation has a face."""
    T, rate = len(observations), float(fps)
    measured_faces = [(o.face, o.scores) for o in observations if o.face is not None]
    valid = np.array([o.face is not None for o in observations])
    track = fit_track(HeadTemplate.load(), [face for face, _ in measured_faces],
                      [score for _, score in measured_faces], step)
    rotation, translation, reference = relative_pose(track)

    def whole(values: NDArray[np.float64]) -> NDArray[np.float64]:
        out = np.zeros((T, *values.shape[1:]))
        out[valid] = values
        return smoothing.fill_gaps(out, valid)

    body, body_valid, width, neck = _solve_body(observations, rate)
    hands, confidence = _solve_hands(observations, rate, width)
    scale = float(reference["reference_scale"])
    neck_shift = neck_translation(body[:, 0].astype(np.float64) * width / scale, reference["reference_rotation"])
    moved, rest = hand_motion(hands.astype(np.float64), confidence > 0, rate, scale, width, step)
    measured = Measured(
        size=np.array(size), valid=valid, identity=track.identity.numpy().astype(np.float32), keypoints=body,
        body_valid=body_valid, shoulder_width_px=np.array(width, dtype=np.float32), neck_px=neck, hand_landmarks=hands,
        hand_confidence=confidence, hand_reference=rest.astype(np.float32),
        landmarks=whole(np.stack([face for face, _ in measured_faces])).astype(np.float32),
        residual_px=whole(track.residual_px).astype(np.float32), **reference)
    delta, hand_turns = displaced(body, moved, confidence)
    return MotionDocument(
        fps, expression=smoothing.smooth_expression(whole(track.expression), rate).astype(np.float32),
        rotation=smoothing.smooth(whole(rotation), rate, smoothing.ROTATION).astype(np.float32),
        translation=smoothing.smooth(whole(translation) - neck_shift, rate, smoothing.TRANSLATION).astype(np.float32),
        body=delta, hands=hand_turns, origin="tracked", measured=measured)


def _pose(image: Image, face: NDArray[np.float32]) -> PoseLandmarks | None:
    H, W, _ = image.shape
    x, y = (float(value) for value in face[:, :2].mean(axis=0))
    height = float(np.linalg.norm(face[10] - face[152]))
    region = (max(x - 4.2 * height, 0), max(y - 2 * height, 0), min(x + 4.2 * height, W), min(y + 6.5 * height, H))
    pose = detect_pose(image, region)
    return pose if shoulders_plausible(face, pose) else None


def _solve_body(
    observations: list[Observation], rate_hz: float,
) -> tuple[NDArray[np.float32], NDArray[np.bool_], float, NDArray[np.float32]]:
    """Keypoints in the clip's shoulder widths, where they were seen, the width and the neck base in px.

    A clip without any body (a head alone) gets the keypoints that anatomy gives its face.
    """
    valid = np.array([o.body is not None for o in observations])
    if valid.any():
        points = [(o.body, o.shoulder_width_px) for o in observations if o.body is not None]
    else:
        points = [body_keypoints(o.face, None) for o in observations if o.face is not None]
    places = np.stack([body for body, _ in points]).astype(np.float64)
    width = float(np.median([size for _, size in points]))
    neck = np.median(places[:, 0, :2], axis=0)
    known = valid if valid.any() else np.array([o.face is not None for o in observations])
    track = np.zeros((len(observations), *places.shape[1:]))
    track[known] = (places - np.array([neck[0], neck[1], 0.0])) / width
    track = smoothing.smooth(smoothing.fill_gaps(track, known), rate_hz, smoothing.BODY)
    return track.astype(np.float32), valid, width, neck.astype(np.float32)


def _hands_seen(observations: list[Observation]) -> NDArray[np.bool_]:
    """``[T, 2]``."""
    sure = [[hand is not None and hand.confidence >= _HAND_CONFIDENCE for hand in o.hands] for o in observations]
    return np.array(sure, dtype=np.bool_).reshape(-1, 2)


def _solve_hands(
    observations: list[Observation], rate_hz: float, width_px: float,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    T = len(observations)
    points, confidence = np.zeros((T, 2, 21, 3)), np.zeros((T, 2), dtype=np.float32)
    sure = _hands_seen(observations)
    for t, observation in enumerate(observations):
        for side, hand in enumerate(observation.hands):
            if hand is not None and sure[t, side]:
                points[t, side], confidence[t, side] = hand.points, hand.confidence
    for side in (0, 1):
        seen = confidence[:, side] > 0
        if seen.any():
            filled = smoothing.fill_gaps(points[:, side], seen) / width_px
            points[:, side] = smoothing.smooth(filled, rate_hz, smoothing.HANDS) * width_px
    return points.astype(np.float32), confidence
