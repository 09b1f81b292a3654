"""The vendor's own binary beside torch: the same operation, size and ranks."""

from __future__ import annotations

from collections.abc import Sequence

from harness.records import Cadence
from harness.summary import Cell, Figure
from reports.model import Column, Group, Table, Text
from reports.numbers import percent, shown
from reports.reading import figures_of, member, say_all, usual
from reports.subject import Subject, how_known
from reports.text import sentence, spoken

SAME = ("size", "dtype", "ranks")
IN_PLACE = ("all_reduce", "broadcast", "reduce")
"""Operations that torch does in place only, whether it says so or not."""


def tables(subject: Subject, ours: Sequence[Cell], theirs: Sequence[Cell]) -> list[Table]:
    """A row for each cell that the binary measured, with torch's number where there is one."""
    figures = figures_of(theirs, "busbw")
    if not figures:
        return []
    columns = (
        Column("Operation", share=16), Column("Cell", share=30), Column("torch", numeric=True, share=20),
        Column("nccl-tests", numeric=True, share=20), Column("torch / binary", numeric=True, share=14),
    )  # fmt: skip
    rows = []
    for figure in figures:
        operation = str(figure.params.get("operation", ""))
        twin = next((f for f in figures_of(ours, "busbw", Cadence.STREAMING) if _same(f, figure, operation)), None)
        ratio = percent(twin.interval.value / figure.interval.value) if twin else "–"
        cell = say_all(figure.params, without=("operation",))
        rows.append((Text(spoken(operation)), Text(cell), _number(twin), _number(figure), Text(ratio)))
    caption = (
        "Bus bandwidth of operations back to back: through torch, and by the vendor's own test program (nccl-tests or "
        f"rccl-tests), one after the other in one run. {sentence(how_known(figures))}"
    )
    return [Table(subject.identifier("nccl-tests"), caption, columns, (Group("", tuple(rows)),))]


def _same(ours: Figure, theirs: Figure, operation: str) -> bool:
    in_place = operation in IN_PLACE or ours.params.get("in_place", False)
    same = all(ours.params.get(key) == theirs.params.get(key) for key in SAME)
    return (
        member(ours.benchmark) == operation
        and usual(ours.params)
        and same
        and in_place == theirs.params.get("in_place")
    )


def _number(figure: Figure | None) -> Text:
    if figure is None:
        return Text("–", tone="muted")
    number = shown(figure.interval, figure.unit)
    return Text(number.text, number.interval)
