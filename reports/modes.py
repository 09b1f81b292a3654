"""Cells whose samples fall in two groups: there a median is one of the two, and the reader must know."""

from __future__ import annotations

from collections.abc import Sequence

from harness.records import Cadence
from harness.summary import Figure
from harness.units import Unit
from reports.figures.distributions import MOST, histograms
from reports.model import Chapter, Column, Group, Picture, Table, Text
from reports.numbers import percent, plain
from reports.reading import TRIAL, member, say_all
from reports.subject import Subject, how_known
from reports.text import clean, counted, sentence, spoken

LISTED = 40  # rows of the table; beyond, only the count is said


def chapter(subject: Subject) -> Chapter | None:
    """None where every cell has one mode."""
    times = (f for cell in subject.measured for f in cell.figures if f.unit is Unit.SECOND and f.name != TRIAL)
    found = [figure for figure in times if figure.summary.modes]
    if not found:
        return None
    found.sort(key=_gap, reverse=True)
    intro = (
        f"The samples of {counted(len(found), 'measurement')} fall in two groups at least 5 % apart, so that their "
        "median alone would mislead: what is typical depends on how often each group occurs."
    )
    return Chapter(
        subject.identifier("modes"), "Two modes", intro, (_picture(subject, found),), (_table(subject, found),)
    )


def _gap(figure: Figure) -> float:
    modes = figure.summary.modes
    return modes[1] / modes[0] if modes else 1.0


def _cadence(figure: Figure) -> str:
    return figure.cadence.value if isinstance(figure.cadence, Cadence) else ""


def _picture(subject: Subject, found: Sequence[Figure]) -> Picture:
    shown = [(f"{spoken(member(f.benchmark))}, {_cadence(f)}", say_all(f.params), f) for f in found[:MOST]]
    name = subject.identifier("modes-histograms")
    alt = "Histograms of samples with two modes. " + " ".join(f"{title}, {sub}: {_said(f)}." for title, sub, f in shown)
    widest = f" The {MOST} with modes furthest apart." if len(found) > MOST else ""
    caption = (
        "How the samples are distributed where they have two modes; dotted lines are the medians of the two groups, "
        f"with the share of samples in each.{widest} {sentence(how_known(found[:MOST]))}"
    )
    return Picture(name, histograms(name, alt, shown), caption, alt)


def _said(figure: Figure) -> str:
    assert figure.summary.modes is not None
    lower, upper, share = figure.summary.modes
    return f"{percent(1 - share)} near {plain(lower, figure.unit)}, {percent(share)} near {plain(upper, figure.unit)}"


def _table(subject: Subject, found: Sequence[Figure]) -> Table:
    columns = (
        Column("Cell", share=46), Column("Lower mode", numeric=True, share=18),
        Column("Upper mode", numeric=True, share=18), Column("Ratio", numeric=True, share=18),
    )  # fmt: skip
    rows = []
    for figure in found[:LISTED]:
        assert figure.summary.modes is not None
        lower, upper, share = figure.summary.modes
        name = f"{spoken(member(figure.benchmark))}, {say_all(figure.params)}"
        ends = (Text(plain(lower, figure.unit), percent(1 - share)), Text(plain(upper, figure.unit), percent(share)))
        rows.append((Text(clean(name), _cadence(figure)), *ends, Text(f"{upper / lower:.2f}")))
    more = f" {len(found) - LISTED} more are not listed." if len(found) > LISTED else ""
    caption = f"Medians of both modes and the share of samples in each.{more} {sentence(how_known(found))}"
    return Table(subject.identifier("modes-table"), caption, columns, (Group("", tuple(rows)),))
