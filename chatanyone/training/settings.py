"""How to train: the solver's settings, from the command line and from a file such as ``configs/paper.yaml``."""

from __future__ import annotations

import argparse
import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from chatanyone.errors import ConfigError

SECTIONS = ("audio", "motion-face", "motion-body", "motion-lsp", "motion-loopy", "render")


@dataclass
class SolverConfig:
    """How to train. Times in minutes, lengths in steps."""

    steps: int = 10_000
    learning_rate: float = 3e-4
    warmup_steps: int = 200
    final_rate: float = 0.02  # of the learning rate, at the end of the cosine; 1 keeps it constant
    weight_decay: float = 0.01  # on matrices only; 0 makes Adam of AdamW
    betas: tuple[float, float] = (0.9, 0.99)
    grad_clip: float = 1.0
    accumulate: int = 1  # batches a step, on each process
    ema_decay: float = 0.999
    precision: str = "bf16"  # bf16 | fp32
    device: str = "auto"  # auto | cpu | cuda
    threads: int | None = None  # of the CPU; None leaves torch's choice
    seed: int = 0
    segment_steps: int = 200
    log_every: int = 50
    validate_every: int = 1000
    patience: int | None = None  # stop after so many validations without improvement of the task's `score`
    save_minutes: float = 3.0
    minutes: float | None = None  # stop this run (not the schedule) after so long
    anneal_minutes: float | None = None  # cosine over training time instead of steps

    def __post_init__(self) -> None:
        for name in ("accumulate", "segment_steps", "log_every", "validate_every"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, not {getattr(self, name)}")
        if self.precision not in ("bf16", "fp32"):
            raise ConfigError(f"precision must be bf16 or fp32, not '{self.precision}'")

    @classmethod
    def add_arguments(cls, parser: argparse.ArgumentParser) -> None:
        """One `--name` for each field."""
        for item in dataclasses.fields(cls):
            if item.name == "betas":
                continue
            kind = {"int": int, "float": float, "int | None": int, "float | None": float}.get(str(item.type), str)
            parser.add_argument("--" + item.name.replace("_", "-"), type=kind, default=item.default)

    @classmethod
    def from_arguments(cls, arguments: argparse.Namespace) -> SolverConfig:
        """From what `add_arguments` parsed."""
        names = {item.name for item in dataclasses.fields(cls)}
        return cls(**{name: value for name, value in vars(arguments).items() if name in names})


@dataclass
class TrainingSettings(SolverConfig):
    """One section of a settings file: the solver's settings and those of the task."""

    batch: int | None = None  # examples a step on each process; None: the task's own
    total_batch: int | None = None  # examples a step over all processes; sets `accumulate`
    clips: int | None = None  # how many the setting was made for; told when the data holds another number
    net: dict[str, Any] = field(default_factory=dict)  # sizes of the net that differ from its defaults


def read_settings(path: Path, section: str) -> dict[str, Any]:
    """What a settings file says of one task; only what stands there.

    Raises:
        ConfigError: unreadable file, unknown section or setting, wrong type, value out of range.
    """
    try:
        given = OmegaConf.load(path)
        plain = OmegaConf.to_container(given, resolve=True)
    except OSError as error:
        raise ConfigError(f"the settings file {path} cannot be read: {error.strerror or error}") from None
    except (YAMLError, UnicodeDecodeError, OmegaConfBaseException):
        raise ConfigError(f"the settings file {path} is not YAML; correct it") from None
    if not isinstance(plain, dict) or not all(isinstance(part, dict) for part in plain.values()):
        raise ConfigError(f"{path} must hold sections named {', '.join(SECTIONS)} with 'name: value' lines below")
    unknown = sorted(str(name) for name in plain if name not in SECTIONS)
    if unknown:
        raise ConfigError(f"unknown section '{unknown[0]}' in {path}; known here: {', '.join(SECTIONS)}")
    checked = {name: _checked(plain[name], f"{path}, {name}") for name in SECTIONS if name in plain}
    if section not in checked:
        raise ConfigError(f"{path} says nothing of {section}; it has {', '.join(checked)}")
    return checked[section]


def _checked(given: dict[Any, Any], origin: str) -> dict[str, Any]:
    """The values in their right types."""
    known = [item.name for item in dataclasses.fields(TrainingSettings)]
    for name in given:
        if name not in known:
            raise ConfigError(f"unknown setting '{name}' in {origin}; known here: {', '.join(known)}")
    try:
        settings = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(TrainingSettings), given))
    except OmegaConfBaseException as error:
        key = getattr(error, "full_key", None) or "a setting"
        raise ConfigError(f"{key} in {origin} is refused: {str(error).splitlines()[0]}") from None
    return {str(name): getattr(settings, str(name)) for name in given}


def batches_a_step(total: int, batch: int, processes: int) -> int:
    """`accumulate` such that all processes together see `total` examples a step."""
    count, rest = divmod(total, batch * processes)
    if count < 1 or rest:
        raise ConfigError(f"total_batch {total} is not a multiple of {processes} processes times a batch of {batch}; "
                          "change --batch or the number of processes")
    return count
