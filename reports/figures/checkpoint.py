"""Times of several engines side by side: a point with its interval for each, on one axis of time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

from harness.statistics import Interval
from harness.units import Unit, scale_of
from reports.figures.style import INK, MARKERS, MUTED, SERIES, SMALL, TEXT, WIDTH, place, sheet, styled, write
from reports.figures.svg import svg
from reports.text import plotted

HEAD, FOOT, LINE, LABELS = 9.0, 9.0, 7.0, 34.0  # mm


@dataclass(frozen=True)
class Bar:
    """One engine. parts: a time in s for each of the figure's names; None where it was not measured."""

    label: str
    parts: tuple[Interval | None, ...]


def bars(identifier: str, alt: str, names: Sequence[str], made: Sequence[Bar]) -> str:
    """SVG: a line for each engine, a mark for each time; the axis is logarithmic."""
    high = LINE * len(made)
    with styled():
        figure = sheet(HEAD + high + FOOT)
        axes = place(figure, LABELS, HEAD, WIDTH - LABELS - 4, high)
        axes.grid(visible=False, axis="y")
        axes.grid(visible=True, axis="x")
        ends = [end for bar in made for i in bar.parts if i is not None for end in (i.low, i.high)]
        axes.set_xscale("log")
        axes.set_xlim(min(ends) / 1.4, max(ends) * 1.4)
        axes.set_ylim(len(made) - 0.4, -0.6)
        for row, bar in enumerate(made):
            write(figure, 0, HEAD + (row + 0.6) * LINE + 0.6, plotted(bar.label), TEXT, INK)
            for at, interval in enumerate(bar.parts):
                if interval is None:
                    continue
                y = row + 0.16 * (at - (len(names) - 1) / 2)
                axes.plot([interval.low, interval.high], [y, y], color=SERIES[at], alpha=0.45, linewidth=2.4)
                axes.plot([interval.value], [y], color=SERIES[at], marker=MARKERS[at], markersize=4, linestyle="none")
        axes.yaxis.set_major_locator(NullLocator())
        wide = max(ends) / min(ends) > 100
        axes.xaxis.set_major_locator(LogLocator(base=10, subs=(1,) if wide else (1, 2, 5), numticks=12))
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.xaxis.set_major_formatter(FuncFormatter(_time))
        for at, name in enumerate(names):
            write(figure, LABELS + 26 * at, 4.6, name, SMALL, SERIES[at], 600)
        write(figure, LABELS + 26 * len(names), 4.6, "median and 95 % interval", SMALL, MUTED)
        return svg(figure, identifier, alt)


def _time(value: float, _: int) -> str:
    factor, unit = scale_of(value * (1 + 1e-9), Unit.SECOND)
    return f"{value / factor:.4g} {unit}"
