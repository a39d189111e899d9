"""Train the rendering nets; a run goes on where it was stopped.

    python tools/train_render.py --pairs pairs --folder runs/render --output render/weights/render.safetensors
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

from chatanyone.training import Solver, SolverConfig
from render.training.task import RenderTask


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=Path, required=True, help="folder of tools/make_render_pairs.py")
    parser.add_argument("--folder", type=Path, required=True, help="of the run")
    parser.add_argument("--output", type=Path, required=True, help="weights file to write at the end")
    parser.add_argument("--silence", nargs="*", choices=("generator", "face"), default=[],
                        help="nets whose output the weights file sets to zero: those that made pictures no better")
    SolverConfig.add_arguments(parser)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    solver = Solver(RenderTask(arguments.pairs), SolverConfig.from_arguments(arguments), arguments.folder)
    scores = solver.run()
    if arguments.silence:
        for name, tensor in solver.average.items():
            if name.startswith(tuple(f"{net}.out." for net in arguments.silence)):
                tensor.zero_()
        scores = solver.validate()
    solver.export(arguments.output, {"held_out": {name: round(value, 3) for name, value in scores.items()}}, half=True)


if __name__ == "__main__":
    main()
