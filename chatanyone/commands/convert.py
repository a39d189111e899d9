"""`chatanyone convert`."""

from __future__ import annotations

import argparse
from typing import Any

from chatanyone.commands.options import add_verb


def add(verbs: Any) -> None:
    """Declares the verb."""
    verb = add_verb(verbs, "convert", "turn motion into another form: .npz, .csv (Live Link Face), .json (glTF)",
                    _run)
    verb.add_argument("input", metavar="IN", help="motion: .npz, .csv or .json")
    verb.add_argument("output", metavar="OUT", help="the same in another form; .csv and .json hold face and head only")
    verb.add_argument("--fps", metavar="RATE", help="the exact rate of a CSV, such as 30000/1001 (what its time codes count)")
    verb.add_argument("--force", action="store_true", help="overwrite the output")


def _run(options: argparse.Namespace) -> None:
    from chatanyone import timebase
    from chatanyone.exchange import SUFFIXES, read_motion, write_motion
    from chatanyone.media.video import check_output

    output = check_output(options.output, options.force, SUFFIXES)
    document = read_motion(options.input, timebase.parse_fps(options.fps) if options.fps else None)
    write_motion(document, output)
    print(f"{output}: {len(document)} frames, {document.duration_s:.2f} s")
