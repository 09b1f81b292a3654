"""Square matrices: rate against size, with the declared peak, or the best that was measured."""

from __future__ import annotations

from collections.abc import Sequence

from harness.records import Params
from harness.summary import Cell, Figure
from reports.chapters.matrix import matrix
from reports.figures.alt import of_curves
from reports.figures.axes import Line
from reports.figures.panels import Look, Panel, panels
from reports.model import Picture, Table
from reports.numbers import declared, percent, plain
from reports.reading import Curve, best, curves, dtype_of, figures_of, grouped, is_cached, member
from reports.shares import Roof, of_peak, of_published, peak_of
from reports.subject import Subject, bars, how_known
from reports.text import listed, sentence, spoken
from reports.titles import DTYPES


def sections(subject: Subject, cells: Sequence[Cell]) -> tuple[list[Picture], list[Table]]:
    """A figure and a table for each benchmark and mode; other shapes are in the table of all cells."""
    square = [figure for figure in figures_of(cells, "flops") if side(figure.params) is not None]
    pictures, tables = [], []
    for (benchmark, cached), those in grouped(square, lambda f: (f.benchmark, is_cached(f.params))).items():
        pictures.append(_picture(subject, benchmark, cached, those))
        lead = f"Rate of {_called(benchmark, cached)}, C = A·B with n × n matrices"
        name = subject.identifier(f"{benchmark}-sizes{'-cached' if cached else ''}")
        tables.append(matrix(name, lead, "n", those, dtype_of, _side, lambda n: f"{n:,.0f}"))
    return pictures, tables


def side(params: Params) -> float | None:
    """n of an n x n x n multiplication, else None."""
    n = params.get("n")
    if isinstance(n, (int, float)) and n > 0 and params.get("m") == n and params.get("k") == n:
        return float(n)
    return None


def _side(figure: Figure) -> float:
    return side(figure.params) or 0.0


def _called(benchmark: str, cached: bool) -> str:
    return f"{spoken(member(benchmark))} matrix multiplication{', operands in cache' if cached else ''}"


def _picture(subject: Subject, benchmark: str, cached: bool, figures: Sequence[Figure]) -> Picture:
    lines = curves(figures, dtype_of, side)
    peaks = _lines(subject, lines)
    name = subject.identifier(f"{benchmark}-rate{'-cached' if cached else ''}")
    lead = f"Rate of {_called(benchmark, cached)}, against size."
    alt = f"{lead} {of_curves('n', lines, lambda n: f'n = {n:,.0f}')} {' '.join(f'Line: {p.text}.' for p in peaks)}"
    order = tuple(dict.fromkeys([*DTYPES, *(line.key for line in lines)]))
    look = Look("rate", "matrix size n", order, binary=False, tall=66, reach=4.0, right=52)
    svg = panels(
        name, alt, [Panel(f"C = A·B, n × n{', operands in cache' if cached else ''}", tuple(lines), peaks)], look
    )
    return Picture(name, svg, f"{lead} {_said(subject, lines)} {bars(figures)} {sentence(how_known(figures))}", alt)


def _lines(subject: Subject, lines: Sequence[Curve]) -> tuple[Line, ...]:
    """Declared peaks and published figures of the data types shown; with neither, the best here."""
    held: dict[tuple[float, str], list[str]] = {}
    for dtype, those in grouped(lines, lambda line: line.key).items():
        top = best([line.best for line in those])
        roof, published = peak_of(top, subject.cluster), of_published(top, subject.cluster)
        if isinstance(roof, Roof):
            held.setdefault((roof.value, "peak"), []).append(dtype)
        if published.ratio is not None:
            held.setdefault((top.interval.value / published.ratio, "published"), []).append(dtype)
    if held:
        unit = lines[0].figures[0].unit
        return tuple(Line(v, f"{kind} {listed(dtypes)}, {declared(v, unit)}") for (v, kind), dtypes in held.items())
    top = best([line.best for line in lines])
    return (Line(top.interval.value, f"best {top.origin.value} here, {plain(top.interval.value, top.unit)}"),)


def _said(subject: Subject, lines: Sequence[Curve]) -> str:
    """How near each data type comes to its peak, or why that cannot be said."""
    said, missing, alarm = [], [], ""
    for dtype, those in grouped(lines, lambda line: line.key).items():
        share = of_peak(best([line.best for line in those]), subject.cluster, subject.per_device)
        if share.ratio is None:
            missing.append(share.note)
            continue
        said.append(f"{dtype} {percent(share.ratio)}")
        alarm = " Above 100 %: see the headline numbers." if share.alarm else alarm
    parts = [f"Of the datasheet peak: {listed(said)}.{alarm}"] if said else []
    return " ".join([*parts, *(sentence(note.removeprefix("n/a: ")) for note in dict.fromkeys(missing))])
