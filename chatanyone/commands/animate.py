"""`chatanyone animate`."""

from __future__ import annotations

import argparse
import time
from typing import Any

from chatanyone.commands.options import add_machine_options, add_verb, settings


def add(verbs: Any) -> None:
    """Declares the verb."""
    verb = add_verb(verbs, "animate", "make a person in a picture speak", _run)
    verb.add_argument("--image", required=True, metavar="FILE", help="picture of a person, looking at the camera")
    verb.add_argument("--audio", required=True, metavar="FILE", help="speech; any sound file, or a video's sound")
    verb.add_argument("--output", required=True, metavar="FILE.mp4")
    verb.add_argument("--style-video", metavar="FILE", help="clip of somebody whose way of moving to take over")
    verb.add_argument("--expression", type=float, metavar="X", help="strength of facial expression, 0 to 2 (1)")
    verb.add_argument("--pose", type=float, metavar="X", help="strength of head movement, 0 to 2 (1)")
    verb.add_argument("--gesture", type=float, metavar="X", help="strength of shoulders and hands, 0 to 2 (1)")
    verb.add_argument("--seed", type=int, metavar="N", help="the same seed gives the same film (0)")
    verb.add_argument("--fps", metavar="RATE", help="frames per second, such as 25 or 30000/1001 (30)")
    verb.add_argument("--size", choices=("512x768", "512x512"), help="pixels: upper body, or head only (512x768)")
    verb.add_argument("--face", type=int, metavar="N", help="which of several faces, counted from the left (largest)")
    verb.add_argument("--force", action="store_true", help="overwrite the output")
    verb.add_argument("--motion-out", metavar="FILE.npz", help="also write the motion")
    add_machine_options(verb)


def _run(options: argparse.Namespace) -> None:
    started_s = time.perf_counter()
    from chatanyone.animate import Request, animate

    request = Request(
        image=options.image, audio=options.audio, output=options.output, style_video=options.style_video,
        motion_out=options.motion_out, face=options.face, force=options.force)
    animate(request, settings(options), started_s)
