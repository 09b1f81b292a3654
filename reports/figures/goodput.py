"""Goodput against the interval between checkpoints: a panel for each job, a line for each engine.

A label stands at the height of its engine's best, since all lines fall together towards the right."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from harness.units import show_duration
from reports.figures.axes import Ending, endings, heading
from reports.figures.style import WIDTH, colour_of, place, sheet, styled
from reports.figures.svg import svg
from reports.goodput_model import GoodputModel

LEFT, RIGHT = 12.0, 24.0  # mm beside the axes: tick labels, line labels
HEAD, TALL, FOOT = 10.5, 46.0, 6.5  # mm of a panel: heading, axes, tick labels
TICKS = (1e-3, 1e-2, 0.1, 1.0, 10.0, 60.0, 600.0, 3600.0, 6 * 3600.0, 86400.0, 7 * 86400.0, 30 * 86400.0, 365 * 86400.0)
DEEP = 6.0  # the axis reaches down to this many times the least loss at any engine's best interval, and a little


@dataclass(frozen=True)
class Panel:
    """lines: what each is called, and its model."""

    title: str
    lines: tuple[tuple[str, GoodputModel], ...]


def goodput(identifier: str, alt: str, panels: Sequence[Panel]) -> str:
    """SVG of the panels, side by side."""
    order = tuple(dict.fromkeys(name for panel in panels for name, _ in panel.lines))
    pitch = WIDTH / len(panels)
    with styled():
        figure = sheet(HEAD + TALL + FOOT)
        for index, panel in enumerate(panels):
            left = index * pitch
            axes = place(figure, left + LEFT, HEAD, pitch - LEFT - RIGHT, TALL)
            heading(figure, left + 1, HEAD, panel.title, "goodput (%) against training between two saves")
            _fill(axes, panel, order)
        return svg(figure, identifier, alt)


def wait(seconds: float) -> str:
    """'10 ms', '45 s', '1 h', '7 d': the largest unit that divides it well."""
    for factor, unit in ((86400.0, "d"), (3600.0, "h"), (60.0, "min"), (1.0, "s"), (1e-3, "ms")):
        if seconds >= factor:
            return f"{seconds / factor:.3g} {unit}"
    return show_duration(seconds)


def _fill(axes: Axes, panel: Panel, order: tuple[str, ...]) -> None:
    xs = [at for _, model in panel.lines for at, _ in model.curve]
    axes.set_xscale("log")
    axes.set_xlim(min(xs), max(xs))
    inside = [tick for tick in TICKS if min(xs) <= tick <= max(xs)]
    axes.xaxis.set_major_locator(FixedLocator(inside))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: wait(x)))
    bottom = _bottom(panel)
    axes.set_ylim(bottom, 100 + 0.03 * (100 - bottom))
    axes.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
    decimals = max(0, math.ceil(-math.log10((100 - bottom) / 4)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:.{decimals}f}"))
    ends = []
    for name, model in panel.lines:
        colour, marker = colour_of(name, order)
        at = [x for x, _ in model.curve]
        axes.fill_between(
            at, [100 * y.low for _, y in model.curve], [100 * y.high for _, y in model.curve],
            color=colour, alpha=0.16, linewidth=0,
        )  # fmt: skip
        axes.plot(at, [100 * y.value for _, y in model.curve], color=colour)
        axes.plot([model.best.value], [100 * model.goodput.value], color=colour, marker=marker, markersize=4.5)
        ends.append(Ending(100 * model.goodput.value, name, colour))
    endings(axes, ends)


def _bottom(panel: Panel) -> float:
    """Of the axis, in %: deep enough to show the worst engine's best, and how it falls off beside it."""
    loss = max(1 - model.goodput.low for _, model in panel.lines)
    return 100 * max(0.0, 1 - DEEP * max(loss, 1e-6))
