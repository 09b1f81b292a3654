"""The peak finder: the best rate of any shape in a range, and how much of the range it tried."""

from __future__ import annotations

from collections.abc import Sequence

from harness.summary import Cell, Figure
from reports.model import Column, Group, Notes, Table, Text
from reports.numbers import percent, shown
from reports.reading import best, dtype_of, figures_of, say_all
from reports.shares import of_peak
from reports.subject import Subject, how_known, interval_title
from reports.text import clean, sentence

TRIAL = "trial"


def tables(subject: Subject, cells: Sequence[Cell]) -> list[Table]:
    """A row for each range that was searched; nothing without cells."""
    tops = [(cell, best(found)) for cell in cells if (found := figures_of([cell], "flops"))]
    if not tops:
        return []
    notes, figures = Notes(), [top for _, top in tops]
    columns = (
        Column("Data type", share=10), Column("m, n and k searched", share=22), Column("Best shape", share=20),
        Column("Rate", numeric=True, share=12), Column(interval_title(figures), numeric=True, share=14),
        Column("Shapes timed", numeric=True, share=12), Column("Of datasheet peak", numeric=True, share=10),
    )  # fmt: skip
    rows = tuple(_row(subject, cell, top, notes) for cell, top in tops)
    caption = (
        "The best rate found over a range of shapes within a budget of time. Every trial is brief; the winner was "
        "then measured anew, and its row is that measurement. Shapes timed: how many, and their share of all in the "
        f"range. {sentence(how_known(figures))}"
    )
    return [Table(subject.identifier("gemm-peak"), caption, columns, (Group("", rows),), tuple(notes.texts))]


def _row(subject: Subject, cell: Cell, top: Figure, notes: Notes) -> tuple[Text, ...]:
    number = shown(top.interval, top.unit)
    tried = len({say_all(figure.own) for figure in cell.figures if figure.name == TRIAL})
    share = of_peak(top, subject.cluster, subject.per_device)
    note = notes.mark(sentence(share.alarm or share.note))
    ratio = "n/a" if share.ratio is None else percent(share.ratio)
    tone = "alarm" if share.alarm else "muted" if share.ratio is None else ""
    return (
        Text(clean(dtype_of(top))), Text(*_searched(cell)), Text(say_all(top.own)), Text(number.text),
        Text(number.interval), Text(f"{tried:,}", _part(cell, tried)), Text(ratio, mark=note, tone=tone),
    )  # fmt: skip


def _edges(cell: Cell) -> tuple[int, int, int] | None:
    """low, high and step, where they are whole numbers that make a range."""
    low, high, step = (cell.params.get(name) for name in ("low", "high", "step"))
    if isinstance(low, int) and isinstance(high, int) and isinstance(step, int) and 0 < low <= high and step > 0:
        return low, high, step
    return None


def _searched(cell: Cell) -> tuple[str, str]:
    edges = _edges(cell)
    return (f"{edges[0]:,} to {edges[1]:,}", f"in steps of {edges[2]:,}") if edges else ("–", "")


def _part(cell: Cell, tried: int) -> str:
    edges = _edges(cell)
    if edges is None:
        return ""
    count = len(range(edges[0], edges[1] + 1, edges[2])) ** 3
    return f"{percent(tried / count)} of {count:,}"
