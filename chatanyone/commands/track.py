"""`chatanyone track`."""

from __future__ import annotations

import argparse
from typing import Any

from chatanyone.commands.options import add_verb


def add(verbs: Any) -> None:
    """Declares the verb."""
    verb = add_verb(verbs, "track", "read a person's motion from a clip or a picture", _run)
    verb.add_argument("--video", required=True, metavar="FILE", help="clip or picture of one person")
    verb.add_argument("--output", required=True, metavar="FILE.npz")
    verb.add_argument("--fps", metavar="RATE", help="frames per second of the motion (30)")
    verb.add_argument("--force", action="store_true", help="overwrite the output")
    verb.add_argument("--config", metavar="FILE", help="settings, see configs/README.md")


def _run(options: argparse.Namespace) -> None:
    from chatanyone.config import load_config
    from chatanyone.media.video import check_output
    from chatanyone.tracking import track_file

    config = load_config(options.config, {"media.fps": options.fps} if options.fps else {})
    output = check_output(options.output, options.force, (".npz",))
    track_file(options.video, output, fps=config.media.rate, task_model=config.tracking.task_model)
