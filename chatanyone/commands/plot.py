"""`chatanyone plot`."""

from __future__ import annotations

import argparse
from typing import Any

from chatanyone.commands.options import add_verb


def add(verbs: Any) -> None:
    """Declares the verb."""
    verb = add_verb(verbs, "plot", "draw motion as curves over the voice", _run)
    verb.add_argument("input", metavar="IN", help="motion: .npz, .csv or .json")
    verb.add_argument("--audio", metavar="FILE", help="the voice it belongs to")
    verb.add_argument("--output", required=True, metavar="FILE.png", help="picture: .png, .svg or .pdf")
    verb.add_argument("--force", action="store_true", help="overwrite the output")


def _run(options: argparse.Namespace) -> None:
    from pathlib import Path

    from chatanyone.exchange import read_motion
    from chatanyone.media.audio import read_audio
    from chatanyone.media.video import check_output
    from chatanyone.plot import plot

    output = check_output(options.output, options.force, (".png", ".svg", ".pdf"))
    document = read_motion(options.input)
    plot(document, output, read_audio(options.audio) if options.audio else None, title=Path(options.input).name)
