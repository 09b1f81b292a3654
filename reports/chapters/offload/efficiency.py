"""Efficiency of offloading: measured, predicted, and with a schedule that hides more; the bandwidth for 90 %."""

from __future__ import annotations

from collections.abc import Sequence

from harness.summary import Cell
from reports.chapters.offload.cells import NONE, among, number, share, short
from reports.model import Column, Group, Table, Text
from reports.numbers import GAP, plain
from reports.subject import Subject


def tables(subject: Subject, name: str, cells: Sequence[Cell]) -> list[Table]:
    """Of cells that offload: measured, predicted, and what each state alone would allow."""
    rows, alone = [], []
    for cell in cells:
        found = cell.figure("efficiency")
        if found is None:
            continue
        flat, better = (among(cell, "predicted", model=model) for model in ("nothing overlapped", "overlapped"))
        off = Text(f"{100 * (flat.interval.value / found.interval.value - 1):+.0f}{GAP}%") if flat else NONE
        swaps = [_rate(cell, direction) for direction in ("in", "out")]
        rows.append((Text(short(cell.params)), *swaps, share(found), share(flat), off, share(better)))
        alone += _alone(cell)
    if not rows:
        return []
    columns = (
        Column("Stage, tiers", share=20), Column("Swap in", "alone", True, 15), Column("Swap out", "alone", True, 15),
        Column("Measured", numeric=True, share=16), Column("Predicted (modelled)", numeric=True, share=12),
        Column("Off by", numeric=True, share=9), Column("Overlapped (modelled)", numeric=True, share=13),
    )  # fmt: skip
    caption = (
        f"Efficiency of offloading: {name}. Measured: a step of the same stage with nothing offloaded, taken in turn, "
        "over the step. Predicted by ZeRO-Infinity's model, nothing overlapped, from that step and from the swaps of a "
        "step done again by themselves, whose bandwidth is shown. Overlapped: a schedule that hides swaps behind "
        "forward, and behind backward with the optimizer's step, as Fuyou's does. Above 100 %, offloading is quicker."
    )
    shown = Table(subject.identifier(f"offload-efficiency-{name}"), caption, columns, (Group("", tuple(rows)),))
    return [shown, *_bandwidths(subject, name, alone)]


def _rate(cell: Cell, direction: str) -> Text:
    return number(among(cell, "swapped", direction=direction))


def _alone(cell: Cell) -> list[tuple[Text, ...]]:
    rows = list[tuple[Text, ...]]()
    for state in ("parameters", "optimizer", "activations"):
        ratio, least = (among(cell, what, state=state) for what in ("predicted", "needed"))
        if ratio and least:
            need = Text(plain(least.interval.value, least.unit))
            rows.append((Text(short(cell.params)), Text(state), share(ratio), need))
    return rows


def _bandwidths(subject: Subject, name: str, rows: list[tuple[Text, ...]]) -> list[Table]:
    if not rows:
        return []
    columns = (
        Column("Stage, tiers", share=30), Column("State", share=20), Column("Efficiency", numeric=True, share=22),
        Column("Bandwidth for 90 %", numeric=True, share=28),
    )  # fmt: skip
    caption = (
        "What each state alone would cost by the paper's arithmetic intensities (parameters: sequence × batch, "
        "optimizer states: a quarter of it, activations: 24 × hidden), at the bandwidth and computing rate of this "
        f"run: {name}. They count recomputation and hold for large hidden sizes. Modelled, not measured."
    )
    return [Table(subject.identifier(f"offload-needed-{name}"), caption, columns, (Group("", tuple(rows)),))]
