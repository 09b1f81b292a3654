"""Memory: bandwidth of simple loops against the working set, from the caches outwards."""

from __future__ import annotations

from collections.abc import Sequence

from harness.summary import Cell, Figure
from harness.units import show_size
from reports.chapters.matrix import matrix
from reports.figures.alt import of_curves
from reports.figures.axes import Line
from reports.figures.panels import Look, Panel, panels
from reports.model import Chapter, Column, Group, Picture, Table, Text
from reports.numbers import declared, shown
from reports.reading import best, curves, figures_of, grouped, size_of
from reports.shares import Roof, peak_of
from reports.subject import Subject, bars, beyond_caches, how_known, quoted
from reports.text import clean, listed, sentence
from reports.titles import LOOPS


def chapter(subject: Subject, cells: Sequence[Cell]) -> Chapter:
    """A figure for each data type, one table of all sizes, and what the bytes counted are."""
    pictures, tables = [], []
    figures = figures_of(cells, "bandwidth")
    for dtype, those in grouped(figures, lambda figure: clean(figure.params.get("dtype", ""))).items():
        pictures.append(_picture(subject, dtype, those))
        name = subject.identifier(f"memory-sizes-{dtype}")
        lead = f"Memory bandwidth of each loop ({dtype}) by working set"
        tables.append(matrix(name, lead, "Working set", those, _op, _size, show_size))
    title, name = "Memory bandwidth", subject.identifier("memory")
    return Chapter(name, title, _intro(subject, cells), tuple(pictures), (*tables, *_traffic(subject, cells)))


def _op(figure: Figure) -> str:
    return clean(figure.params.get("op", ""))


def _size(figure: Figure) -> float:
    return size_of(figure.params) or 0.0


def _intro(subject: Subject, cells: Sequence[Cell]) -> str:
    far, remark = beyond_caches(subject, cells)
    figures = figures_of(far, "bandwidth")
    if not figures:
        return "Simple loops over arrays."
    top = best(figures)
    size = show_size(_size(top))
    text = f"{_op(top).capitalize()} is the fastest loop from memory: {quoted(top)} over {size}."
    if subject.per_device > 1:
        text += f" {subject.per_device} ranks share the device and run at once; the figures are of one rank."
    if remark:
        text += f" {sentence(remark)[:-1]}; the figure for memory is that of the largest working set."
    return text


def _picture(subject: Subject, dtype: str, figures: Sequence[Figure]) -> Picture:
    shown, alts = [], []
    roof = peak_of(figures[0], subject.cluster) if subject.per_device == 1 else ""
    lines = (Line(roof.value, f"peak, {declared(roof.value, roof.unit)}"),) if isinstance(roof, Roof) else ()
    caches = tuple(Line(cache.size, cache.text) for cache in subject.caches)
    for cadence, those in grouped(figures, lambda figure: figure.cadence).items():
        drawn = curves(those, _op, size_of)
        title = cadence.value if cadence else "every size"
        shown.append(Panel(title, tuple(drawn), lines, caches))
        alts.append(of_curves(title, drawn, show_size))
    name = subject.identifier(f"memory-{dtype}")
    steps = f" Vertical lines: {listed([cache.text for cache in subject.caches])}." if caches else ""
    alt = f"Memory bandwidth against working set.{steps} {' '.join(alts)}"
    order = tuple(dict.fromkeys([*LOOPS, *(curve.key for panel in shown for curve in panel.curves)]))
    svg = panels(name, alt, shown, Look("bandwidth", "working set", order, tall=62, abreast=1, right=30))
    what = f"Memory bandwidth of each loop ({dtype}) against its working set" + (
        "; vertical lines mark the sizes of the caches." if caches else "."
    )
    return Picture(name, svg, f"{what} {bars(figures)} {sentence(how_known(figures))}", alt)


def _traffic(subject: Subject, cells: Sequence[Cell]) -> tuple[Table, ...]:
    """What STREAM's counting leaves out, where it was recorded: the reads that stores cause."""
    far, _ = beyond_caches(subject, cells)
    rows, figures = [], []
    for op, those in grouped(far, lambda cell: clean(cell.params.get("op", ""))).items():
        for moved in figures_of(those, "traffic")[-1:]:
            counted = next(f for cell in those for f in cell.figures if f.name == "bandwidth" and _same(f, moved))
            numbers = [shown(figure.interval, figure.unit) for figure in (counted, moved)]
            pairs = [text for number in numbers for text in (Text(number.text), Text(number.interval, tone="muted"))]
            rows.append((Text(op), Text(show_size(_size(moved))), *pairs))
            figures.append(moved)
    if not rows:
        return ()
    columns = (
        Column("Loop", share=14), Column("Working set", share=16),
        Column("Counted as STREAM does", numeric=True, share=18),
        Column("95 %", numeric=True, share=17), Column("Really moved", numeric=True, share=18),
        Column("95 %", numeric=True, share=17),
    )  # fmt: skip
    caption = (
        "STREAM counts what a loop reads and writes. A store into a line that is in no cache reads it first "
        f"(write-allocate), so that more moves than is counted. {sentence(how_known(figures))}"
    )
    return (Table(subject.identifier("traffic"), caption, columns, (Group("", tuple(rows)),)),)


def _same(one: Figure, other: Figure) -> bool:
    """Two rates of one measurement."""
    return one.params == other.params and one.cadence == other.cadence
