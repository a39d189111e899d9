"""`chatanyone export`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from chatanyone.commands.options import add_verb


def add(verbs: Any) -> None:
    """Declares the verb and its one form."""
    verb = add_verb(verbs, "export", "take the nets elsewhere", _onnx)
    forms = verb.add_subparsers(dest="form", metavar="form", required=True)
    onnx = add_verb(forms, "onnx", "write the nets as ONNX files that stream, checked against torch", _onnx)
    onnx.add_argument("--output", type=Path, required=True, metavar="FOLDER")
    onnx.add_argument("--only", default="audio,face,body,render", metavar="PART,...", help="some of audio, face, body, render")
    onnx.add_argument("--opset", type=int, default=18, metavar="N", help="17 to 20 (18)")
    onnx.add_argument("--size", choices=("512x768", "512x512"), help="pixels, of the rendering nets (512x768)")
    onnx.add_argument("--fps", metavar="RATE", help="frames per second of the motion (30)")
    onnx.add_argument("--force", action="store_true", help="replace an export that is there")
    onnx.add_argument("--config", metavar="FILE", help="settings, see configs/README.md")


def _onnx(options: argparse.Namespace) -> None:
    from chatanyone.commands.options import settings
    from chatanyone.export.export import export_onnx

    only = tuple(name.strip() for name in options.only.split(",") if name.strip())
    export_onnx(options.output, settings(options), only, options.opset, options.force)
