from __future__ import annotations

import math
from dataclasses import replace

import pytest

from chatanyone.config import Config
from chatanyone.evaluation.measures import Measure, Outcome, Range, at_least, at_most, not_computed
from chatanyone.evaluation.report import learned_part, matrix, row, section, summary
from chatanyone.evaluation.studio import (
    ALL_NETWORKS, GEOMETRY, NETWORKS, NO_FACE_REFINE, NO_HAND_INJECTION, NO_IMPLICIT_OFFSET, Variant, changed)


def measure(values: list[float], **more: object) -> Measure:
    return Measure("r", {f"clip {i}": value for i, value in enumerate(values)}, **more)  # type: ignore[arg-type]


def test_range_reads_as_a_bar() -> None:
    assert (str(at_least(0.57)), str(at_most(3)), str(Range(8, 30))) == ("≥ 0.57", "≤ 3", "8 … 30")
    assert 8 in Range(8, 30) and 30.1 not in Range(8, 30)


def test_verdicts() -> None:
    must, aim = at_least(0.5), at_least(0.7)
    assert measure([0.4, 0.5], must=must, aim=aim).verdict == "FAIL"
    assert measure([0.5, 0.7], must=must, aim=aim).verdict == "pass"
    assert measure([0.7, 0.8], must=must, aim=aim).verdict == "aim"
    assert measure([0.1]).verdict == ""  # reported only
    assert measure([], must=must).verdict == ""


def test_items_without_a_number_do_not_count() -> None:
    found = measure([1.0, math.nan, 3.0])
    assert found.value == 2 and len(found.known) == 2
    assert measure([1, 9, 2], statistic="largest").value == 9
    assert measure([1, 9, 2], statistic="median").value == 2


def test_a_row_says_what_is_missing() -> None:
    assert "not computed: it needs --i3d" in row(not_computed("FVD", "it needs --i3d"))
    assert "| FAIL |" in row(measure([0.1, 0.1], must=at_least(1)))


def test_the_summary_counts_the_program_as_it_ships() -> None:
    rows = [measure([0.1], must=at_least(1)), measure([2.0], must=at_least(1), aim=at_least(2)),
            measure([0.1], must=at_least(1), variant="geometry")]
    text = summary([Outcome("sync", "Lip sync", rows)])
    assert "| Lip sync | 1/2 | 1/1 | r 0.100 |" in text
    assert "| Life | 0/1 | 0/0 | r 0.100 |" in summary([Outcome("life", "Life", rows[2:])])  # a report on geometry alone


def test_a_matrix_has_an_engine_a_row_and_lists_what_is_not_there() -> None:
    rows = [measure([1.0, 2.0]), measure([3.0], variant="geometry"), not_computed("FID", "it needs --inception"),
            not_computed("FID", "it needs --inception", "geometry"), not_computed("PSNR", "no switch", "w/o hands")]
    lines = matrix(rows)
    assert lines[0] == "| engine | r |"
    assert lines[2].startswith("| networks | 1.50 (1.00 … 2.00)") and lines[3] == "| geometry | 3.00 |"
    assert lines[-2:] == ["* FID: not computed: it needs --inception", "* w/o hands: not computed: no switch"]
    assert "![lips](lips.png)" in section(Outcome("sync", "Lip sync", rows, pictures=["lips.png"]))


def test_what_the_networks_add_is_paired_by_item() -> None:
    networks = measure([1.0, 5.0, 9.1], must=at_least(1))
    geometry = measure([0.9, 4.9, 9.0, 77.0], must=at_least(1), variant="geometry")
    (gain,) = learned_part([Outcome("sync", "Lip sync", [networks, geometry])])
    assert round(gain.value, 6) == 0.1 and len(gain.known) == 3 and gain.note == "better"
    loud = measure([0.5, 4.0, 8.0], variant="loudness alone")
    gains = learned_part([Outcome("sync", "Lip sync", [networks, geometry, loud])])
    assert [gain.name for gain in gains] == ["Lip sync: r", "Lip sync: r, against loudness alone"]
    decibels = [replace(measure(values, variant=name), unit="dB")
                for name, values in (("networks", [30.0, 31.0]), ("geometry", [29.0, 30.5]))]
    assert learned_part([Outcome("x", "X", decibels)])[0].note == "better"
    low = [measure([1.0, 5.0], must=at_most(1)), measure([0.9, 4.9], must=at_most(1), variant="geometry")]
    assert learned_part([Outcome("x", "X", low)])[0].note == "worse"


@pytest.mark.parametrize("variant", [ALL_NETWORKS, NO_HAND_INJECTION, NO_FACE_REFINE, NO_IMPLICIT_OFFSET])
def test_ablations_draw_with_the_nets_whatever_ships(variant: Variant) -> None:
    """Without the nets, a row that lacks one of their parts would be geometry under another name."""
    assert changed(Config(), variant.changes).render.use_networks
    bare = changed(Config(), GEOMETRY.changes).render
    assert not bare.use_networks and not bare.use_filter
    assert changed(Config(), NETWORKS.changes).render == Config().render  # what ships
