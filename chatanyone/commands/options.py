"""What several verbs share: how a verb is declared, options of the machine, options that stand for a setting."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from chatanyone.config import Config

# Options that stand for a setting of chatanyone/config.py.
_SETTINGS = {"fps": "media.fps", "size": "media.size", "expression": "motion.expression", "pose": "motion.pose",
             "gesture": "motion.gesture", "style": "motion.style", "seed": "motion.seed", "backend": "motion.backend",
             "device": "device", "precision": "precision"}


def add_verb(verbs: Any, name: str, purpose: str, run: Callable[[argparse.Namespace], None],
             ) -> argparse.ArgumentParser:
    """Declares a verb; `purpose` starts with a small letter and has no full stop."""
    verb: argparse.ArgumentParser = verbs.add_parser(name, help=purpose, description=purpose.capitalize() + ".")
    verb.set_defaults(run=run)
    return verb


def add_manner_options(verb: argparse.ArgumentParser) -> None:
    """How the person moves."""
    verb.add_argument("--style", metavar="NAME",
                      help="calm, lively, cheerful, grave, newsreader or one you saved; a mixture: calm:0.7,lively:0.3")
    verb.add_argument("--style-video", metavar="FILE",
                      help="clip (or tracked motion) of somebody whose way of moving to take over")
    verb.add_argument("--intensity", type=_intensity, metavar="X,GROUP=X", default={},
                      help="strength of all movement and of groups, 0 to 2, such as 1.2 or brows=1.5,mouth=0.8; of mouth, "
                           "brows, eyes, cheeks, head, shoulders, hands; brows and head also below 0, which is inverse")
    verb.add_argument("--expression", type=float, metavar="X", help="strength of facial expression, 0 to 2 (1)")
    verb.add_argument("--pose", type=float, metavar="X", help="strength of head movement, 0 to 2 (1)")
    verb.add_argument("--gesture", type=float, metavar="X", help="strength of shoulders and hands, 0 to 2 (1)")
    verb.add_argument("--seed", type=int, metavar="N", help="the same seed gives the same film (0)")
    add_backend_option(verb)


def add_backend_option(verb: argparse.ArgumentParser) -> None:
    """Which net moves face and head."""
    verb.add_argument("--backend", choices=("diffusion", "live_speech_portraits", "loopy"),
                      help="what moves face and head from speech (diffusion); loopy needs motion.loopy_weights in --config")


def _intensity(text: str) -> dict[str, float]:
    """``1.2,brows=1.5`` as settings; a bare number is for face, head and body alike."""
    given: dict[str, float] = {}
    for part in text.split(","):
        name, equals, number = part.rpartition("=")
        keys = [f"motion.groups.{name.strip()}"] if equals else ["motion.expression", "motion.pose", "motion.gesture"]
        try:
            given |= {key: float(number) for key in keys}
        except ValueError:
            raise argparse.ArgumentTypeError(f"'{part}' is no strength; write a number, or a group and a number such as "
                                             "brows=1.5") from None
    return given


def add_machine_options(verb: argparse.ArgumentParser) -> None:
    """Where and with which settings it runs."""
    verb.add_argument("--device", metavar="NAME", help="auto, cpu or cuda (auto)")
    verb.add_argument("--precision", choices=("fp32", "bf16"), help="of the renderer's nets")
    verb.add_argument("--config", metavar="FILE", help="settings, see configs/README.md; options win over it")


def settings(options: argparse.Namespace) -> Config:
    """The settings file with the options given on top."""
    from chatanyone.config import load_config

    given = {key: getattr(options, name, None) for name, key in _SETTINGS.items()}
    chosen = getattr(options, "intensity", {}) | {key: value for key, value in given.items() if value is not None}
    return load_config(options.config, chosen)
