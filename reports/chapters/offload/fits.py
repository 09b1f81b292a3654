"""The largest model that fits: found by trying, by the formulas, and by the formulas on the cluster that is defined."""

from __future__ import annotations

from collections.abc import Sequence

from harness.summary import Cell, Figure
from harness.units import show_size
from reports.chapters.offload.cells import NONE, short
from reports.chapters.offload.room import plain_count
from reports.model import Column, Group, Table, Text
from reports.numbers import GAP, percent
from reports.subject import Subject
from reports.text import clean

WAYS = ("search", "formula", "buffers")


def tables(subject: Subject, cells: Sequence[Cell]) -> list[Table]:
    """A row for each stage and tier."""
    if not cells:
        return []
    rows = [_row(cell) for cell in cells]
    columns = (
        Column("Model's widths", share=15), Column("Stage, tiers", share=19), Column("Memory", numeric=True, share=11),
        Column("Found", numeric=True, share=14), Column("Formula (modelled)", numeric=True, share=14),
        Column("Less buffers (modelled)", numeric=True, share=14), Column("Found over it", numeric=True, share=13),
    )  # fmt: skip
    caption = (
        "Largest model that trains in so much host memory beyond what libraries take. Found: by bisection over layers, "
        "every trial a fresh process with that limit; one layer more runs out of memory. Formula: the deepest model "
        "whose states, largest piece at work and checkpointed activations fit, on the disk too where they go there. "
        "Less buffers: in what the buffers leave that DeepSpeed is configured to have. Parameters, and layers below."
    )
    return [Table(subject.identifier("offload-fits"), caption, columns, (Group("", tuple(rows)),))]


def _row(cell: Cell) -> tuple[Text, ...]:
    found, formula, less = (_of(cell, "largest", by) for by in WAYS)
    layers = [_of(cell, "layers", by) for by in WAYS]
    ratio = found.interval.value / less.interval.value if found and less and less.interval.value else 0.0
    memory = cell.params.get("memory")
    return (
        Text(f"{clean(str(cell.params.get('model', '')).rpartition('/')[2])}, {clean(cell.params.get('dtype', ''))}"),
        Text(short(cell.params)),
        Text(show_size(memory).replace(" ", GAP)) if isinstance(memory, int) else NONE,
        *(_count(*pair) for pair in zip((found, formula, less), layers, strict=True)),
        Text(percent(ratio)) if ratio else NONE,
    )  # fmt: skip


def _of(cell: Cell, name: str, by: str) -> Figure | None:
    return next((f for f in cell.figures if f.name == name and f.own.get("by") == by), None)


def _count(figure: Figure | None, layers: Figure | None) -> Text:
    if figure is None or not figure.interval.value:
        return NONE
    said = f"{layers.interval.value:.0f} layers" if layers else ""
    return Text(plain_count(figure.interval.value), said)
