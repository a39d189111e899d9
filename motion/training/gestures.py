"""What a speaker's shoulders, arms and hands do: the second half of the training data's performer.

Shoulders follow the head's translation by half (Live Speech Portraits), tilt with it, breathe, and shrug on strong
accents. Hands rise into gesture space while somebody speaks, wander there, beat on accents (a small lift, then a stroke
that ends just after the syllable's centre), and go back to the picture's pose in silence. Everything is a function of
the speech, the head and the gesture code, so a regression can learn it. Amplitudes are our choice; `performance.py`
says what real tracks measure.

Convention: shoulder widths, x to the image's right, y down, z to the viewer. Finger joints turn about the axes of
`motion.template.hands` (fingers along +Y, palm to the viewer): +X bends on both hands. The global rotation is in
template axes (y up).
"""

from __future__ import annotations

import numpy as np
import torch

from motion.impulses import FPS, gesture_code
from motion.training.performance import EASE_IN_S, Accent, Prosody, at, kernel_sum, smooth
from motion.types import BODY_DIM, BODY_KEYPOINTS, HAND_DIM, HAND_JOINTS, BodyMotion, FaceMotion

SHOULDER_WIDTH_M = 0.38  # biacromial width of an average adult
BEAT_GAP_S = 0.38  # hands do not beat faster

# How much of the torso's shift each keypoint takes.
_TORSO_SHARE = {
    "neck": 1.1, "collar": 1.05, "chest": 0.85, "shoulderLeft": 1.0, "shoulderRight": 1.0, "upperArmLeft": 0.9,
    "upperArmRight": 0.9, "elbowLeft": 0.7, "elbowRight": 0.7, "wristLeft": 0.5, "wristRight": 0.5, "belly": 0.4,
    "hipLeft": 0.12, "hipRight": 0.12,
}
_BREATH_SHARE = {"neck": 0.5, "collar": 1.0, "chest": 1.0, "shoulderLeft": 1.1, "shoulderRight": 1.1,
                 "upperArmLeft": 0.9, "upperArmRight": 0.9, "belly": 0.5, "elbowLeft": 0.5, "elbowRight": 0.5,
                 "wristLeft": 0.3, "wristRight": 0.3}


def perform_body(said: Prosody, face: FaceMotion, seed: int) -> BodyMotion:
    """Body and hands of an utterance.

    Args:
        said: accents and activity.
        face: head motion `[T, ...]` the body goes with.
        seed: of `gesture_code`, which the net is given as well.
    """
    code = gesture_code(seed, 0, len(said.time)).numpy().astype(np.float64)
    ease = 0.5 - 0.5 * np.cos(np.pi * np.clip(said.time / EASE_IN_S, 0, 1))
    delta = _torso(said, face, code)
    hands = [_hand(said, code, side) for side in (0, 1)]
    for side, name in enumerate(("Left", "Right")):
        _move_arm(delta, hands[side][:, -3:], name)
        hands[side][:, -3:] = delta[:, BODY_KEYPOINTS.index(f"wrist{name}")]
    packed = np.concatenate([delta.reshape(len(delta), -1), *hands], axis=1) * ease[:, None]
    assert packed.shape[1] == BODY_DIM
    return BodyMotion.unpack(torch.from_numpy(packed.astype(np.float32)))


def _torso(said: Prosody, face: FaceMotion, code: np.ndarray) -> np.ndarray:
    """Keypoint displacements `[T, 14, 3]` without the arms' own motion."""
    shift = 0.5 * face.translation.numpy().astype(np.float64) / SHOULDER_WIDTH_M * (1, -1, 1)
    pitch, yaw, roll = (smooth(angle, 0.08) for angle in face.rotation.numpy().astype(np.float64).T)
    shift = shift + np.stack([0.10 * smooth(yaw, 0.2), 0.04 * pitch, 0.12 * pitch], axis=1)
    shift[:, 0] += 0.006 * code[:, 5]  # slow sway of its own
    delta = np.zeros((len(code), len(BODY_KEYPOINTS), 3))
    shrug = _shrug(said, code)
    for index, name in enumerate(BODY_KEYPOINTS):
        delta[:, index] = _TORSO_SHARE[name] * shift
        delta[:, index, 1] -= 0.008 * _BREATH_SHARE.get(name, 0.0) * code[:, 6]
        delta[:, index, 2] += 0.010 * (_BREATH_SHARE.get(name, 0.0) if name in ("chest", "collar", "belly") else 0.0) \
            * code[:, 6]
        side = 0.5 * name.endswith("Left") - 0.5 * name.endswith("Right")  # the person's left is at the image's right
        upper = name.startswith(("shoulder", "upperArm"))
        delta[:, index, 1] -= side * 0.30 * roll * upper + shrug * upper
        delta[:, index, 2] -= side * 0.35 * yaw * upper  # a turn to the image's right takes that shoulder back
    return delta


def _shrug(said: Prosody, code: np.ndarray) -> np.ndarray:
    """Both shoulders up, shoulder widths, on the strongest accents."""
    strong = [Accent(a.time_s, a.strength * at(said, code[:, 0], a.time_s)) for a in said.accents if a.strength > 0.8]
    return 0.008 * kernel_sum(said.time, [a for a in strong if a.strength > 0], rise_s=0.22, fall_s=0.5)


def _beats(said: Prosody, code: np.ndarray) -> list[Accent]:
    """Accents that get a beat: the code says which, and the hands need time between two."""
    beats: list[Accent] = []
    for accent in said.accents:
        wish = accent.strength * np.clip(0.65 + 0.6 * at(said, code[:, 0], accent.time_s), 0, 1.6)
        if wish > 0.35 and (not beats or accent.time_s - beats[-1].time_s > BEAT_GAP_S):
            beats.append(Accent(accent.time_s, float(wish)))
    return beats


def _hand(said: Prosody, code: np.ndarray, side: int) -> np.ndarray:
    """One hand `[T, 51]`: joints, global rotation, wrist translation. `side` 0 left, 1 right (the person's)."""
    outward = 1.0 if side == 0 else -1.0  # the left hand is at the image's right
    share = 1 / (1 + np.exp(-(0.9 + (-1.3 if side else 1.3) * code[:, 1])))  # now both hands, now one of them
    lag = 0.02 + 0.03 * side
    beats = [Accent(a.time_s + lag, a.strength) for a in _beats(said, code)]
    lift = kernel_sum(said.time, [Accent(a.time_s - 0.06, a.strength) for a in beats], rise_s=0.16, fall_s=0.16)
    stroke = kernel_sum(said.time, [Accent(a.time_s + 0.10, a.strength) for a in beats], rise_s=0.16, fall_s=0.42)
    raised = smooth(said.activity, 0.12) * share
    own = 0.75 * code[:, 2] + (0.65 if side else -0.65) * code[:, 3]  # partly mirrored, partly each its own
    hand = np.zeros((len(code), HAND_DIM))
    hand[:, -3] = outward * (raised * (0.035 + 0.05 * own + 0.03 * stroke) + 0.004 * code[:, 4])
    hand[:, -2] = -raised * (0.10 + 0.04 * code[:, 4] + 0.045 * lift - 0.085 * stroke) + 0.004 * code[:, 3]
    hand[:, -1] = raised * (0.05 + 0.05 * stroke + 0.03 * own)
    hand[:, -6:-3] = _wrist_rotation(raised, own, stroke, lift, outward)
    hand[:, :-6] = _fingers(raised, own, stroke, code)
    return hand


def _wrist_rotation(raised: np.ndarray, own: np.ndarray, stroke: np.ndarray, lift: np.ndarray,
                    outward: float) -> np.ndarray:
    """Global rotation `[T, 3]`, rad, template axes: nods with the beat, opens outward, turns up the palm a little."""
    nod = raised * (0.16 * stroke - 0.10 * lift)
    palm = outward * raised * (0.10 + 0.10 * own)
    spread = -outward * raised * (0.08 + 0.09 * own + 0.05 * stroke)
    return np.stack([nod, palm, spread], axis=1)


def _fingers(raised: np.ndarray, own: np.ndarray, stroke: np.ndarray, code: np.ndarray) -> np.ndarray:
    """Joint rotations `[T, 45]`, rad: fingers open on the stroke and curl a little at rest, not all alike."""
    joints = np.zeros((len(code), len(HAND_JOINTS), 3))
    curl = 0.04 * code[:, 5] - raised * (0.06 + 0.10 * stroke + 0.06 * own)
    gains = {"index": 0.8, "middle": 1.0, "ring": 1.1, "pinky": 1.15, "thumb": 0.35}
    for index, name in enumerate(HAND_JOINTS):
        finger, joint = name[:-1], int(name[-1])
        late = np.roll(curl, 1) if finger in ("ring", "pinky") else curl
        late = np.concatenate([curl[:1], late[1:]])
        joints[:, index, 0] = gains[finger] * (1.0, 1.1, 0.6)[joint - 1] * late
    return joints.reshape(len(code), -1)


def _move_arm(delta: np.ndarray, wrist: np.ndarray, side: str) -> None:
    """Adds the wrist's own motion to the wrist, and what the arm takes of it to elbow, upper arm and shoulder."""
    for name, share in (("wrist", (1.0, 1.0, 1.0)), ("elbow", (0.30, 0.28, 0.15)), ("upperArm", (0.10, 0.08, 0.04)),
                        ("shoulder", (0.03, 0.04, 0.0))):
        delta[:, BODY_KEYPOINTS.index(f"{name}{side}")] += wrist * share


assert FPS == 30  # kernels and codes are made for the training rate
