"""What logs of other tools say: their numbers as they stand there, apart from what this suite has measured.

Each tool has its own rules of when to warm up, what to average and what a rank's time is; a number of one is never
in a table with a number of another, nor with ours.
"""

from __future__ import annotations

from collections.abc import Sequence

from harness.records import cell_name
from harness.summary import Cell, Figure
from harness.units import show_size
from reports.figures.alt import of_curves
from reports.figures.panels import Look, Panel, panels
from reports.model import Chapter, Column, Group, Picture, Table, Text
from reports.numbers import shown
from reports.reading import curves, figures_of, grouped, say, say_all, size_of
from reports.subject import Subject, how_known
from reports.text import clean, counted, sentence, spoken
from reports.titles import quantity

ROWS = 60  # of one benchmark; the appendix has every cell
RATES = ("busbw", "bandwidth", "algbw")
CURVE = 4  # sizes from which a curve is drawn
PANELS = 8
CONTRADICTION = "contradiction: "


def chapter(subject: Subject, cells: Sequence[Cell]) -> Chapter:
    """A table for each tool, and curves where there are sizes; what contradicts itself, with both numbers."""
    tools = grouped(cells, lambda cell: cell.benchmark)
    pictures = [picture for name, those in tools.items() for picture in _picture(subject, name, those)]
    tables = tuple(_table(subject, name, those) for name, those in tools.items())
    said = dict.fromkeys(note for cell in cells for note in cell.notes if note.startswith(CONTRADICTION))
    remarks = [f"A log contradicts itself: {clean(note.removeprefix(CONTRADICTION))}." for note in said]
    intro = (
        f"{counted(len(cells), 'cell')} of {counted(len(tools), 'tool')}, as their logs have them. What a log only "
        "implies is marked as derived in the records."
    )
    return Chapter(
        subject.identifier("collected"), "Collected from logs", intro, tuple(pictures), tables, tuple(remarks[:ROWS])
    )


def _picture(subject: Subject, benchmark: str, cells: Sequence[Cell]) -> list[Picture]:
    """Bandwidth against size, a panel for each setting but for the size."""
    rate = next((name for name in RATES if figures_of(cells, name)), "")
    shown_panels = []
    for title, those in grouped(cells, _setting).items():
        lines = curves(figures_of(those, rate), _way, size_of) if rate else []
        if max((len(line.figures) for line in lines), default=0) >= CURVE:
            shown_panels.append(Panel(title, tuple(lines)))
    if not shown_panels:
        return []
    part = shown_panels[:PANELS]
    name = subject.identifier(f"collected-{benchmark.replace('.', '-')}")
    alt = " ".join(of_curves(panel.title, panel.curves, show_size) for panel in part)
    look = Look(quantity(rate), "message size", ("out of place", "in place"))
    more = f" {len(shown_panels) - PANELS} more are in the table." if len(shown_panels) > PANELS else ""
    caption = f"{quantity(rate).capitalize()} against size, as logs of {clean(benchmark)} have it.{more}"
    return [Picture(name, panels(name, alt, part, look), caption, alt)]


def _setting(cell: Cell) -> str:
    return say_all(cell.params, without=("size", "in_place", "count")) or spoken(cell.benchmark)


def _way(figure: Figure) -> str:
    return say("in_place", figure.params["in_place"]) if "in_place" in figure.params else quantity(figure.name)


def _table(subject: Subject, benchmark: str, cells: Sequence[Cell]) -> Table:
    figures = [figure for cell in cells for figure in cell.figures if not figure.derived]
    columns = (
        Column("Cell", share=44), Column("Quantity", share=18), Column("Value", numeric=True, share=14),
        Column("95 % interval", numeric=True, share=16), Column("n", numeric=True, share=8),
    )  # fmt: skip
    rows, before = list[tuple[Text, ...]](), ""
    for figure in figures[:ROWS]:
        number, named = shown(figure.interval, figure.unit), say_all(figure.params) or "–"
        rows.append(
            (
                Text("" if named == before else named), Text(quantity(figure.name)), Text(number.text),
                Text(number.interval if figure.summary.n > 1 else ""), Text(f"{figure.summary.n:,}"),
            )
        )  # fmt: skip
        before = named
    more = f" {len(figures) - ROWS:,} more numbers are in the records." if len(figures) > ROWS else ""
    caption = f"{clean(benchmark)}. {sentence(how_known(figures))}{more}"
    identifier = subject.identifier(f"collected-{cell_name(benchmark, {}).replace('.', '-')}-all")
    return Table(identifier, caption, columns, (Group("", tuple(rows)),), dense=True)
