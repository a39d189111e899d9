"""Train a motion net on the clips of tools/make_motion_clips.py; resumes when its run folder holds a state.

    python tools/train_motion.py face --clips clips --run runs/face --minutes 60 --export face.safetensors
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

from chatanyone.checkpoints import load_weights
from chatanyone.training import Solver, SolverConfig, Task
from motion.template.head import HeadTemplate
from motion.training.body_task import BodyTask
from motion.training.face_task import FaceTask
from motion.training.motion_data import ClipStore

BATCH = {"face": 192, "body": 12}


def build_task(stage: str, clips: Path, batch: int | None) -> Task:
    """The task of a stage on a folder of clips."""
    store, held_out = ClipStore.load(clips), ClipStore.load(clips, "held_out")
    if stage == "face":
        return FaceTask(store, held_out, batch=batch or BATCH[stage])
    return BodyTask(store, held_out, HeadTemplate.load().keypoints, batch=batch or BATCH[stage])


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("stage", choices=sorted(BATCH))
    parser.add_argument("--clips", type=Path, required=True)
    parser.add_argument("--run", type=Path, required=True, help="folder of the run: state and log")
    parser.add_argument("--export", type=Path, help="where the averaged weights go in the end")
    parser.add_argument("--warm-start", type=Path, help="weights file to begin with")
    parser.add_argument("--batch", type=int)
    SolverConfig.add_arguments(parser)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    task = build_task(arguments.stage, arguments.clips, arguments.batch)
    solver = Solver(task, SolverConfig.from_arguments(arguments), arguments.run)
    if arguments.warm_start and solver.step == 0:
        warm_start(solver, arguments.warm_start)
    scores = solver.run()
    if arguments.export:
        encoder = (arguments.clips / "encoder.sha256").read_text()  # the weights go with this encoder only
        solver.export(arguments.export, {"validation": scores, "encoder": encoder}, half=True)


if __name__ == "__main__":
    main()
