"""Bars of parts that add up: what a step is made of, one bar for each way to do it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator

from harness.units import Unit, digits
from reports.figures.style import INK, MUTED, SERIES, SMALL, TEXT, WIDTH, place, sheet, styled, write
from reports.figures.svg import svg
from reports.numbers import axis_scale
from reports.text import plotted

PITCH, BAR = 7.4, 0.62  # mm a bar, and the share of it that is filled
LEFT, RIGHT, HEAD, FOOT = 46.0, 20.0, 9.0, 9.0  # mm


@dataclass(frozen=True)
class Bar:
    """label: which way. parts: s by name; a part that is not in it is 0. whole: as it was measured."""

    label: str
    parts: dict[str, float]
    whole: float


def stacked(identifier: str, alt: str, bars: Sequence[Bar], parts: Sequence[str], quantity: str) -> str:
    """SVG of the bars, from above as given; parts from the left, at most six of them."""
    tall = PITCH * len(bars)
    scale = axis_scale(max(bar.whole for bar in bars), Unit.SECOND)
    with styled():
        sheet_ = sheet(HEAD + tall + FOOT)
        axes = place(sheet_, LEFT, HEAD, WIDTH - LEFT - RIGHT, tall)
        axes.grid(visible=False, axis="y")
        axes.grid(visible=True, axis="x")
        for row, bar in enumerate(bars):
            at = 0.0
            for part, colour in zip(parts, SERIES, strict=False):
                size = max(0.0, bar.parts.get(part, 0.0)) / scale.factor
                axes.barh(row, size, height=BAR, left=at, color=colour, linewidth=0)
                at += size
            axes.annotate(
                digits(bar.whole / scale.factor), (at, row), (3, 0), textcoords="offset points", fontsize=TEXT,
                color=INK, va="center_baseline",
            )  # fmt: skip
        axes.set_ylim(len(bars) - 0.5, -0.5)
        axes.yaxis.set_major_locator(NullLocator())
        axes.xaxis.set_major_locator(MaxNLocator(6))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.6g}"))
        for row, bar in enumerate(bars):
            write(sheet_, 0, HEAD + PITCH * (row + 0.5) + 0.9, plotted(bar.label, 34), TEXT, INK)
        write(sheet_, LEFT, HEAD + tall + FOOT - 1, f"{quantity} ({scale.unit})", SMALL, MUTED)
        for at, (part, colour) in enumerate(zip(parts, SERIES, strict=False)):
            write(sheet_, LEFT + at * (WIDTH - LEFT) / len(parts), 3.6, plotted(part), TEXT, colour, 600)
        return svg(sheet_, identifier, alt)
