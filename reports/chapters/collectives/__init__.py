"""Collectives: the whole launch against message size, its sub-groups, the map of its pairs, and more."""

from __future__ import annotations

from collections.abc import Sequence

from harness.records import Cadence
from harness.summary import Cell
from harness.units import Unit
from reports.chapters.collectives import groups, messages, models, overlap, pairs, vendor
from reports.model import Chapter
from reports.numbers import plain
from reports.reading import best, figures_of, member, ranks_of, say_all, usual
from reports.subject import Subject, quoted
from reports.text import spoken

APART = ("pairwise", "overlap", "nccl_tests", "barrier")
"""Members of the family that are no curve over message size."""


def chapter(subject: Subject, cells: Sequence[Cell]) -> Chapter:
    """Figures of the largest group of ranks; then how sub-groups, pairs and neighbours compare with it."""
    curves = [cell for cell in cells if member(cell.benchmark) not in APART]
    whole = _whole(curves)
    found = {name: [cell for cell in cells if member(cell.benchmark) == name] for name in APART}
    sub_pictures, sub_tables = groups.sections(subject, curves)
    maps, faults = pairs.sections(subject, found["pairwise"])
    pictures = [*(messages.pictures(subject, whole) if whole else []), *sub_pictures, *maps]
    tables = [
        *([messages.ends(subject, whole)] if whole else []), *models.tables(subject, whole), *sub_tables, *faults,
        *overlap.tables(subject, found["overlap"]), *vendor.tables(subject, curves, found["nccl_tests"]),
        *groups.barriers(subject, found["barrier"]),
    ]  # fmt: skip
    return Chapter(
        subject.identifier("collectives"), "Collectives", _intro(cells, curves), tuple(pictures), tuple(tables),
        remarks=_skew(whole),
    )  # fmt: skip


def _whole(cells: Sequence[Cell]) -> list[Cell]:
    """One group of as many ranks as there are, placed as usual."""
    found = [cell for cell in cells if usual(cell.params)]
    most = max((ranks_of(cell.params) for cell in found), default=0)
    return [cell for cell in found if ranks_of(cell.params) == most]


def _intro(cells: Sequence[Cell], curves: Sequence[Cell]) -> str:
    rates = figures_of(curves, "busbw")
    if not rates:
        return "Operations among all ranks."
    top = best(rates)
    text = (
        f"{spoken(member(top.benchmark)).capitalize()} reaches the highest bus bandwidth, "
        f"{quoted(top)} ({say_all(top.params)}"
        f"{', ' + top.cadence.value if top.cadence else ''})."
    )
    times = [f for f in figures_of(cells, "time", Cadence.ISOLATED) if f.unit is Unit.SECOND and not f.pairs]
    if times:
        least = best(times)
        took = f"{spoken(member(least.benchmark))} in {quoted(least)}"
        text += f" The shortest operation is {took} ({say_all(least.params)})."
    return text


def _skew(cells: Sequence[Cell]) -> tuple[str, ...]:
    """How far apart the ranks arrive at an operation that they start together."""
    held = [evidence for figure in figures_of(cells, "time") for evidence in figure.evidence]
    medians = sorted(evidence.skew_median for evidence in held if evidence.skew_median is not None)
    if not medians:
        return ()
    most = max(evidence.skew_max for evidence in held if evidence.skew_max is not None)
    middle = plain(medians[len(medians) // 2], Unit.SECOND)
    return (
        f"Ranks arrive {middle} apart in the median cell, and at most {plain(most, Unit.SECOND)}: the time that the "
        "first waits for the last in the alignment before each operation.",
    )
