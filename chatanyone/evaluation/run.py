"""`chatanyone evaluate` from inputs to report."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from importlib import import_module
from pathlib import Path

from chatanyone.config import Config
from chatanyone.errors import ChatAnyoneError, ConfigError
from chatanyone.evaluation import report
from chatanyone.evaluation.inputs import gather
from chatanyone.evaluation.measures import Outcome, not_computed
from chatanyone.evaluation.session import Session
from chatanyone.evaluation.studio import GEOMETRY, NETWORKS, Studio
from chatanyone.evaluation.work import Work

# Name on the command line → module, in the order of the report.
PARTS: dict[str, str] = {
    "sync": "bars.sync", "closure": "bars.closure", "silence": "bars.silence", "motion": "bars.motion", "steps": "bars.steps",
    "life": "bars.life", "expression": "bars.expression", "intensity": "bars.intensity", "commands": "bars.commands",
    "sharpness": "bars.sharpness", "steadiness": "bars.steadiness", "hands": "bars.hands", "identity": "bars.identity",
    "reenactment": "bars.reenactment", "films": "bars.films", "table1": "tables.table1", "table3": "tables.table3",
    "table4": "tables.table4",
}
GEOMETRY_CHOICES = ("beside", "skip", "alone")


@dataclass(frozen=True)
class Request:
    """What to evaluate, on what, and where the report goes.

    only: names of `PARTS`; empty: all
    geometry: networks off "beside" the networks, "skip", or "alone"
    weights: name → file, for the metrics that need downloaded weights (`chatanyone.evaluation.learned`)
    """

    output: Path
    portraits: Path | None = None
    voices: Path | None = None
    clips: Path | None = None
    work: Path | None = None
    only: tuple[str, ...] = ()
    limit: int | None = None
    geometry: str = "beside"
    fresh: bool = False
    weights: dict[str, Path] = field(default_factory=dict)


def evaluate(request: Request, config: Config) -> list[Outcome]:
    """Measures, prints and writes; what was measured before is taken from the work folder.

    Raises:
        ChatAnyoneError: inputs or settings cannot be used; the report is not touched then.
    """
    parts = _parts(request.only)
    session = open_session(request, config)
    outcomes = []
    for name in parts:
        outcomes.append(_measured(name, session))
        print(report.section(outcomes[-1]), flush=True)
    report.write(request.output, outcomes, config, session, whole=not request.only)
    return outcomes


def open_session(request: Request, config: Config) -> Session:
    """Inputs and engines; nothing is measured yet."""
    if request.geometry not in GEOMETRY_CHOICES:
        raise ConfigError(f"--geometry-only must be {', '.join(GEOMETRY_CHOICES)}, not {request.geometry}")
    if request.limit is not None and request.limit < 1:
        raise ConfigError(f"--limit must be at least 1, not {request.limit}")
    variants = {"beside": (NETWORKS, GEOMETRY), "skip": (NETWORKS,), "alone": (GEOMETRY,)}[request.geometry]
    inputs = gather(request.portraits, request.voices, request.clips)
    request.output.mkdir(parents=True, exist_ok=True)
    model = Path(config.tracking.task_model) if config.tracking.task_model else None
    work = Work(request.work or Path("out/evaluation"), request.fresh)
    return Session(inputs, Studio(config), work, request.output, variants, request.limit, model, dict(request.weights))


def _parts(only: tuple[str, ...]) -> list[str]:
    unknown = sorted(set(only) - set(PARTS))
    if unknown:
        raise ConfigError(f"--only knows {', '.join(PARTS)}, not {', '.join(unknown)}")
    return [name for name in PARTS if not only or name in only]


def _measured(name: str, session: Session) -> Outcome:
    module = import_module(f"chatanyone.evaluation.{PARTS[name]}")
    started = time.monotonic()
    missing = [kind for kind in module.NEEDS if not getattr(session.inputs, kind)]
    if missing:
        outcome = Outcome(name, module.TITLE, [not_computed(module.TITLE, f"no {' and '.join(missing)} given")])
    else:
        outcome = _safe(name, module.TITLE, lambda: module.measure(session))
    return replace(outcome, seconds=round(time.monotonic() - started, 1))


def _safe(name: str, title: str, make: Callable[[], Outcome]) -> Outcome:
    """One part that cannot be measured does not take the others with it."""
    try:
        return make()
    except ChatAnyoneError as error:
        reason = str(error)
    except ImportError as error:
        reason = f"{error.name or error} is not installed; pip install 'chatanyone[evaluate]'"
    print(f"chatanyone: warning: {name}: {reason}", file=sys.stderr)
    return Outcome(name, title, [not_computed(title, reason)])
