"""One group of ranks: bus bandwidth and latency of every operation against message size."""

from __future__ import annotations

from collections.abc import Sequence

from harness.records import Cadence
from harness.summary import Cell, Figure
from harness.units import show_size
from reports.figures.alt import of_curves
from reports.figures.axes import Line
from reports.figures.panels import Look, Panel, alike, panels
from reports.model import Column, Group, Picture, Table, Text
from reports.numbers import declared, shown
from reports.reading import Curve, best, curves, dtype_of, figures_of, grouped, member, ranks_of, say, size_of
from reports.shares import Roof, links_roof
from reports.subject import Subject, bars, how_known
from reports.text import clean, sentence, spoken
from reports.titles import DTYPES, OPERATIONS

HALF = 0.5
PAGE = 8  # panels that fit on a page
SHORT = 1 << 20  # B: messages up to this size are in the figure of latencies


def pictures(subject: Subject, cells: Sequence[Cell]) -> list[Picture]:
    """Bandwidth and latency of cells that differ in operation, data type and size alone."""
    ranks = cells[0].params.get("ranks")
    return [*_bandwidth(subject, ranks, cells), *_latency(subject, ranks, cells)]


def title_of(cell: Cell) -> str:
    """The operation as people call it: 'all-gather, in place'."""
    return spoken(member(cell.benchmark)) + (", in place" if cell.params.get("in_place") else "")


def _bandwidth(subject: Subject, ranks: object, cells: Sequence[Cell]) -> list[Picture]:
    """Bus bandwidth, a panel for each operation; as many figures as it takes for each to fit a page."""
    shown_panels = []
    for title, those in grouped(cells, title_of).items():
        lines = curves(figures_of(those, "busbw"), dtype_of, size_of)
        if lines:
            shown_panels.append(Panel(title, tuple(lines), _roof(subject, those[0])))
    parts = [shown_panels[at : at + PAGE] for at in range(0, len(shown_panels), PAGE)]
    return [_bandwidth_of(subject, ranks, part, number) for number, part in enumerate(parts, start=1)]


def _bandwidth_of(subject: Subject, ranks: object, shown_panels: Sequence[Panel], number: int) -> Picture:
    name = subject.identifier(f"busbw-{ranks}-{number}")
    said = [of_curves(panel.title, panel.curves, show_size) for panel in shown_panels]
    alt = f"Bus bandwidth against message size. {' '.join(said)}"
    svg = panels(name, alt, shown_panels, Look("bus bandwidth", "message size", DTYPES))
    figures = [f for panel in shown_panels for curve in panel.curves for f in curve.figures]
    scales = "" if alike(shown_panels) else " Scales differ between panels."
    who = f" of {say('ranks', ranks)}" if ranks is not None else ""
    caption = (
        f"Bus bandwidth{who} against message size, by operation and data type. {bars(figures)}{scales} "
        f"{sentence(how_known(figures))}"
    )
    return Picture(name, svg, caption, alt)


def _roof(subject: Subject, cell: Cell) -> tuple[Line, ...]:
    roof = links_roof(subject.cluster, member(cell.benchmark), ranks_of(cell.params))
    return (Line(roof.value, f"links {declared(roof.value, roof.unit)}"),) if isinstance(roof, Roof) else ()


def _latency(subject: Subject, ranks: object, cells: Sequence[Cell]) -> list[Picture]:
    """Times of isolated operations, one panel for each data type, one line for each operation."""
    figures = [f for f in figures_of(cells, "time", Cadence.ISOLATED) if not f.params.get("in_place")]
    short = [f for f in figures if (size_of(f.params) or 0) <= SHORT]
    figures = short if len({f.params.get("size") for f in short}) > 2 else figures
    shown_panels, alts = [], []
    for dtype, those in grouped(figures, dtype_of).items():
        lines = curves(those, lambda f: spoken(member(f.benchmark)), size_of)
        if lines:
            shown_panels.append(Panel(clean(dtype), tuple(lines)))
            alts.append(of_curves(clean(dtype), lines, show_size))
    if not shown_panels:
        return []
    name = subject.identifier(f"latency-{ranks}")
    alt = f"Time of one isolated operation against message size. {' '.join(alts)}"
    look = Look("time", "message size", tuple(spoken(name) for name in OPERATIONS), tall=40, right=27)
    caption = (
        f"Time of one isolated operation, the slowest rank's, for short messages (both axes logarithmic; out of place "
        f"where both were run). {sentence(how_known(figures))}"
    )
    return [Picture(name, panels(name, alt, shown_panels, look), caption, alt)]


def ends(subject: Subject, cells: Sequence[Cell]) -> Table:
    """For each operation: time of its shortest message, best rate in each cadence, where half is reached."""
    figures = figures_of(cells, "busbw")
    columns = [
        Column("Operation", share=19), Column("Data type", share=11),
        Column("Shortest message", numeric=True, share=17), Column("Best, isolated", numeric=True, share=18),
        Column("Best, streaming", numeric=True, share=18),
        Column("Half of best from", numeric=True, share=17),
    ]  # fmt: skip
    parts = grouped(cells, lambda cell: (title_of(cell), clean(cell.params.get("dtype", ""))))
    lines = tuple(_ends_row(title, dtype, those) for (title, dtype), those in parts.items())
    ranks = cells[0].params.get("ranks")
    caption = (
        f"Latency and bus bandwidth of each operation, with 95 % intervals; the last column is the smallest "
        f"message that reaches half of the best rate. {sentence(how_known(figures))}"
    )
    group = Group("" if ranks is None else say("ranks", ranks), lines)
    return Table(subject.identifier("collectives-ends"), caption, tuple(columns), (group,))


def _ends_row(title: str, dtype: str, cells: Sequence[Cell]) -> tuple[Text, ...]:
    times = figures_of(cells, "time", Cadence.ISOLATED) or figures_of(cells, "time")
    least = min(times, key=lambda figure: (size_of(figure.params) or 0, figure.interval.value), default=None)
    row = [Text(title), Text(dtype or "–"), _quantity(least)]
    for cadence in (Cadence.ISOLATED, Cadence.STREAMING):
        rates = figures_of(cells, "busbw", cadence)
        row.append(_quantity(best(rates) if rates else None))
    row.append(Text(_half(curves(figures_of(cells, "busbw"), dtype_of, size_of))))
    return tuple(row)


def _quantity(figure: Figure | None) -> Text:
    if figure is None:
        return Text("–", tone="muted")
    number = shown(figure.interval, figure.unit)
    return Text(number.text, number.interval)


def _half(lines: Sequence[Curve]) -> str:
    """Smallest size that reaches half of the best rate, in the cadence that has the best rate."""
    if not lines:
        return "–"
    line = max(lines, key=lambda curve: curve.best.interval.value)
    goal = HALF * line.best.interval.value
    return next((show_size(x) for x, f in zip(line.xs, line.figures, strict=True) if f.interval.value >= goal), "–")
