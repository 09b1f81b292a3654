"""Axes that all figures share: sizes in powers of two, rates from zero, labels at the lines' ends."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullFormatter, NullLocator

from harness.records import Cadence
from harness.units import Unit, scale_of, show_size
from reports.figures.style import INCH, INK, MUTED, POINT, ROOF, SMALL, TEXT, TITLE, WIDTH, colour_of, write
from reports.numbers import Scale
from reports.reading import Curve
from reports.text import plotted

DASHES = (0, (3.2, 1.8))
GAP = 8.6 * POINT  # mm between two labels
FEW_DECADES = 100  # a range below which a logarithmic axis is marked at 1, 2 and 5


@dataclass(frozen=True)
class Ending:
    """A label beside the right end of a line, at that value on the y axis."""

    value: float
    text: str
    colour: str
    weight: int = 600


def size_axis(axes: Axes, sizes: Sequence[float], most: int, binary: bool = True) -> None:
    """Logarithmic x axis with ticks at powers of two: '1 KiB', '64 KiB' (or plain numbers)."""
    low, high = math.log2(min(sizes)), math.log2(max(sizes))
    margin = max(0.03 * (high - low), 0.2)
    axes.set_xscale("log", base=2)
    axes.set_xlim(2 ** (low - margin), 2 ** (high + margin))
    first, last = math.ceil(low - 1e-9), math.floor(high + 1e-9)
    step = next(s for s in (1, 2, 3, 4, 5, 6, 8, 10, 20, 64) if (last - first) // s + 1 <= most)
    axes.xaxis.set_major_locator(FixedLocator([2.0**power for power in range(first, last + 1, step)]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: show_size(x) if binary else f"{x:,.0f}"))


def rate_axis(axes: Axes, top: float, scale: Scale, ticks: int = 5) -> None:
    """Linear y axis from zero to a little above `top` (base units), in the given scale."""
    axes.set_ylim(0, top / scale.factor * 1.06)
    axes.yaxis.set_major_locator(MaxNLocator(ticks, steps=[1, 2, 2.5, 5, 10]))
    decimals = max((_decimals(tick) for tick in axes.get_yticks()), default=0)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:,.{decimals}f}"))


def _decimals(tick: float) -> int:
    return len(f"{tick:.6f}".rstrip("0").partition(".")[2])


def time_axis(axes: Axes, low: float, high: float) -> None:
    """Logarithmic y axis of times: '10 µs', '1 ms'."""
    axes.set_yscale("log")
    axes.set_ylim(low / 1.5, high * 1.5)
    ticks = (1, 2, 5) if high / low < FEW_DECADES else (1,)
    axes.yaxis.set_major_locator(LogLocator(base=10, subs=ticks, numticks=24))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.yaxis.set_major_formatter(FuncFormatter(_time))


def _time(value: float, _: int) -> str:
    factor, unit = scale_of(value * (1 + 1e-9), Unit.SECOND)
    return f"{value / factor:.4g} {unit}"


def heading(figure: Figure, left: float, top: float, title: str, quantity: str) -> None:
    """A panel's title and, below it, what its y axis counts; `top` is the panel's upper edge in mm."""
    write(figure, left, top - 5.6, plotted(title), TITLE, INK, 600)
    write(figure, left, top - 2.2, plotted(quantity, 90), SMALL, MUTED)


def draw(axes: Axes, curve: Curve, order: tuple[str, ...], factor: float, dashed: bool) -> None:
    """A curve with its interval: a band, and a bar at every point so that narrow ones show too."""
    colour, marker = colour_of(curve.key, order)
    values, lows, highs = (
        [getattr(interval, part) / factor for interval in curve.intervals] for part in ("value", "low", "high")
    )
    if len(values) > 1:
        axes.fill_between(curve.xs, lows, highs, color=colour, alpha=0.16, linewidth=0)
    axes.vlines(curve.xs, lows, highs, color=colour, linewidth=2.6, alpha=0.45)
    axes.plot(
        curve.xs, values, color=colour, marker=marker, linestyle=DASHES if dashed else "-",
        markerfacecolor="white" if dashed else colour, markeredgewidth=0.7, markeredgecolor=colour,
    )  # fmt: skip


def endings(axes: Axes, labels: Sequence[Ending]) -> None:
    """Labels to the right of the axes, each at its line's end, pushed apart where they would touch."""
    figure = axes.get_figure()
    assert isinstance(figure, Figure)
    box, (wide, tall) = axes.get_position(), figure.get_size_inches() * INCH
    height, width = box.height * tall, box.width * wide
    to_axes = axes.transData + axes.transAxes.inverted()
    x = axes.get_xlim()[1]
    ordered = sorted(labels, key=lambda label: label.value)
    wanted = [float(to_axes.transform((x, label.value))[1]) * height for label in ordered]
    for label, at, placed in zip(ordered, wanted, spread(wanted, GAP, 0, height), strict=True):
        axes.plot(
            [1.0, 1 + 2.2 / width], [at / height, placed / height], transform=axes.transAxes, clip_on=False,
            color=label.colour, linewidth=0.7, solid_capstyle="butt",
        )  # fmt: skip
        axes.text(
            1 + 2.9 / width, placed / height, plotted(label.text, 60), transform=axes.transAxes, color=label.colour,
            fontsize=TEXT if label.weight > 400 else SMALL, fontweight=label.weight, va="center_baseline",
        )  # fmt: skip


def spread(wanted: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Places at least `gap` apart, as near as can be to the ascending `wanted`, within low..high.

    Overlapping neighbours are merged into a block that is centred on their mean, as often as needed.
    """
    blocks: list[list[float]] = []  # each: the places wanted by its members
    for place in wanted:
        blocks.append([place])
        while len(blocks) > 1 and _start(blocks[-1], gap, low, high) < _end(blocks[-2], gap, low, high) + gap:
            blocks[-2:] = [blocks[-2] + blocks[-1]]
    return [_start(block, gap, low, high) + gap * i for block in blocks for i in range(len(block))]


def _start(block: Sequence[float], gap: float, low: float, high: float) -> float:
    length = gap * (len(block) - 1)
    return max(low, min(sum(block) / len(block) - length / 2, high - length))


def _end(block: Sequence[float], gap: float, low: float, high: float) -> float:
    return _start(block, gap, low, high) + gap * (len(block) - 1)


@dataclass(frozen=True)
class Line:
    """A horizontal line: a declared peak or a published figure, in base units."""

    value: float
    text: str


def roof_lines(axes: Axes, lines: Sequence[Line], factor: float, beside: bool) -> list[Ending]:
    """Lines at peaks. Their texts are below their left ends, or, with `beside`, are returned as labels
    for the right; a peak above the scale is only named."""
    top, labels = axes.get_ylim()[1], []
    for line in sorted(lines, key=lambda line: line.value):
        drawn = line.value / factor <= top
        if drawn:
            axes.axhline(line.value / factor, color=ROOF, linewidth=0.9, linestyle=(0, (1, 1.6)))
        text = plotted(line.text if drawn else f"{line.text} (above this scale)", 80)
        if beside:
            labels.append(Ending(min(line.value / factor, top), text, ROOF, 400))
        else:
            axes.annotate(
                text, (0.012, min(line.value / factor / top, 1)), (0, -2), xycoords="axes fraction",
                textcoords="offset points", color=ROOF, fontsize=SMALL, verticalalignment="top",
            )  # fmt: skip
    return labels


def steps(axes: Axes, lines: Sequence[Line]) -> None:
    """Vertical lines at sizes (caches), each with its text at the top; those off the axis are left out."""
    low, high = axes.get_xlim()
    for line in lines:
        if low < line.value < high:
            axes.axvline(line.value, color=MUTED, linewidth=0.7, linestyle=(0, (1, 2)))
            axes.annotate(
                plotted(line.text), (line.value, 1), (2, -1), xycoords=("data", "axes fraction"),
                textcoords="offset points", color=MUTED, fontsize=SMALL, verticalalignment="top",
            )  # fmt: skip


def cadence_key(figure: Figure, cadences: set[Cadence | None], top: float = 3.0) -> None:
    """What solid and dashed lines mean, at the figure's upper right, where both occur."""
    if not {Cadence.ISOLATED, Cadence.STREAMING} <= cadences:
        return
    wide, tall = (side * INCH for side in figure.get_size_inches())
    for left, text, style, fill in ((WIDTH - 47, "isolated", "-", INK), (WIDTH - 23, "streaming", DASHES, "white")):
        axes = figure.add_axes((left / wide, 1 - (top + 1) / tall, 8 / wide, 2 / tall))
        axes.axis("off")
        axes.plot([0, 1, 2], [0, 0, 0], color=INK, linestyle=style, marker="o", markevery=[1], markerfacecolor=fill)
        write(figure, left + 9, top, text, SMALL, INK, align="center_baseline")
