"""`chatanyone bench`."""

from __future__ import annotations

import argparse
from typing import Any

from chatanyone.commands.options import add_backend_option, add_machine_options, add_verb, settings


def add(verbs: Any) -> None:
    """Declares the verb."""
    verb = add_verb(verbs, "bench", "time every stage on this machine", _run)
    verb.add_argument("--json", metavar="FILE", help="also write the numbers as JSON")
    verb.add_argument("--seconds", type=float, default=4.0, metavar="S", help="of speech to run (4)")
    verb.add_argument("--image", metavar="FILE", help="picture to animate (the demo's)")
    verb.add_argument("--onnx", metavar="FOLDER", help="also time the nets of an export in ONNX Runtime, beside torch")
    add_backend_option(verb)
    add_machine_options(verb)


def _run(options: argparse.Namespace) -> None:
    from chatanyone.bench import bench

    bench(settings(options), seconds=options.seconds, image=options.image, json_path=options.json,
          onnx=options.onnx)
