from __future__ import annotations

from pathlib import Path

import pytest

from chatanyone.errors import MediaError
from chatanyone.evaluation.inputs import gather, grid_sentence


@pytest.mark.parametrize("name, sentence", [
    ("bbaf2n", "bin blue at f two now"), ("lwbsza", "lay white by s zero again"), ("sbia1a", "set blue in a one again"),
    ("prwp9s", "place red with p nine soon"), ("bbaf0n", None), ("talking_1", None), ("house1", None)])
def test_grid_names_are_sentences(name: str, sentence: str | None) -> None:
    assert grid_sentence(name) == sentence


def test_gather_finds_files_and_their_words(tmp_path: Path) -> None:
    for name in ("p/a.jpg", "p/deep/b.PNG", "v/LJ1.flac", "v/other.wav", "c/bbaf2n.mpg", "c/talk.mp4", "c/notes.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "v" / "metadata.csv").write_text("LJ1|in 1,|in one,\nLJ2|missing|missing\n")
    found = gather(tmp_path / "p", tmp_path / "v", tmp_path / "c")
    assert [path.name for path in found.portraits] == ["a.jpg", "b.PNG"]
    assert [path.name for path in found.clips] == ["bbaf2n.mpg", "talk.mp4"]
    assert {path.name: text for path, text in found.transcripts.items()} == {
        "LJ1.flac": "in one,", "bbaf2n.mpg": "bin blue at f two now"}
    assert [path.name for path in found.spoken] == ["LJ1.flac"]


def test_a_missing_or_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match="folder of clips, .*nowhere, does not exist"):
        gather(None, None, tmp_path / "nowhere")
    with pytest.raises(MediaError, match="folder of portraits, .* holds no file ending in .jpeg"):
        gather(tmp_path, None, None)
