"""What the performer does: ARKit expressions through Rocketbox's face bones, and natural poses of head, arms and hands.

Rocketbox has about thirty face bones and no blend shapes; the table below is our own calibration by eye, in
centimetres and radians at weight 1. It is not FACS: labels of strength are approximate, positions exact.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from render.training.rocketbox import CENTIMETRE, Person, Pose, turn_matrix, turn_vector

Vector = tuple[float, float, float]
CLEARANCE, CLEAR_ROUNDS = 0.03, 4  # metres between torso and the bones of an arm; attempts
MOST_TURN, MOST_REACH = 0.35, 0.16  # rad of the head, metres of a wrist: further, a warped picture has no answer
LIPS_UPPER = ("MUpperLip", "LUpperlip", "RUpperlip")
LIPS_LOWER = ("MBottomLip", "LMouthBottom", "RMouthBottom")

# Left-hand and middle bones; `_mirrored` adds the right side of every name that ends in Left.
SHIFTS: dict[str, dict[str, Vector]] = {
    "mouthSmileLeft": {"LMouthCorner": (0.6, 0.7, -0.4), "LCheek": (0, 0.4, 0.1), "LCaninus": (0.1, 0.2, 0)},
    "mouthFrownLeft": {"LMouthCorner": (0.1, -0.6, -0.1)},
    "mouthStretchLeft": {"LMouthCorner": (0.6, -0.1, -0.4), "LMouthBottom": (0.2, -0.1, 0)},
    "mouthDimpleLeft": {"LMouthCorner": (0.35, 0.1, -0.4)},
    "mouthUpperUpLeft": {"LUpperlip": (0, 0.5, 0), "MUpperLip": (0, 0.25, 0), "LCaninus": (0, 0.2, 0)},
    "mouthLowerDownLeft": {"LMouthBottom": (0, -0.6, 0), "MBottomLip": (0, -0.3, 0)},
    "mouthPressLeft": {"LUpperlip": (0, -0.15, -0.1), "LMouthBottom": (0, 0.2, -0.1), "MBottomLip": (0, 0.1, 0)},
    "mouthPucker": {"LMouthCorner": (-1.0, 0, 0.5), "RMouthCorner": (1.0, 0, 0.5), "LUpperlip": (-0.4, 0, 0.5),
                    "RUpperlip": (0.4, 0, 0.5), "LMouthBottom": (-0.4, 0, 0.5), "RMouthBottom": (0.4, 0, 0.5),
                    "MUpperLip": (0, 0, 0.5), "MBottomLip": (0, 0, 0.5)},
    "mouthFunnel": {"LMouthCorner": (-0.7, 0, 0.3), "RMouthCorner": (0.7, 0, 0.3), "LUpperlip": (-0.2, 0.3, 0.5),
                    "RUpperlip": (0.2, 0.3, 0.5), "LMouthBottom": (-0.2, -0.4, 0.5), "RMouthBottom": (0.2, -0.4, 0.5),
                    "MUpperLip": (0, 0.35, 0.5), "MBottomLip": (0, -0.45, 0.5)},
    "mouthRollUpper": {bone: (0, -0.1, -0.4) for bone in LIPS_UPPER},
    "mouthRollLower": {bone: (0, 0.15, -0.4) for bone in LIPS_LOWER},
    "mouthShrugLower": {bone: (0, 0.3, 0.1) for bone in LIPS_LOWER},
    "mouthLeft": {"LMouthCorner": (0.5, 0, -0.2), "RMouthCorner": (0.5, 0, 0.2)}
    | {bone: (0.5, 0.0, 0.0) for bone in LIPS_UPPER + LIPS_LOWER},
    "mouthRight": {"LMouthCorner": (-0.5, 0, 0.2), "RMouthCorner": (-0.5, 0, -0.2)}
    | {bone: (-0.5, 0.0, 0.0) for bone in LIPS_UPPER + LIPS_LOWER},
    "eyeBlinkLeft": {"LEyeBlinkTop": (0, -1.3, 0), "LEyeBlinkBottom": (0, 0.3, 0)},
    "eyeWideLeft": {"LEyeBlinkTop": (0, 0.35, 0)},
    "eyeSquintLeft": {"LEyeBlinkBottom": (0, 0.45, 0), "LEyeBlinkTop": (0, -0.2, 0), "LCheek": (0, 0.2, 0)},
    "browInnerUp": {"LInnerEyebrow": (0, 0.6, 0), "RInnerEyebrow": (0, 0.6, 0), "MMiddleEyebrow": (0, 0.4, 0)},
    "browOuterUpLeft": {"LOuterEyebrow": (0, 0.7, 0), "LInnerEyebrow": (0, 0.2, 0)},
    "browDownLeft": {"LInnerEyebrow": (-0.15, -0.5, 0), "LOuterEyebrow": (0, -0.25, 0), "MMiddleEyebrow": (0, -0.2, 0)},
    "cheekPuff": {"LMasseter": (0.7, 0, 0.3), "RMasseter": (-0.7, 0, 0.3), "LCaninus": (0.4, 0, 0.3),
                  "RCaninus": (-0.4, 0, 0.3)},
    "noseSneerLeft": {"LCaninus": (0, 0.4, 0), "LUpperlip": (0, 0.2, 0), "MNose": (0, 0.1, 0)},
}
TURNS: dict[str, dict[str, Vector]] = {
    "jawOpen": {"MJaw": (0.3, 0, 0)}, "jawLeft": {"MJaw": (0, 0.1, 0)}, "jawRight": {"MJaw": (0, -0.1, 0)},
    "eyeLookUpLeft": {"LEye": (-0.35, 0, 0)}, "eyeLookDownLeft": {"LEye": (0.4, 0, 0)},
    "eyeLookInLeft": {"LEye": (0, -0.45, 0)}, "eyeLookOutLeft": {"LEye": (0, 0.45, 0)},
}


def _mirrored(table: dict[str, dict[str, Vector]], sign: Vector) -> dict[str, dict[str, np.ndarray]]:
    """The table with the right side added; `sign` mirrors a shift, or a turn, in X."""
    swap = {"L": "R", "R": "L", "M": "M"}
    result = {name: {bone: np.array(v, dtype=float) for bone, v in moves.items()} for name, moves in table.items()}
    for name, moves in table.items():
        if name.endswith("Left") and name not in ("mouthLeft", "jawLeft"):
            result[name[:-4] + "Right"] = {
                swap[bone[0]] + bone[1:]: np.array(v, dtype=float) * sign for bone, v in moves.items()}
    return result


_SHIFTS = _mirrored(SHIFTS, (-1, 1, 1))
_TURNS = _mirrored(TURNS, (1, -1, -1))
EXPRESSIONS: tuple[str, ...] = (*_SHIFTS, *_TURNS)


@dataclass
class Act:
    """One moment of a performance.

    expression: ARKit weights by name; head, neck, chest: turns (axis-angle, rad); wrist: ``{side: [3]}`` metres from
    the shoulder, body axes; roll: turn of each hand about its forearm; wave: ``{side: [3]}`` turn at the wrist;
    curl: ``{side: [5]}`` bend of thumb to little finger, rad a joint; sway: metres the body moves
    """

    expression: dict[str, float] = field(default_factory=dict)
    head: np.ndarray = field(default_factory=lambda: np.zeros(3))
    neck: np.ndarray = field(default_factory=lambda: np.zeros(3))
    chest: np.ndarray = field(default_factory=lambda: np.zeros(3))
    wrist: dict[str, np.ndarray] = field(default_factory=dict)
    roll: dict[str, float] = field(default_factory=dict)
    wave: dict[str, np.ndarray] = field(default_factory=dict)
    curl: dict[str, np.ndarray] = field(default_factory=dict)
    sway: np.ndarray = field(default_factory=lambda: np.zeros(3))


def perform(person: Person, act: Act) -> Pose:
    """The pose of the bones for an act."""
    pose = Pose({}, {}, act.expression) if person.shapes else face_pose(act.expression)
    pose.turn |= {"Head": act.head, "Neck": act.neck, "Spine1": act.chest / 2, "Spine2": act.chest / 2}
    pose.shift["Pelvis"] = act.sway
    for side, target in act.wrist.items():
        pose.turn |= arm_turns(person, side, target, act.roll.get(side, 0.0), act.wave.get(side, np.zeros(3)))
    for side, curl in act.curl.items():
        pose.turn |= finger_turns(person, side, curl)
    return pose


def face_pose(expression: dict[str, float]) -> Pose:
    """Sum of the table's shifts and turns, times the weights."""
    pose = Pose({}, {})
    for name, weight in expression.items():
        for table, target, unit in ((_SHIFTS, pose.shift, CENTIMETRE), (_TURNS, pose.turn, 1.0)):
            for bone, move in table.get(name, {}).items():
                target[bone] = target.get(bone, np.zeros(3)) + move * (weight * unit)
    return pose


def arm_turns(person: Person, side: str, target: np.ndarray, roll: float, wave: np.ndarray) -> dict[str, np.ndarray]:
    """Turns of upper arm, forearm and hand that bring the wrist to `target` (from the shoulder), elbow down and out."""
    shoulder, elbow, wrist = (person.head[f"{side} {bone}"] for bone in ("UpperArm", "Forearm", "Hand"))
    upper, lower = np.linalg.norm(elbow - shoulder), np.linalg.norm(wrist - elbow)
    reach = np.clip(np.linalg.norm(target), abs(upper - lower) + 0.02, (upper + lower) * 0.995)
    direction = target / np.linalg.norm(target)
    out = 1.0 if side == "L" else -1.0
    pole = np.array([0.45 * out, -0.8, -0.45])
    pole = _unit(pole - direction * (pole @ direction))
    along = (upper**2 - lower**2 + reach**2) / (2 * reach)
    joint = direction * along + pole * np.sqrt(max(upper**2 - along**2, 0.0))
    # At rest the elbow would bend forwards: its hinge is across the arm and the forward axis.
    forward = np.array([0.0, 0.0, 1.0])
    rest = _frame(elbow - shoulder, -forward), _frame(wrist - elbow, -forward)
    posed = _frame(joint, pole), _frame(direction * reach - joint, pole)
    world = [new @ old.T for new, old in zip(posed, rest)]
    axis = _unit(wrist - elbow)
    twist = turn_matrix(axis * roll)
    forearm = world[1] @ turn_matrix(axis * roll * 0.5)
    hand = world[1] @ twist @ turn_matrix(wave)
    return {f"{side} UpperArm": turn_vector(world[0]), f"{side} Forearm": turn_vector(world[0].T @ forearm),
            f"{side} Hand": turn_vector(forearm.T @ hand)}


def clear_of_body(person: Person, act: Act) -> Act:
    """The act with hands moved forwards until neither they nor the forearms are inside the torso."""
    torso = person.torso
    wrist = {side: target.copy() for side, target in act.wrist.items()}
    act = replace(act, wrist=wrist)
    for _ in range(CLEAR_ROUNDS):
        vertices, joints = person.pose(perform(person, act))
        body = vertices[torso].numpy()
        moved = False
        for side, target in wrist.items():
            lack = max(_depth_inside(body, point) for point in _arm_points(joints, side))
            if lack > 0:
                target[2] += lack + 0.01
                moved = True
        if not moved:
            break
    return act


def _arm_points(joints: dict[str, np.ndarray], side: str) -> list[np.ndarray]:
    """Middle of the forearm, wrist and fingers."""
    elbow, wrist = joints[f"{side} Forearm"], joints[f"{side} Hand"]
    fingers = [joints[f"{side} Finger{finger}{part}"] for finger in range(5) for part in ("", "2")]
    return [elbow * 0.5 + wrist * 0.5, elbow * 0.25 + wrist * 0.75, wrist, *fingers]


def _depth_inside(body: np.ndarray, point: np.ndarray) -> float:
    """How far the point would have to move forwards to be `CLEARANCE` before the torso beneath it; 0 beside it."""
    beneath = body[np.linalg.norm(body[:, :2] - point[:2], axis=1) < 0.05]
    return max(0.0, float(beneath[:, 2].max() + CLEARANCE - point[2])) if len(beneath) else 0.0


def finger_turns(person: Person, side: str, curl: np.ndarray) -> dict[str, np.ndarray]:
    """Bend every joint of each finger by ``curl[finger]`` about the knuckles' line; the thumb about its own hinge."""
    turns = {}
    knuckles = _unit(person.head[f"{side} Finger4"] - person.head[f"{side} Finger1"])
    for finger, bend in enumerate(curl):
        joints = [person.head[f"{side} Finger{finger}{part}"] for part in ("", "1", "2")]
        first, second = joints[1] - joints[0], joints[2] - joints[1]
        natural = np.cross(first, second)  # how the finger is bent at rest tells which way it bends
        axis = _unit(natural) if finger == 0 else knuckles * np.sign(natural @ knuckles)
        for part in ("", "1", "2"):
            turns[f"{side} Finger{finger}{part}"] = axis * bend * (0.6 if finger == 0 else 1.0)
    return turns


def _unit(vector: np.ndarray) -> np.ndarray:
    return vector / np.linalg.norm(vector)


def _frame(along: np.ndarray, aside: np.ndarray) -> np.ndarray:
    """Columns: along, the part of `aside` across it, and their cross product."""
    x = _unit(along)
    y = _unit(aside - x * (aside @ x))
    return np.stack([x, y, np.cross(x, y)], axis=1)


def sample_pair(rng: np.random.Generator, hands: bool = True) -> tuple[Act, Act]:
    """A portrait's pose and a moment of speech of the same person."""
    source = Act(expression=_portrait_face(rng), head=rng.normal(0, 0.06, 3), neck=rng.normal(0, 0.03, 3),
                 chest=rng.normal(0, 0.03, 3))
    target = Act(expression=_speaking_face(rng), head=source.head + _head_move(rng), neck=source.neck.copy(),
                 chest=source.chest + rng.normal(0, 0.04, 3), sway=rng.normal(0, 0.008, 3))
    for side in ("L", "R"):
        _sample_arm(rng, side, source, target, raised=hands and rng.random() < 0.75)
    return source, target


def follow_up(source: Act, rng: np.random.Generator, hands: bool = True) -> Act:
    """Another moment of the one who sits for `source`; no further from it than talk goes."""
    while True:
        first, then = sample_pair(rng, hands)
        turn = then.head - first.head
        reach = max(float(np.linalg.norm(then.wrist[side] - first.wrist[side])) for side in source.wrist)
        if np.linalg.norm(turn) < MOST_TURN and reach < MOST_REACH:
            break
    calm = rng.uniform(0.2, 1.0)
    target = Act(expression=then.expression, head=source.head + turn, neck=source.neck.copy(),
                 chest=source.chest + then.chest - first.chest, sway=then.sway)
    for side in source.wrist:
        target.wrist[side] = source.wrist[side] + calm * (then.wrist[side] - first.wrist[side])
        target.roll[side] = source.roll[side] + calm * (then.roll[side] - first.roll[side])
        target.wave[side] = source.wave[side] + calm * (then.wave[side] - first.wave[side])
        target.curl[side] = (source.curl[side] + calm * (then.curl[side] - first.curl[side])).clip(-0.15, 1.1)
    return target


def _head_move(rng: np.random.Generator) -> np.ndarray:
    """Pitch, yaw, roll: mostly small, sometimes a real turn."""
    return rng.normal(0, 1, 3) * np.array([0.10, 0.14, 0.08]) * rng.choice([0.4, 1.0, 1.6])


def _portrait_face(rng: np.random.Generator) -> dict[str, float]:
    smile, jaw = max(0.0, rng.normal(0.1, 0.3)), max(0.0, rng.normal(-0.1, 0.15))
    return {"mouthSmileLeft": smile, "mouthSmileRight": smile * rng.uniform(0.8, 1), "jawOpen": jaw} | _gaze(rng, 0.3)


def _speaking_face(rng: np.random.Generator) -> dict[str, float]:
    """Jaw and lips as in speech, brows and lids as they come; weights in [0, 1]."""
    face = {"jawOpen": float(rng.beta(1.1, 3.2))} | _gaze(rng, 0.5)
    for names, chance in _SPEECH:
        if rng.random() < chance:
            weight = float(rng.beta(1.5, 1.8))
            face |= {name: weight * float(rng.uniform(0.8, 1)) for name in names}
    if rng.random() < 0.25:
        lid = float(rng.choice([1.0, rng.uniform(0.2, 0.9)], p=[0.6, 0.4]))
        face |= {"eyeBlinkLeft": lid, "eyeBlinkRight": lid}
    return face


_SPEECH: tuple[tuple[tuple[str, ...], float], ...] = (
    (("mouthPucker",), 0.2), (("mouthFunnel",), 0.2), (("mouthSmileLeft", "mouthSmileRight"), 0.3),
    (("mouthStretchLeft", "mouthStretchRight"), 0.15), (("mouthFrownLeft", "mouthFrownRight"), 0.08),
    (("mouthUpperUpLeft", "mouthUpperUpRight"), 0.25), (("mouthLowerDownLeft", "mouthLowerDownRight"), 0.3),
    (("mouthRollLower",), 0.08), (("mouthRollUpper",), 0.05), (("mouthPressLeft", "mouthPressRight"), 0.08),
    (("mouthLeft",), 0.04), (("mouthRight",), 0.04), (("jawLeft",), 0.04), (("jawRight",), 0.04),
    (("cheekPuff",), 0.04), (("browInnerUp",), 0.25), (("browOuterUpLeft", "browOuterUpRight"), 0.2),
    (("browDownLeft", "browDownRight"), 0.15), (("eyeSquintLeft", "eyeSquintRight"), 0.12),
    (("eyeWideLeft", "eyeWideRight"), 0.1), (("noseSneerLeft", "noseSneerRight"), 0.05),
)


def _gaze(rng: np.random.Generator, spread: float) -> dict[str, float]:
    """Both eyes look the same way."""
    across, up = (rng.normal(0, spread, 2) * [1.0, 0.5]).clip(-1, 1)
    left, right = ("Out", "In") if across > 0 else ("In", "Out")
    vertical = "Up" if up > 0 else "Down"
    return {f"eyeLook{left}Left": abs(across), f"eyeLook{right}Right": abs(across),
            f"eyeLook{vertical}Left": abs(up), f"eyeLook{vertical}Right": abs(up)}


def _sample_arm(rng: np.random.Generator, side: str, source: Act, target: Act, raised: bool) -> None:
    """A hand held before the body and gesturing, or hanging at the side."""
    out = 1.0 if side == "L" else -1.0
    if raised:
        place = np.array([out * rng.uniform(-0.2, 0.08), rng.uniform(-0.4, -0.14), rng.uniform(0.2, 0.36)])
        reach = 0.07
    else:
        place = np.array([out * rng.uniform(0.02, 0.12), rng.uniform(-0.56, -0.5), rng.uniform(-0.02, 0.1)])
        reach = 0.015
    source.wrist[side] = place
    target.wrist[side] = place + rng.normal(0, reach, 3)
    source.roll[side] = out * rng.uniform(-0.9, 0.6) if raised else 0.0
    target.roll[side] = source.roll[side] + rng.normal(0, 0.25)
    source.wave[side] = rng.normal(0, 0.15, 3)
    target.wave[side] = source.wave[side] + rng.normal(0, 0.2, 3)
    base = rng.uniform(-0.1, 0.5)
    source.curl[side] = (base + rng.normal(0, 0.1, 5)).clip(-0.15, 0.9)
    target.curl[side] = (source.curl[side] + rng.normal(0, 0.2) + rng.normal(0, 0.08, 5)).clip(-0.15, 1.1)
