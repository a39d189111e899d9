"""From a picture to a portrait, once per picture: frame, matte, background plate, landmarks, body keypoints.

Nothing here moves yet; the renderer takes a `Portrait` and moves it. All proportions are our choice.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from chatanyone.errors import PortraitError
from chatanyone.portraits import store
from chatanyone.portraits.body import body_keypoints, shoulders_plausible
from chatanyone.portraits.framing import Frame, Person, choose_frame, cut
from chatanyone.portraits.matte import Hints, person_matte
from chatanyone.portraits.plate import background_plate, foreground_colour
from chatanyone.portraits.store import default_cache_dir
from chatanyone.vision import Face, Hand, PoseLandmarks, detect_faces, detect_hands, detect_pose, yaw_asymmetry
from chatanyone.vision.segmentation import person_mask_in

__all__ = ["MINIMUM_FACE_PX", "Portrait", "default_cache_dir", "prepare_portrait"]

MINIMUM_FACE_PX = 48  # forehead to chin; below, the mesh has nothing to hold on to
_LARGEST_FACE_PX = 420  # more pixels than any frame can show: the picture is shrunk first
_TURNED, _PROFILE = 0.55, 1.25  # yaw asymmetry: warn, refuse
_MOST_OUTSIDE = 0.12  # part of the landmarks
_HAND_CONFIDENCE = 0.5
_ELBOW_SEEN = 0.7

Image = NDArray[np.uint8]


@dataclass
class Portrait:
    """Everything the renderer needs of one picture. All coordinates are pixels of the frame, (x, y) as in
    docs/architecture.md; depth z in the same pixels, larger is nearer; left and right are the person's.

    image: ``[3, H, W]`` the framed picture, [0, 1]; where the frame reaches beyond the picture it is continued
    matte: ``[1, H, W]`` soft alpha of the person
    plate: ``[3, H, W]`` the background without the person
    foreground: ``[3, H, W]`` the person's own colours, free of background at soft edges and continued a little beyond
        them, so that ``matte * foreground + (1 - matte) * plate`` is the picture
    face: ``[478, 3]`` MediaPipe's mesh
    pose: ``[33, 3]``, pose_visibility: ``[33]`` MediaPipe's body landmarks; zeros where no body is seen
    hands: ``[2, 21, 3]`` left, right; z relative to the wrist; zeros where not seen
    hand_confidence: ``[2]`` 0 where not seen
    body: ``[14, 3]`` keypoints in the order of `motion.types.BODY_KEYPOINTS`; z is 0 at the neck base
    shoulder_width_px: Eq. 1's ``s``; ``body[0]`` is its ``t``
    box: x0, y0, x1, y1 of the frame in the given picture's pixels
    warnings: sentences for the user
    """

    image: Tensor
    matte: Tensor
    plate: Tensor
    foreground: Tensor
    face: Tensor
    pose: Tensor
    pose_visibility: Tensor
    hands: Tensor
    hand_confidence: Tensor
    body: Tensor
    shoulder_width_px: float
    box: tuple[float, float, float, float]
    warnings: list[str] = field(default_factory=list)

    @property
    def size(self) -> tuple[int, int]:
        """Width, height."""
        return self.image.shape[-1], self.image.shape[-2]

    @property
    def hand_seen(self) -> tuple[bool, bool]:
        """Left, right."""
        return bool(self.hand_confidence[0] > 0), bool(self.hand_confidence[1] > 0)

    def body_canonical(self) -> Tensor:
        """``[14, 3]`` Eq. 1's ``x_c``: shoulder widths, origin at the neck base, image axes."""
        return (self.body - self.body[0]) / self.shoulder_width_px

    def save(self, path: str | Path) -> None:
        """One safetensors file; pictures as bytes, which loses nothing (they are quantised when made)."""
        tensors = {name: getattr(self, name) for name in _TENSORS}
        tensors |= {name: store.to_bytes(getattr(self, name)) for name in _PICTURES}
        metadata = {"shoulder_width_px": self.shoulder_width_px, "box": self.box, "warnings": self.warnings}
        store.write(Path(path), tensors, metadata)

    @classmethod
    def load(cls, path: str | Path) -> Portrait:
        """Inverse of `save`."""
        tensors, metadata = store.read(Path(path))
        missing = {*_TENSORS, *_PICTURES} - tensors.keys()
        if missing:
            raise PortraitError(f"expected {', '.join(sorted(missing))} in {path}, not found; prepare it again")
        values: dict[str, Any] = {name: tensors[name] for name in _TENSORS}
        values |= {name: store.from_bytes(tensors[name]) for name in _PICTURES}
        return cls(**values, shoulder_width_px=metadata["shoulder_width_px"], box=tuple(metadata["box"]),
                   warnings=metadata["warnings"])


_PICTURES = ("image", "matte", "plate", "foreground")
_TENSORS = ("face", "pose", "pose_visibility", "hands", "hand_confidence", "body")


def prepare_portrait(
    image: Image,
    size: tuple[int, int] = (512, 768),
    face: int | None = None,
    cache_dir: str | Path | None = None,
) -> Portrait:
    """Finds the person, frames them and takes the picture apart into person and background.

    image: ``[H, W, 3]`` uint8 RGB, upright
    size: width, height of the frame: square for the head only, 2:3 for the upper body
    face: which of several faces, counted from the left, 1 is the leftmost; None takes the largest, with a warning
    cache_dir: where results are kept by content hash; None keeps nothing

    Raises `PortraitError` when the picture does not show a person the way the renderer needs.
    """
    _check(image, size)
    if cache_dir is None:
        return _prepare(image, size, face)
    path = Path(cache_dir) / f"{store.cache_key(image, size=list(size), face=face)}.safetensors"
    if path.exists():
        try:
            return Portrait.load(path)
        except PortraitError:
            pass  # a damaged entry is made again
    portrait = _prepare(image, size, face)
    portrait.save(path)
    return portrait


def _check(image: Image, size: tuple[int, int]) -> None:
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(f"expected a uint8 picture [H, W, 3], got {image.dtype} {list(image.shape)}")
    if size[0] < 64 or size[1] < size[0]:
        raise ValueError(f"expected a size (width, height) of at least 64, not wider than high, got {size}")


def _prepare(image: Image, size: tuple[int, int], face: int | None) -> Portrait:
    warnings: list[str] = []
    chosen, crowded = _choose_face(detect_faces(image), face, image.shape, warnings)
    part, chosen, offset, scale = _neighbourhood(image, chosen)
    person = _find_person(part, chosen, warnings)
    frame = choose_frame(person, size)
    pixels, real = cut(part, frame)
    portrait = _take_apart(pixels, real, frame, person, crowded, warnings)
    x0, y0, x1, y1 = (value / scale for value in frame.box)
    return replace(portrait, box=(x0 + offset[0], y0 + offset[1], x1 + offset[0], y1 + offset[1]))


def _choose_face(
    faces: list[Face], number: int | None, shape: tuple[int, ...], warnings: list[str],
) -> tuple[Face, bool]:
    """The face to animate, and whether there are others about."""
    H, W = shape[:2]
    if not faces:
        raise PortraitError(
            f"expected a face in the picture, found none in {W} × {H} pixels; use a picture in which one person "
            "looks roughly at the camera, well lit and with mouth and eyes uncovered")
    in_order = sorted(faces, key=lambda found: found.center[0])
    if number is None:
        chosen = faces[0]
        if len(faces) > 1:
            warnings.append(f"found {len(faces)} faces and took the largest, number {in_order.index(chosen) + 1} from "
                            "the left; choose another with --face N")
    elif 1 <= number <= len(faces):
        chosen = in_order[number - 1]
    else:
        raise PortraitError(f"expected a face number from 1 to {len(faces)} (1 is the leftmost), got {number}; "
                            f"the picture shows {len(faces)} face{'s' * (len(faces) > 1)}")
    _check_face(chosen, (W, H), warnings)
    return chosen, len(faces) > 1


def _check_face(face: Face, size: tuple[int, int], warnings: list[str]) -> None:
    if face.height_px < MINIMUM_FACE_PX:
        raise PortraitError(f"expected a face at least {MINIMUM_FACE_PX} pixels high, found one of "
                            f"{face.height_px:.0f} pixels; use a larger or closer picture")
    points = face.landmarks[:, :2]
    outside = float(((points < 0) | (points > np.array(size))).any(axis=1).mean())
    if outside > _MOST_OUTSIDE:
        raise PortraitError(f"expected a whole face, found one of which {outside:.0%} lies beyond the picture's edge; use a "
                            "picture that shows the whole head")
    turned = abs(yaw_asymmetry(face.landmarks))
    if turned > _PROFILE:
        raise PortraitError("expected a face seen from the front, found one in profile; use a picture in which both "
                            "eyes are seen")
    if turned > _TURNED:
        warnings.append("the face is turned far to the side, its hidden half will look made up; a frontal picture "
                        "works best")


def _neighbourhood(image: Image, face: Face) -> tuple[Image, Face, tuple[float, float], float]:
    """The part of a large picture around the face, shrunk if the face is larger than needed.

    Returns the part, the face in it, the part's origin in the picture, and part pixels per picture pixel.
    """
    H, W, _ = image.shape
    (x, y), height = face.center, face.height_px
    x0, y0 = max(int(x - 7 * height), 0), max(int(y - 4 * height), 0)
    part = image[y0:min(int(y + 9 * height), H), x0:min(int(x + 7 * height), W)]
    scale = min(1.0, _LARGEST_FACE_PX / height)
    if scale < 1:
        h, w, _ = part.shape
        shrunk = max(round(w * scale), 1), max(round(h * scale), 1)
        part = cv2.resize(part, shrunk, interpolation=cv2.INTER_AREA)
        scale = shrunk[0] / w
    origin = np.array([x0, y0, 0], dtype=np.float32)
    landmarks = (face.landmarks - origin) * np.float32(scale)
    box = (face.box - np.array([x0, y0, x0, y0], dtype=np.float32)) * np.float32(scale)
    return part, Face(box, face.score, landmarks), (float(x0), float(y0)), scale


def _find_person(image: Image, face: Face, warnings: list[str]) -> Person:
    H, W, _ = image.shape
    (x, y), height = face.center, face.height_px
    region = (max(x - 4.2 * height, 0), max(y - 2 * height, 0), min(x + 4.2 * height, W), min(y + 6.5 * height, H))
    pose = detect_pose(image, region)
    if not shoulders_plausible(face.landmarks, pose):
        pose = None
    hands = detect_hands(image, pose) if pose is not None else (None, None)
    left, right = (None if hand is None or hand.confidence < _HAND_CONFIDENCE else hand for hand in hands)
    mask = np.nan_to_num(person_mask_in(image, region), nan=0.0)
    _warn_of_cut_hands((left, right), pose, (W, H), warnings)
    return Person(face, pose, (left, right), mask)


def _warn_of_cut_hands(
    hands: tuple[Hand | None, Hand | None], pose: PoseLandmarks | None, size: tuple[int, int], warnings: list[str],
) -> None:
    limits = np.array(size, dtype=np.float32)
    for index, (name, hand) in enumerate(zip(("left", "right"), hands)):
        wrist = None if pose is None or pose.visibility[15 + index] < 0.6 else pose.points[15 + index, :2]
        points = hand.points[:, :2] if hand is not None else None
        outside = points is not None and bool(((points < 1) | (points > limits - 1)).any())
        gone = points is None and wrist is not None and bool(((wrist < 0) | (wrist > limits)).any())
        if outside or (gone and wrist is not None and bool((wrist < 1.15 * limits).all())):
            warnings.append(f"the {name} hand is cut off by the picture's edge and will stay so; "
                            "a picture that shows the whole hand works better")


def _take_apart(
    pixels: Image, real: NDArray[np.bool_], frame: Frame, person: Person, crowded: bool, warnings: list[str],
) -> Portrait:
    face = frame.apply(person.face.landmarks)
    hands, confidence = _framed_hands(person, frame, warnings)
    seen = tuple(hand for hand, sure in zip(hands, confidence) if sure > 0)
    arms = _arms(person, frame, hands, confidence)
    matte = person_matte(pixels, real, Hints(face, seen, crowded, person.pose is not None, arms))
    image = pixels.astype(np.float32) / 255
    plate = background_plate(image, matte, real)
    missing = cv2.GaussianBlur((~real).astype(np.float32), (0, 0), 1.5)[..., None]
    image = np.where(real[..., None], (1 - missing) * image + missing * plate, plate)
    foreground = foreground_colour(image, matte, plate)
    pose, visibility = np.zeros((33, 3), np.float32), np.zeros(33, np.float32)
    if person.pose is not None:
        pose, visibility = frame.apply(person.pose.points), person.pose.visibility
    body, width = body_keypoints(face, None if person.pose is None else PoseLandmarks(pose, visibility))
    return Portrait(
        _picture(image), _picture(matte[..., None]), _picture(plate), _picture(foreground),
        torch.from_numpy(face), torch.from_numpy(pose), torch.from_numpy(visibility), torch.from_numpy(hands),
        torch.from_numpy(confidence), torch.from_numpy(body), width, frame.box, warnings)


def _arms(
    person: Person, frame: Frame, hands: NDArray[np.float32], confidence: NDArray[np.float32],
) -> tuple[NDArray[np.float32], ...]:
    """Middle of the upper arm, elbow and wrist ``[3, 2]``, frame pixels, of the hands that count and whose elbow is seen."""
    if person.pose is None:
        return ()
    shoulders, elbows = (frame.apply(person.pose.points[joint, :2]) for joint in ([11, 12], [13, 14]))
    seen = [side for side in (0, 1) if confidence[side] > 0 and person.pose.visibility[13 + side] > _ELBOW_SEEN]
    return tuple(np.stack([(shoulders[side] + elbows[side]) / 2, elbows[side], hands[side, 0, :2]]) for side in seen)


def _framed_hands(
    person: Person, frame: Frame, warnings: list[str],
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """``[2, 21, 3]`` frame pixels and ``[2]`` confidence; a hand mostly outside the frame does not count."""
    points, confidence = np.zeros((2, 21, 3), np.float32), np.zeros(2, np.float32)
    for index, (name, hand) in enumerate(zip(("left", "right"), person.hands)):
        if hand is None:
            continue
        inside = float(frame.contains(hand.points).mean())
        if inside > 0.6:
            points[index], confidence[index] = frame.apply(hand.points), hand.confidence
        if inside < 1 and frame.size[0] != frame.size[1] and not any(name in warning for warning in warnings):
            warnings.append(f"the {name} hand does not fit into the frame and is cut off; "
                            "a picture with the hands closer to the body works better")
    return points, confidence


def _picture(image: NDArray[np.float32]) -> Tensor:
    """``[H, W, C]`` to ``[C, H, W]`` in steps of 1/255, so that storing as bytes loses nothing."""
    return store.from_bytes(store.to_bytes(torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))))
