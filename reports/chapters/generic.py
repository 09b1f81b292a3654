"""A family that has no chapter of its own: every cell, with its main number."""

from __future__ import annotations

from collections.abc import Sequence

from harness.summary import Cell
from reports.model import Chapter, Column, Group, Table, Text
from reports.numbers import shown
from reports.reading import family, figures_of, grouped, member, rate_name, say_all
from reports.subject import Subject, how_known, interval_title
from reports.text import clean, counted, sentence, spoken
from reports.titles import family_title, quantity


def chapter(subject: Subject, cells: Sequence[Cell]) -> Chapter:
    """One table, grouped by benchmark."""
    name = family(cells[0].benchmark)
    figures = [figure for cell in cells for figure in figures_of([cell], rate_name(cell))]
    columns = (
        Column("Cell", share=40), Column("Quantity", share=20), Column("Value", numeric=True, share=18),
        Column(interval_title(figures), numeric=True, share=22),
    )  # fmt: skip
    groups = tuple(
        Group(spoken(member(benchmark)), tuple(row for cell in those for row in _rows(cell)))
        for benchmark, those in grouped(cells, lambda cell: cell.benchmark).items()
    )
    caption = f"Every cell of {clean(name)}. {sentence(how_known(figures))}"
    identifier = subject.identifier(f"family-{name}")
    intro = f"{counted(len(cells), 'cell')} of {counted(len(groups), 'benchmark')}."
    return Chapter(
        identifier, family_title(name), intro, tables=(Table(f"{identifier}-all", caption, columns, groups),)
    )


def _rows(cell: Cell) -> list[tuple[Text, ...]]:
    rows: list[tuple[Text, ...]] = []
    for figure in figures_of([cell], rate_name(cell)):
        number = shown(figure.interval, figure.unit)
        cadence = figure.cadence.value if figure.cadence else ""
        rows.append(
            (
                Text(say_all(cell.params) or "–"),
                Text(quantity(figure.name), cadence),
                Text(number.text),
                Text(number.interval),
            )
        )
    return rows
