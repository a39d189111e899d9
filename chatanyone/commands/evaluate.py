"""`chatanyone evaluate`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from chatanyone.commands.options import add_machine_options, add_verb, settings
from chatanyone.errors import ConfigError

_WEIGHTS = {"inception": "FID", "alexnet": "LPIPS", "i3d": "FVD", "arcface": "CSIM", "syncnet": "Sync-C and Sync-D"}


def add(verbs: Any) -> None:
    """Declares the verb."""
    verb = add_verb(verbs, "evaluate", "measure the films against the bars, write a report", _run)
    for name, what in (("portraits", "pictures of people"), ("voices", "speech; metadata.csv holds transcripts"),
                       ("clips", "real people speaking; never shown in the report")):
        verb.add_argument(f"--{name}", type=Path, metavar="FOLDER", help=what)
    verb.add_argument("--output", type=Path, required=True, metavar="FOLDER", help="of the report")
    verb.add_argument("--work", type=Path, metavar="FOLDER", help="finished items, to resume from (out/evaluation)")
    verb.add_argument("--only", default="", metavar="BAR,...", help="some of the bars; an unknown name lists them")
    verb.add_argument("--limit", type=int, metavar="N", help="at most N portraits, clips or voices a bar")
    verb.add_argument("--geometry-only", choices=("beside", "skip", "alone"), default="beside",
                      help="where to measure with the rendering nets off (beside)")
    verb.add_argument("--fresh", action="store_true", help="measure again what lies in the work folder")
    verb.add_argument("--task-model", metavar="FILE", help="MediaPipe's face landmarker (.task) with 52 scores")
    for name, metric in _WEIGHTS.items():
        verb.add_argument(f"--{name}", type=Path, metavar="FILE", help=f"weights for {metric}, see docs/metrics.md")
    add_machine_options(verb)


def _run(options: argparse.Namespace) -> None:
    from chatanyone.evaluation.run import Request, evaluate

    if not (options.portraits or options.voices or options.clips):
        raise ConfigError("nothing to measure: give --portraits, --voices, --clips, or some of them")
    config = settings(options)
    if options.task_model:
        config.tracking.task_model = options.task_model
    only = tuple(name.strip() for name in options.only.split(",") if name.strip())
    evaluate(Request(
        output=options.output, portraits=options.portraits, voices=options.voices, clips=options.clips, work=options.work,
        only=only, limit=options.limit, geometry=options.geometry_only, fresh=options.fresh,
        weights={name: path for name in _WEIGHTS if (path := getattr(options, name))}), config)
