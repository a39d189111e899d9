"""Outcomes as Markdown for people and JSON for programs, with all that is needed to repeat them."""

from __future__ import annotations

import json
import math
import os
import platform
import subprocess
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from chatanyone.config import Config
from chatanyone.evaluation.measures import Measure, Outcome
from chatanyone.evaluation.session import Session
from chatanyone.evaluation.work import ROOT, weights_hashes

HEADER = "| measure | engine | N | value | 95 % | must | aim | |\n|---|---|---|---|---|---|---|---|"
# Engines that lack a learned part, and how a gain over them is told.
WITHOUT = {"geometry": "", "loudness alone": ", against loudness alone"}


def write(folder: Path, outcomes: list[Outcome], config: Config, session: Session, whole: bool) -> None:
    """``bars.md`` and ``bars.json`` when everything was measured, else ``bars-NAMES.*``."""
    stem = "results" if whole else "results-" + "-".join(outcome.bar for outcome in outcomes)
    about = circumstances(config, session)
    _replace(folder / f"{stem}.json", json.dumps(plain(outcomes, about), indent=1, ensure_ascii=False) + "\n")
    _replace(folder / f"{stem}.md", document(outcomes, about))


def circumstances(config: Config, session: Session) -> dict[str, Any]:
    """Commit, machine, date, weights and inputs."""
    inputs = session.inputs
    return {
        "commit": _commit(), "date": time.strftime("%Y-%m-%d"), "machine": _machine(),
        "weights": {kind: value[:12] for kind, value in weights_hashes(config).items()},
        "inputs": {"portraits": len(inputs.portraits), "voices": len(inputs.voices), "clips": len(inputs.clips)},
        "limit": session.limit,
    }


def document(outcomes: list[Outcome], about: dict[str, Any]) -> str:
    """The whole report."""
    given = ", ".join(f"{count} {kind}" for kind, count in about["inputs"].items())
    lines = [
        "# Evaluation", "",
        f"Written by `chatanyone evaluate` on {about['date']}: commit {about['commit']}, {about['machine']}; {given}"
        + (f"; at most {about['limit']} items a bar" if about["limit"] else "") + ". Definitions: "
        "[metrics](../metrics.md). Intervals are 95 % bootstrap intervals over the items; N counts items. `networks` is "
        "the program as it ships, `geometry` the same without any rendering net, `all networks` with `render.use_networks: "
        "true` besides; the summary counts what ships.", "",
        "Weights (SHA-256 of the tensors): " + ", ".join(f"{kind} `{value}`" for kind, value in about["weights"].items())
        + ".", "", "## Summary", "", summary(outcomes), "",
    ]
    gained = learned_part(outcomes)
    if gained:
        lines += ["## What the networks add", "", "Networks minus geometry over the same items; the bar asks for gains in lip "
                  "sync, reenactment, mouth and hands. Rendering nets draw what the motion nets say, so lip sync stands "
                  "against a mouth that follows loudness too, which needs no net at all.", "",
                  "| measure | N | difference | 95 % | |", "|---|---|---|---|---|",
                  *map(_gain, gained), ""]
    return "\n".join(lines) + "\n".join(section(outcome) for outcome in outcomes)


def summary(outcomes: list[Outcome]) -> str:
    """One line a bar: how many of its musts hold for the program as it ships."""
    lines = ["| bar | musts that hold | aims reached | missed |", "|---|---|---|---|"]
    for outcome in outcomes:
        rows = _shipping([row for row in outcome.measures if row.verdict])
        held = [row for row in rows if row.verdict != "FAIL"]
        aims = [row for row in rows if row.aim is not None]
        missed = "; ".join(f"{row.name} {number(row)}" for row in rows if row.verdict == "FAIL")
        reached = sum(row.verdict == "aim" for row in aims)
        lines.append(f"| {outcome.title} | {len(held)}/{len(rows)} | {reached}/{len(aims)} | {missed} |")
    return "\n".join(lines)


def _shipping(rows: list[Measure]) -> list[Measure]:
    """Those with the nets that are on by default; of a report on geometry alone, geometry's."""
    shipped = {row.name for row in rows if row.variant == "networks"}
    return [row for row in rows if row.variant == ("networks" if row.name in shipped else "geometry")]


def learned_part(outcomes: list[Outcome]) -> list[Measure]:
    """Differences of every measure that stands for both engines, item by item."""
    found = []
    for outcome in outcomes:
        if outcome.matrix:
            continue
        rows = {(m.variant, m.name): m for m in outcome.measures if m.known}
        for (variant, name), without in rows.items():
            networks = rows.get(("networks", name))
            if variant in WITHOUT and networks is not None:
                shared = {item: value - without.values[item] for item, value in networks.values.items()
                          if item in without.values and math.isfinite(value) and math.isfinite(without.values[item])}
                title = f"{outcome.title}: {name}{WITHOUT[variant]}"
                found.append(Measure(title, shared, networks.unit, f"networks - {variant}",
                                     must=networks.must, note=_better(networks, shared)))
    return found


def _better(networks: Measure, shared: dict[str, float]) -> str:
    """"better" or "worse" where the bar has a direction and the interval leaves 0 out."""
    low, high = Measure("", shared).interval
    must = networks.must
    if math.isnan(low) or low <= 0 <= high:
        return ""
    if must is None:
        return "" if networks.unit != "dB" else "better" if low > 0 else "worse"
    if math.isfinite(must.low) == math.isfinite(must.high):
        return ""
    return "better" if (low > 0) == math.isfinite(must.low) else "worse"


def _gain(measure: Measure) -> str:
    low, high = measure.interval
    spread = "" if math.isnan(low) else f"{low:+.3f} … {high:+.3f}"
    unit = f" {measure.unit}" if measure.unit else ""
    return f"| {measure.name} | {len(measure.known)} | {measure.value:+.3f}{unit} | {spread} | {measure.note} |"


def section(outcome: Outcome) -> str:
    """One bar."""
    lines = [f"## {outcome.title}", ""]
    if outcome.about:
        lines += [outcome.about[0].upper() + outcome.about[1:] + ".", ""]
    lines += [*matrix(outcome.measures)] if outcome.matrix else [HEADER, *map(row, outcome.measures)]
    lines += ["", *(f"![{Path(name).stem}]({name})" for name in outcome.pictures), ""]
    return "\n".join(lines) + "\n"


def matrix(measures: list[Measure]) -> list[str]:
    """Engines as rows, measures as columns; what is not computed, and why, below."""
    names = list(dict.fromkeys(m.name for m in measures if m.known))
    engines = list(dict.fromkeys(m.variant for m in measures if m.known))
    cells = {(m.variant, m.name): m for m in measures if m.known}
    units = {m.name: m.unit for m in measures}
    lines = ["| engine | " + " | ".join(f"{name}, {units[name]}" if units[name] else name for name in names) + " |",
             "|---" * (len(names) + 1) + "|"]
    lines += [f"| {engine} | " + " | ".join(_cell(cells.get((engine, name))) for name in names) + " |" for engine in engines]
    missing = list(dict.fromkeys(f"{m.name}: {m.note}" if m.variant in engines else f"{m.variant}: {m.note}"
                                 for m in measures if not m.known and m.note))
    return lines + ["", *(f"* {line}" for line in missing)]


def _cell(measure: Measure | None) -> str:
    if measure is None:
        return ""
    low, high = measure.interval
    return _short(measure.value) + ("" if math.isnan(low) else f" ({_short(low)} … {_short(high)})") + (
        f" {measure.verdict}" if measure.verdict else "")


def row(measure: Measure) -> str:
    """One line of the table."""
    low, high = measure.interval
    spread = "" if math.isnan(low) else f"{_short(low)} … {_short(high)}"
    name = measure.name + (f" ({measure.statistic})" if measure.statistic != "mean" and measure.known else "")
    cells = [name, measure.variant, str(len(measure.known)) if measure.known else "", number(measure), spread,
             str(measure.must or ""), str(measure.aim or ""), " ".join(filter(None, [measure.verdict, measure.note]))]
    return "| " + " | ".join(cells) + " |"


def number(measure: Measure) -> str:
    """With its unit."""
    return f"{_short(measure.value)} {measure.unit}".strip() if measure.known else "–"


def plain(outcomes: list[Outcome], about: dict[str, Any]) -> dict[str, Any]:
    """For JSON: no infinities, no NaN."""
    return {"about": about, "bars": [_finite({
        **asdict(outcome), "measures": [asdict(m) | {"value": m.value, "interval": m.interval, "verdict": m.verdict}
                                        for m in outcome.measures]}) for outcome in outcomes]}


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    if isinstance(value, float):
        return round(value, 6) if math.isfinite(value) else None
    return value


def _short(value: float) -> str:
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}" if abs(value) >= 1 else f"{value:.3f}"


def _replace(path: Path, text: str) -> None:
    """Whole or not at all."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)


def _commit() -> str:
    """Short hash, with + when tracked files were changed since."""
    try:
        name = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True)
        dirty = subprocess.run(["git", "diff", "--quiet", "HEAD"], cwd=ROOT, capture_output=True).returncode
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return name.stdout.strip() + ("+" if dirty else "")


def _machine() -> str:
    processor = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        names = [line.partition(":")[2].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
        processor = names[0] if names else processor
    return f"{os.cpu_count()} cores of {processor}"
