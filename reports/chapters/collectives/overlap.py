"""A product and a collective at once: what each costs the other."""

from __future__ import annotations

from collections.abc import Sequence

from harness.summary import Cell, Figure
from reports.model import Column, Group, Table, Text
from reports.numbers import shown
from reports.reading import say_all
from reports.subject import Subject, how_known
from reports.text import sentence

COLUMNS = (
    ("gemm_alone", "Product alone"), ("gemm_slowdown", "beside, ×"), ("collective_alone", "All-reduce alone"),
    ("collective_slowdown", "beside, ×"),
)  # fmt: skip


def tables(subject: Subject, cells: Sequence[Cell]) -> list[Table]:
    """A row for each pair of sizes; nothing without cells."""
    held = [(cell, {figure.name: figure for figure in cell.figures}) for cell in cells]
    figures = [figures["gemm_slowdown"] for _, figures in held if "gemm_slowdown" in figures]
    if not figures:
        return []
    columns = (
        Column("All-reduce beside a product", share=32),
        *(Column(t, numeric=True, share=17) for _, t in COLUMNS),
    )
    rows = tuple(
        (Text(say_all(cell.params)), *(_number(named.get(name)) for name, _ in COLUMNS)) for cell, named in held
    )
    caption = (
        "A matrix product (m × m) and an all-reduce at once, each timed alone and beside the other in turns; beside "
        f"is the ratio of the two times, with its 95 % interval. {sentence(how_known(figures))}"
    )
    return [Table(subject.identifier("overlap"), caption, columns, (Group("", rows),))]


def _number(figure: Figure | None) -> Text:
    if figure is None:
        return Text("–", tone="muted")
    number = shown(figure.interval, figure.unit)
    return Text(number.text, number.interval)
