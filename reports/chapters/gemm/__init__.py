"""Matrix multiplication: squares, the best of any shape, a model's layer, attention, sizing, roofline."""

from __future__ import annotations

from collections.abc import Sequence

from harness.summary import Cell
from reports.chapters.gemm import attention, layer, peak, rooflines, rules, squares
from reports.model import Chapter
from reports.reading import best, dtype_of, figures_of, grouped, is_cached, member, say_all
from reports.subject import Subject, quoted
from reports.text import clean, listed

APART = ("peak", "transformer", "rule", "attention")
"""Members of the family that are no product of a size that was asked for."""


def chapter(subject: Subject, cells: Sequence[Cell]) -> Chapter:
    """What the device reaches, then what a model makes of it."""
    found = {name: [cell for cell in cells if member(cell.benchmark) == name] for name in APART}
    plain = [cell for cell in cells if member(cell.benchmark) not in APART]
    placed, remarks = rooflines.measured(subject, cells)
    pictures, tables = squares.sections(subject, plain)
    tables += [
        *peak.tables(subject, found["peak"]), *layer.tables(subject, found["transformer"], placed),
        *attention.tables(subject, found["attention"], placed), *rules.tables(subject, found["rule"]),
    ]  # fmt: skip
    if placed is not None:
        pictures.append(rooflines.picture(subject, placed))
    intro = _intro([*plain, *found["peak"]])
    return Chapter(
        subject.identifier("gemm"), "Matrix multiplication", intro, tuple(pictures), tuple(tables), remarks=remarks
    )


def _intro(cells: Sequence[Cell]) -> str:
    figures = figures_of(cells, "flops")
    if not figures:
        return "Matrix multiplication on every device at once."
    said = []
    rotating = [figure for figure in figures if not is_cached(figure.params)]
    for dtype, those in grouped(rotating or figures, dtype_of).items():
        top = best(those)
        said.append(f"{quoted(top)} in {clean(dtype)} ({say_all(top.own or top.params, without=('dtype',))})")
    return f"All devices multiply at once; the figure is the slowest one's. The best rates are {listed(said)}."
