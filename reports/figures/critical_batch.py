"""Steps to a target against the batch: runs, those that did not get there, the fitted curve and the critical batch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from reports.critical_batch_model import CriticalBatchModel, Ended, Fitted, Point
from reports.figures.axes import Ending, endings, heading, size_axis
from reports.figures.style import MUTED, SERIES, SMALL, WIDTH, place, sheet, styled, write
from reports.figures.svg import svg
from reports.text import plotted

LEFT, RIGHT, HEAD, TALL, FOOT = 12.0, 44.0, 10.5, 52.0, 9.0  # mm
KEY = 4.6  # mm a line
FITTED, OFF, LIMIT, STAR = SERIES[0], SERIES[1], SERIES[3], SERIES[2]


@dataclass(frozen=True)
class Look:
    marker: str
    colour: str
    filled: bool
    said: str


LOOKS: dict[Ended, Look] = {
    "reached": Look("o", FITTED, True, "reached the target"),
    "censored": Look("^", LIMIT, False, "not there yet: at least"),
    "outlier": Look("X", OFF, True, "outlier, left out"),
    "diverged": Look("x", OFF, False, "diverged (height means nothing)"),
}


def critical_batch(identifier: str, alt: str, title: str, model: CriticalBatchModel) -> str:
    """SVG of one curve; without a fit, of the runs alone."""
    with styled():
        figure = sheet(HEAD + TALL + FOOT)
        axes = place(figure, LEFT, HEAD, WIDTH - LEFT - RIGHT, TALL)
        heading(figure, 1, HEAD, title, f"steps to the target against batch ({model.unit})")
        _scales(axes, model)
        ends = _curve(axes, model.fitted) if model.fitted else []
        for point in model.points:
            _point(axes, point)
        endings(axes, ends)
        held = [ended for ended in LOOKS if any(point.ended == ended for point in model.points)]
        for at, ended in enumerate(held):
            top = HEAD + KEY * at + 2.0
            _key(axes, LOOKS[ended], WIDTH - RIGHT + 4, top)
            write(figure, WIDTH - RIGHT + 7, top, LOOKS[ended].said, SMALL, LOOKS[ended].colour)
        return svg(figure, identifier, alt)


def _scales(axes: Axes, model: CriticalBatchModel) -> None:
    batches = [point.batch for point in model.points]
    size_axis(axes, [min(batches) / 1.5, max(batches) * 1.5], 10, binary=False)
    steps = [point.steps for point in model.points if point.ended != "diverged"]
    if model.fitted:
        steps += [known.value for batch, known in model.fitted.curve if min(batches) <= batch <= max(batches)]
    axes.set_yscale("log")
    axes.set_ylim(min(steps or [1]) / 1.4, max(steps or [10]) * 1.4)
    axes.yaxis.set_major_locator(LogLocator(base=10, subs=(1, 2, 5), numticks=24))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:,.0f}" if y >= 1 else f"{y:g}"))


def _curve(axes: Axes, fitted: Fitted) -> list[Ending]:
    """The fit with its band, linear scaling from the reference batch, and B* with its interval."""
    low, high = axes.get_xlim()
    shown = [(batch, known) for batch, known in fitted.curve if low <= batch <= high]
    xs = [batch for batch, _ in shown]
    axes.fill_between(
        xs, [known.low for _, known in shown], [known.high for _, known in shown], color=FITTED, alpha=0.16, linewidth=0
    )
    axes.plot(xs, [known.value for _, known in shown], color=FITTED)
    least = fitted.a.value + fitted.b.value / fitted.reference
    linear = [least * fitted.reference / x for x in xs]
    axes.plot(xs, linear, color=MUTED, linewidth=0.9, linestyle=(0, (3, 2)))
    bottom, top = axes.get_ylim()
    star = fitted.b_star
    if star.low < high and star.high > low:
        axes.axvspan(max(star.low, low), min(star.high, high), color=STAR, alpha=0.12, linewidth=0)
    if low < star.value < high:
        axes.axvline(star.value, color=STAR, linewidth=1.1)
        said = f"B* {star.value:,.4g} [{star.low:,.4g}, {star.high:,.4g}]"
        axes.annotate(
            plotted(said), (star.value, 1), (3, -2), xycoords=("data", "axes fraction"),
            textcoords="offset points", color=STAR, fontsize=SMALL, fontweight=600, verticalalignment="top",
        )  # fmt: skip
    ends = [Ending(shown[-1][1].value, "S(B) = a + b/B", FITTED)] if shown else []
    if linear:
        ends.append(Ending(min(max(linear[-1], bottom), top), "linear scaling", MUTED, 400))
    return ends


def _point(axes: Axes, point: Point) -> None:
    look = LOOKS[point.ended]
    height = point.steps if point.ended != "diverged" and math.isfinite(point.steps) else axes.get_ylim()[1] / 1.1
    axes.plot(
        [point.batch], [height], color=look.colour, marker=look.marker, markersize=3.6, linestyle="none",
        markerfacecolor=look.colour if look.filled else "white", markeredgewidth=0.9, alpha=0.85, clip_on=False,
    )  # fmt: skip


def _key(axes: Axes, look: Look, left: float, top: float) -> None:
    """The marker beside its words: a place in mm on the sheet."""
    x = (left - LEFT) / (WIDTH - LEFT - RIGHT)
    y = 1 - (top - 0.9 - HEAD) / TALL
    axes.plot(
        [x], [y], transform=axes.transAxes, clip_on=False, color=look.colour, marker=look.marker, markersize=3.6,
        markerfacecolor=look.colour if look.filled else "white", markeredgewidth=0.9, linestyle="none",
    )  # fmt: skip


def ended_counts(points: Sequence[Point]) -> dict[Ended, int]:
    """How many runs ended how, of the ways that occur."""
    return {ended: count for ended in LOOKS if (count := sum(point.ended == ended for point in points))}
