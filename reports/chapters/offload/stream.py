"""A long write over the bytes written so far: the burst of the drive's cache, and its steady state."""

from __future__ import annotations

from collections.abc import Sequence

from harness.plateaus import FASTER
from harness.summary import Cell, Figure
from harness.units import show_size
from reports.figures.series import Level, Series, series
from reports.model import Picture
from reports.numbers import GAP
from reports.reading import member, size_of
from reports.subject import Subject, how_known, quoted
from reports.text import sentence


def pictures(subject: Subject, cells: Sequence[Cell]) -> list[Picture]:
    """A figure for each long write: the last launch's series, the levels of all."""
    return [
        picture for cell in cells if member(cell.benchmark) == "sustained" for picture in _picture(subject, cell)
    ]  # fmt: skip


def part(cell: Cell, name: str) -> Figure | None:
    """The bandwidth of that part of the series."""
    fits = (f for f in cell.figures if f.name == "bandwidth" and f.own.get("part") == name)
    return next(fits, None)


def _picture(subject: Subject, cell: Cell) -> list[Picture]:
    whole, steady, burst, change = (
        part(cell, "series"),
        part(cell, "steady"),
        part(cell, "burst"),
        cell.figure("change"),
    )
    step = cell.params.get("chunk")
    if whole is None or steady is None or not isinstance(step, int):
        return []
    rates = [step / time for time in whole.samples[-1] if time > 0]
    size = step * len(rates)
    levels = [Level("steady", steady.interval.value, size - step * len(steady.samples[-1]), size)]
    said = f"No burst: the last level, {quoted(steady)}, is not slower than the first by a factor of {FASTER:g}."
    if burst is not None and change is not None:
        levels.append(Level("burst", burst.interval.value, 0, change.samples[-1][0]))
        until = show_size(change.samples[-1][0]).replace(" ", GAP)
        said = f"The first {until} went at {quoted(burst)}, and the last stretch at {quoted(steady)}."
    name = subject.identifier(f"disk-long-{size_of(cell.params) or 0:.0f}-{cell.params.get('threads')}")
    whole_size = show_size(size).replace(" ", GAP)
    alt = f"Bandwidth of a long write against what has been written, up to {whole_size}. {said}"
    title = f"One write of {whole_size}"
    svg = series(name, alt, [Series(title, rates, float(step), levels)], "what has been written")
    pieces = show_size(step).replace(" ", GAP)
    caption = (
        f"A long write, in pieces of {pieces}. {said} Levels are cut where the series changes most for its own noise. "
        f"{sentence(how_known([steady]))}"
    )
    return [Picture(name, svg, caption, alt)]
