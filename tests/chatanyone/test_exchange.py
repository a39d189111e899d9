"""Motion in other programs' forms: what leaves comes back, and nothing else comes in."""

from __future__ import annotations

import csv
import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from chatanyone.errors import MediaError
from chatanyone.exchange import read_motion, write_motion
from chatanyone.exchange.arkit_csv import COLUMNS, NAMES, timecode
from chatanyone.motionfile import MotionDocument
from motion.types import ARKIT_INDEX, ARKIT_NAMES
from tests.helpers.motion import moving

HALF_UNIT = 0.5e-8 + 1e-9  # of the last decimal, and float32's own


def test_the_layout_is_live_link_faces() -> None:
    assert len(COLUMNS) == 63 and COLUMNS[:3] == ("Timecode", "BlendShapeCount", "EyeBlinkLeft")
    assert COLUMNS[8:11] == ("EyeWideLeft", "EyeBlinkRight", "EyeLookDownRight")
    assert COLUMNS[16:20] == ("JawForward", "JawRight", "JawLeft", "JawOpen") and COLUMNS[53] == "TongueOut"
    assert COLUMNS[54:] == ("HeadYaw", "HeadPitch", "HeadRoll", "LeftEyeYaw", "LeftEyePitch", "LeftEyeRoll", "RightEyeYaw",
                            "RightEyePitch", "RightEyeRoll")
    assert sorted(NAMES) == sorted(ARKIT_NAMES)


@pytest.mark.parametrize("fps", [Fraction(30), Fraction(25), Fraction(60)])
def test_csv_comes_back_to_its_precision(tmp_path: Path, fps: Fraction) -> None:
    before = moving(130, fps)
    write_motion(before, tmp_path / "a.csv")
    after = read_motion(tmp_path / "a.csv")
    assert after.fps == fps and len(after) == 130 and after.origin == "imported" and after.source == "a.csv"
    assert np.abs(after.expression - before.expression).max() <= HALF_UNIT + 3e-8
    assert np.abs(after.rotation - before.rotation).max() < 3e-8
    write_motion(after, tmp_path / "b.csv")
    first, second = ([line.split(",") for line in (tmp_path / name).read_text().splitlines()] for name in ("a.csv", "b.csv"))
    assert [row[:2] for row in first] == [row[:2] for row in second]
    numbers = [np.array([row[2:] for row in rows[1:]], dtype=float) for rows in (first, second)]
    assert np.abs(numbers[0] - numbers[1]).max() < 4e-8


def test_csv_of_another_app(tmp_path: Path) -> None:
    """Other capitals, other order, no tongue, real time codes that start anywhere and lose frames, an empty row."""
    names = [name for name in reversed(NAMES) if name != "tongueOut"]
    rows = [["timecode", "blendshapecount", *names]]
    for frame in (0, 1, 2, 5, 70):
        seconds, part = divmod(50 + frame, 60)
        rows.append([f"14:03:{seconds + 10:02d}:{part:02d}.250", "61", *[str(round(0.01 * frame, 3))] * 51])
    rows.insert(3, ["14:03:10:52.250", "0"])
    (tmp_path / "take.csv").write_text("\ufeff" + "\r\n".join(",".join(row) for row in rows) + "\r\n")
    take = read_motion(tmp_path / "take.csv")
    assert take.fps == 60 and len(take) == 71
    assert np.allclose(take.expression[[0, 1, 2, 5, 70], ARKIT_INDEX["jawOpen"]], [0, 0.01, 0.02, 0.05, 0.7])
    assert take.expression[3, 0] == pytest.approx(0.03) and not take.expression[:, ARKIT_INDEX["tongueOut"]].any()
    assert not take.rotation.any()


def test_rates_that_time_codes_cannot_tell(tmp_path: Path) -> None:
    ntsc = Fraction(30000, 1001)
    write_motion(moving(40, ntsc), tmp_path / "a.csv")
    assert read_motion(tmp_path / "a.csv").fps == 30 and read_motion(tmp_path / "a.csv", ntsc).fps == ntsc
    write_motion(moving(10), tmp_path / "short.csv")
    assert read_motion(tmp_path / "short.csv").fps == 60 and read_motion(tmp_path / "short.csv", Fraction(30)).fps == 30
    assert timecode(30 * 3661 + 7, Fraction(30)) == "01:01:01:07.000"


def test_head_and_eyes_are_yaw_pitch_roll(tmp_path: Path) -> None:
    document = moving(3)
    document.rotation[:] = np.deg2rad([[10, 0, 0], [0, 20, 0], [0, 0, 5]])
    document.expression[:] = 0
    document.expression[1, [ARKIT_INDEX["eyeLookOutLeft"], ARKIT_INDEX["eyeLookInRight"]]] = 1.0  # to the image's right
    write_motion(document, tmp_path / "a.csv")
    rows = list(csv.DictReader((tmp_path / "a.csv").open()))
    assert float(rows[0]["HeadPitch"]) == pytest.approx(np.deg2rad(10)) and float(rows[0]["HeadYaw"]) == pytest.approx(0)
    assert float(rows[1]["HeadYaw"]) == pytest.approx(np.deg2rad(20))
    assert float(rows[2]["HeadRoll"]) == pytest.approx(np.deg2rad(5))
    assert float(rows[1]["LeftEyeYaw"]) == pytest.approx(0.52) == float(rows[1]["RightEyeYaw"])


def test_json_comes_back_and_is_what_gltf_takes(tmp_path: Path) -> None:
    before = moving(50, Fraction(24))
    write_motion(before, tmp_path / "a.json")
    after = read_motion(tmp_path / "a.json")
    assert (after.fps, len(after), after.sound) == (Fraction(24), 50, "wave.wav")
    for name in ("expression", "rotation", "translation"):
        assert np.abs(getattr(after, name) - getattr(before, name)).max() < 5e-8, name
    content = json.loads((tmp_path / "a.json").read_text())
    turns = np.array(content["channels"]["rotation"]["output"]).reshape(-1, 4)
    assert np.allclose(np.linalg.norm(turns, axis=1), 1, atol=1e-7)
    assert np.allclose(Rotation.from_quat(turns).as_rotvec(), before.rotation, atol=1e-7)
    weights = np.array(content["channels"]["weights"]["output"]).reshape(50, 52)
    assert content["morphTargets"] == list(ARKIT_NAMES) and np.allclose(weights, before.expression, atol=1e-8)
    assert content["times"][12] == pytest.approx(0.5)


def test_json_with_other_morph_targets(tmp_path: Path) -> None:
    write_motion(moving(5), tmp_path / "a.json")
    content = json.loads((tmp_path / "a.json").read_text())
    content["morphTargets"] = ["jawOpen", "hornLength"]
    content["channels"]["weights"]["output"] = [0.1, 9.0] * 5
    (tmp_path / "a.json").write_text(json.dumps(content))
    read = read_motion(tmp_path / "a.json")
    assert np.allclose(read.expression[:, ARKIT_INDEX["jawOpen"]], 0.1) and np.allclose(read.expression.sum(1), 0.1)


def test_every_form_into_every_other(tmp_path: Path) -> None:
    before, path = moving(40), tmp_path / "0.npz"
    before.save(path)
    for number, suffix in enumerate((".csv", ".json", ".npz", ".json", ".csv", ".npz"), 1):
        target = tmp_path / f"{number}{suffix}"
        write_motion(read_motion(path), target)
        path = target
    assert np.abs(MotionDocument.load(path).expression - before.expression).max() < 1e-7


@pytest.mark.parametrize(("name", "text", "message"), [
    ("a.csv", "", "is not a Live Link Face CSV"), ("a.csv", "a,b\n1,2\n", "is not a Live Link Face CSV"),
    ("a.csv", "Timecode,BlendShapeCount,EyeBlinkLeft\n", "lacks the column"),
    ("a.csv", ",".join(COLUMNS) + "\n", "holds no frame"),
    ("a.csv", ",".join(COLUMNS) + "\nnoon,61" + ",0" * 61, "line 2 of .* has no time code"),
    ("a.csv", ",".join(COLUMNS) + "\n00:00:00:01.0,61,x" + ",0" * 60, "line 2 of .* has 'x' where a number"),
    ("a.csv", ",".join(COLUMNS) + "\n00:00:00:01.0,61,nan" + ",0" * 60, "where a number"),
    ("a.json", "{", "is not JSON"), ("a.json", "[]", "is not chatanyone.gltf"),
    ("a.json", '{"format":"chatanyone.gltf","version":1}', "is damaged"), ("a.json", "[" * 100000, "is not JSON"),
    ("a.txt", "", "files that end in .npz, .csv, .json"), ("a.npz", "", "cannot be read"),
])
def test_other_files_are_refused(tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(MediaError, match=message):
        read_motion(tmp_path / name)


def test_damaged_json_and_files_that_are_not_there(tmp_path: Path) -> None:
    write_motion(moving(5), tmp_path / "a.json")
    good = json.loads((tmp_path / "a.json").read_text())
    changes: tuple[dict[str, object], ...] = (
        {"times": []}, {"fps": [0, 1]}, {"fps": "x"}, {"times": [0] * 4}, {"channels": []}, {"morphTargets": 3})
    for change in changes:
        (tmp_path / "b.json").write_text(json.dumps(good | change))
        with pytest.raises(MediaError, match="is damaged"):
            read_motion(tmp_path / "b.json")
    with pytest.raises(MediaError, match="no such file"):
        read_motion(tmp_path / "none.csv")
    (tmp_path / "picture.csv").write_bytes(b"\x89PNG\xff\xfe")
    with pytest.raises(MediaError, match="is not a text file"):
        read_motion(tmp_path / "picture.csv")
    with pytest.raises(MediaError, match="could not be written"):
        write_motion(moving(5), tmp_path / "none" / "a.csv")
    assert not list(tmp_path.glob(".*"))
