"""`chatanyone animate`."""

from __future__ import annotations

import argparse
import time
from typing import Any

from chatanyone.commands.options import add_machine_options, add_manner_options, add_verb, settings


def add(verbs: Any) -> None:
    """Declares the verb."""
    verb = add_verb(verbs, "animate", "make a person in a picture speak, or move as a motion document or a clip does", _run)
    verb.add_argument("--image", required=True, metavar="FILE", help="picture of a person, looking at the camera")
    verb.add_argument("--audio", metavar="FILE", help="speech; any sound file, or a video's sound")
    verb.add_argument("--output", required=True, metavar="FILE.mp4")
    verb.add_argument("--motion", metavar="FILE",
                      help="draw this motion (.npz, .csv, .json); --audio is then only the film's sound")
    verb.add_argument("--driving", metavar="FILE", help="move as the person in this clip; its sound is kept")
    verb.add_argument("--driving-motion", choices=("relative", "absolute"), default="relative",
                      help="on the picture's own expression and pose, or the clip's as they are (relative)")
    add_manner_options(verb)
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
        image=options.image, audio=options.audio, output=options.output, motion=options.motion, driving=options.driving,
        driving_motion=options.driving_motion, style_video=options.style_video, motion_out=options.motion_out,
        face=options.face, force=options.force)
    animate(request, settings(options), started_s)
