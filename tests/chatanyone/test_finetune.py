"""From films of one person to weights: what is refused, what is taught, that the best weights come out."""

from __future__ import annotations

import argparse
import math
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from chatanyone.checkpoints import load_weights, read_info, save_weights
from chatanyone.cli import main
from chatanyone.errors import ConfigError, MediaError, PortraitError
from chatanyone.finetune import clips as films
from chatanyone.finetune import face, pairs, sheets
from chatanyone.finetune.clips import PersonClip, gather, split, sync
from chatanyone.finetune.controls import controls_of
from chatanyone.finetune.targets import taught
from chatanyone.media.video import VideoWriter
from chatanyone.training import Processes, Solver, SolverConfig
from motion.face import FaceDenoiser
from motion.training.motion_data import Clip
from motion.training.performance import PerformanceStyle, Prosody, perform_face
from motion.types import ARKIT_INDEX, FaceMotion

JAW = ARKIT_INDEX["jawOpen"]
C = 6


def speech(frames: int, seed: int = 0) -> Tensor:
    """Noise that swells and fades twice a second: ``[N]`` at 16 kHz."""
    count = frames * 16000 // 30
    swell = 0.5 - 0.5 * torch.cos(torch.arange(count) / 16000 * 2 * math.pi * 2)
    return 0.2 * swell * torch.randn(count, generator=torch.Generator().manual_seed(seed))


def person(frames: int = 120, seed: int = 0, name: str = "a.mp4", lips: float = 0.4) -> PersonClip:
    """Lips that open with the sound, a usual smile, a head that turns slowly."""
    time = torch.arange(frames) / 30
    motion = torch.zeros(frames, 58)
    motion[:, JAW] = lips * (0.5 - 0.5 * torch.cos(2 * math.pi * 2 * time))
    motion[:, ARKIT_INDEX["mouthSmileLeft"]] = 0.3 + 0.02 * torch.sin(time)
    motion[:, 53] = 0.05 * torch.sin(time)
    return PersonClip(Path(name), motion, torch.zeros(frames, 144), speech(frames, seed))


def film(path: Path, frames: int = 60, sound: bool = True) -> Path:
    """A grey film, with a sound that swells."""
    with VideoWriter(path, (64, 64), Fraction(30), 16000 if sound else None) as writer:
        samples = speech(frames).numpy()
        for index in range(frames):
            writer.write(np.full((64, 64, 3), 90, np.uint8))
            if sound:
                writer.write_audio(samples[index * 16000 // 30:(index + 1) * 16000 // 30])
    return path


class Tracked:
    """What the tracker would say of a film; the name decides."""

    def __init__(self, path: Path, **_: Any) -> None:
        if path.stem == "nobody":
            raise PortraitError("expected a face in at least one of 60 frames, found none; use another clip")
        frames = 20 if path.stem == "short" else 60
        self.clip = person(frames)
        if path.stem == "dubbed":
            self.clip.face[:, JAW] = torch.linspace(0, 0.4, frames)
        self.valid = np.arange(frames) >= (40 if path.stem == "turned" else 0)

    def __len__(self) -> int:
        return len(self.clip)

    def face_motion(self) -> FaceMotion:
        return FaceMotion.unpack(self.clip.face)

    def body_motion(self) -> Any:
        return argparse.Namespace(packed=lambda: self.clip.body)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for films that need no tracker."""
    monkeypatch.setattr(films, "track_file", Tracked)
    path = tmp_path / "films"
    path.mkdir()
    return path


def test_what_cannot_teach_is_left_out_with_a_sentence(folder: Path, tmp_path: Path) -> None:
    for name in ("good", "nobody", "short", "dubbed", "turned"):
        film(folder / f"{name}.mp4", frames=20 if name == "short" else 60)
    film(folder / "mute.mp4", sound=False)
    (folder / "broken.mp4").write_bytes(b"no film")
    (folder / "notes.txt").write_text("not a film")
    said: list[str] = []
    found = gather(folder, tmp_path / "kept", report=said.append)
    assert [clip.path.name for clip in found] == ["good.mp4"] and len(found[0]) == 60
    text = "\n".join(said)
    for part in ("expected a face in at least one", "short.mp4 is too short (0.7 s, at least 1.5 s)", "has no audio stream",
                 "the lips in dubbed.mp4 do not follow its sound", "a face is seen in only 33% of turned.mp4",
                 "broken.mp4 is not a sound file", "1 films, 2 seconds"):
        assert part in text, part
    assert "notes" not in text


def test_a_folder_that_teaches_nothing_is_refused(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ConfigError, match="holds no films"):
        gather(folder, tmp_path)
    film(folder / "mute.mp4", sound=False)
    assert main(["train", "motion-face", "--clips", str(folder), "--output", str(tmp_path / "p.safetensors")]) == 2
    error = capsys.readouterr().err
    assert "none of the films" in error and "has no audio stream" in error and "Traceback" not in error
    assert not (tmp_path / "p.safetensors").exists()


def test_pictures_need_neither_tracking_nor_sound(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(films, "track_file", lambda *_, **__: pytest.fail("tracked"))
    for name, frames in (("a", 60), ("b", 70), ("short", 20)):
        film(folder / f"{name}.mp4", frames, sound=False)
    said: list[str] = []
    clips = films.glance(folder, said.append)
    assert [len(clip) for clip in clips] == [60, 70] and "short.mp4 is too short" in said[0]
    assert len(split(clips)[1]) == 1


def test_films_are_tracked_once(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    film(folder / "good.mp4")
    first = gather(folder, tmp_path / "kept")
    monkeypatch.setattr(films, "track_file", lambda *_, **__: pytest.fail("tracked again"))
    again = gather(folder, tmp_path / "kept")
    assert torch.equal(first[0].face, again[0].face) and torch.equal(first[0].samples, again[0].samples)
    kept, = (tmp_path / "kept").iterdir()
    kept.write_bytes(b"damaged")
    monkeypatch.setattr(films, "track_file", Tracked)
    assert torch.equal(first[0].face, gather(folder, tmp_path / "kept")[0].face)


def test_lips_and_sound() -> None:
    together = person()
    assert sync(together.face, together.samples) > 0.8
    late = torch.roll(together.face, 4, dims=0)
    assert sync(late, together.samples) > 0.8, "a few frames of delay are found"
    assert sync(torch.zeros_like(late), together.samples) == 0


def test_films_are_split_whole() -> None:
    clips = [person(seed=seed, name=f"{seed}.mp4") for seed in range(7)]
    training, apart = split(clips)
    assert len(training) == 6 and len(apart) == 1
    names = {clip.path.name for clip in split(clips[::-1])[1]}
    assert names == {clip.path.name for clip in apart}, "the order of the films does not matter"


def test_one_film_is_split_in_time() -> None:
    (training,), (apart,) = split([person(300)])
    assert (len(training), len(apart), apart.first) == (240, 60, 240)
    assert len(apart.samples) == 60 * 16000 // 30
    with pytest.raises(ConfigError, match=r"a.mp4 alone is too short \(3.0 s\)"):
        split([person(90)])


def test_controls_are_read_back_from_a_performance() -> None:
    """What the performer did from its controls is found again in its motion."""
    from motion.impulses import face_controls

    frames, seed = 600, 3
    said = Prosody((np.arange(frames) + 0.5) / 30, np.ones(frames))
    moved = torch.from_numpy(perform_face(said, np.zeros((frames, 52)), seed, PerformanceStyle()))
    found, true = controls_of(moved), face_controls(seed, 0, frames)
    for index, least in ((0, 0.9), (1, 0.7), (3, 0.7), (4, 0.6), (5, 0.9), (9, 0.9)):
        r = float(np.corrcoef(found[30:, index], true[30:, index])[0, 1])
        assert r > least, (index, r)


def test_the_usual_face_is_taken_off_and_the_mouth_stays() -> None:
    clip = person(61)
    clip.face[:, ARKIT_INDEX["eyeLookOutLeft"]] = 0.3
    clip.face[10:20, ARKIT_INDEX["eyeLookOutLeft"]] = 0.1
    clip.face[:, ARKIT_INDEX["mouthShrugUpper"]] = 0.4
    deviation = torch.full((58,), 0.1)
    deviation[ARKIT_INDEX["mouthShrugUpper"]] = 0.01
    made = taught(clip.face, deviation)
    assert torch.equal(made[:, JAW], clip.face[:, JAW])
    assert made[:, ARKIT_INDEX["mouthSmileLeft"]].max() < 0.03 and made.min() >= -0.06
    assert made[15, ARKIT_INDEX["eyeLookInLeft"]] == pytest.approx(0.2) and made[0, ARKIT_INDEX["eyeLookOutLeft"]] == 0
    assert made[:, ARKIT_INDEX["mouthShrugUpper"]].max() == 0, "unknown to the net"


def weights(path: Path) -> str:
    """A tiny face net that knows the moments of such motion."""
    torch.manual_seed(0)
    net = FaceDenoiser(audio_dim=C, width=16, depth=1, heads=2, ratio=2, previous=8)
    net.motion_std.fill_(0.1)
    config = dict(audio_dim=C, width=16, depth=1, heads=2, ratio=2, previous=8)
    save_weights(path, net.state_dict(), kind="face", config=config)
    return str(path)


def as_clip(one: PersonClip) -> Clip:
    features = one.face[:, JAW:JAW + 1].expand(-1, C).contiguous()
    return Clip(features, one.face, one.body, controls_of(one.face), torch.zeros(len(one), 8))


@pytest.fixture
def no_rollouts(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sampler's rollouts have tests of their own."""
    monkeypatch.setattr("motion.training.face_task.FaceTask.validate", lambda self, model: {})


@pytest.mark.usefixtures("no_rollouts")
def test_held_out_loss_falls_and_the_best_weights_come_out(tmp_path: Path) -> None:
    begin = weights(tmp_path / "begin.safetensors")
    task = face.PersonTask([as_clip(person(seed=1))], [as_clip(person(90, seed=2))], begin, batch=16)
    config = SolverConfig(steps=30, learning_rate=3e-3, warmup_steps=2, final_rate=1.0, ema_decay=0.5, precision="fp32",
                          device="cpu", validate_every=10, patience=2)
    solver = Solver(task, config, tmp_path / "run")
    _, shipped = load_weights(begin, kind="face")
    assert all(torch.equal(value, shipped[name]) for name, value in solver.model.state_dict().items())
    before = task.validate(solver.model.eval())[task.score]
    assert task.validate(solver.model)[task.score] == before, "the same random numbers every time"
    solver.run()
    assert solver.best < 0.9 * before
    assert solver.restore_best() == solver.best_step
    solver.model.load_state_dict(solver.average)
    assert task.validate(solver.model.eval())[task.score] == pytest.approx(solver.best, rel=1e-4)


class Worse:
    """A task whose score gets worse from the start."""

    kind, score = "worse", "error"
    config: dict[str, Any] = {}

    def build(self) -> torch.nn.Module:
        return torch.nn.Linear(1, 1)

    def batches(self, seed: int) -> Any:
        while True:
            yield {"x": torch.ones(2, 1)}

    def loss(self, model: torch.nn.Module, batch: dict[str, Tensor], step: int) -> tuple[Tensor, dict[str, float]]:
        return model(batch["x"]).square().mean(), {}

    calls = 0

    def validate(self, model: torch.nn.Module) -> dict[str, float]:
        self.calls += 1
        return {"error": float(self.calls)}


def test_it_stops_in_time_and_keeps_what_it_began_with(tmp_path: Path) -> None:
    config = SolverConfig(steps=1000, device="cpu", precision="fp32", validate_every=5, patience=3)
    solver = Solver(Worse(), config, tmp_path)
    begun = {name: value.clone() for name, value in solver.average.items()}
    solver.run()
    assert solver.step == 16 and solver.restore_best() == 0
    assert all(torch.equal(value, begun[name]) for name, value in solver.average.items())
    again = Solver(Worse(), config, tmp_path)
    again.run()
    assert again.step == 16, "a run that has given up does not go on"


@pytest.mark.usefixtures("no_rollouts")
def test_the_command_writes_weights_that_say_what_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the shipped encoder and the shipped face net; only tracking is left out."""
    clips = [person(90, seed=seed, name=f"{seed}.mp4") for seed in range(2)]
    monkeypatch.setattr(face, "gather", lambda *_, **__: clips)
    (tmp_path / "films").mkdir()
    output = tmp_path / "person.safetensors"
    assert main(["train", "motion-face", "--clips", str(tmp_path / "films"), "--output", str(output), "--steps", "2",
                 "--batch", "8", "--sheet-every", "0", "--device", "cpu", "--threads", "1"]) == 0
    info = read_info(output)
    assert info.kind == "face" and info.extra["seconds"] == 3.0 and {"encoder", "begun_from", "best_step"} <= set(info.extra)
    assert "held_out_loss" in info.extra["validation"]
    assert (tmp_path / "person.run" / "state.safetensors").is_file()


def test_sheets_are_pictures(tmp_path: Path) -> None:
    grey = [np.full((64, 64, 3), 90 + index, np.uint8) for index in range(sheets.COLUMNS)]
    sheets.write_sheet(tmp_path / "sheet.png", [grey, [], grey])
    with Image.open(tmp_path / "sheet.png") as picture:
        assert picture.size == (sheets.COLUMNS * sheets.SIDE, 2 * sheets.SIDE)
    sheets.write_curves(tmp_path / "curves.png", {"real": FaceMotion.unpack(person().face)})
    with Image.open(tmp_path / "curves.png") as picture:
        assert np.asarray(picture).std() > 5
    assert sheets.instants(90)[0] == 0 and sheets.instants(90)[-1] == 89


def test_one_persons_films_teach_the_inside_of_the_mouth(tmp_path: Path) -> None:
    """What ships leaves it to geometry, for the people it was trained on are others."""
    from chatanyone.build import SHIPPED, weights_path
    from chatanyone.finetune.render import PersonRenderTask

    (tmp_path / "train_000.safetensors").touch()
    task = PersonRenderTask(tmp_path, str(weights_path("render", SHIPPED)))
    assert task.config["mouth"] == 1.0 and task.build().mouth == 1.0


def test_areas_follow_the_landmarks() -> None:
    points = np.zeros((478, 3), np.float32)
    angle = np.linspace(0, 2 * math.pi, 478)
    points[:, 0], points[:, 1] = 100 + 40 * np.cos(angle), 100 + 50 * np.sin(angle)
    for outline, centre in ((pairs._LIPS, (100, 125)), (pairs._EYES[0], (85, 85)), (pairs._EYES[1], (115, 85))):
        turn = np.linspace(0, 2 * math.pi, len(outline), endpoint=False)
        points[list(outline), :2] = np.stack([centre[0] + 8 * np.cos(turn), centre[1] + 5 * np.sin(turn)], 1)
    alpha = np.zeros((200, 200), np.float32)
    alpha[:, 50:150] = 1
    area = pairs.areas(pairs.Look(np.zeros((200, 200, 3), np.uint8), points, alpha))
    places = ((10, 10), (60, 190), (100, 105), (85, 85), (115, 85), (100, 125))
    assert [int(area[y, x]) for x, y in places] == [0, 4, 1, 2, 2, 3]


def test_pairs_are_made_once_and_none_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []

    def write(clip: PersonClip, template: Any, prefix: Path) -> int:
        made.append(clip.path.name)
        if clip.path.stem == "dark":
            raise MediaError("nothing is seen")
        prefix.with_name(prefix.name + "_000.safetensors").write_bytes(b"")
        return 1

    monkeypatch.setattr(pairs, "_write_film", write)
    clips = [person(name=str(tmp_path / name)) for name in ("good.mp4", "dark.mp4")]
    for clip in clips:
        clip.path.write_bytes(clip.path.name.encode())
    said: list[str] = []
    for _ in range(2):
        assert pairs.write_pairs(clips, tmp_path / "pairs", "train", said.append) == 1
    assert made == ["good.mp4", "dark.mp4"] and any("dark.mp4: nothing is seen" in line for line in said)
    with pytest.raises(ConfigError, match="no pair of pictures"):
        pairs.write_pairs(clips[1:], tmp_path / "none", "train", said.append)


@pytest.mark.slow
@pytest.mark.parametrize("task, score", (("motion-face", "held_out_loss"), ("render", "held_out_error")))
def test_on_real_films(task: str, score: str, shared_data: Path, tmp_path: Path) -> None:
    """One command, two films of GRID: the held-out score falls or the shipped weights come back; a sheet is there."""
    folder = tmp_path / "films"
    folder.mkdir()
    for name in ("bbaf2n.mpg", "lrwp9a.mpg"):
        (folder / name).symlink_to(shared_data / "clips" / "grid" / name)
    output = tmp_path / "person.safetensors"
    assert main(["train", task, "--clips", str(folder), "--output", str(output), "--steps", "20", "--validate-every", "10",
                 "--sheet-every", "10", "--device", "cpu"]) == 0
    assert read_info(output).extra["best_step"] > 0 or task == "render"
    assert list(output.with_suffix(".run").glob("sheet_*.png"))


def test_processes_share_the_tracked_films(folder: Path, tmp_path: Path) -> None:
    film(folder / "good.mp4")
    options = argparse.Namespace(clips_folder=folder, run_folder=tmp_path / "run")
    main_process, other = Processes("cpu"), Processes("cpu")
    other.rank = 1
    assert len(face._gathered(options, main_process)) == len(face._gathered(options, other)) == 1
