"""`chatanyone train`: builds a task from its data folder and hands it to the solver; resumes where the run stopped."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

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
    numbers = solver.run()
    output = options.output or options.run_folder / "weights.safetensors"
    solver.export(output, extra={"validation": numbers})
    print(f"{output}: step {solver.step}, " + ", ".join(f"{key} {value:.4g}" for key, value in numbers.items()))


def _parser(name: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=f"chatanyone train {name}", description=f"Train {name}; the same command goes on after a stop.")
    parser.add_argument("--data", type=Path, required=True, metavar="FOLDER", help="training data, made by tools/")
    parser.add_argument("--run", dest="run_folder", type=Path, required=True, metavar="FOLDER", help="state and log")
    parser.add_argument("--output", type=Path, metavar="FILE", help="weights (weights.safetensors in the run folder)")
    parser.add_argument("--batch", type=int, metavar="N", help="examples a step (the task's own)")
    SolverConfig.add_arguments(parser)
    return parser


def _audio(options: argparse.Namespace) -> Task:
    from motion.training.audio_task import AudioTask

    return AudioTask(options.data, batch_size=options.batch or 16)


def _face(options: argparse.Namespace) -> Task:
    from motion.training.face_task import FaceTask
    from motion.training.motion_data import ClipStore

    data, held_out = (ClipStore.load(options.data, split) for split in ("train", "held_out"))
    return FaceTask(data, held_out, batch=options.batch or 256)


TASKS: dict[str, Callable[[argparse.Namespace], Task]] = {"audio": _audio, "motion-face": _face}
