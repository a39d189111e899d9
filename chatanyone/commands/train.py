"""`chatanyone train`."""

from __future__ import annotations

import argparse
from typing import Any

from chatanyone.commands.options import add_verb


def add(verbs: Any) -> None:
    """Declares the verb."""
    verb = add_verb(verbs, "train", "train one of the nets", _run)
    verb.add_argument("task", choices=("motion-face", "motion-body", "motion-lsp", "motion-loopy", "audio", "render"))
    verb.add_argument("rest", nargs=argparse.REMAINDER, metavar="...", help="options of the task; try --help after it")


def _run(options: argparse.Namespace) -> None:
    from chatanyone.train import train

    train(options.task, options.rest)
