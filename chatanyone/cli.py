"""The command line. Each verb imports what it needs when it runs, so that `--help` answers at once.

Exit codes: 0 done, 2 the user's mistake (one line on stderr, no traceback), 130 interrupted, 143 terminated.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any, NoReturn

from chatanyone.errors import ChatAnyoneError

USER_MISTAKE, INTERRUPTED, TERMINATED = 2, 130, 143

# Read by the native libraries when they are loaded. Their start-up messages are not for users; and threads that wait must
# sleep, not spin: beside other programs on two cores that made rendering ten times faster (1800 to 190 ms a frame).
_ENVIRONMENT = {"OMP_WAIT_POLICY": "PASSIVE", "GLOG_minloglevel": "2", "TF_CPP_MIN_LOG_LEVEL": "3",
                "TRANSFORMERS_VERBOSITY": "error", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one verb and returns the exit code."""
    set_environment()
    options = parser().parse_args(arguments)
    try:
        with _terminable():
            options.run(options)
    except ChatAnyoneError as error:
        return _fail(str(error))
    except OSError as error:
        return _fail(f"{error.filename or 'the system'}: {error.strerror or error}")
    except KeyboardInterrupt:
        print("\nchatanyone: interrupted", file=sys.stderr)
        return INTERRUPTED
    return 0


def set_environment() -> None:
    """What must be settled before torch and MediaPipe are imported; what the user has set stays."""
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    if not sys.warnoptions:
        warnings.simplefilter("ignore")


def _fail(message: str) -> int:
    print(f"chatanyone: error: {' '.join(message.split())}", file=sys.stderr)
    return USER_MISTAKE


class _terminable:
    """SIGTERM unwinds like Ctrl-C does, so that unfinished files are removed."""

    def __enter__(self) -> None:
        self._before: Any = None
        try:
            self._before = signal.signal(signal.SIGTERM, self._terminate)
        except ValueError:
            pass  # not the main thread: whoever runs us handles signals

    def __exit__(self, *_: object) -> None:
        if self._before is not None:
            signal.signal(signal.SIGTERM, self._before)

    @staticmethod
    def _terminate(number: int, frame: FrameType | None) -> NoReturn:
        raise SystemExit(TERMINATED)


def parser() -> argparse.ArgumentParser:
    """All verbs and their options."""
    root = argparse.ArgumentParser(
        prog="chatanyone", description="One photo and one voice become a talking upper-body video.")
    verbs = root.add_subparsers(dest="verb", metavar="verb", required=True)
    for add in (_add_animate, _add_track, _add_train, _add_bench):
        add(verbs)
    return root


def _add_animate(verbs: Any) -> None:
    verb = _verb(verbs, "animate", "make a person in a picture speak", _animate)
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
    _add_machine_options(verb)


def _add_track(verbs: Any) -> None:
    verb = _verb(verbs, "track", "read a person's motion from a clip or a picture", _track)
    verb.add_argument("--video", required=True, metavar="FILE", help="clip or picture of one person")
    verb.add_argument("--output", required=True, metavar="FILE.npz")
    verb.add_argument("--fps", metavar="RATE", help="frames per second of the motion (30)")
    verb.add_argument("--force", action="store_true", help="overwrite the output")
    verb.add_argument("--config", metavar="FILE", help="settings, see configs/README.md")


def _add_train(verbs: Any) -> None:
    verb = _verb(verbs, "train", "train one of the nets", _train)
    verb.add_argument("task", choices=("motion-face", "motion-body", "audio", "render"))
    verb.add_argument("rest", nargs=argparse.REMAINDER, metavar="...", help="options of the task; try --help after it")


def _add_bench(verbs: Any) -> None:
    verb = _verb(verbs, "bench", "time every stage on this machine", _bench)
    verb.add_argument("--json", metavar="FILE", help="also write the numbers as JSON")
    verb.add_argument("--seconds", type=float, default=4.0, metavar="S", help="of speech to run (4)")
    verb.add_argument("--image", metavar="FILE", help="picture to animate (the demo's)")
    _add_machine_options(verb)


def _add_machine_options(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--device", metavar="NAME", help="auto, cpu or cuda (auto)")
    verb.add_argument("--precision", choices=("fp32", "bf16"), help="of the renderer's nets")
    verb.add_argument("--config", metavar="FILE", help="settings, see configs/README.md; options win over it")


def _verb(verbs: Any, name: str, purpose: str, run: Callable[[argparse.Namespace], None]) -> argparse.ArgumentParser:
    verb: argparse.ArgumentParser = verbs.add_parser(name, help=purpose, description=purpose.capitalize() + ".")
    verb.set_defaults(run=run)
    return verb


# Options that stand for a setting of chatanyone/config.py.
_SETTINGS = {"fps": "media.fps", "size": "media.size", "expression": "motion.expression", "pose": "motion.pose",
             "gesture": "motion.gesture", "seed": "motion.seed", "device": "device", "precision": "precision"}


def _config(options: argparse.Namespace) -> Any:
    """The settings file with the options given on top."""
    from chatanyone.config import load_config

    given = {key: getattr(options, name, None) for name, key in _SETTINGS.items()}
    return load_config(options.config, {key: value for key, value in given.items() if value is not None})


def _animate(options: argparse.Namespace) -> None:
    started_s = time.perf_counter()
    from chatanyone.animate import Request, animate

    request = Request(
        image=options.image, audio=options.audio, output=options.output, style_video=options.style_video,
        motion_out=options.motion_out, face=options.face, force=options.force)
    animate(request, _config(options), started_s)


def _track(options: argparse.Namespace) -> None:
    from chatanyone.config import load_config
    from chatanyone.media.video import check_output
    from chatanyone.tracking import track_file

    config = load_config(options.config, {"media.fps": options.fps} if options.fps else {})
    output = check_output(options.output, options.force, (".npz",))
    track_file(options.video, output, fps=config.media.rate, task_model=config.tracking.task_model)


def _train(options: argparse.Namespace) -> None:
    from chatanyone.train import train

    train(options.task, options.rest)


def _bench(options: argparse.Namespace) -> None:
    from chatanyone.bench import bench

    bench(_config(options), seconds=options.seconds, image=options.image, json_path=options.json)
