"""A rate over what has been done so far: one line of samples in their order, with the levels that were found in it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MultipleLocator

from harness.units import Unit, show_size
from reports.figures.axes import Ending, endings, heading, rate_axis
from reports.figures.style import INK, MUTED, SERIES, WIDTH, place, sheet, styled
from reports.figures.svg import svg
from reports.numbers import axis_scale

TALL, HEAD, FOOT, LEFT, RIGHT = 38.0, 9.5, 6.5, 10.0, 30.0  # mm
TICKS = 8


@dataclass(frozen=True)
class Level:
    """A stretch of the series. first, last: places on the x axis (B)."""

    name: str
    value: float
    first: float
    last: float


@dataclass(frozen=True)
class Series:
    """rates: B/s of equal steps of `step` B, in order."""

    title: str
    rates: Sequence[float]
    step: float
    levels: Sequence[Level]


def series(identifier: str, alt: str, shown: Sequence[Series], over: str) -> str:
    """SVG, one panel below the other."""
    high = HEAD + TALL + FOOT
    with styled():
        figure = sheet(len(shown) * high)
        for index, one in enumerate(shown):
            top = index * high + HEAD
            axes = place(figure, LEFT, top, WIDTH - LEFT - RIGHT, TALL)
            unit = _draw(axes, one)
            heading(figure, 1, top, one.title, f"bandwidth ({unit}) against {over}")
        return svg(figure, identifier, alt)


def _draw(axes: Axes, one: Series) -> str:
    """Draw a series and its levels; returns the unit of the y axis."""
    top = max(one.rates)
    scale = axis_scale(top, Unit.BYTE_PER_SECOND)
    rate_axis(axes, top, scale)
    axes.set_xlim(0, one.step * len(one.rates))
    axes.xaxis.set_major_locator(_sizes(one.step * len(one.rates)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: show_size(x) if x else "0"))
    ends = [one.step * (index + 1) for index in range(len(one.rates))]
    axes.plot(ends, [rate / scale.factor for rate in one.rates], color=MUTED, linewidth=0.6, marker="o", markersize=1.4)
    labels = []
    for level, colour in zip(one.levels, (*SERIES, *[INK] * len(one.levels)), strict=False):
        axes.plot([level.first, level.last], [level.value / scale.factor] * 2, color=colour, linewidth=1.8)
        labels.append(Ending(level.value / scale.factor, level.name, colour))
    endings(axes, labels)
    return scale.unit


def _sizes(whole: float) -> MultipleLocator:
    """Ticks at multiples of a power of two."""
    return MultipleLocator(2.0 ** math.ceil(math.log2(whole / TICKS)))
