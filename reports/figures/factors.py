"""What techniques are worth: a factor and its interval for each, around 1, in panels side by side."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from harness.statistics import Interval
from reports.figures.style import INK, MUTED, SERIES, SMALL, TEXT, TITLE, WIDTH, place, sheet, styled, write
from reports.figures.svg import svg
from reports.text import plotted

PITCH, LEFT, GAP, HEAD, FOOT = 5.6, 46.0, 8.0, 9.0, 6.0  # mm
LABEL = 36  # characters that fit to the left of the axes
TICKS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 20.0, 50.0, 100.0)
LEAST = 1.15  # an axis reaches at least this factor to both sides
MOST = 6  # ticks


@dataclass(frozen=True)
class Panel:
    """A factor is green where its interval is on the better side, orange on the other, grey where it reaches 1, and
    black where it has none. factors: one for each row, None where there is none. better: 'right' of 1 or 'left'."""

    title: str
    better: str
    factors: tuple[Interval | None, ...]


def factors(identifier: str, alt: str, rows: Sequence[str], panels: Sequence[Panel]) -> str:
    """SVG: names on the left, a panel for each quantity."""
    tall = PITCH * len(rows)
    wide = (WIDTH - LEFT - GAP * len(panels)) / len(panels)
    with styled():
        figure = sheet(HEAD + tall + FOOT)
        for at, name in enumerate(rows):
            write(figure, 0, HEAD + PITCH * (at + 0.5) + 0.9, plotted(name, LABEL), TEXT, INK)
        for index, panel in enumerate(panels):
            left = LEFT + index * (wide + GAP)
            write(figure, left, 3.4, plotted(panel.title), TITLE, INK, 600)
            write(figure, left, 6.8, f"factor; {panel.better} of 1 is better", SMALL, MUTED)
            _fill(place(figure, left, HEAD, wide, tall), panel)
        return svg(figure, identifier, alt)


def _fill(axes: Axes, panel: Panel) -> None:
    held = [factor for factor in panel.factors if factor is not None]
    reach = max([LEAST, *(max(one.high, 1 / one.low) for one in held if one.low > 0)]) * 1.06
    axes.set_xscale("log")
    axes.set_xlim(1 / reach, reach)
    axes.set_ylim(len(panel.factors) - 0.5, -0.5)
    axes.grid(visible=False, axis="y")
    axes.grid(visible=True, axis="x")
    axes.yaxis.set_major_locator(NullLocator())
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_locator(FixedLocator(_ticks(reach)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:.3g}"))
    axes.axvline(1.0, color=MUTED, linewidth=0.9)
    for row, factor in enumerate(panel.factors):
        if factor is None:
            continue
        good = (factor.low > 1) if panel.better == "right" else (factor.high < 1)
        bad = (factor.high < 1) if panel.better == "right" else (factor.low > 1)
        colour = INK if factor.low == factor.high else SERIES[2] if good else SERIES[1] if bad else MUTED
        axes.hlines(row, max(factor.low, 1 / reach), factor.high, color=colour, linewidth=2.6, alpha=0.45)
        axes.plot([factor.value], [row], color=colour, marker="o", markersize=4)


def _ticks(reach: float) -> list[float]:
    """1, and others as wide as the axis needs: not more than can be told apart."""
    inside = [tick for tick in TICKS if 1 / reach <= tick <= reach]
    if len(inside) < 3:  # a narrow axis: steps of 5 %, or of 10
        step = 0.05 if reach < 1.2 else 0.1
        count = math.floor((reach - 1) / step)
        inside = [tick for at in range(-count, count + 1) if 1 / reach <= (tick := 1 + at * step) <= reach]
    while len(inside) > MOST:
        middle = inside.index(1.0) if 1.0 in inside else 0
        inside = [tick for at, tick in enumerate(inside) if (at - middle) % 2 == 0]
    return inside
