"""What several verbs share: how a verb is declared, options of the machine, options that stand for a setting."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from chatanyone.config import Config

# Options that stand for a setting of chatanyone/config.py.
_SETTINGS = {"fps": "media.fps", "size": "media.size", "expression": "motion.expression", "pose": "motion.pose",
             "gesture": "motion.gesture", "seed": "motion.seed", "device": "device", "precision": "precision"}


def add_verb(verbs: Any, name: str, purpose: str, run: Callable[[argparse.Namespace], None],
             ) -> argparse.ArgumentParser:
    """Declares a verb; `purpose` starts with a small letter and has no full stop."""
    verb: argparse.ArgumentParser = verbs.add_parser(name, help=purpose, description=purpose.capitalize() + ".")
    verb.set_defaults(run=run)
    return verb


def add_machine_options(verb: argparse.ArgumentParser) -> None:
    """Where and with which settings it runs."""
    verb.add_argument("--device", metavar="NAME", help="auto, cpu or cuda (auto)")
    verb.add_argument("--precision", choices=("fp32", "bf16"), help="of the renderer's nets")
    verb.add_argument("--config", metavar="FILE", help="settings, see configs/README.md; options win over it")


def settings(options: argparse.Namespace) -> Config:
    """The settings file with the options given on top."""
    from chatanyone.config import load_config

    given = {key: getattr(options, name, None) for name, key in _SETTINGS.items()}
    return load_config(options.config, {key: value for key, value in given.items() if value is not None})
