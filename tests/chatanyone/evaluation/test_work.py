from __future__ import annotations

from pathlib import Path

from chatanyone.config import BACKENDS, load_config
from chatanyone.evaluation import lips, pixels
from chatanyone.evaluation.work import Work, code_hash, engine_key, module_hash, weights_hashes


def test_an_item_is_made_once_for_each_key(tmp_path: Path) -> None:
    work, calls = Work(tmp_path), []

    def make() -> dict[str, float]:
        calls.append(1)
        return {"r": 0.5 + len(calls)}

    first = work.item("sync", "clip", {"weights": "a"}, make)
    assert Work(tmp_path).item("sync", "clip", {"weights": "a"}, make) == first
    assert len(calls) == 1
    assert work.item("sync", "clip", {"weights": "b"}, make) != first
    assert Work(tmp_path, fresh=True).item("sync", "clip", {"weights": "a"}, make) != first
    assert len(calls) == 3


def test_an_item_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    def fail() -> dict[str, float]:
        raise KeyboardInterrupt

    try:
        Work(tmp_path).item("sync", "clip", {}, fail)
    except KeyboardInterrupt:
        pass
    assert not list(tmp_path.rglob("*.json"))


def test_the_engine_key_tells_settings_that_matter(repository: Path) -> None:
    def key(**overrides: object) -> dict[str, object]:
        return engine_key(load_config(repository / "configs" / "debug.yaml", dict(overrides)))

    assert key() == key(threads=1)  # how fast, not what
    assert key() != key(**{"motion.anchor": 0.1})
    kinds = {backend: set(weights_hashes(load_config(repository / "configs" / "debug.yaml", {"motion.backend": backend})))
             for backend in BACKENDS}
    assert kinds["diffusion"] - kinds["live_speech_portraits"] == {"face"}
    assert kinds["live_speech_portraits"] - kinds["diffusion"] == {"live_speech_portraits"}
    assert kinds["loopy"] - kinds["diffusion"] == {"loopy"} and "face" not in kinds["loopy"]
    assert code_hash() == code_hash() and module_hash(lips) != module_hash(pixels)
