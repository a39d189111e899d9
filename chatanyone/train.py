"""`chatanyone train`: builds a task from its data folder and hands it to the solver; resumes where the run stopped."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from chatanyone.checkpoints import load_weights
from chatanyone.errors import ConfigError
from chatanyone.training import Solver, SolverConfig, Task


def train(name: str, arguments: Sequence[str]) -> None:
    """Trains until the steps or minutes are over and writes the weights.

    Raises:
        ConfigError: there is no training data where it was looked for.
    """
    options = _parser(name).parse_args(arguments)
    if not options.data.is_dir():
        raise ConfigError(f"the folder {options.data} does not exist; make training data with the programs in tools/")
    if not sys.stdout.isatty():
        sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stdout)
    try:
        task = TASKS[name](options)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    solver = Solver(task, SolverConfig.from_arguments(options), options.run_folder)
    if options.warm_start and solver.step == 0:
        warm_start(solver, options.warm_start)
    numbers = solver.run()
    output = options.output or options.run_folder / "weights.safetensors"
    extra: dict[str, object] = {"validation": numbers}
    encoder = options.data / "encoder.sha256"  # motion weights go with the encoder whose features they were trained on
    if encoder.is_file():
        extra["encoder"] = encoder.read_text()
    solver.export(output, extra, half=name != "audio")
    print(f"{output}: step {solver.step}, " + ", ".join(f"{key} {value:.4g}" for key, value in numbers.items()))


def warm_start(solver: Solver, path: Path) -> None:
    """Begins with the tensors of another weights file that have the same name and shape; the data's moments stay."""
    _, tensors = load_weights(path, kind=solver.task.kind)
    own = solver.model.state_dict()
    fitting = {name: value.to(own[name]) for name, value in tensors.items()
               if name in own and value.shape == own[name].shape and not name.endswith(("_mean", "_std"))}
    solver.model.load_state_dict(fitting, strict=False)
    for name, value in solver.model.state_dict().items():
        solver.average[name].copy_(value)
    logging.info("warm start: %d of %d tensors from %s", len(fitting), len(own), path)


def _parser(name: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=f"chatanyone train {name}", description=f"Train {name}; the same command goes on after a stop.")
    parser.add_argument("--data", type=Path, required=True, metavar="FOLDER", help="training data, made by tools/")
    parser.add_argument("--run", dest="run_folder", type=Path, required=True, metavar="FOLDER", help="state and log")
    parser.add_argument("--output", type=Path, metavar="FILE", help="weights (weights.safetensors in the run folder)")
    parser.add_argument("--batch", type=int, metavar="N", help="examples a step (the task's own)")
    parser.add_argument("--warm-start", type=Path, metavar="FILE", help="weights to begin with")
    SolverConfig.add_arguments(parser)
    return parser


def _audio(options: argparse.Namespace) -> Task:
    from motion.training.audio_task import AudioTask

    return AudioTask(options.data, batch_size=options.batch or 16)


def _face(options: argparse.Namespace) -> Task:
    from motion.training.face_task import FaceTask
    from motion.training.motion_data import ClipStore

    data, held_out = (ClipStore.load(options.data, split) for split in ("train", "held_out"))
    return FaceTask(data, held_out, batch=options.batch or 192)


def _body(options: argparse.Namespace) -> Task:
    from motion.template.head import HeadTemplate
    from motion.training.body_task import BodyTask
    from motion.training.motion_data import ClipStore

    data, held_out = (ClipStore.load(options.data, split) for split in ("train", "held_out"))
    return BodyTask(data, held_out, HeadTemplate.load().keypoints, batch=options.batch or 12)


def _render(options: argparse.Namespace) -> Task:
    from render.training.task import RenderTask

    return RenderTask(options.data)


TASKS: dict[str, Callable[[argparse.Namespace], Task]] = {
    "audio": _audio, "motion-face": _face, "motion-body": _body, "render": _render}
