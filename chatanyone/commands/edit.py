"""`chatanyone edit`."""

from __future__ import annotations

import argparse
from typing import Any

from chatanyone.commands.options import add_verb

_EXAMPLES = """A change is NAME=VALUE@START-END in seconds; without @ it holds everywhere. NAME is an ARKit shape
(mouthSmile is both sides), pitch, yaw or roll of the head in degrees, or for --scale a group: mouth, brows, eyes,
cheeks, head, shoulders, hands. Changes are made in the order given.

  chatanyone edit m.npz --set mouthSmile=0.4@1.0-2.5 --scale brows=1.5@0-3 --add yaw=8@2-4 --output n.npz
"""


def add(verbs: Any) -> None:
    """Declares the verb."""
    verb = add_verb(verbs, "edit", "change motion over a span of time", _run)
    verb.epilog, verb.formatter_class = _EXAMPLES, argparse.RawDescriptionHelpFormatter
    verb.add_argument("input", metavar="IN", help="motion: .npz, .csv or .json")
    for kind, purpose in (("set", "this value"), ("add", "so much more"), ("scale", "so many times")):
        verb.add_argument(f"--{kind}", action=_Listed, dest="changes", default=[], metavar="CHANGE", help=purpose)
    verb.add_argument("--ramp", type=float, default=0.2, metavar="S", help="seconds a change fades in and out (0.2)")
    verb.add_argument("--output", required=True, metavar="FILE.npz")
    verb.add_argument("--force", action="store_true", help="overwrite the output")


class _Listed(argparse.Action):
    """Keeps the order across the options."""

    def __call__(self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any,
                 option_string: str | None = None) -> None:
        namespace.changes = [*namespace.changes, (str(option_string).removeprefix("--"), values)]


def _run(options: argparse.Namespace) -> None:
    from chatanyone.editing import edited, parse_change
    from chatanyone.errors import MediaError
    from chatanyone.exchange import SUFFIXES, read_motion, write_motion
    from chatanyone.media.video import check_output

    if not options.changes:
        raise MediaError("nothing is to be changed; give --set, --add or --scale")
    changes = [parse_change(kind, text, options.ramp) for kind, text in options.changes]
    output = check_output(options.output, options.force, SUFFIXES)
    write_motion(edited(read_motion(options.input), changes), output)
