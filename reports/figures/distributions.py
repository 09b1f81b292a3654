"""Histograms of cells whose samples fall in two groups: a median alone would hide one of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator

from harness.summary import Figure
from harness.units import Unit
from reports.figures.axes import heading
from reports.figures.style import INK, MUTED, SERIES, SMALL, WIDTH, place, sheet, styled, write
from reports.figures.svg import svg
from reports.numbers import axis_scale, percent

MOST = 9  # cells shown; the table names all
ABREAST = 3
TALL, HEAD, FOOT = 18.0, 12.0, 10.0  # mm
BINS = 36


def histograms(identifier: str, alt: str, shown: Sequence[tuple[str, str, Figure]]) -> str:
    """SVG of one histogram for each (title, subtitle, time figure with two modes), at most `MOST`."""
    shown = shown[:MOST]
    pitch, high = WIDTH / ABREAST, HEAD + TALL + FOOT
    with styled():
        sheet_ = sheet(-(-len(shown) // ABREAST) * high)
        for index, (title, subtitle, figure) in enumerate(shown):
            left, top = index % ABREAST * pitch, index // ABREAST * high + HEAD
            axes = place(sheet_, left + 1, top, pitch - 8, TALL)
            heading(sheet_, left + 1, top - 2, title, subtitle)
            unit = _histogram(axes, figure)
            write(sheet_, left + 1, top + TALL + 8, f"time ({unit})", SMALL, MUTED)
        return svg(sheet_, identifier, alt)


def _histogram(axes: Axes, figure: Figure) -> str:
    """Draw it; both modes marked with their share. Returns the unit of the time axis."""
    modes = figure.summary.modes
    assert modes is not None
    lower, upper, share = modes
    samples = np.concatenate([np.asarray(launch) for launch in figure.samples])
    scale = axis_scale(upper, Unit.SECOND)
    low, high = figure.summary.least, max(figure.summary.p99, upper)
    low, high = low - 0.06 * (high - low), high + 0.06 * (high - low)
    counts, edges = np.histogram(samples / scale.factor, BINS, (low / scale.factor, high / scale.factor))
    axes.grid(visible=False)
    axes.bar(edges[:-1], counts, np.diff(edges), align="edge", color=SERIES[0], alpha=0.75, linewidth=0)
    axes.set_ylim(0, counts.max() * 1.32)
    axes.set_xlim(edges[0], edges[-1])
    axes.yaxis.set_major_locator(NullLocator())
    axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.6g}"))
    for value, part in ((lower, 1 - share), (upper, share)):
        at = value / scale.factor
        axes.plot(
            [at, at], [0, 1], transform=axes.get_xaxis_transform(), color=INK, linewidth=0.7, linestyle=(0, (1, 1.5))
        )
        beyond = at > (edges[0] + edges[-1]) / 2
        axes.annotate(
            percent(part), (at, 1), (-2 if beyond else 2, -1), xycoords=("data", "axes fraction"), color=INK,
            textcoords="offset points", fontsize=SMALL, ha="right" if beyond else "left", verticalalignment="top",
        )  # fmt: skip
    return scale.unit
