"""Memory: bandwidth from the caches outwards, other orders than a sweep, latency, and copies between memories."""

from __future__ import annotations

from collections.abc import Sequence

from harness.summary import Cell
from harness.units import show_size
from reports.chapters.memory import chase, levels, nodes, pieces, streams, traffic, transfers
from reports.chapters.memory.settings import setting_of
from reports.model import Chapter
from reports.reading import best, figures_of, member
from reports.subject import Subject, beyond_caches, quoted
from reports.text import sentence

APART = ("strided", "random", "latency", "transfer", "numa")
"""Members of the family that are no sweep over the working set."""


def chapter(subject: Subject, cells: Sequence[Cell]) -> Chapter:
    """Sweeps first: a figure for each data type, tables of all sizes and of plateaus; then the others."""
    swept = [cell for cell in cells if member(cell.benchmark) not in APART]
    apart = {name: [cell for cell in cells if member(cell.benchmark) == name] for name in APART}
    rates = {name: figures_of(those, "bandwidth") for name, those in apart.items()}
    sweeps = figures_of(swept, "bandwidth")
    pictures, tables = streams.sections(subject, swept)
    pictures += chase.pictures(subject, figures_of(apart["latency"], "time"))
    tables = [
        *levels.tables(subject, sweeps), *tables, *traffic.tables(subject, swept),
        *pieces.tables(subject, [*rates["strided"], *rates["random"]], sweeps),
        *nodes.tables(subject, rates["numa"]), *transfers.tables(subject, rates["transfer"]),
    ]  # fmt: skip
    return Chapter(
        subject.identifier("memory"), "Memory", _intro(subject, swept), tuple(pictures), tuple(tables),
        remarks=traffic.remarks(swept),
    )  # fmt: skip


def _intro(subject: Subject, cells: Sequence[Cell]) -> str:
    far, remark = beyond_caches(subject, cells) if cells else ([], "")
    figures = figures_of(far, "bandwidth")
    if not figures:
        return "Memory in other orders than a sweep, and copies between memories."
    top = best(figures)
    size, how = show_size(streams.far_size(top)), setting_of(top).text
    text = f"{streams.op_of(top).capitalize()} is the fastest loop from memory ({how}): {quoted(top)} over {size}."
    if subject.per_device > 1:
        text += f" {subject.per_device} ranks share the device and run at once; the figures are of one rank."
    if remark:
        text += f" {sentence(remark)[:-1]}; the figure for memory is that of the largest working set."
    return text
