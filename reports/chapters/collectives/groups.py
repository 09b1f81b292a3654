"""Sub-groups of one launch: bus bandwidth against the number of ranks, for each placement."""

from __future__ import annotations

from collections.abc import Sequence

from harness.records import Cadence, Params
from harness.summary import Cell, Figure
from reports.chapters.matrix import matrix
from reports.figures.alt import of_curves
from reports.figures.panels import Look, Panel, panels
from reports.model import Column, Group, Picture, Table, Text
from reports.numbers import shown
from reports.reading import curves, figures_of, grouped, member, ranks_of, say, size_of, usual
from reports.subject import Subject, bars, how_known
from reports.text import sentence, spoken
from reports.titles import OPERATIONS

DRAWN = 6  # operations with a colour of their own


def sections(subject: Subject, cells: Sequence[Cell]) -> tuple[list[Picture], list[Table]]:
    """A figure and tables where there are groups of different sizes, or placed differently."""
    rates = [f for f in figures_of(cells, "busbw") if not f.params.get("in_place") and usual(f.params, ("reduction",))]
    places = {place: _alike(those) for place, those in grouped(rates, lambda f: placed(f.params)).items()}
    several = {place: those for place, those in places.items() if len({ranks_of(f.params) for f in those}) > 1}
    odd = {place: those for place, those in places.items() if place != "one group" and place not in several}
    pictures = [_picture(subject, several)] if several else []
    return pictures, [_table(subject, place, those) for place, those in {**several, **odd}.items()]


def _alike(figures: Sequence[Figure]) -> list[Figure]:
    """Of each operation the largest message that groups of every size were given, so that they compare."""
    kept: list[Figure] = []
    for those in grouped(figures, lambda f: (f.benchmark, f.params.get("dtype"))).values():
        held = [{size_of(f.params) for f in each} for each in grouped(those, lambda f: ranks_of(f.params)).values()]
        common = [size for size in set.intersection(*held) if size]
        kept += [f for f in those if common and size_of(f.params) == max(common)]
    return kept


def placed(params: Params) -> str:
    """Where a group's ranks sit, in words."""
    groups = params.get("groups", 1)
    if params.get("placement") == "rail":
        return "one rail" if groups == 1 else f"{groups} rails at once"
    return "one group" if groups == 1 else "groups side by side"


def _picture(subject: Subject, places: dict[str, list[Figure]]) -> Picture:
    drawn = [spoken(name) for name in OPERATIONS[:DRAWN]]
    held, alts = [], []
    for place, figures in places.items():
        those = [f for f in figures if spoken(member(f.benchmark)) in drawn and f.cadence is not Cadence.ISOLATED]
        lines = curves(those or figures, lambda f: spoken(member(f.benchmark)), lambda params: ranks_of(params) or None)
        held.append(Panel(place.capitalize(), tuple(lines)))
        alts.append(of_curves(place, lines, lambda ranks: f"{ranks:,.0f} ranks"))
    name = subject.identifier("groups")
    alt = f"Bus bandwidth against the number of ranks of a group. {' '.join(alts)}"
    look = Look("bus bandwidth", "ranks of a group", tuple(drawn), binary=False, tall=44, right=27)
    every = [figure for panel in held for curve in panel.curves for figure in curve.figures]
    caption = (
        "Bus bandwidth of each operation against the number of ranks of a group, by placement, for the largest message "
        "that groups of every size were given. Ranks fill one "
        "node after another; a rail has one rank on each node. "
        f"{bars(every)} {sentence(how_known(every))}"
    )
    return Picture(name, panels(name, alt, held, look), caption, alt)


def _table(subject: Subject, place: str, figures: Sequence[Figure]) -> Table:
    lead = f"Bus bandwidth of each operation by ranks of a group, {place}, for its largest common message"
    name = subject.identifier(f"groups-{place}")
    return matrix(
        name, lead, "Ranks", figures, lambda f: spoken(member(f.benchmark)), lambda f: float(ranks_of(f.params)),
        lambda ranks: f"{ranks:,.0f}",
    )  # fmt: skip


def barriers(subject: Subject, cells: Sequence[Cell]) -> list[Table]:
    """What it costs to wait for each other, by ranks and placement."""
    figures = figures_of(cells, "time")
    if not figures:
        return []
    columns = (Column("Ranks", share=30), Column("Placement", share=30), Column("Cadence", share=15),
               Column("Time", numeric=True, share=25))  # fmt: skip
    rows = []
    for figure in figures:
        number = shown(figure.interval, figure.unit)
        cadence = figure.cadence.value if figure.cadence else "–"
        cells_ = (say("ranks", figure.params.get("ranks")), placed(figure.params), cadence)
        rows.append((*(Text(word) for word in cells_), Text(number.text, number.interval)))
    caption = f"Barrier: all ranks wait for each other. {sentence(how_known(figures))}"
    return [Table(subject.identifier("barrier"), caption, columns, (Group("", tuple(rows)),))]
