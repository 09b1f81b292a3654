"""What STREAM's counting leaves out: the reads that stores cause, and the stores that cause none."""

from __future__ import annotations

from collections.abc import Sequence

from harness.summary import Cell, Figure
from harness.units import show_size
from reports.chapters.memory.settings import by_setting
from reports.model import Column, Group, Table, Text
from reports.numbers import shown
from reports.reading import figures_of, grouped, size_of
from reports.subject import Subject, beyond_caches, how_known
from reports.text import clean, listed, sentence

PAST = "non-temporal stores"  # how a flag of such a loop begins


def tables(subject: Subject, cells: Sequence[Cell]) -> list[Table]:
    """Counted against moved, where it was recorded: of each loop the largest working set."""
    far = beyond_caches(subject, cells)[0] if cells else []
    rows, figures = [], []
    for op, those in grouped(far, lambda cell: clean(cell.params.get("op", ""))).items():
        for moved in sorted(figures_of(those, "traffic"), key=_size)[-1:]:
            counted = next(f for cell in those for f in cell.figures if f.name == "bandwidth" and _same(f, moved))
            numbers = [shown(figure.interval, figure.unit) for figure in (counted, moved)]
            pairs = [text for number in numbers for text in (Text(number.text), Text(number.interval, tone="muted"))]
            rows.append((Text(op), Text(show_size(_size(moved))), *pairs))
            figures.append(moved)
    if not rows:
        return []
    columns = (
        Column("Loop", share=14), Column("Working set", share=16),
        Column("Counted as STREAM does", numeric=True, share=18),
        Column("95 %", numeric=True, share=17), Column("Really moved", numeric=True, share=18),
        Column("95 %", numeric=True, share=17),
    )  # fmt: skip
    kernels = listed([setting.kernel for setting in by_setting(figures)])
    caption = (
        "STREAM counts what a loop reads and writes. A store into a line that is in no cache reads it first "
        f"(write-allocate), so that more moves than is counted. Kernel: {kernels}. {sentence(how_known(figures))}"
    )
    return [Table(subject.identifier("traffic"), caption, columns, (Group("", tuple(rows)),))]


def remarks(cells: Sequence[Cell]) -> tuple[str, ...]:
    """Which loops store past the caches, by their flags."""
    past = [f for f in figures_of(cells, "bandwidth") if _past(f)]
    if not past:
        return ()
    kernels = listed([f"{kernel} loops" for kernel in dict.fromkeys(s.kernel for s in by_setting(past))])
    least = show_size(min(_size(figure) for figure in past))
    return (
        f"The {kernels} that write use {PAST} for working sets of {least} and more: lines go past the caches to "
        "memory and are not read first, so that what is counted is what moves.",
    )


def _past(figure: Figure) -> bool:
    return any(flag.startswith(PAST) for evidence in figure.evidence for flag in evidence.flags)


def _size(figure: Figure) -> float:
    return size_of(figure.params) or 0.0


def _same(one: Figure, other: Figure) -> bool:
    """Two rates of one measurement."""
    return one.params == other.params and one.cadence == other.cadence
