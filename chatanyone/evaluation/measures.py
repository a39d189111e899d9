"""What a bar gives: numbers by item, what they should be, and whether they are."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from chatanyone.evaluation.statistics import interval

Statistic = Callable[[NDArray[np.float64]], float]
STATISTICS: dict[str, Statistic] = {
    "mean": lambda values: float(np.mean(values)), "median": lambda values: float(np.median(values)),
    "largest": lambda values: float(np.max(values)), "smallest": lambda values: float(np.min(values)),
}


@dataclass(frozen=True)
class Range:
    """Closed; an end may be open."""

    low: float = -math.inf
    high: float = math.inf

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high

    def __str__(self) -> str:
        if math.isinf(self.low) and math.isinf(self.high):
            return "–"
        if math.isinf(self.high):
            return f"≥ {self.low:g}"
        return f"≤ {self.high:g}" if math.isinf(self.low) else f"{self.low:g} … {self.high:g}"


def at_least(value: float) -> Range:
    return Range(low=value)


def at_most(value: float) -> Range:
    return Range(high=value)


@dataclass(frozen=True)
class Measure:
    """One number of a report.

    name, unit: what it is; variant: of which engine ("networks", "geometry", …)
    values: item → number; the reported value is their `statistic`
    must, aim: where the value should lie; None: reported only
    note: why it was not computed, or how to read it
    """

    name: str
    values: dict[str, float]
    unit: str = ""
    variant: str = "networks"
    statistic: str = "mean"
    must: Range | None = None
    aim: Range | None = None
    note: str = ""

    @property
    def known(self) -> list[float]:
        """Items that gave a number."""
        return [value for value in self.values.values() if math.isfinite(value)]

    @property
    def value(self) -> float:
        """NaN when no item gave a number."""
        return STATISTICS[self.statistic](np.array(self.known)) if self.known else math.nan

    @property
    def interval(self) -> tuple[float, float]:
        """95 %, over items; NaN for extremes, which the bootstrap does not describe."""
        if self.statistic not in ("mean", "median"):
            return math.nan, math.nan
        return interval(self.known, STATISTICS[self.statistic])

    @property
    def verdict(self) -> str:
        """aim, pass, FAIL or nothing."""
        if self.must is None or not self.known:
            return ""
        if self.aim is not None and self.value in self.aim:
            return "aim"
        return "pass" if self.value in self.must else "FAIL"


@dataclass(frozen=True)
class Outcome:
    """All measures of one bar, and what it was measured on, in a sentence.

    matrix: print engines as rows and measures as columns; pictures: files beside the report, relative to it
    """

    bar: str
    title: str
    measures: list[Measure] = field(default_factory=list)
    about: str = ""
    seconds: float = 0.0
    matrix: bool = False
    pictures: list[str] = field(default_factory=list)


def not_computed(name: str, why: str, variant: str = "networks", unit: str = "") -> Measure:
    """A row that says what is missing."""
    return Measure(name, {}, unit, variant, note=f"not computed: {why}")
