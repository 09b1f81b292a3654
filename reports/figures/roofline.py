"""The roofline: rate against intensity, both logarithmic, below a slope and flat roofs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

from harness.statistics import Interval
from harness.units import Unit, scale_of
from reports.figures.axes import FEW_DECADES, Ending, endings, heading
from reports.figures.style import ROOF, SMALL, WIDTH, colour_of, place, sheet, styled
from reports.figures.svg import svg
from reports.numbers import plain

LEFT, RIGHT, HEAD, TALL, FOOT = 17.0, 25.0, 9.5, 72.0, 6.5  # mm
ROOM = 1.6  # factor between the data and the ends of the axes
SEEN = 8  # factor of intensity, below the ridge, over which the slope is seen at least


@dataclass(frozen=True)
class Point:
    """One product. intensity in FLOP/B, interval of its rate in FLOP/s; key: its data type."""

    key: str
    intensity: float
    interval: Interval


@dataclass(frozen=True)
class Roof:
    """The best rate of a data type, FLOP/s."""

    key: str
    value: float


def roofline(
    identifier: str, alt: str, points: Sequence[Point], roofs: Sequence[Roof], slope: float, order: tuple[str, ...]
) -> str:  # fmt: skip
    """SVG of the points (at least one) below their roofs. slope: the memory's bandwidth in B/s."""
    with styled():
        figure = sheet(HEAD + TALL + FOOT)
        axes = place(figure, LEFT, HEAD, WIDTH - LEFT - RIGHT, TALL)
        heading(figure, 1, HEAD, "Roofline", "rate against intensity (FLOP/B)")
        _axes(axes, points, roofs, slope)
        low, high = axes.get_xlim()
        for roof in roofs:
            ridge = roof.value / slope
            axes.plot([ridge, high], [roof.value] * 2, color=colour_of(roof.key, order)[0], linewidth=1.0)
        top = max(roof.value for roof in roofs)
        axes.plot([low, top / slope], [low * slope, top], color=ROOF, linewidth=1.0)
        axes.annotate(
            f"memory, {plain(slope, Unit.BYTE_PER_SECOND)}", (top / slope, top), (-3, 0), textcoords="offset points",
            color=ROOF, fontsize=SMALL, ha="right",
        )  # fmt: skip
        for point in points:
            colour, marker = colour_of(point.key, order)
            axes.vlines([point.intensity], point.interval.low, point.interval.high, color=colour, alpha=0.45)
            axes.plot([point.intensity], [point.interval.value], color=colour, marker=marker, alpha=0.8, linestyle="")
        endings(axes, [Ending(roof.value, roof.key, colour_of(roof.key, order)[0]) for roof in roofs])
        return svg(figure, identifier, alt)


def _axes(axes: Axes, points: Sequence[Point], roofs: Sequence[Roof], slope: float) -> None:
    ridges = [roof.value / slope for roof in roofs]
    across = [min(ridges) / SEEN, *(point.intensity for point in points), *ridges]
    up = [*(end for p in points for end in (p.interval.low, p.interval.high)), *(roof.value for roof in roofs)]
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlim(min(across) / ROOM, max(across) * ROOM)
    axes.set_ylim(min(up) / ROOM, max(up) * ROOM)
    for axis, values in ((axes.xaxis, across), (axes.yaxis, up)):
        ticks = (1, 2, 5) if max(values) / min(values) < FEW_DECADES else (1,)
        axis.set_major_locator(LogLocator(base=10, subs=ticks, numticks=24))
        axis.set_minor_locator(NullLocator())
        axis.set_minor_formatter(NullFormatter())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.4g}"))
    axes.yaxis.set_major_formatter(FuncFormatter(_rate))


def _rate(value: float, _: int) -> str:
    factor, unit = scale_of(value * (1 + 1e-9), Unit.FLOP_PER_SECOND)
    return f"{value / factor:.4g} {unit}"
