"""Reading MakeHuman's hair, clothes and teeth: the formats by hand, the real zip where it is there."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest

from render.training.wardrobe import BASE_VERTICES, KINDS, Wardrobe, parse_binding, parse_obj, pieces

BINDING = """# a hat
name hat
obj_file hat.obj
tag Hats
x_scale 10 11 2.0
y_scale 20 21 1.0
z_scale 30 31 4.0
material hat.mhmat
verts 0
7
1 2 3 0.5 0.25 0.25 0.1 -0.2 0.3
2 3 4 1.5 -0.5 0.0 0 0 0
delete_verts
100 102 - 104
"""
OBJ = "v 0 0 0\nv 1 0 0\nv 1 1 0\nvt 0 0\nvt 1 0\nvt 1 1\nvt 0 1\nf 1/1 2/2 3/3\n"


def _zip(path: Path, files: dict[str, str]) -> Path:
    with zipfile.ZipFile(path, "w") as file:
        for name, text in files.items():
            file.writestr(name, text)
    return path


def _all() -> dict[str, str]:
    return {f"{kind}/hat/hat.mhclo": BINDING for kind in KINDS} | {f"{kind}/hat/hat.obj": OBJ for kind in KINDS}


def test_binding_by_hand(tmp_path: Path) -> None:
    thing = Wardrobe(_zip(tmp_path / "a.zip", _all()))["hair"][0]
    base = np.zeros((BASE_VERTICES, 3))
    base[7], base[1], base[2], base[3] = (1, 2, 3), (4, 0, 0), (0, 4, 0), (0, 0, 4)
    base[11, 0], base[21, 1], base[31, 2] = 4.0, 3.0, 2.0  # scales 2, 3, 0.5
    worn = thing.worn(base)
    assert np.allclose(worn[0], [1, 2, 3])  # a single number: that vertex itself
    assert np.allclose(worn[1], [2 + 0.1 * 2, 1 - 0.2 * 3, 1 + 0.3 * 0.5])
    assert np.allclose(worn[2], [0, 6, -2])
    assert thing.tags == {"Hats"} and np.flatnonzero(thing.hides).tolist() == [100, 102, 103, 104]
    weights = thing.blended(np.eye(5)[np.arange(BASE_VERTICES) % 5])
    assert np.allclose(weights.sum(1), 1) and weights.min() >= 0  # never extrapolated


def test_obj_fans_polygons_and_chooses_groups() -> None:
    text = ("v 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\nvt 0 0\nvt 1 0\nvt 1 1\n"
            "g body\nf 1/1 2/2 3/3 4/1\ng other\nf 1/3/1 2/2/1 4/1/1\n")
    vertices, uv, triangles, triangles_uv = parse_obj(text, "body")
    assert vertices.shape == (4, 3) and uv.shape == (3, 2)
    assert triangles.tolist() == [[0, 1, 2], [0, 2, 3]] and triangles_uv.tolist() == [[0, 1, 2], [0, 2, 0]]
    assert parse_obj(text)[2].shape == (3, 3)
    with pytest.raises(ValueError, match="no faces"):
        parse_obj(text, "nothing")


def test_pieces_largest_first() -> None:
    assert pieces(7, np.array([[5, 6, 4], [0, 1, 2], [2, 3, 1]])).tolist() == [0, 0, 0, 0, 1, 1, 1]


@pytest.mark.parametrize("text, said", [
    (BINDING.replace("1 2 3 0.5", "1 2 99999 0.5"), "beyond the base mesh"), (BINDING.split("verts")[0], "no bindings"),
    (BINDING.replace("1 2 3 0.5 0.25", "1 2"), "not 9"),
])
def test_bad_bindings(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        parse_binding(text)


def test_bad_zips_are_told_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="cannot be read as a zip"):
        Wardrobe(tmp_path / "missing.zip")
    (tmp_path / "text.zip").write_text("hello")
    with pytest.raises(ValueError, match="cannot be read as a zip"):
        Wardrobe(tmp_path / "text.zip")
    with pytest.raises(ValueError, match="holds no hair"):
        Wardrobe(_zip(tmp_path / "empty.zip", {"readme.txt": ""}))
    no_mesh = {name: text for name, text in _all().items() if name != "teeth/hat/hat.obj"}
    with pytest.raises(ValueError, match=r"teeth/hat/hat\.mhclo .* cannot be read"):
        Wardrobe(_zip(tmp_path / "mesh.zip", no_mesh))
    with pytest.raises(ValueError, match="3 vertices, 2 bindings"):
        short = {"hair/hat/hat.mhclo": BINDING.replace("2 3 4 1.5 -0.5 0.0 0 0 0\n", "")}
        Wardrobe(_zip(tmp_path / "short.zip", _all() | short))
