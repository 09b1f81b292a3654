"""Attention: its rate by backend, heads, head dimension and sequence."""

from __future__ import annotations

from collections.abc import Sequence

from harness.summary import Cell, Figure
from reports.chapters.gemm.rooflines import BOUND, Placed, rates
from reports.model import Column, Group, Table, Text
from reports.numbers import common_scale, shown
from reports.reading import dtype_of, figures_of, grouped
from reports.subject import Subject, how_known, interval_title
from reports.text import clean, sentence


def tables(subject: Subject, cells: Sequence[Cell], placed: Placed | None) -> list[Table]:
    """A row for each backend and shape; nothing without cells."""
    figures = figures_of(cells, "flops")
    if not figures:
        return []
    scale = common_scale([figure.interval.value for figure in figures], figures[0].unit)
    bounds = {id(flops): placed.bound(flops, moved) for flops, moved in rates(_all(cells))} if placed else {}
    columns = (
        Column("Backend", share=12), Column("Mask", share=9), Column("Direction", share=12),
        Column("Heads", "queries : keys", True, 13), Column("Head dimension", "", True, 10),
        Column("Sequence", "× batch", True, 12), Column("Rate", scale.unit, True, 10),
        Column(interval_title(figures), numeric=True, share=13), Column("Bound", numeric=True, share=9),
    )  # fmt: skip

    def row(figure: Figure) -> tuple[Text, ...]:
        number = shown(figure.interval, figure.unit, scale)
        measured = Text(number.value), Text(number.interval, tone="muted"), Text(bounds.get(id(figure), "–"))
        return (*(Text(word) for word in _words(figure)), *measured)

    groups = tuple(
        Group(dtype, tuple(row(figure) for figure in those))
        for dtype, those in grouped(figures, lambda figure: clean(dtype_of(figure))).items()
    )
    caption = (
        "Scaled dot-product attention. FLOP are those of the products of attended pairs only; both directions are "
        f"forward and then the gradients.{' ' + BOUND if placed else ''} {sentence(how_known(figures))}"
    )
    return [Table(subject.identifier("attention"), caption, columns, groups)]


def _all(cells: Sequence[Cell]) -> list[Figure]:
    return [figure for cell in cells for figure in cell.figures]


def _words(figure: Figure) -> tuple[str, ...]:
    held = figure.params
    heads, keys, sequence, batch = (_count(held.get(key)) for key in ("heads", "kv_heads", "sequence", "batch"))
    return (
        clean(held.get("backend", "–")), "causal" if held.get("causal") else "none",
        "both" if held.get("backward") else "forward", heads if keys in (heads, "–") else f"{heads} : {keys}",
        _count(held.get("head_dim")), sequence if batch in ("1", "–") else f"{sequence} × {batch}",
    )  # fmt: skip


def _count(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else "–"
