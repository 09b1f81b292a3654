"""Small multiples: a rate or a time over a size, one panel for each operation, two abreast."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes

from harness.records import Cadence
from harness.units import Unit
from reports.figures.axes import (
    Ending,
    Line,
    cadence_key,
    draw,
    endings,
    heading,
    rate_axis,
    roof_lines,
    size_axis,
    steps,
    time_axis,
)
from reports.figures.style import WIDTH, colour_of, place, sheet, styled
from reports.figures.svg import svg
from reports.numbers import Scale, axis_scale
from reports.reading import Curve, grouped

ABREAST = 2
LEFT, RIGHT = 10.0, 21.0  # mm beside the axes: tick labels, line labels
HEAD, FOOT = 9.5, 6.5  # mm above (heading) and below (tick labels)
KEY = 4.0  # mm for the key to solid and dashed lines
ALIKE = 3.0  # panels share one scale where their tops differ by less than this factor


@dataclass(frozen=True)
class Panel:
    """lines: horizontal, at peaks. steps: vertical, at cache sizes (B)."""

    title: str
    curves: tuple[Curve, ...]
    lines: tuple[Line, ...] = ()
    steps: tuple[Line, ...] = ()

    @property
    def top(self) -> float:
        return max(curve.top for curve in self.curves)

    @property
    def least(self) -> float:
        return min(interval.low for curve in self.curves for interval in curve.intervals)


@dataclass(frozen=True)
class Look:
    """What differs between kinds of panels. binary: x is in bytes. reach: a peak is drawn up to this
    factor above the data, else only named, since the data would be squashed."""

    quantity: str  # "bus bandwidth"
    over: str  # "message size"
    order: tuple[str, ...]  # of the keys, for their colours
    binary: bool = True
    tall: float = 34.0  # mm of one panel's axes
    reach: float = 2.0
    abreast: int = ABREAST
    right: float = RIGHT  # mm for the labels beside the axes


def panels(identifier: str, alt: str, shown: Sequence[Panel], look: Look) -> str:
    """SVG of the panels (at least one); a single one takes the full width."""
    abreast = min(look.abreast, len(shown))
    pitch, high = WIDTH / abreast, HEAD + look.tall + FOOT
    cadences = {curve.cadence for panel in shown for curve in panel.curves}
    above = KEY if {Cadence.ISOLATED, Cadence.STREAMING} <= cadences else 0.0
    with styled():
        figure = sheet(above + -(-len(shown) // abreast) * high)
        cadence_key(figure, cadences)
        tops = [max(_top(panel, look) for panel in shown)] * len(shown) if alike(shown) else None
        for index, panel in enumerate(shown):
            left, top = index % abreast * pitch, above + index // abreast * high + HEAD
            axes = place(figure, left + LEFT, top, pitch - LEFT - look.right, look.tall)
            scale = _scales(axes, panel, look, tops[index] if tops else _top(panel, look), 10 // abreast)
            unit = f" ({scale.unit})" if scale.unit else ""
            heading(figure, left + 1, top, panel.title, f"{look.quantity}{unit} against {look.over}")
            _fill(axes, panel, look, scale, above > 0)
        return svg(figure, identifier, alt)


def alike(shown: Sequence[Panel]) -> bool:
    """Whether the panels are near enough to share one scale."""
    tops = [panel.top for panel in shown]
    return max(tops) <= ALIKE * min(tops)


def _top(panel: Panel, look: Look) -> float:
    return max([panel.top, *(line.value for line in panel.lines if line.value <= look.reach * panel.top)])


def _scales(axes: Axes, panel: Panel, look: Look, top: float, ticks: int) -> Scale:
    """Set both axes; the scale of y, without a unit where each tick names its own."""
    size_axis(axes, [x for curve in panel.curves for x in curve.xs], ticks, look.binary)
    unit = panel.curves[0].figures[0].unit
    if unit is Unit.SECOND:
        time_axis(axes, panel.least, top)
        return Scale(1.0, "")
    scale = axis_scale(panel.top, unit)
    rate_axis(axes, top, scale, max(4, round(look.tall / 10)))
    return scale


def _fill(axes: Axes, panel: Panel, look: Look, scale: Scale, both: bool) -> None:
    """both: the figure has both cadences, so streaming lines are dashed. A panel that has the width
    to itself names its peaks beside the axes, where no curve crosses the words."""
    wide = look.right > RIGHT and bool(panel.lines)
    steps(axes, panel.steps)
    beside = roof_lines(axes, panel.lines, scale.factor, wide)
    for curve in panel.curves:
        draw(axes, curve, look.order, scale.factor, both and curve.cadence is Cadence.STREAMING)
    endings(axes, [*_ends(panel.curves, look.order, scale.factor), *beside])


def _ends(curves: Sequence[Curve], order: tuple[str, ...], factor: float) -> list[Ending]:
    """One label for each key, between the ends of its isolated and its streaming line."""
    ends = []
    for key, those in grouped(curves, lambda curve: curve.key).items():
        middle = sum(curve.intervals[-1].value for curve in those) / len(those) / factor
        ends.append(Ending(middle, key, colour_of(key, order)[0]))
    return ends
